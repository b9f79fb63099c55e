"""The two shapes in which cells look at their arrays: gate blocks and rows."""

from __future__ import annotations

from rnnlab.backend import Array

__all__ = ["as_rows", "blocks"]


def blocks(a: Array, count: int) -> list[Array]:
    """Return the ``count`` equal blocks of rows of ``a (count*H, N)`` as views, one a gate.

    Examples
    --------
    >>> import numpy as np
    >>> r, z, n = blocks(np.arange(6.0).reshape(6, 1), 3)
    >>> z.ravel()
    array([2., 3.])
    """
    H = a.shape[0] // count
    return [a[k * H : (k + 1) * H] for k in range(count)]


def as_rows(a: Array) -> Array:
    """Return ``a (T, K, N)`` as ``(T*N, K)``, one row for each step of each sequence.

    Examples
    --------
    >>> import numpy as np
    >>> as_rows(np.zeros((5, 3, 2))).shape
    (10, 3)
    """
    T, K, N = a.shape
    return a.transpose(0, 2, 1).reshape(T * N, K)
