"""Learning rates that change with the step, the first step being 0.

A schedule is any callable ``step -> rate``, one of your own too. `reduce_on_plateau` also listens: after every
evaluation call ``opt_state = optimizer.observe(opt_state, metric)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnlab.optim.parts import number, whole

__all__ = ["constant", "cosine", "exponential", "linear_warmup", "reduce_on_plateau", "step_decay"]

Schedule = Callable[[int], float]


def constant(rate: float) -> Schedule:
    """Return the schedule that is ``rate`` at every step.

    Parameters
    ----------
    rate : float

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    rate = number("rate", rate, or_equal=True)
    return lambda step: rate


def step_decay(rate: float, factor: float, every: int) -> Schedule:
    """Return ``rate * factor**(step // every)``: a cut at regular intervals.

    Parameters
    ----------
    rate, factor : float
    every : int
        Steps from one cut to the next.

    Examples
    --------
    >>> schedule = step_decay(1.0, factor=0.5, every=10)
    >>> schedule(9), schedule(10), schedule(25)
    (1.0, 0.5, 0.25)
    """
    rate, factor, every = number("rate", rate, or_equal=True), number("factor", factor), whole("every", every)
    return lambda step: rate * factor ** (step // every)


def exponential(rate: float, decay: float) -> Schedule:
    """Return ``rate * decay**step``.

    Parameters
    ----------
    rate, decay : float

    Examples
    --------
    >>> exponential(1.0, decay=0.5)(3)
    0.125
    """
    rate, decay = number("rate", rate, or_equal=True), number("decay", decay)
    return lambda step: rate * decay**step


def linear_warmup(steps: int, then: float | Schedule) -> Schedule:
    """Return a schedule that rises evenly during its first steps, then follows another.

    ``then(0) * (step + 1) / steps`` for ``step < steps``, and ``then(step - steps)`` from there on.

    Parameters
    ----------
    steps : int
    then : float or schedule
        Not `reduce_on_plateau`, which must stand outermost: ``reduce_on_plateau(linear_warmup(...))``.

    Examples
    --------
    >>> schedule = linear_warmup(4, then=0.1)
    >>> schedule(0), schedule(3), schedule(100)
    (0.025, 0.1, 0.1)
    """
    steps, after = whole("steps", steps), _deaf("then", then)
    return lambda step: after(0) * (step + 1) / steps if step < steps else after(step - steps)


def cosine(rate: float, steps: int, final: float = 0.0) -> Schedule:
    """Return half a cosine wave from ``rate`` at step 0 down to ``final`` at step ``steps`` and after it.

    ``final + (rate - final) * (1 + cos(pi * step / steps)) / 2``

    Parameters
    ----------
    rate : float
    steps : int
    final : float

    References
    ----------
    I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017, Eq. 5 (without the
    restarts).

    Examples
    --------
    >>> schedule = cosine(1.0, steps=10)
    >>> schedule(0), round(schedule(5), 12), schedule(10), schedule(99)
    (1.0, 0.5, 0.0, 0.0)
    """
    rate, final = number("rate", rate, or_equal=True), number("final", final, or_equal=True)
    steps = whole("steps", steps)
    return lambda step: final + (rate - final) * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2


class reduce_on_plateau:  # used like the functions above
    """A schedule that is cut whenever a metric has stopped falling.

    The optimizer is told the metric by ``opt_state = optimizer.observe(opt_state, metric)``. After more than
    ``patience`` observations in a row that are not below ``(1 - threshold)`` times the best, the rate is
    multiplied by ``factor``, and the patience starts anew.

    Parameters
    ----------
    rate : float or schedule
        What is cut.
    factor : float
        Between 0 and 1; 0.25 and no patience is the usual recipe for word-level language models.
    patience : int
    threshold : float
        By which share the metric must fall to count as better.
    lowest : float
        The rate is never cut below it.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.sgd(rl.optim.schedules.reduce_on_plateau(20.0))
    >>> opt_state = optimizer.init({"w": np.ones(2)})
    >>> for perplexity in (300.0, 200.0, 201.0):
    ...     opt_state = optimizer.observe(opt_state, perplexity)
    >>> optimizer.learning_rate(opt_state)
    5.0
    """

    def __init__(
        self,
        rate: float | Schedule,
        factor: float = 0.25,
        patience: int = 0,
        threshold: float = 0.0,
        lowest: float = 0.0,
    ) -> None:
        self.rate, self.factor = _deaf("rate", rate), number("factor", factor, below=1)
        self.patience = whole("patience", patience, least=0)
        self.threshold = number("threshold", threshold, below=1, or_equal=True)
        self.lowest = number("lowest", lowest, or_equal=True)

    def __call__(self, step: int) -> float:
        """Return the rate of a step before any cut."""
        return self.rate(step)

    def init(self) -> dict[str, np.ndarray]:
        """Return the state before the first observation."""
        return {"best": np.array(np.inf), "bad": np.array(0), "cut": np.array(1.0)}

    def observe(self, state: dict[str, Any], metric: float) -> dict[str, np.ndarray]:
        """Return the state after one more metric; a NaN counts as no better."""
        best, bad, cut = float(state["best"]), int(state["bad"]), float(state["cut"])
        # Not best * (1 - threshold): for a negative metric that would be above the best.
        if metric < best - self.threshold * abs(best) or math.isinf(best) and metric < best:
            best, bad = float(metric), 0
        else:
            bad += 1
        if bad > self.patience:
            bad, cut = 0, cut * self.factor
        return {"best": np.array(best), "bad": np.array(bad), "cut": np.array(cut)}


def as_schedule(name: str, rate: float | Schedule) -> Schedule:
    """Return a schedule: the argument, or a constant one of that rate."""
    return rate if callable(rate) else constant(number(name, rate, or_equal=True))


def _deaf(name: str, rate: float | Schedule) -> Schedule:
    """Return a schedule to go inside another; one that listens would be told nothing there."""
    if isinstance(rate, reduce_on_plateau):
        raise TypeError(f"{name} must not be reduce_on_plateau, which must stand outermost, around the other schedule")
    return as_schedule(name, rate)


def current_rate(schedule: Schedule, step: int, observed: dict[str, Any]) -> float:
    """Return the rate of a step, cut as much as was observed."""
    if not isinstance(schedule, reduce_on_plateau):
        return float(schedule(step))
    rate = float(schedule(step))
    return max(min(rate, schedule.lowest), rate * float(observed["cut"]))
