"""What a gradient check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["ArrayResult", "GradientCheckError", "GradientReport", "Worst"]

Index = tuple[int, ...]


class GradientCheckError(ValueError):
    """A gradient is wrong, or the function is such that its gradients cannot be checked.

    Attributes
    ----------
    report : GradientReport or LayerReport or None
        The report, if the check came to one.
    """

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class Worst(NamedTuple):
    """Where the largest error is: a parameter, and an index in it (None if only directions were checked)."""

    parameter: str
    index: Index | None  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


@dataclass(frozen=True)
class ArrayResult:
    """What was found about one array of the parameters.

    Attributes
    ----------
    parameter : str
        Its path, such as ``"recurrent.weight_hh"``.
    shape : tuple of int
    passed : bool
    error : float
        The largest relative error.
    looked_at : str
        What was compared, such as ``"2 directions"``.
    index : tuple of int or None
        Where the largest error is, if single elements were compared.
    gate : str or None
        The gate that the index lies in, for the parameters of a gated layer.
    analytic, numeric : float
        The two slopes there, or along the worst direction.
    kinks : tuple of (index or None)
        Where the loss has a kink within the step.
    hints : tuple of str
        Usual mistakes that fit the numbers.
    """

    parameter: str
    shape: Index
    passed: bool
    error: float
    looked_at: str
    index: Index | None = None
    gate: str | None = None
    analytic: float = 0.0
    numeric: float = 0.0
    kinks: tuple[Index | None, ...] = ()
    hints: tuple[str, ...] = ()

    def place(self) -> str:
        """Return the place of the largest error in words."""
        index = "" if self.index is None else f"[{', '.join(map(str, self.index))}]"
        gate = "" if self.gate is None else f" (gate {self.gate})"
        return f"{self.parameter}{index}{gate}"


@dataclass(frozen=True)
class GradientReport:
    """The outcome of `check_gradients`; true where it passed.

    Attributes
    ----------
    title : str
        The method in words.
    step, rtol : float
        The step, and the relative error that is allowed.
    arrays : tuple of ArrayResult
        One for every array of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnlab.gradcheck import check_gradients
    >>> report = check_gradients(lambda w: ((w**2).sum(), w), np.array([1.0, 3.0]))   # 2*w forgotten
    >>> report.passed, report.worst.parameter, report.worst.index
    (False, 'params', (1,))
    >>> print(report.arrays[0].hints[0])
    the analytic gradient is 0.5 times the numeric one everywhere: a factor is wrong or missing
    """

    title: str
    step: float
    rtol: float
    arrays: tuple[ArrayResult, ...] = field(repr=False)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def passed(self) -> bool:
        """Whether every gradient agrees."""
        return all(array.passed for array in self.arrays)

    @property
    def max_relative_error(self) -> float:
        """The largest relative error, against the scale of the gradient of its array."""
        return max(array.error for array in self.arrays)

    @property
    def worst_array(self) -> ArrayResult:
        """The result of the array with the largest error; one that failed comes first."""
        return max(self.arrays, key=lambda array: (not array.passed, array.error))

    @property
    def worst(self) -> Worst:
        """Parameter and index of the largest error."""
        return Worst(self.worst_array.parameter, self.worst_array.index)

    @property
    def worst_gate(self) -> str | None:
        """The gate in which the largest error lies, for the parameters of a gated layer."""
        return self.worst_array.gate

    @property
    def kinks(self) -> tuple[Worst, ...]:
        """Places where the loss has a kink within the step; they do not count as errors."""
        return tuple(Worst(array.parameter, index) for array in self.arrays for index in array.kinks)

    def raise_if_failed(self) -> None:
        """Raise `GradientCheckError` with this report as its message, if a gradient is wrong.

        Raises
        ------
        GradientCheckError
        """
        if not self.passed:
            raise GradientCheckError(str(self), self)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [
            f"gradient check by {self.title} (step {self.step:.1e}): {verdict}, "
            f"largest relative error {self.max_relative_error:.1e}, allowed {self.rtol:.1e}"
        ]
        width = max(len(array.parameter) for array in self.arrays)
        for array in self.arrays:
            mark = "ok    " if array.passed else "FAILED"
            what = f"{array.looked_at}, shape {array.shape}"
            lines.append(f"  {mark} {array.parameter:<{width}}  {array.error:.1e}  {what}")
        for array in self.arrays:
            if not array.passed:
                lines.append(f"{array.place()}: analytic {array.analytic:.10g}, numeric {array.numeric:.10g}")
                lines += [f"  {hint}" for hint in array.hints]
        lines += self._kink_lines()
        return "\n".join(lines)

    def _kink_lines(self) -> list[str]:
        if not self.kinks:
            return []
        shown = [
            parameter + ("" if index is None else f"[{', '.join(map(str, index))}]")
            for parameter, index in self.kinks[:5]
        ]
        more = f" and {len(self.kinks) - 5} more" if len(self.kinks) > 5 else ""
        return [f"kinks (the loss has two slopes there, which is no error): {', '.join(shown)}{more}"]
