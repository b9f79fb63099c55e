"""Activations: the value, and the slope computed from the value.

BPTT keeps the output ``y = f(x)`` of every step, and all five slopes can be written in terms of it, so the
pre-activation need not be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rnnlab.backend import Array, library_of

__all__ = ["Activation", "elu", "get", "leaky_relu", "relu", "sigmoid", "tanh"]


class Activation(NamedTuple):
    """An elementwise function ``y = f(x)`` with its slope ``f'(x)`` as a function of y.

    Attributes
    ----------
    name : str
    value : callable
        ``value(x, out=None)`` returns ``f(x)``, written to ``out`` if given, which may be x itself.
    slope : callable
        ``slope(y)`` returns ``f'(x)`` where ``y = f(x)``.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> y = rl.activations.tanh(np.array([0.0, 100.0]))
    >>> y, rl.activations.tanh.slope(y)
    (array([0., 1.]), array([1., 0.]))
    """

    name: str
    value: Callable[..., Array]
    slope: Callable[[Array], Array]

    def __call__(self, x: Array) -> Array:
        """Return ``f(x)``."""
        return self.value(x)


def _write(result: Array, out: Array | None) -> Array:
    if out is None:
        return result
    out[...] = result
    return out


def _sigmoid(x: Array, out: Array | None = None) -> Array:
    # 0.5*(1 + tanh(x/2)) overflows nowhere and is analytic, so that complex steps pass through it.
    xp = library_of(x, "x")
    out = xp.multiply(x, 0.5, out=out)
    xp.tanh(out, out=out)
    out *= 0.5
    out += 0.5
    return out


def _tanh(x: Array, out: Array | None = None) -> Array:
    return library_of(x, "x").tanh(x, out=out)


def _piecewise(negative: Callable[[Any, Array], Array]) -> Callable[..., Array]:
    """Return ``value(x, out)`` that is x where x > 0 and ``negative(xp, x)`` elsewhere."""

    def value(x: Array, out: Array | None = None) -> Array:
        xp = library_of(x, "x")
        return _write(xp.where(x.real <= 0, negative(xp, x), x), out)  # <=, so that a NaN stays one

    return value


def _piecewise_slope(negative: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return ``slope(y)`` that is 1 where y > 0 and ``negative(y)`` elsewhere."""

    def slope(y: Array) -> Array:
        xp = library_of(y, "y")
        return xp.where(y.real > 0, xp.ones_like(y), negative(y))

    return slope


sigmoid = Activation("sigmoid", _sigmoid, lambda y: y * (1 - y))
tanh = Activation("tanh", _tanh, lambda y: 1 - y * y)
relu = Activation("relu", _piecewise(lambda xp, x: xp.zeros_like(x)), _piecewise_slope(lambda y: y * 0))
leaky_relu = Activation("leaky_relu", _piecewise(lambda xp, x: 0.01 * x), _piecewise_slope(lambda y: y * 0 + 0.01))
# expm1 of a large positive x would overflow on the side that is thrown away.
elu = Activation(
    "elu",
    _piecewise(lambda xp, x: xp.expm1(xp.where(x.real > 0, xp.zeros_like(x), x))),
    _piecewise_slope(lambda y: y + 1),
)

_BY_NAME = {a.name: a for a in (sigmoid, tanh, relu, leaky_relu, elu)}


def get(activation: str | Activation) -> Activation:
    """Return the activation of that name; an `Activation` is returned as it is.

    Raises
    ------
    ValueError
        No activation has that name.

    Examples
    --------
    >>> import rnnlab as rl
    >>> rl.activations.get("relu").name
    'relu'
    """
    if isinstance(activation, Activation):
        return activation
    if activation not in _BY_NAME:
        raise ValueError(f"activation must be one of {', '.join(_BY_NAME)}; got {activation!r}")
    return _BY_NAME[activation]
