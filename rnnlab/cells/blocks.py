"""How the cells' arrays lie."""

from __future__ import annotations

from rnnlab.backend import Array

__all__ = ["as_columns", "blocks"]


def blocks(a: Array, H: int) -> tuple[Array, ...]:
    """Return views of ``a (K, B*H, N)``, one a block of H rows: B arrays ``(K, H, N)``.

    Examples
    --------
    >>> import numpy as np
    >>> i, f = blocks(np.arange(8).reshape(2, 4, 1), 2)
    >>> i[:, :, 0]
    array([[0, 1],
           [4, 5]])
    """
    return tuple(a[:, k : k + H] for k in range(0, a.shape[1], H))


def as_columns(a: Array) -> Array:
    """Return ``a (T, H, N)`` as ``(H, T*N)``, one column for each step of each sequence; a view when N is 1.

    Examples
    --------
    >>> import numpy as np
    >>> as_columns(np.arange(8).reshape(2, 2, 2))
    array([[0, 1, 4, 5],
           [2, 3, 6, 7]])
    """
    T, H, N = a.shape
    return a.transpose(1, 0, 2).reshape(H, T * N)
