"""One run of a comparison: one arm, one learning rate, one seed; with all that is measured on the way."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import rnnlab
from rnnlab import dynamics
from rnnlab.backend import Array, Tree, namespace, to_backend, tree_items
from rnnlab.experiments.arms import ARMS
from rnnlab.experiments.outcome import Losses, diverged
from rnnlab.experiments.tasks import Task
from rnnlab.recurrent import carry_state

__all__ = ["Run", "Setup", "gradient_norm", "is_explosion", "spectrum_block", "spectrum_name", "train"]

SPECTRA = 20  # how often the recurrent matrix is looked at in a run
MEMORY = 50  # an explosion is judged against the median of so many gradient norms before it


@dataclass(frozen=True)
class Setup:
    """What all runs of a comparison share.

    Attributes
    ----------
    task : Task
    cell : {"rnn", "lstm", "gru"}
    hidden, steps : int
        Units, and updates; the same for every arm.
    clip_norm : float
        Of the arm that clips.
    explosion_factor : float
        A gradient norm so many times the median of the norms before it is an explosion.
    backend, dtype : str
    """

    task: Task
    cell: str = "rnn"
    hidden: int = 128
    steps: int = 300
    clip_norm: float = 1.0
    explosion_factor: float = 10.0
    backend: str = "numpy"
    dtype: str = "float32"


@dataclass
class Run:
    """What came of one run; ``training_loss`` and ``gradient_norm`` have one entry for each step done."""

    arm: str
    learning_rate: float
    seed: int
    training_loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    explosions: list[int] = field(default_factory=list)
    spectrum_steps: list[int] = field(default_factory=list)
    spectral_norm: list[float] = field(default_factory=list)
    spectral_radius: list[float] = field(default_factory=list)
    through_time_start: list[float] = field(default_factory=list)
    through_time_end: list[float] = field(default_factory=list)
    validation_loss_at_start: float = float("nan")
    validation_loss: float = float("nan")
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """How many updates were done before the run ended."""
        return len(self.training_loss)

    @property
    def diverged(self) -> bool:
        """Whether the run blew up, or ended worse than it began; see `rnnlab.experiments.outcome`."""
        if not self.finite:
            return True
        last = self.training_loss[-max(1, self.steps // 10) :]
        training = Losses(self.training_loss[0], float(np.mean(last)))
        return diverged(Losses(self.validation_loss_at_start, self.validation_loss), training)

    @property
    def finite(self) -> bool:
        """Whether no loss and no gradient was anything but a number."""
        return bool(np.isfinite([*self.training_loss[-1:], *self.gradient_norm[-1:], self.validation_loss]).all())


def train(setup: Setup, arm: str, learning_rate: float, seed: int) -> Run:
    """Train one network and measure it.

    The seed decides the initial weights and the batches; every arm gets the same ones. A run ends early once its loss
    or its gradient is no finite number: nothing can come after that.

    Parameters
    ----------
    setup : Setup
    arm : str
        A key of ``ARMS``.
    learning_rate : float
    seed : int

    Returns
    -------
    Run

    Examples
    --------
    >>> from rnnlab.experiments.tasks import AddingTask
    >>> setup = Setup(AddingTask(batch_size=4, length=6), hidden=5, steps=3)
    >>> run = train(setup, "clip", learning_rate=0.1, seed=0)
    >>> run.steps, run.finite, len(run.through_time_end)
    (3, True, 6)
    """
    begin = time.perf_counter()
    run = Run(arm, learning_rate, seed)
    # One BLAS thread: the matrices are small, other runs go on beside this one, and the numbers must not depend on how
    # many do. Overflow is what a diverging run is about to show, so it is no cause for a warning.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), np.errstate(all="ignore"):
        _Training(setup, run).go()
    run.seconds = time.perf_counter() - begin
    return run


class _Training:
    """The training loop of one run."""

    def __init__(self, setup: Setup, run: Run) -> None:
        self.setup, self.run, self.task = setup, run, setup.task
        weights, batches = np.random.default_rng(run.seed).spawn(2)
        layer = {"rnn": rnnlab.RNN, "lstm": rnnlab.LSTM, "gru": rnnlab.GRU}[setup.cell]
        self.model = self.task.model(layer(self.task.input_size, setup.hidden))
        self.params = self._moved(self.model.init(weights, np.dtype(setup.dtype)))
        self.optimizer = ARMS[run.arm].make(run.learning_rate, setup.cell, setup.clip_norm)
        self.batches = self.task.training(batches, setup.dtype)
        self.validation = [self._moved(batch) for batch in self.task.validation(setup.dtype)]
        self.looks = set(np.linspace(0, setup.steps, SPECTRA, dtype=int).tolist())

    def go(self) -> None:
        run = self.run
        run.through_time_start = self._through_time()
        run.validation_loss_at_start = self._validate()
        opt_state, state = self.optimizer.init(self.params), None
        for step in range(self.setup.steps):
            self._look_at_the_spectrum(step)
            batch, anew = next(self.batches)
            state = None if anew else carry_state(state)
            loss, grads, state = self.model.loss_and_grads(self.params, self._moved(batch), state)
            run.training_loss.append(float(loss))
            run.gradient_norm.append(gradient_norm(grads))
            if is_explosion(run.gradient_norm, self.setup.explosion_factor):
                run.explosions.append(step)
            if not np.isfinite([run.training_loss[-1], run.gradient_norm[-1]]).all():
                return
            try:
                self.params, opt_state = self.optimizer.step(self.params, grads, opt_state)
            except FloatingPointError:  # the step itself overflowed
                run.gradient_norm[-1] = math.inf
                return
        self._look_at_the_spectrum(self.setup.steps)
        run.through_time_end = self._through_time()
        run.validation_loss = self._validate()

    def _look_at_the_spectrum(self, step: int) -> None:
        if step in self.looks:
            block = spectrum_block(self.params["recurrent"]["weight_hh"])
            self.run.spectrum_steps.append(step)
            self.run.spectral_norm.append(dynamics.spectral_norm(block))
            self.run.spectral_radius.append(dynamics.spectral_radius(block))

    def _through_time(self) -> list[float]:
        x = self.task.features(self.model, self.params, self.validation[0])
        rng = np.random.default_rng(self.run.seed)  # the same vectors at the start and at the end
        norms = dynamics.gradient_norm_through_time(self.model.recurrent, self.params["recurrent"], x, rng)
        return [float(norm) for norm in norms]

    def _validate(self) -> float:
        losses, sizes, state = [], [], None
        for batch in self.validation:
            loss, state = self.model.loss(self.params, batch, state if self.task.carries_state else None)
            losses.append(float(loss))
            sizes.append(batch[1].size)  # the last window of a text may be shorter
        return float(np.average(losses, weights=sizes))

    def _moved(self, tree: Tree) -> Any:
        return to_backend(tree, self.setup.backend)


def gradient_norm(grads: Tree) -> float:
    """Return the Euclidean norm of all gradients together, free of overflow.

    Examples
    --------
    >>> bool(np.isclose(gradient_norm({"a": np.float32([3e30]), "b": np.float32([4e30])}), 5e30))
    True
    """
    xp = namespace(grads=grads)  # all in one array, so that the host waits for a GPU once
    return float(xp.linalg.norm(xp.concatenate([g.astype(xp.float64).ravel() for _, g in tree_items(grads)])))


def is_explosion(norms: list[float], factor: float) -> bool:
    """Whether the last norm is no number, or more than ``factor`` times the median of those before it.

    Examples
    --------
    >>> is_explosion([1.0, 1.1, 0.9, 1.0, 30.0], factor=10), is_explosion([1.0, 30.0], factor=10)
    (True, False)
    """
    *before, last = norms
    if not np.isfinite(last):
        return True
    return len(before) >= 4 and last > factor * float(np.median(before[-MEMORY:]))


def spectrum_block(weight_hh: Array) -> Array:
    """Return the square matrix whose spectrum is watched: of a gated cell the candidate's block.

    Examples
    --------
    >>> spectrum_block(np.arange(12.0)[:, None]).shape, spectrum_block(np.eye(3)).shape
    Traceback (most recent call last):
    ...
    ValueError: weight_hh must have shape (H, H), (3H, H) or (4H, H); got (12, 1)
    >>> float(spectrum_block(np.arange(3.0)[:, None])[0, 0])
    2.0
    """
    blocks = dynamics.recurrent_blocks(weight_hh)
    candidate: Array = blocks[{1: "h", 3: "n", 4: "g"}[len(blocks)]]
    return candidate


def spectrum_name(cell: str) -> str:
    """Return in words what `spectrum_block` is of a cell."""
    return {
        "rnn": "weight_hh",
        "gru": "weight_hn (the candidate's block of weight_hh)",
        "lstm": "block g of weight_hh",
    }[cell]
