"""Checking a layer, a student's included: every gradient, and all else that the layer interface promises."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.backend import Array, to_backend
from rnnlab.gradcheck.contract import CHECKS, LENGTHS, Case, CheckFailed, CheckSkipped
from rnnlab.gradcheck.report import GradientCheckError, GradientReport, Worst

__all__ = ["LayerCheck", "LayerReport", "check_layer"]


@dataclass(frozen=True)
class LayerCheck:
    """One item of a `LayerReport`.

    Attributes
    ----------
    name : str
    status : {"ok", "FAILED", "skipped"}
    message : str
        Why it failed or was skipped.
    report : GradientReport or None
        Of a check of gradients.
    """

    name: str
    status: str
    message: str = ""
    report: GradientReport | None = None


@dataclass(frozen=True)
class LayerReport:
    """The outcome of `check_layer`; true where it passed.

    Attributes
    ----------
    layer : str
        The layer's name.
    checks : tuple of LayerCheck
    """

    layer: str
    checks: tuple[LayerCheck, ...]

    def __bool__(self) -> bool:
        return self.passed

    @property
    def failed(self) -> tuple[LayerCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "FAILED")

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def gradient_reports(self) -> tuple[GradientReport, ...]:
        """The reports of the gradient checks; those that failed, and the largest errors, first."""
        found = [check.report for check in self.checks if check.report is not None]
        return tuple(sorted(found, key=lambda report: (report.passed, -report.max_relative_error)))

    @property
    def max_relative_error(self) -> float:
        """The largest relative error of a gradient; infinite if the checks came to none."""
        return max((report.max_relative_error for report in self.gradient_reports), default=math.inf)

    @property
    def worst(self) -> Worst:
        """Parameter and index of the largest error; the name of a check if it was none of the gradients."""
        if self.failed and (not self.gradient_reports or self.gradient_reports[0].passed):
            return Worst(self.failed[0].name, None)
        return self.gradient_reports[0].worst

    @property
    def worst_gate(self) -> str | None:
        """The gate in which the largest error lies, for the parameters of a gated layer."""
        return self.gradient_reports[0].worst_gate if self.gradient_reports else None

    @property
    def kinks(self) -> tuple[Worst, ...]:
        """Places where the loss has a kink within the step; they do not count as errors."""
        return tuple(kink for report in self.gradient_reports for kink in report.kinks)

    def raise_if_failed(self) -> None:
        """Raise `GradientCheckError` with this report as its message, if a check failed.

        Raises
        ------
        GradientCheckError
        """
        if not self.passed:
            raise GradientCheckError(str(self), self)

    def __str__(self) -> str:
        ran = [check for check in self.checks if check.status != "skipped"]
        good = len(ran) - len(self.failed)
        lines = [f"check of {self.layer}: {'passed' if self.passed else 'FAILED'}, {good} of {len(ran)} checks passed"]
        for check in self.checks:
            shown = f"largest relative error {check.report.max_relative_error:.1e}" if check.report else ""
            note = f": {check.message if check.status == 'skipped' else shown}".rstrip(": ")
            lines.append(f"  {check.status:<7}  {check.name}{note}")
            if check.status == "FAILED":
                lines += [f"           {line}" for line in check.message.splitlines()]
        return "\n".join(lines)


def check_layer(
    layer: Any,
    method: str = "central",
    *,
    x: Array | None = None,
    lengths: bool = True,
    rng: np.random.Generator | None = None,
    backend: str = "numpy",
    **options: Any,
) -> LayerReport:
    """Check that an object keeps all that the layer interface promises.

    The sizes of a batch, inputs, initial states, biases and the gradients that reach ``y`` and the final
    state are drawn at random. Checked are the gradients of x, of the initial state and of every parameter,
    with and without ``lengths``; shapes; that forward and backward can be called again with the same
    result; that no argument is changed; that a zero gradient stays zero; that padding does nothing; and
    that a sequence in two chunks, with the state carried over, is the whole sequence.

    Parameters
    ----------
    layer : layer
        Any object with ``init``, ``forward`` and ``backward`` as in rnnlab, recurrent or feed-forward;
        it need not come from rnnlab. A recurrent one has a ``hidden_size`` or a ``state`` in ``forward``.
    method : {"central", "five-point", "complex"}
        As in `check_gradients`.
    x : Array, optional
        The input, if the layer does not take float arrays ``(T, N, layer.input_size)``.
    lengths : bool
        Whether a recurrent layer is called with ``lengths`` too.
    rng : numpy.random.Generator, optional
        By default ``default_rng(0)``.
    backend : {"numpy", "cupy"}
        Which arrays the layer gets.
    **options
        Passed on to `check_gradients`.

    Returns
    -------
    LayerReport
        An exception in the layer's code is a failed check, not an exception here.

    Examples
    --------
    >>> import rnnlab as rl
    >>> report = rl.check_layer(rl.LSTM(3, 4))
    >>> report.passed
    True
    >>> class Halved(rl.LSTM):
    ...     def backward(self, params, tape, dy, dstate=None):
    ...         dx, dstate, grads = super().backward(params, tape, dy, dstate)
    ...         return dx, dstate, {**grads, "bias": 0.5 * grads["bias"]}
    >>> rl.check_layer(Halved(3, 4)).worst.parameter
    'bias'
    """
    rng = np.random.default_rng(0) if rng is None else rng
    to_backend((), backend)  # an error here is none of the layer's
    case = Case(layer, rng, method, x, backend, options)
    return LayerReport(_name(layer), tuple(_run(case, lengths)))


def _run(case: Case, lengths: bool) -> Iterator[LayerCheck]:
    missing: set[str] = set()
    for check in CHECKS:
        if check.recurrent and not case.recurrent:
            continue
        needed = [name for name in check.needs if name in missing]
        if check.name == LENGTHS and not lengths:
            result = LayerCheck(check.name, "skipped", "left out by lengths=False")
        elif needed:
            result = LayerCheck(check.name, "skipped", f"needs '{needed[0]}'")
        else:
            result = _run_one(case, check.name, check.function)
        if result.status != "ok":
            missing.add(check.name)
        yield result


def _run_one(case: Case, name: str, function: Callable[[Case], GradientReport | None]) -> LayerCheck:
    case.call = ""
    try:
        report = function(case)
    except CheckSkipped as reason:
        return LayerCheck(name, "skipped", str(reason))
    except (CheckFailed, GradientCheckError) as reason:
        return LayerCheck(name, "FAILED", str(reason))
    except Exception as error:  # a student's code may raise anything; it becomes a line of the report
        return LayerCheck(name, "FAILED", _told(case.call, error))
    if report is not None and not report.passed:
        return LayerCheck(name, "FAILED", str(report), report)
    return LayerCheck(name, "ok", "", report)


def _told(call: str, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if Path(frame.filename).parent == Path(__file__).parent]
    own = [f for f in frames if f not in mine and not f.filename.startswith(str(Path(np.__file__).parent))]
    # The checker calls the layer from three methods of Case; an error from elsewhere is the checker's own.
    who = call if mine[-1].name in ("init", "forward", "backward") else "the checker"
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    text = f": {error}" if str(error) else ""
    return f"{who} raised {type(error).__name__}{text}{where}"


def _name(layer: Any) -> str:
    text = repr(layer)
    return type(layer).__name__ if " object at 0x" in text else text
