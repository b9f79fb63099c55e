"""How cells look at their arrays.

A step's arrays lie flat, ``(K*N,)`` for K rows and N sequences: an elementwise operation on one axis costs NumPy a
third less than on two. Products see them as matrices, weight gradients as rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnlab.backend import Array

__all__ = ["Workspace", "as_rows", "product", "sigmoid", "workspace"]


class Workspace(NamedTuple):
    """What the steps of a loop share: room for their products, and a constant."""

    room: Array  # (G, H*N)
    half: Array  # 0.5, as an array of no axes: NumPy multiplies by a Python number in more than twice the time


def workspace(xp: Any, gates: Array) -> Workspace:
    """Return a workspace for the gates ``(T, G, H*N)``."""
    return Workspace(xp.empty(gates.shape[1:], gates.dtype), xp.asarray(0.5, dtype=gates.dtype))


def product(xp: Any, W: Array, x: Array, out: Array) -> Array:
    """Set ``out`` to ``W @ x`` of matrices that lie flat, ``W (K, H)``, ``x (H*N)``, ``out (K*N)``; return it.

    Examples
    --------
    >>> import numpy as np
    >>> product(np, np.array([[1.0, 10.0]]), np.array([1.0, 2.0, 3.0, 4.0]), np.empty(2))
    array([31., 42.])
    """
    K, H = W.shape
    # dot, not matmul: the same BLAS call with a microsecond less around it
    xp.dot(W, x.reshape(H, -1), out.reshape(K, -1))
    return out


def sigmoid(xp: Any, a: Array, half: Array) -> None:
    """Set ``a`` to its sigmoid, ``0.5 + 0.5*tanh(a/2)``."""
    a *= half
    xp.tanh(a, a)
    a *= half
    a += half


def as_rows(a: Array, H: int) -> Array:
    """Return ``a (T, H*N)`` as ``(T*N, H)``, one row for each step of each sequence.

    Examples
    --------
    >>> import numpy as np
    >>> as_rows(np.zeros((5, 6)), 3).shape
    (10, 3)
    """
    T, N = a.shape[0], a.shape[1] // H
    return a.reshape(T, H, N).transpose(0, 2, 1).reshape(T * N, H)
