"""Checking the gradients of a function against numeric ones: directions first, then elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnlab.backend import Array, Tree
from rnnlab.gradcheck.hints import gate_of, gates, hints
from rnnlab.gradcheck.kinks import ComplexJudge, Judge, Verdict
from rnnlab.gradcheck.oracles import METHODS
from rnnlab.gradcheck.problem import Problem
from rnnlab.gradcheck.report import ArrayResult, GradientReport

__all__ = ["check_gradients"]

FEW = 64  # so many elements are looked at one by one without being asked, to say where a kink is


def check_gradients(
    function: Callable[[Tree], Any],
    params: Tree,
    method: str = "central",
    *,
    step: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    elementwise: bool = False,
    directions: int = 2,
    max_elements: int = 256,
    rng: np.random.Generator | None = None,
    loss: Callable[[Tree], Any] | None = None,
    names: str | Sequence[str] | None = None,
    allow_float32: bool = False,
) -> GradientReport:
    """Check the gradients that a function returns against numeric ones.

    Every array is first moved along a few random directions, in which no entry is too small to be seen;
    only where the slope there is not what the gradient says are single elements compared. A slope passes
    if ``|analytic - numeric| <= atol + rtol * max(|analytic|, |numeric|, scale)``, where ``scale`` is the
    size of the gradient of that array.

    Parameters
    ----------
    function : callable
        ``params -> (loss, grads)``: the loss is one number, ``grads`` has the structure of ``params``. It
        must be deterministic and leave its argument alone.
    params : Tree
        An array, or nested dicts, tuples or lists of arrays, in float64: the point to check at.
    method : {"central", "five-point", "complex"}
        "complex" is exact to rounding, and needs a function that computes with complex numbers.
    step : float, optional
        The step, multiplied by the size of a parameter where that is above 1. By default 6.1e-6, 7.4e-4
        and 1e-20 for the three methods.
    rtol : float, optional
        The relative error that is allowed. By default 1e-7, 1e-8 and 1e-11.
    atol : float, optional
        The absolute error that is allowed; by default what rounding of the loss can do to a difference,
        which is measured.
    elementwise : bool
        Compare every element.
    directions : int
        How many random directions an array is moved in.
    max_elements : int
        How many elements of an array are compared after a failure; in a larger array the search narrows
        down on the largest discrepancy.
    rng : numpy.random.Generator, optional
        Draws the directions; by default ``default_rng(0)``.
    loss : callable, optional
        ``params -> loss``, where the loss alone is cheaper than ``function``.
    names : str or sequence of str, optional
        What to call ``params`` if it is one array, or its entries if it is a tuple or list.
    allow_float32 : bool
        Check float32 parameters too, as far as their digits reach.

    Returns
    -------
    GradientReport
        With ``passed``, ``max_relative_error``, ``worst`` (parameter, index), ``worst_gate``, ``kinks``,
        ``raise_if_failed()``; ``str(report)`` is the whole story.

    Raises
    ------
    GradientCheckError
        The function cannot be checked: it is not deterministic, changes its argument, returns something
        that is not finite or does not fit ``params``, or breaks on complex numbers.
    ValueError
        An option is out of range.

    Notes
    -----
    At a kink (relu, abs, clip at exactly their corner) any slope between those of the two sides is right;
    such places are listed in ``report.kinks``. A slope is excused as a kink only if the slopes to the left
    and to the right stay apart while the step shrinks, which no smooth function does.

    Examples
    --------
    >>> import numpy as np
    >>> def function(params):
    ...     w, b = params["w"], params["b"]
    ...     y = np.tanh(w) + b
    ...     return (y**2).sum(), {"w": 2 * y * (1 - np.tanh(w)**2), "b": 2 * y}
    >>> rng = np.random.default_rng(0)
    >>> params = {"w": rng.standard_normal(3), "b": rng.standard_normal(3)}
    >>> report = check_gradients(function, params)
    >>> report.passed, report.max_relative_error < 1e-9
    (True, True)
    >>> check_gradients(function, params, method="complex").max_relative_error < 1e-14
    True
    """
    _refuse_options(method, step, rtol, atol, directions, max_elements)
    problem = Problem(function, params, loss, allow_float32, names)
    judge = (ComplexJudge if method == "complex" else Judge)(problem, method, step, rtol, atol)
    rng = np.random.default_rng(0) if rng is None else rng
    checks = (_ArrayCheck(judge, path, max_elements) for path in problem.values)
    results = tuple(check.run(rng, 0 if elementwise else directions) for check in checks)
    return GradientReport(METHODS[method].title, judge.step, judge.rtol, results)


def _refuse_options(
    method: str, step: float | None, rtol: float | None, atol: float | None, directions: int, max_elements: int
) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    for name, value in (("step", step), ("rtol", rtol)):
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"{name} must be positive; got {value}")
    if atol is not None and not 0 <= atol < np.inf:
        raise ValueError(f"atol must be at least 0; got {atol}")
    for name, count in (("directions", directions), ("max_elements", max_elements)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1; got {count}")


class _ArrayCheck:
    """The check of one array."""

    def __init__(self, judge: Judge, path: str, max_elements: int) -> None:
        self.judge, self.path, self.max_elements = judge, path, max_elements
        self.value, self.grad = judge.problem.values[path], judge.problem.grads[path]
        self.sizes = np.fmax(1, np.abs(self.value)).astype(self.value.dtype).reshape(self.value.shape)

    def run(self, rng: np.random.Generator, directions: int) -> ArrayResult:
        """Compare along directions, then the elements that this makes suspicious; 0 directions: all elements."""
        everywhere = np.arange(self.value.size)
        if not self.value.size:
            return self._result([], {}, "empty")
        along = [self.direction(everywhere, rng) for _ in range(directions)]
        outcomes = {verdict.outcome for verdict in along}
        looked_at = f"{directions} direction{'s' * (directions > 1)}"
        if not directions:
            chosen, looked_at = everywhere, "every element"
        elif outcomes & {"wrong", "kink"}:
            chosen = self._narrow(everywhere, rng)
            looked_at += f", then {len(chosen)} of {self.value.size} elements"
        elif outcomes & {"late", "near kink"} and self.value.size <= FEW:
            chosen = everywhere
            looked_at += f", then {len(chosen)} elements"
        else:
            chosen = everywhere[:0]
        return self._result(along, {int(k): self.element(int(k)) for k in chosen}, looked_at)

    def direction(self, support: Array, rng: np.random.Generator) -> Verdict:
        """Judge the slope along a random direction: signs, times sizes that none of the entries vanish in."""
        u = np.zeros(self.value.size, self.value.dtype)
        u[support] = rng.choice([-1.0, 1.0], len(support)) * rng.uniform(0.5, 1.5, len(support))
        u = u.reshape(self.value.shape) * self.sizes
        terms = self.grad * u
        largest = float(np.abs(terms).max()) or 1.0  # taken out so that nothing overflows or vanishes
        scale = largest * float(np.sqrt(np.sum((terms / largest) ** 2)))
        return self.judge.slope(self.path, u, float(terms.sum()), scale)

    def element(self, k: int) -> Verdict:
        """Judge the slope along one entry."""
        unit = np.zeros(self.value.size, self.value.dtype)
        unit[k] = 1
        scale, size = float(np.abs(self.grad).max()), float(self.sizes.reshape(-1)[k])
        return self.judge.slope(self.path, unit.reshape(self.value.shape), float(self.grad.reshape(-1)[k]), scale, size)

    def _narrow(self, support: Array, rng: np.random.Generator) -> Array:
        """Return few enough entries to look at: again and again the sixteenth with the largest discrepancy."""
        while len(support) > self.max_elements:
            parts = [part for part in np.array_split(support, 16) if len(part)]
            verdicts = [self.direction(part, rng) for part in parts]
            misses = [abs(v.analytic - v.numeric) if v.outcome != "ok" else 0.0 for v in verdicts]
            support = parts[int(np.argmax(misses))]
        return support

    def _result(self, along: list[Verdict], elements: dict[int, Verdict], looked_at: str) -> ArrayResult:
        problem, shape = self.judge.problem, self.value.shape
        shapes = {path: value.shape for path, value in problem.values.items()}
        complete = len(elements) == self.value.size
        # Elements say more than directions do; a kink is no error, so it does not count.
        verdicts: list[tuple[int | None, Verdict]] = [(None, v) for v in along if not (complete and elements)]
        verdicts += elements.items()
        wrong = any(v.outcome == "wrong" for _, v in verdicts)
        counted = [(k, v) for k, v in verdicts if v.outcome == "wrong" or (not wrong and v.outcome != "kink")]
        nothing = (None, Verdict("ok", 0.0, 0.0, 0.0))
        # Name an element rather than a direction, wherever one is at fault.
        k, top = max(counted, key=lambda item: (item[0] is not None, item[1].error), default=nothing)
        index = None if k is None else self._index(k)
        kinks = [self._index(k) for k, v in elements.items() if "kink" in v.outcome]
        nowhere = [None] * any("kink" in v.outcome for v in along)
        return ArrayResult(
            parameter=problem.label(self.path),
            shape=shape,
            passed=not wrong,
            error=top.error,
            looked_at=looked_at,
            index=index,
            gate=gate_of(self.path, index, shapes) if index else None,
            analytic=top.analytic,
            numeric=top.numeric,
            kinks=tuple(kinks or nowhere),
            hints=tuple(self._hints(elements, shapes)) if wrong and elements else (),
        )

    def _index(self, k: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(k, self.value.shape))

    def _hints(self, elements: dict[int, Verdict], shapes: dict[str, tuple[int, ...]]) -> list[str]:
        numeric = np.full(self.value.size, np.nan)
        for k, verdict in elements.items():
            numeric[k] = verdict.numeric if verdict.outcome == "wrong" else verdict.analytic
        return hints(np.asarray(self.grad, dtype=float), numeric.reshape(self.value.shape), gates(self.path, shapes))
