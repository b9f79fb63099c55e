"""The training loop: mini-batches in, parameters out, and nothing lost on the way."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab import checkpoint
from rnnlab.backend import Tree, namespace, to_backend, to_numpy, tree_items, tree_map
from rnnlab.kernels import on_device
from rnnlab.memory import check_step
from rnnlab.optim.parts import global_norm, one_of
from rnnlab.recurrent import carry_state
from rnnlab.training.run import Limits, NonFiniteError, Result, Run, learning_rate, restore, save, settings

__all__ = ["evaluate", "fit"]

Problem = tuple[str, str | None]  # what is not finite, and the parameter concerned


def fit(
    model: Any,
    train: Any,
    optimizer: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    params: Tree = None,
    dtype: Any = np.float32,
    valid: Any = None,
    metric: Callable[[Any, Tree, Any], float] | None = None,
    patience: int | None = None,
    validate_every: int | None = None,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    on_nonfinite: str = "raise",
    folder: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    keep: int = 3,
    resume: bool = False,
    backend: str = "numpy",
) -> Result:
    """Train a model.

    Every step takes the next batch, runs the model forward and back, and lets the optimizer change the parameters.
    Where a batch continues the one before it, so does the recurrent state, without its gradient (truncated BPTT).

    Parameters
    ----------
    model : object
        With ``init``, ``loss_and_grads`` and ``loss``, as those of `rnnlab.models`.
    train : rnnlab.data.batches.Source
    optimizer : Optimizer
    epochs, steps : int
        Training ends with the first that is reached; at least one is needed.
    seed : int
        Of the initial parameters, the batches and dropout, each with a generator of its own.
    params : Tree, optional
        To begin with; drawn where they are not given.
    dtype : dtype
        What parameters and batches are brought to, and so what is computed in.
    valid : rnnlab.data.batches.Source, optional
        Judges the parameters at the end of every epoch, or every `validate_every` steps, and at the end. Its mean loss
        is what `rnnlab.optim.schedules.reduce_on_plateau` is told.
    metric : callable, optional
        ``metric(model, params, valid)``, the lower the better: takes the place of the mean validation loss in
        choosing the best parameters and in early stopping.
    patience : int, optional
        Stop after so many validations in a row without a new best.
    validate_every, checkpoint_every : int, optional
        In steps; by default an epoch.
    callbacks : sequence of objects
        With any of the methods ``start(run)``, ``before_step(run)``, ``after_step(run)``, ``after_validation(run)`` and
        ``end(run)``, see `Run`; with ``state()`` and ``restore(state)`` to be part of checkpoints. ``restore`` comes
        before ``start``.
    progress : bool
        Show a progress bar on stderr.
    on_nonfinite : {"raise", "skip", "stop"}
        What to do where the loss, a gradient or a new parameter is not finite: raise `NonFiniteError`; leave the
        update out, count it and go on from a state of zeros; or end the training with the parameters before it.
    folder : path, optional
        Where checkpoints go, and ``best.npz``, the best parameters so far. No two runs may share one.
    keep : int
        How many checkpoints are kept.
    resume : bool
        Go on from the newest whole checkpoint in the folder, if there is one. With the same arguments the numbers are
        those of a run never stopped, to the last bit on the same machine with as many BLAS threads. More epochs or
        steps may be asked for.
    backend : {"numpy", "cupy"}

    Returns
    -------
    Result

    Raises
    ------
    NonFiniteError
        Something was not finite, with ``on_nonfinite="raise"``.
    MemoryError
        A step would need more memory than the GPU has free.
    CheckpointError
        The folder is in use, holds another run or cannot be written to.
    ValueError
        An argument is not as above.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from rnnlab.data.batches import Streams
    >>> from rnnlab.training import fit
    >>> tokens = np.tile(np.arange(7), 30)
    >>> model = rl.models.LanguageModel(vocab_size=7, embedding_size=8, recurrent=rl.LSTM(8, 16))
    >>> result = fit(model, Streams(tokens, 5, 10), rl.optim.adam(0.02), epochs=20, valid=Streams(tokens, 1, 50))
    >>> steps, losses = result.curve("validation_loss")
    >>> len(steps), bool(losses[0] > 1), bool(losses[-1] < 0.1), result.stopped
    (20, True, True, 'epochs')
    """
    limits = Limits.checked(epochs, steps, patience, validate_every, checkpoint_every)
    one_of("on_nonfinite", on_nonfinite, ("raise", "skip", "stop"))
    _refuse_without("valid", valid, patience=patience, validate_every=validate_every, metric=metric)
    _refuse_without("folder", folder, resume=resume or None, checkpoint_every=checkpoint_every)
    with contextlib.ExitStack() as stack:
        stack.enter_context(np.errstate(all="ignore"))  # what is not finite is looked for, and not only warned of
        if folder is not None:
            stack.enter_context(checkpoint.lock(folder))
        run = _begin(model, optimizer, seed, params, dtype, backend, folder)
        made_with = settings(run, seed, backend, len(train))
        restore(run, made_with, callbacks, resume, backend)
        show = stack.enter_context(_bar(progress, limits.total(len(train)), run))
        _tell(callbacks, "start", run)
        batches = None
        while (stopped := limits.reached(run)) is None:
            if batches is None:
                batches = train.epoch(_epoch_rng(seed, run.epoch))
            batch, anew = batches[run.position]
            run.batch = _brought(batch, run.params)
            if backend == "cupy":
                _refuse_what_does_not_fit(run)
            state = None if anew else carry_state(run.state)
            loss, grads, state = model.loss_and_grads(run.params, run.batch, state, run.dropout_rng)
            problem = _record(run, loss, grads)
            if problem is None:
                _tell(callbacks, "before_step", run)
                problem = _update(run)
            if problem is None:
                run.state = state
                _tell(callbacks, "after_step", run)
            else:
                _leave_out(run, problem, on_nonfinite)

            ends_epoch = run.position + 1 == len(train)
            if valid is not None and limits.validates(run, ends_epoch):
                _validate(run, valid, metric)
                _tell(callbacks, "after_validation", run)
            saves = folder is not None and limits.saves(run, ends_epoch)
            run.step += 1
            run.epoch, run.position = (run.epoch + 1, 0) if ends_epoch else (run.epoch, run.position + 1)
            batches = None if ends_epoch else batches
            show(run)
            if saves:
                save(run, made_with, callbacks, keep)
        _tell(callbacks, "end", run)
    best = run.params if run.best_params is None else run.best_params
    return Result(best, run.params, run.history, run.best_step, stopped, run.skipped)


def evaluate(model: Any, params: Tree, source: Any) -> float:
    """Return the mean loss over all entries of a source, without dropout.

    Parameters
    ----------
    model : object
    params : Tree
    source : rnnlab.data.batches.Source
        Each batch counts by its ``weight``. What is random about it is the same at every call.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from rnnlab.data.batches import Streams
    >>> model = rl.models.LanguageModel(vocab_size=7, embedding_size=3, recurrent=rl.GRU(3, 4))
    >>> params = model.init(np.random.default_rng(0))
    >>> tokens = np.random.default_rng(1).integers(0, 7, 41)
    >>> one, many = (evaluate(model, params, Streams(tokens, 1, length)) for length in (40, 7))
    >>> bool(np.isclose(one, many))
    True
    """
    epoch, state = source.epoch(np.random.default_rng(0)), None
    losses, weights = [], []
    for k in range(len(source)):
        batch, anew = epoch[k]
        loss, state = model.loss(params, _brought(batch, params), None if anew else state)
        losses.append(loss)
        weights.append(source.weight(batch))
    total = sum(w * loss for w, loss in zip(weights, _on_the_host(losses), strict=True))
    mean: float = total / sum(weights)
    return mean


# ---------------------------------------------------------------------------- the parts of a step


def _record(run: Run, loss: Any, grads: Tree) -> Problem | None:
    """Begin the step's row; say what is not finite."""
    run.grads, run.learning_rate = grads, learning_rate(run)
    size, odd, run.loss = _norm(grads, loss)
    row = {"step": run.step, "epoch": run.epoch, "training_loss": run.loss, "gradient_norm": size}
    run.history.append({**row, "learning_rate": run.learning_rate})
    if odd is not None:
        return f"the gradient of {odd} is not finite (the loss is {run.loss:g})", odd
    return None if math.isfinite(run.loss) else (f"the loss is {run.loss:g}, all gradients are finite", None)


def _update(run: Run) -> Problem | None:
    """Let the optimizer take its step, unless what comes of it is not finite."""
    try:
        params, opt_state = run.optimizer.step(run.params, run.grads, run.opt_state)
    except FloatingPointError as error:
        return f"the optimizer says: {error}", None
    _, odd = _norm(params)
    if odd is not None:
        return f"the update makes {odd} not finite", odd
    run.params, run.opt_state = params, opt_state
    return None


def _leave_out(run: Run, problem: Problem, on_nonfinite: str) -> None:
    """Do without an update, as the policy says."""
    text, parameter = problem
    if on_nonfinite == "raise":
        found = checkpoint.checkpoints(run.folder) if run.folder else []
        last = f"the last good checkpoint is {found[0] if found else 'none'}"
        error = NonFiniteError(f"step {run.step}: {text}; {last}")
        error.step, error.parameter, error.checkpoint = run.step, parameter, found[0] if found else None
        raise error
    run.skipped += 1
    run.history[-1]["skipped"] = True
    run.state = None  # it may hold what is not finite, and would pass it on
    if on_nonfinite == "stop":
        run.stop("nonfinite")


def _validate(run: Run, valid: Any, metric: Any) -> None:
    """Judge the parameters, keep the best, tell the schedule."""
    row = run.history[-1]
    row["validation_loss"] = value = evaluate(run.model, run.params, valid)
    if hasattr(run.optimizer, "observe"):
        run.opt_state = run.optimizer.observe(run.opt_state, value)
    if metric is not None:
        row["validation_metric"] = value = float(metric(run.model, run.params, valid))
    run.waited += 1
    if value < run.best_value:
        run.best_value, run.best_step, run.waited = value, run.step, 0
        run.best_params = tree_map(lambda w: w.copy(), run.params)  # an optimizer may work in place
        if run.folder is not None:
            best = {"params": run.best_params, "step": run.step, "value": value}
            checkpoint.write(run.folder / "best.npz", best)


def _norm(tree: Tree, *losses: Any) -> tuple[Any, ...]:
    """Return the norm of a tree, the path of the first array that is not finite, and losses as floats.

    A step needs norm and loss on the host before it goes on: for a GPU it waits once here, not for each array.
    """
    arrays = dict(tree_items(tree))
    try:
        size, *found = _on_the_host([global_norm(arrays), *losses])
    except FloatingPointError:
        size, *found = math.nan, *map(float, losses)
    odd = (path for path, a in arrays.items() if not bool(namespace(a=a).isfinite(a).all()))
    return size, next(odd, None) if math.isnan(size) else None, *found


def _on_the_host(numbers: Sequence[Any]) -> list[float]:
    """Return numbers as floats, those on a GPU in one transfer."""
    xp = namespace(numbers=[x for x in numbers if hasattr(x, "shape")])
    if not on_device(xp):
        return [float(x) for x in numbers]
    values: list[float] = to_numpy(xp.stack([xp.asarray(x, dtype="d") for x in numbers])).tolist()
    return values


def _refuse_what_does_not_fit(run: Run) -> None:
    """Before a step of shapes that there have not been yet, ask whether the GPU has the memory for it."""
    shapes = tuple(a.shape for _, a in tree_items(run.batch))
    if shapes not in run.shapes:
        check_step(run.model, run.params, run.batch)
        run.shapes.add(shapes)


def _brought(batch: Tree, params: Tree) -> Any:
    """Return a batch in the array library of the parameters, and its floats in their dtype."""
    xp, (_, first) = namespace(params=params), next(tree_items(params))
    return tree_map(lambda a: xp.asarray(a, dtype=first.dtype if a.dtype.kind in "fc" else a.dtype), batch)


def _refuse_without(needed: str, value: Any, **options: Any) -> None:
    for name, option in options.items():
        if value is None and option is not None:
            raise ValueError(f"{name} needs {needed}; got {name}={option!r} and {needed}=None")


def _begin(model: Any, optimizer: Any, seed: int, params: Tree, dtype: Any, backend: str, folder: Any) -> Run:
    weights, _, dropout = np.random.default_rng(seed).spawn(3)
    params = model.init(weights, dtype) if params is None else tree_map(lambda w: w.astype(dtype), params)
    return Run(model, optimizer, to_backend(params, backend), dropout, None if folder is None else Path(folder))


def _epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """Return child number ``epoch`` of the second of the seed's three generators: no epoch needs those before it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, epoch)))


@contextlib.contextmanager
def _bar(progress: bool, total: int, run: Run) -> Iterator[Callable[[Run], None]]:
    if not progress:
        yield lambda run: None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=run.step, unit="step", dynamic_ncols=True) as bar:

        def show(run: Run) -> None:
            bar.set_postfix_str(f"loss {run.loss:.4g}", refresh=False)
            bar.update()

        yield show


def _tell(callbacks: Sequence[Any], moment: str, run: Run) -> None:
    for callback in callbacks:
        method = getattr(callback, moment, None)
        if method is not None:
            method(run)
