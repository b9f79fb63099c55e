"""A few singular vectors of a matrix by subspace iteration from known ones, with a proof that none is missed.

Let ``G = B^T B``. Where B has changed little, the eigenvectors V of G with eigenvalues above 1 are found without
decomposing G, from vectors X of the step before. Let these be orthonormal with ``X^T G X = D`` diagonal, V the columns
with ``D > 1``, S the roots of these D, and ``R = G X - X D``. Then

- ``B - U (R_V / S)^T``, where ``U = B V / S``, has exactly S, U and V among its singular values and vectors.
- ``||B - B X X^T|| <= root`` if ``root^2 I - (G - X D X^T)`` has a Cholesky factor.
- So beside V no singular value is above ``1 + t``, t from the norm of ``[[D', R'], [R'^T, root^2]]``, D' and R' being
  those of the columns of X that are not in V.

A projection moves no two matrices apart, so clipping by V is wrong by at most ``2 ||R_V/S||_F + t ||B||_F``, and the
norm of what comes out is at most ``1 + t + ||R_V/S||_F``.

X, D and R are in float64. If B came from float32 then G is in it too, for it only serves to filter X, and to be
compared with a root that is put far enough below the number used as ``root`` for its rounding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, to_numpy
from rnnlab.kernels import on_device
from rnnlab.optim.newton_schulz import norm_by_products

__all__ = ["Found", "find_largest", "growth", "together"]

FLOOR = 0.25  # squares below need no damping: they are far enough from 1
BLOCK = 96  # rows that a Cholesky factorization treats at once
DEGREE = 12  # of a polynomial in G between two orthonormalizations; 12 neither overflow nor lose the small vectors


class Found(NamedTuple):
    """Orthonormal vectors X near those of the largest singular values, and what is proved beside them."""

    X: Array  # (n, m)
    BX: Array
    D: Array  # (m,): the squared singular values, from the largest
    k: int  # how many of them are above 1
    norm: float  # at least the norm of B, clipped
    rest: float  # at least ``||B - B X X^T||``


def find_largest(xp: Any, B: Array, dtype: Any, X: Array, work: float) -> tuple[Found | None, Array]:
    """Return what is found, with its proof, and how far X has come; None if it takes more than so many products with G.

    Parameters
    ----------
    xp : module
    B : Array, shape (M, n)
        In float64.
    dtype : dtype
        How exactly B is known.
    X : Array, shape (n, m)
        To start from.
    work : float
        How often X may be multiplied by G.
    """
    tolerance = max(1e-9, 2 * float(np.finfo(dtype).eps))
    narrow = B.astype(dtype)
    G = narrow.T @ narrow
    while True:
        X, BX, squares, R = _rotated(xp, B, X)
        D, errors = xp.asarray(squares), to_numpy((R * R).sum(axis=0))
        k, edge = int((squares > 1).sum()), max(float(squares[-1]), FLOOR)
        if edge >= 1:
            return None, X
        residual, degree = math.sqrt((errors[:k] / squares[:k]).sum()), float(DEGREE)
        rest = (1 + edge**0.5) / 2
        others = together(float(squares[k]), math.sqrt(errors[k:].sum()), rest)
        if residual > tolerance:
            degree = 1 + math.log(2 * residual / tolerance) / float(growth(squares[-1]))
        elif others < 1 or (k and others <= 1 + tolerance):
            if _none_above(xp, G - (X * D).astype(dtype) @ X.T.astype(dtype), (edge**0.5 + rest) / 2):
                return Found(X, BX, D, k, 1.0 if k else others, rest), X
        if degree > work:
            return None, X
        degree = math.ceil(min(degree, DEGREE))
        work -= degree
        X = _filtered(xp, G, X, D, R, edge, degree)


def together(square: float, residual: float, rest: float) -> float:
    """Bound the root of the norm of ``[[square, residual], [residual, rest^2]]``, blocks given by their norms."""
    return math.sqrt((square + rest**2) / 2 + math.hypot((square - rest**2) / 2, residual))


def growth(edge: Any) -> Any:
    """Return the logarithm by which that polynomial grows at 1, for each degree."""
    return np.arccosh(2 / np.clip(edge, FLOOR, 1.0) - 1)


def _rotated(xp: Any, B: Array, X: Array) -> tuple[Array, Array, np.ndarray, Array]:
    """Return the best eigenvectors X of G in the span of X, ``B X``, the values D from the largest, ``G X - X D``.

    The values are on the host, which decides by them.
    """
    X = xp.linalg.qr(X)[0]
    BX = B @ X
    values, Z = np.linalg.eigh(to_numpy(BX.T @ BX))
    values, Z = values[::-1], xp.asarray(Z[:, ::-1])
    X, BX = X @ Z, BX @ Z
    return X, BX, values, B.T @ BX - X * xp.asarray(values)


def _filtered(xp: Any, G: Array, X: Array, squares: Array, R: Array, edge: float, degree: int) -> Array:
    """Return ``c(G) X``, c being the Chebyshev polynomial that is at most 1 on [0, edge] and grows fastest above.

    It is computed as ``X c(S^2) + Y``. Y is as small as R, so that products with G in float32 give the digits of more.
    """
    slope = 2 / edge
    line = slope * squares - 1
    c_before, c = xp.ones_like(squares), line
    before, Y = xp.zeros_like(R), slope * R
    for _ in range(degree - 1):
        size = xp.maximum(xp.abs(Y).max(), 1e-300)
        GY = (G @ (Y / size).astype(G.dtype)) * size
        before, Y = Y, 2 * (slope * (GY + R * c) - Y) - before
        c_before, c = c, 2 * line * c - c_before
    return X * c + Y


def _none_above(xp: Any, G: Array, root: float) -> bool:
    """Whether G, which is overwritten, has no eigenvalue above ``root^2``: the difference has a Cholesky factor.

    Block by block, so that nearly all of it is products: at these sizes twice as fast as NumPy's factorization.
    """
    if on_device(xp):  # CuPy would return a factor that is none, without a word
        return float(norm_by_products(G)) <= root**2
    rest = np.negative(G, G)
    rest[np.diag_indices_from(rest)] += root**2
    try:
        while rest.size:
            L = np.linalg.cholesky(rest[:BLOCK, :BLOCK])
            below = rest[BLOCK:, :BLOCK] @ np.linalg.inv(L).T
            rest = rest[BLOCK:, BLOCK:]
            rest -= below @ below.T
    except np.linalg.LinAlgError:
        return False
    return True
