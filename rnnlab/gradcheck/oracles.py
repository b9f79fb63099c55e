"""Three ways to measure the slope of a loss along a line, with the step and the accuracy of each.

A line is a function ``phi(t) = loss(theta + t * direction)``; its slope at ``t = 0`` is what the inner
product of the gradient with the direction should be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["METHODS", "Oracle", "central", "complex_step", "five_point"]

Line = Callable[[Any], Any]  # t -> loss, a Python float, or complex where t is


def central(phi: Line, h: float) -> float:
    """Return the slope of a line at 0 by central differences.

    ``(phi(h) - phi(-h)) / (2*h)``: an error of order ``h**2``, and rounding of order ``eps/h``.

    Parameters
    ----------
    phi : callable
        The line, ``t -> loss``.
    h : float
        The step.

    Returns
    -------
    float

    Examples
    --------
    >>> round(central(lambda t: (2.0 + t)**3, 1e-5), 6)
    12.0
    """
    return float((phi(h) - phi(-h)) / (2 * h))


def five_point(phi: Line, h: float) -> float:
    """Return the slope of a line at 0 by the five-point formula.

    ``(phi(-2h) - 8*phi(-h) + 8*phi(h) - phi(2h)) / (12*h)``: an error of order ``h**4``.

    Parameters
    ----------
    phi : callable
        The line, ``t -> loss``.
    h : float
        The step.

    Returns
    -------
    float

    Examples
    --------
    >>> round(five_point(lambda t: (2.0 + t)**3, 1e-3), 9)
    12.0
    """
    return float((8 * (phi(h) - phi(-h)) - (phi(2 * h) - phi(-2 * h))) / (12 * h))


def complex_step(phi: Line, h: float) -> float:
    """Return the slope of a line at 0 by the complex step.

    ``imag(phi(1j*h)) / h``: nothing is subtracted, so ``h`` can be so small that no error is left. It
    needs a loss that computes with complex numbers: no ``abs``, no ``maximum``, no ``astype(float)``.

    Parameters
    ----------
    phi : callable
        The line, ``t -> loss``.
    h : float
        The step.

    Returns
    -------
    float

    References
    ----------
    .. [1] W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions",
       SIAM Review 40(1), 1998.

    Examples
    --------
    >>> complex_step(lambda t: (2.0 + t)**3, 1e-20)
    12.0
    """
    return float(phi(1j * h).imag / h)


class Oracle(NamedTuple):
    """A way to measure a slope: its words in a report, its formula, its step and its accuracy."""

    title: str
    slope: Callable[[Line, float], float]
    step: Callable[[float], float]  # from the machine epsilon of the parameters
    rtol: Callable[[float], float]


# The steps balance the formula's own error against rounding; the tolerances leave two to three decades.
METHODS = {
    "central": Oracle(
        "central differences", central, lambda eps: eps ** (1 / 3), lambda eps: max(1e-7, 100 * eps ** (2 / 3))
    ),
    "five-point": Oracle(
        "five-point differences", five_point, lambda eps: eps ** (1 / 5), lambda eps: max(1e-8, 100 * eps ** (4 / 5))
    ),
    "complex": Oracle("complex step", complex_step, lambda eps: 1e-20, lambda eps: max(1e-11, 1e4 * eps)),
}
