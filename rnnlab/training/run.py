"""What a training keeps of itself, on the way and on the disk: a checkpoint is a `Run` that was written down."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnlab import checkpoint
from rnnlab.backend import Tree, tree_items
from rnnlab.optim.parts import whole

__all__ = ["History", "Limits", "NonFiniteError", "Result", "Run", "restore", "save", "settings"]

History = list[dict[str, Any]]


class NonFiniteError(FloatingPointError):
    """A loss, a gradient or a new parameter is no finite number.

    Attributes
    ----------
    step : int
        Counted from 0.
    parameter : str or None
        The first one concerned.
    checkpoint : Path or None
        The last good one.
    """

    step: int = -1
    parameter: str | None = None
    checkpoint: Path | None = None


class Run:
    """What callbacks see of a training, and what a checkpoint keeps of it.

    Attributes
    ----------
    model, optimizer : object
    folder : Path or None
    params, opt_state, grads : Tree
        In ``before_step`` the parameters are still the old ones, in ``after_step`` the new; ``grads`` are in both
        those that the optimizer is given.
    batch : tuple
    loss, learning_rate : float
        Of this step; the rate is NaN where the optimizer does not tell.
    state : Tree
        The recurrent state behind the last batch.
    step, epoch, position : int
        Counted from 0; ``position`` is the batch's number in its epoch.
    history : list of dict
        A row for every step so far; see `Result`.
    best_params, best_step, best_value : Tree, int or None, float
        Of the best validation so far.
    waited, skipped : int
        How many validations there were since the best, and how many updates were left out.
    """

    KEPT = (
        "params opt_state state step epoch position best_params best_step best_value waited skipped "
        "asked_to_stop dropout_rng"
    ).split()

    def __init__(self, model: Any, optimizer: Any, params: Tree, dropout_rng: Any, folder: Path | None) -> None:
        self.model, self.optimizer, self.folder = model, optimizer, folder
        self.params, self.opt_state, self.dropout_rng = params, optimizer.init(params), dropout_rng
        self.batch: Any = None
        self.grads: Tree = None
        self.state: Tree = None
        self.loss = self.learning_rate = math.nan
        self.shapes: set[Any] = set()  # of the batches for which a GPU had memory enough
        self.step = self.epoch = self.position = self.waited = self.skipped = 0
        self.history: History = []
        self.best_params: Tree = None
        self.best_step: int | None = None
        self.best_value = math.inf
        self.asked_to_stop: str | None = None

    def stop(self, reason: str) -> None:
        """End the training after this step; `Result.stopped` will be the reason."""
        self.asked_to_stop = reason


class Result(NamedTuple):
    """What came of a training.

    Attributes
    ----------
    params : Tree
        The best on validation, or the last where nothing was validated.
    last_params : Tree
    history : list of dict
        A row for every step: ``step``, ``epoch``, ``training_loss``, ``gradient_norm`` (of all parameters together,
        before the optimizer changes it), ``learning_rate``; where the update was left out ``skipped``; where the
        parameters after this step were validated ``validation_loss`` and, with a metric, ``validation_metric``.
    best_step : int or None
        The row of the best validation.
    stopped : str
        ``"epochs"``, ``"steps"``, ``"patience"``, ``"nonfinite"`` or what a callback said.
    skipped : int
        How many updates were left out because something was not finite.
    """

    params: Tree
    last_params: Tree
    history: History
    best_step: int | None
    stopped: str
    skipped: int

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps at which a quantity was recorded, and its values."""
        rows = [row for row in self.history if name in row]
        return np.array([row["step"] for row in rows], dtype=int), np.array([row[name] for row in rows])


class Limits(NamedTuple):
    """When things happen; `None` means never, or at the end of every epoch."""

    epochs: int | None
    steps: int | None
    patience: int | None
    validate_every: int | None
    checkpoint_every: int | None

    @classmethod
    def checked(cls, *numbers: int | None) -> Limits:
        for name, value in zip(cls._fields, numbers, strict=True):
            if value is not None:
                whole(name, value)
        if numbers[0] is None and numbers[1] is None:
            raise ValueError("one of epochs and steps must be given; got neither")
        return cls(*numbers)

    def total(self, batches: int) -> int:
        return min(limit for limit in (self.steps, self.epochs and self.epochs * batches) if limit is not None)

    def reached(self, run: Run) -> str | None:
        if run.asked_to_stop:
            return run.asked_to_stop
        if self.patience is not None and run.waited >= self.patience:
            return "patience"
        if self.steps is not None and run.step >= self.steps:
            return "steps"
        return "epochs" if self.epochs is not None and run.epoch >= self.epochs else None

    def validates(self, run: Run, ends_epoch: bool) -> bool:
        due = ends_epoch if self.validate_every is None else (run.step + 1) % self.validate_every == 0
        return due or self._is_last(run, ends_epoch)

    def saves(self, run: Run, ends_epoch: bool) -> bool:
        due = ends_epoch if self.checkpoint_every is None else (run.step + 1) % self.checkpoint_every == 0
        return due or self._is_last(run, ends_epoch)

    def _is_last(self, run: Run, ends_epoch: bool) -> bool:
        out_of_patience = self.patience is not None and run.waited >= self.patience
        return (
            run.asked_to_stop is not None
            or out_of_patience
            or run.step + 1 == self.steps
            or (ends_epoch and run.epoch + 1 == self.epochs)
        )


# -------------------------------------------------------------------------------------- checkpoints


def settings(run: Run, seed: int, backend: str, batches: int) -> dict[str, Any]:
    """Return what must be the same for a resumed run to be the same run."""
    optimizer = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(run.optimizer))
    shapes = {f"params.{path}": f"{w.dtype} {tuple(w.shape)}" for path, w in tree_items(run.params)}
    return {"seed": seed, "backend": backend, "len(train)": batches, "optimizer": optimizer, **shapes}


def save(run: Run, made_with: dict[str, Any], callbacks: Sequence[Any], keep: int) -> None:
    """Write a checkpoint."""
    assert run.folder is not None
    tree = {name: getattr(run, name) for name in Run.KEPT}
    tree["history"] = _columns(run.history)
    tree["made_with"] = {**made_with, **_now(run, callbacks)}
    tree["callbacks"] = [c.state() for c in _listeners(callbacks)]
    checkpoint.save(run.folder, tree, run.step, keep)


def restore(run: Run, made_with: dict[str, Any], callbacks: Sequence[Any], resume: bool, backend: str) -> None:
    """Put a run to where its newest checkpoint is.

    Raises
    ------
    CheckpointError
        There is one, and it was not asked for or belongs to another run.
    """
    if run.folder is None or not checkpoint.checkpoints(run.folder):
        return
    if not resume:
        raise checkpoint.CheckpointError(f"{run.folder} holds the checkpoints of a run; resume=True goes on from them")
    tree = checkpoint.load(run.folder, backend)
    before = tree["made_with"]
    _refuse_other(run.folder, before, made_with)  # before anything of another run is put to use
    for name in Run.KEPT:
        setattr(run, name, tree[name])
    run.history = _rows(tree["history"])
    _refuse_other(run.folder, before, {**made_with, **_now(run, callbacks)})
    for callback, state in zip(_listeners(callbacks), tree["callbacks"], strict=True):
        callback.restore(state)


def _now(run: Run, callbacks: Sequence[Any]) -> dict[str, Any]:
    return {"learning rate": learning_rate(run), "callbacks": [type(c).__name__ for c in _listeners(callbacks)]}


def _listeners(callbacks: Sequence[Any]) -> list[Any]:
    return [callback for callback in callbacks if hasattr(callback, "restore")]


def _refuse_other(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for name, value in now.items():
        if repr(before.get(name)) != repr(value):  # repr, because nan != nan
            raise checkpoint.CheckpointError(
                f"{folder} holds a run with {name} {before.get(name)}; it cannot go on with {value}"
            )


def learning_rate(run: Run) -> float:
    """Return the rate of the next step, NaN where the optimizer does not tell."""
    tells = hasattr(run.optimizer, "learning_rate")
    return float(run.optimizer.learning_rate(run.opt_state)) if tells else math.nan


def _columns(history: History) -> dict[str, Any]:
    """Return the rows as arrays, which take less room and time: name -> (numbers of the rows that have it, values)."""
    names = {name: None for row in history for name in row}
    at = {name: [k for k, row in enumerate(history) if name in row] for name in names}
    return {name: (np.array(rows), np.array([history[k][name] for k in rows])) for name, rows in at.items()}


def _rows(columns: dict[str, Any]) -> History:
    history: History = [{} for _ in range(len(columns["step"][0]))]
    for name, (rows, values) in columns.items():
        for k, value in zip(rows.tolist(), values.tolist(), strict=True):
            history[k][name] = value
    return history
