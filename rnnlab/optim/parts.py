"""What the parts of an optimizer have in common: how they look, which arrays they mean, what they refuse.

Inside an optimizer the parameters and the gradients are flat: ``{"recurrent.weight_hh": array, ...}``.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from rnnlab.backend import Array, library_of, namespace, to_numpy
from rnnlab.kernels import on_device

__all__ = [
    "Flat",
    "GradientTransform",
    "Projection",
    "Update",
    "flag",
    "global_norm",
    "matching",
    "norm",
    "number",
    "one_of",
    "pattern",
    "refuse_not_finite",
    "whole",
]

Flat = dict[str, Array]


class Part:
    """A part of an optimizer. It holds hyper-parameters only; what it remembers is in the optimizer's state."""

    only: str | None = None  # a pattern for the parameters it means; None means all

    def check(self, params: Flat) -> None:
        """Raise ValueError if the pattern fits no parameter."""
        matching(params, self.only)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class GradientTransform(Part):
    """Changes gradients before the update."""

    def __call__(self, grads: Flat, params: Flat) -> Flat:
        """Return the changed gradients; the arrays that come in stay as they are."""
        names = matching(params, self.only)
        return {path: self.change(path, g, params) if path in names else g for path, g in grads.items()}

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the changed gradient of one parameter."""
        raise NotImplementedError


class Update(Part):
    """Moves the parameters along the gradients."""

    learning_rate: Any

    def init(self, params: Flat) -> dict[str, Flat]:
        """Return what is remembered from step to step: name -> one array for every parameter."""
        return {}

    def move(self, w: Array, g: Array, rate: float, step: int, memory: dict[str, Array]) -> tuple[Array, Flat]:
        """Return one parameter moved, and what is remembered of it.

        ``step`` counts from 1.
        """
        raise NotImplementedError


class Projection(Part):
    """Moves new parameters to the nearest that are allowed."""

    def init(self, params: Flat) -> Any:
        """Return the first state."""
        return {}

    def project(self, params: Flat, state: Any) -> tuple[Flat, Any]:
        """Return the projected parameters and the next state."""
        raise NotImplementedError


# -------------------------------------------------------------------------- which parameters are meant


def matching(params: Flat, only: str | None) -> set[str]:
    """Return the paths that a pattern means.

    A pattern is the last name of a path, such as ``"weight_hh"``, or a whole path; both may hold ``*``.

    Raises
    ------
    ValueError
        The pattern fits nothing.

    Examples
    --------
    >>> params = {"recurrent.weight_hh": 0, "recurrent.bias": 0, "output.bias": 0}
    >>> sorted(matching(params, "bias")), sorted(matching(params, "recurrent.*"))
    (['output.bias', 'recurrent.bias'], ['recurrent.bias', 'recurrent.weight_hh'])
    """
    if only is None:
        return set(params)
    found = {p for p in params if fnmatch.fnmatchcase(p, only) or fnmatch.fnmatchcase(p.rpartition(".")[2], only)}
    if not found:
        raise ValueError(f"only must name a parameter, one of {', '.join(params) or 'none'}; got {only!r}")
    return found


# ------------------------------------------------------------------------------------ what is refused


def number(name: str, value: Any, above: float = 0.0, below: float = math.inf, or_equal: bool = False) -> float:
    """Return a hyper-parameter as a float, if it lies between two limits.

    Raises
    ------
    TypeError, ValueError

    Examples
    --------
    >>> number("max_norm", -1)
    Traceback (most recent call last):
    ValueError: max_norm must be positive; got -1
    """
    refused = isinstance(value, (bool, np.bool_)) or (hasattr(value, "shape") and value.shape != ())
    if refused or not hasattr(type(value), "__float__"):
        raise TypeError(f"{name} must be a number; got {value!r}")
    as_float = float(value)
    if (above < as_float < below) or (or_equal and as_float == above):
        return as_float
    least = f"at least {above:g}" if or_equal else "positive" if above == 0 else f"above {above:g}"
    most = "" if below == math.inf else f" and below {below:g}"
    raise ValueError(f"{name} must be {least}{most}; got {value!r}")


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a hyper-parameter as an int, if it is a whole number of at least that size."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return a hyper-parameter that is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return a hyper-parameter that is one of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return value


def pattern(only: Any) -> str | None:
    """Return a pattern for parameters, or None, which means all."""
    if only is not None and not isinstance(only, str):
        raise TypeError(f"only must be a string that names parameters, or None; got {only!r}")
    return only


# Looking at a value makes the host wait for a GPU. So there nothing is looked at inside a step of an optimizer, and
# what is not finite spreads to the parameters, where `rnnlab.fit` finds it.


def refuse_not_finite(path: str, g: Array) -> None:
    """Raise FloatingPointError if a gradient holds a NaN or an infinity; on a GPU do nothing."""
    xp = namespace(g=g)
    if on_device(xp):
        return
    finite = xp.isfinite(g)
    if not bool(finite.all()):
        index = tuple(int(i) for i in to_numpy(xp.argwhere(~finite))[0])
        raise FloatingPointError(f"gradient of {path} must be finite; got {float(g[index])} at index {index}")


def norm(path: str, g: Array) -> float:
    """Return the Euclidean norm of an array, without overflow or underflow on the way.

    Raises
    ------
    FloatingPointError
        The array holds a NaN or an infinity; of an array on a GPU the norm is then no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> bool(abs(norm("g", np.float32([3e30, 4e30])) / 5e30 - 1) < 1e-6)
    True
    """
    xp = namespace(g=g)
    flat = g.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is measured again below
        square = float(flat @ flat)
    if 1e-30 < square < math.inf:
        return math.sqrt(square)
    refuse_not_finite(path, g)
    largest = float(xp.abs(flat).max()) if flat.size else 0.0
    if largest == 0.0:
        return 0.0
    scaled = flat / largest
    return largest * math.sqrt(float(scaled @ scaled))


def global_norm(arrays: Flat) -> Any:
    """Return the Euclidean norm of all arrays together, without overflow or underflow on the way.

    Returns
    -------
    float, or of CuPy arrays an array of no axes
        For which the host has not waited; it is NaN if something is not finite.

    Raises
    ------
    FloatingPointError
        A NumPy array holds a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> global_norm({"w": np.array([3.0]), "b": np.array([4.0])})
    5.0
    """
    xp = library_of(next(iter(arrays.values()), np.zeros(0)), "grads")
    if not on_device(xp):
        return math.hypot(*(norm(path, g) for path, g in arrays.items()))
    flat = xp.concatenate([g.reshape(-1) for g in arrays.values()])
    if not flat.size:
        return xp.zeros(())
    unit = xp.abs(flat).max()
    flat /= xp.where(unit == 0, xp.ones_like(unit), unit)
    return unit * xp.sqrt((flat * flat).sum(dtype="d"))
