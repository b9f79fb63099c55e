"""What the weights look like, and how far a step moves them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rnnlab.backend import Array, namespace

__all__ = ["WeightStatistics", "update_ratio", "weight_statistics"]


class WeightStatistics(NamedTuple):
    """The first four moments of an array's elements; the kurtosis is the excess over a normal distribution's 3."""

    mean: float
    std: float
    skewness: float
    kurtosis: float


def weight_statistics(array: Array) -> WeightStatistics:
    r"""Return mean, standard deviation, skewness and excess kurtosis of all elements of an array.

    With ``z = (w - mean) / std``, all means over the K elements (the population's moments, not corrected for K)::

        mean = sum(w) / K               std = sqrt(mean((w - mean)^2))
        skewness = mean(z^3)            kurtosis = mean(z^4) - 3

    so that skewness and kurtosis of a normal distribution are 0, and a uniform one's kurtosis is -1.2.

    Parameters
    ----------
    array : Array of real numbers, any shape
        Weights, or their gradient.

    Returns
    -------
    WeightStatistics
        In float64. Skewness and kurtosis are NaN where all elements are equal; all four are NaN where one is not
        finite or there is none.

    Examples
    --------
    >>> import numpy as np
    >>> weight_statistics(np.array([-1.0, 1.0, -1.0, 1.0]))
    WeightStatistics(mean=0.0, std=1.0, skewness=0.0, kurtosis=-2.0)
    """
    xp = namespace(array=array)
    w = array.astype(xp.float64).ravel()
    scale = float(xp.abs(w).max()) if w.size else math.nan
    if not math.isfinite(scale):
        return WeightStatistics(*[math.nan] * 4)
    scale = _power_of_two(scale)
    w /= scale  # so that no square overflows, and nothing is rounded
    mean = float(w.mean())
    w -= mean
    squares = w * w
    std = math.sqrt(float(squares.mean()))
    if std <= 4 * float(np.finfo(float).eps):  # nothing but the rounding of the mean
        return WeightStatistics(scale * mean, 0.0, math.nan, math.nan)
    K = w.size
    third, fourth = float(xp.dot(squares, w)) / K, float(xp.dot(squares, squares)) / K
    return WeightStatistics(scale * mean, scale * std, third / std**3, fourth / std**4 - 3)


def update_ratio(before: Array, after: Array) -> float:
    """Return how far a step moved an array in relation to its size, ``||after - before|| / ||before||``.

    About 1e-3 is the rule of thumb for weights that learn; much more and they are overwritten, much less and they
    stand still.

    Parameters
    ----------
    before, after : Array
        A parameter before and after the step.

    Returns
    -------
    float
        0 if nothing moved, infinity if it moved away from zero, NaN if an element is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> update_ratio(np.array([3.0, 4.0]), np.array([3.0, 6.5]))
    0.5
    """
    xp = namespace(before=before, after=after)
    old = before.astype(xp.float64).ravel()
    new = after.astype(xp.float64).ravel()
    largest = float(xp.abs(xp.concatenate([old, new])).max()) if old.size else 0.0
    if not math.isfinite(largest):
        return math.nan
    scale = _power_of_two(largest)
    old, new = old / scale, new / scale
    moved, size = float(xp.linalg.norm(new - old)), float(xp.linalg.norm(old))
    if moved == 0:
        return 0.0
    return moved / size if size else math.inf


def _power_of_two(size: float) -> float:
    """The power of two just below a size; 1 for 0."""
    return math.ldexp(1.0, math.frexp(size)[1] - 1) if size else 1.0
