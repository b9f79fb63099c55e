"""Judging one slope: right, wrong, or taken at a kink.

A difference that misses the analytic slope is taken again with ever smaller steps. Where the loss is
smooth, the slopes to the left and to the right of the point come together in proportion to the step;
at a kink (relu, abs, clip) they stay apart, however small the step.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from rnnlab.backend import Array
from rnnlab.gradcheck.oracles import METHODS, Line
from rnnlab.gradcheck.problem import COMPLEX_HELP, Problem
from rnnlab.gradcheck.report import GradientCheckError

__all__ = ["ComplexJudge", "Judge", "Verdict"]

SHRINK, DEPTH = 8, 10  # the steps are h, h/8, h/64, ...
ROUNDING = 8  # how many standard deviations of the loss's rounding a difference is allowed


class Verdict(NamedTuple):
    """What became of one slope.

    "ok"; "late" (right, but only with a smaller step); "near kink" (late, because a kink lies within the step);
    "kink" (any slope between those of the two sides is right); or "wrong".
    """

    outcome: str
    analytic: float
    numeric: float
    error: float


class Probe(NamedTuple):
    """One measurement: with the slopes to the right and to the left of the point."""

    numeric: float
    miss: float  # |analytic - numeric|
    allowed: float  # the largest miss that passes
    error: float  # relative to what passes: at most rtol just then
    relative: float  # relative to the gradient alone
    right: float
    left: float

    @property
    def gap(self) -> float:
        """The difference between the two sides: of the size of the step, or of a kink."""
        return abs(self.right - self.left)

    def settled(self, before: Probe) -> bool:
        """Whether the slopes of both sides have come together, far from the analytic one."""
        return max(self.gap, abs(self.numeric - before.numeric)) < 0.01 * self.miss


class Judge:
    """The measure that all slopes of one check are held to.

    Parameters
    ----------
    problem : Problem
    method : {"central", "five-point", "complex"}
    step, rtol, atol : float, optional
        None takes the method's own; ``atol`` is then what rounding of the loss can do.
    """

    def __init__(
        self,
        problem: Problem,
        method: str = "central",
        step: float | None = None,
        rtol: float | None = None,
        atol: float | None = None,
    ) -> None:
        self.problem, self.oracle, self.atol = problem, METHODS[method], atol
        self.step = self.oracle.step(problem.eps) if step is None else step
        self.rtol = self.oracle.rtol(problem.eps) if rtol is None else rtol
        self.largest = max((float(np.abs(g).max()) for g in problem.grads.values() if g.size), default=0.0)

    @functools.cached_property
    def noise(self) -> float:
        """The loss's rounding: what is left in second differences over steps too small for curvature.

        ``eps*|loss|`` alone is too small where the loss is a sum whose terms cancel.
        """
        problem, eps = self.problem, self.problem.eps
        everywhere = {path: np.fmax(1, np.abs(value)).astype(value.dtype) for path, value in problem.values.items()}
        phi = problem.line_through(everywhere)
        losses = [phi(k * 256 * eps) for k in range(-4, 5)]
        measured = float(np.median(np.abs(np.diff(losses, 2))))  # the median passes over a kink at 0
        exact = eps * abs(problem.loss)
        too_large = measured > 1e3 * exact and measured > 1e-4 * self.step * self.largest
        if too_large or self._stuck(phi, sum(float((problem.grads[path] * v).sum()) for path, v in everywhere.items())):
            raise GradientCheckError(
                f"the loss {problem.loss:.3g} is too coarse for differences: something inside computes with fewer "
                "digits than the parameters have, or large terms cancel in it"
            )
        return max(measured, exact)

    def _stuck(self, phi: Line, slope: float) -> bool:
        """Whether the loss moves as the gradient says with a long step, and not at all with a short one."""
        short = self.problem.eps ** (2 / 3)
        if short * abs(slope) <= 100 * self.problem.eps * abs(phi(0.0)) or not phi(short) == phi(0.0) == phi(-short):
            return False
        return abs(self.oracle.slope(phi, self.step) - slope) < 0.5 * abs(slope)

    def floor(self, h: float, scale: float) -> float:
        """Return the size that a miss can have by rounding alone."""
        eps = self.problem.eps
        return ROUNDING * ((self.noise + eps * scale) / h + 4 * eps * self.largest)

    def slope(self, path: str, direction: Array, analytic: float, scale: float, stretch: float = 1.0) -> Verdict:
        """Compare the slope along a direction of one array with the analytic one.

        Parameters
        ----------
        path : str
        direction : numpy.ndarray, of the array's shape
        analytic : float
            The slope that the gradient says.
        scale : float
            The size that slopes of this array usually have.
        stretch : float
            What to multiply the step by.

        Returns
        -------
        Verdict
        """
        phi = self.problem.line(path, direction)
        return self._verdict(self._descend(phi, analytic, scale, stretch * self.step), analytic)

    def _descend(self, phi: Line, analytic: float, scale: float, h: float) -> list[Probe]:
        trail: list[Probe] = []
        for _ in range(DEPTH):
            if trail and not self._worth_it(trail, self.floor(h, scale), max(abs(analytic), scale)):
                break
            sides = (phi(h) - phi(0.0)) / h, (phi(0.0) - phi(-h)) / h
            trail.append(self.probe(analytic, self.oracle.slope(phi, h), h, scale, sides))
            if trail[-1].error <= self.rtol or (len(trail) > 1 and trail[-1].settled(trail[-2])):
                break
            h /= SHRINK
        return trail

    def _worth_it(self, trail: list[Probe], floor: float, size: float) -> bool:
        """Whether rounding leaves something to see at the next step, once the miss so far is known."""
        if len(trail) > 1 and trail[-1].miss < 0.5 * trail[-2].miss:
            # The miss comes from the step, not from the gradient (a bend in the slope, as in elu): follow it down.
            return floor <= min(trail[-1].miss, 1e-4 * size)
        return floor <= 0.1 * trail[-1].miss

    def probe(self, analytic: float, numeric: float, h: float, scale: float, sides: tuple[float, float]) -> Probe:
        """Compare one measured slope with the analytic one."""
        floor = self.floor(h, scale) if self.atol is None else self.atol
        if not math.isfinite(numeric):
            return Probe(numeric, math.inf, floor, math.inf, math.inf, *sides)
        miss, size = abs(analytic - numeric), max(abs(analytic), abs(numeric), scale)
        if not miss:
            return Probe(numeric, 0.0, floor, 0.0, 0.0, *sides)
        return Probe(numeric, miss, floor + self.rtol * size, miss / (size + floor / self.rtol), miss / size, *sides)

    def _verdict(self, trail: list[Probe], analytic: float) -> Verdict:
        last, before = trail[-1], trail[-2] if len(trail) > 1 else None
        if last.error <= self.rtol:
            outcome = "late" if before else "ok"
            if before and min(abs(analytic - before.right), abs(analytic - before.left)) < 0.05 * before.miss:
                outcome = "near kink"  # the slope of one side was right with the larger step already
            return Verdict(outcome, analytic, last.numeric, last.error)
        two_sided = before is not None and 0.5 * before.gap < last.gap < 2 * before.gap
        between = last.miss <= 0.5 * last.gap + last.allowed
        best = min(trail, key=lambda probe: probe.gap + probe.allowed)  # where the numeric slope is surest
        return Verdict("kink" if two_sided and between else "wrong", analytic, best.numeric, best.relative)


class ComplexJudge(Judge):
    """The same by the complex step, with real differences to tell a wrong gradient from a function unfit for it."""

    @functools.cached_property
    def real(self) -> Judge:
        """The second opinion."""
        return Judge(self.problem)

    def floor(self, h: float, scale: float) -> float:
        """Return the size that a miss can have by rounding alone."""
        return 32 * self.problem.eps * self.largest

    def slope(self, path: str, direction: Array, analytic: float, scale: float, stretch: float = 1.0) -> Verdict:
        """Compare the slope along a direction of one array with the analytic one."""
        h = stretch * self.step
        numeric = self.oracle.slope(self.problem.line(path, direction), h)
        probe = self.probe(analytic, numeric, h, scale, (numeric, numeric))
        if probe.error <= self.rtol:
            return Verdict("ok", analytic, numeric, probe.error)
        second = self.real.slope(path, direction, analytic, scale, stretch)
        size = max(abs(analytic), abs(numeric), scale)
        if second.outcome in ("ok", "late", "near kink") and probe.miss > 100 * self.real.rtol * size:
            raise GradientCheckError(
                f"the complex step cannot be used with this function: the imaginary part of "
                f"{self.problem.label(path)} {'is lost' if numeric == 0 else 'is changed'} on its way to the loss; "
                f"central differences agree with the gradient. {COMPLEX_HELP}"
            )
        if second.outcome == "kink":
            return second
        fit = abs(second.numeric - numeric) <= 1e-5 * size
        return Verdict("wrong", analytic, numeric if fit else second.numeric, probe.relative)
