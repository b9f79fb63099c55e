"""The nearest matrix with no singular value above a limit, by the cheapest way that is surely right.

Let ``B = W / max_norm`` and ``G = B^T B``: what is clipped belongs to the eigenvalues of G above 1. With orthonormal
eigenvectors V of these, and S their roots, the nearest matrix is ``W - W V (1 - 1/S) V^T``, for clipping the singular
values is the projection onto a ball of the spectral norm (Kanai et al. 2017, Eqs. 12-14).

Where W has changed little, V is found without decomposing G, by subspace iteration from vectors X of the step before.
Let them be orthonormal with ``X^T G X = D`` diagonal, V the columns with ``D > 1``, and ``R = G X - X D``. Then

- ``B - U (R_V / S)^T``, where ``U = B V / S``, has exactly S, U and V among its singular values and vectors.
- ``||B - B X X^T|| <= root`` if ``root^2 I - (G - X D X^T)`` has a Cholesky factor.
- So beside V no singular value is above ``1 + t``, t from the norm of ``[[D', R'], [R'^T, root^2]]``, D' and R' being
  those of the columns of X that are not in V.

A projection moves no two matrices apart, so in units of ``max_norm`` the result is wrong by at most
``2 ||R_V/S||_F + t ||B||_F``, and its norm is at most ``1 + t + ||R_V/S||_F``. Without the proof, G is decomposed.

X, D and R are in float64. If W is in float32 then G is too, for it only serves to filter X, and to be compared with a
root that is put far enough below the number used as ``root`` for its rounding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, namespace
from rnnlab.optim.parts import norm

__all__ = ["Clipped", "clip_singular_values", "clip_step", "norm_bound", "refuse_not_finite"]

SMALL = 64  # up to this many rows or columns the full decomposition costs nothing worth saving
FAR = 1000.0  # times the limit, for the Frobenius norm; above, the squares in G would lose digits
SPARE = 8  # vectors kept beside those of the values to clip, at least
FLOOR = 0.25  # squares below need no damping: they are far enough from 1
DEGREE = 12  # of a polynomial in G between two orthonormalizations; 12 neither overflow nor lose the small vectors
WORK = 3.0  # products of G with a vector, per row of G; with more, decomposing G is as cheap
START = 16  # products of G with a vector that take as long as G takes to be read once
GAIN = 1e6  # by which what is known of one step must be improved in the next, more or less


class Clipped(NamedTuple):
    """A clipped matrix A and what the next step may use of it."""

    matrix: Array
    norm: float  # at least ||A||_2, to the digits of the result
    basis: Array  # V (n, m) in float64, orthonormal, near singular vectors of A's largest values; m = 0 if of no help
    rest: float  # at least ||A - A V V^T||_2, to the digits of the result


def clip_singular_values(W: Array, max_norm: float, name: str = "W") -> tuple[Array, float]:
    """Return the nearest matrix with no singular value above a limit, and the largest of ``W``.

    Parameters
    ----------
    W : Array, shape (M, K)
    max_norm : float
    name : str
        What an error calls the matrix.

    Returns
    -------
    clipped : Array, shape (M, K)
        W itself if there was nothing to clip.
    largest : float

    Raises
    ------
    FloatingPointError
        W holds a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> clip_singular_values(np.diag([3.0, 0.5]), 1.0)
    (array([[1. , 0. ],
           [0. , 0.5]]), 3.0)
    """
    xp = namespace(W=W)
    refuse_not_finite(name, W)
    U, s, Vt = xp.linalg.svd(W.astype(xp.result_type(W.dtype, np.float64)), full_matrices=False)
    largest = float(s[0]) if s.size else 0.0
    if largest <= max_norm:
        return W, largest
    if largest > FAR * max_norm:  # as after an explosion: a difference of large numbers would leave more than the limit
        return ((U * xp.minimum(s, max_norm)) @ Vt).astype(W.dtype), largest
    k = int((s > max_norm).sum())  # the same as U min(S, max_norm) V^T, and what is not clipped keeps every digit
    return (W - (U[:, :k] * (s[:k] - max_norm)) @ Vt[:k]).astype(W.dtype), largest


def refuse_not_finite(name: str, W: Array) -> None:
    """Raise FloatingPointError if a matrix holds a NaN or an infinity."""
    if not bool(namespace(W=W).isfinite(W).all()):
        raise FloatingPointError(f"{name} must be finite to be projected; the step before it overflowed")


def clip_step(W: Array, max_norm: float, name: str = "W", basis: Array | None = None) -> Clipped:
    """Return the nearest matrix with no singular value above a limit, cheaply where W changes little between calls.

    Parameters
    ----------
    W : Array, shape (M, K)
    max_norm : float
    name : str
        What an error calls the matrix.
    basis : Array, shape (min(M, K), m), or None
        What the call before returned. It decides how long the answer takes, not what it is.

    Returns
    -------
    Clipped
        ``(matrix, norm, basis, rest)``; the matrix is W itself if there was nothing to clip.

    Raises
    ------
    FloatingPointError
        W holds a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> W = 0.06 * np.random.default_rng(0).normal(size=(100, 100))
    >>> first = clip_step(W, 1.0)
    >>> second = clip_step(first.matrix + 0.01, 1.0, basis=first.basis)
    >>> round(float(np.linalg.norm(second.matrix, 2)), 6)
    1.0

    References
    ----------
    Y. Zhou, Y. Saad, M. L. Tiago, J. R. Chelikowsky, Self-consistent-field calculations using Chebyshev-filtered
    subspace iteration, J. Comput. Phys. 219 (2006).
    """
    xp = namespace(W=W)
    refuse_not_finite(name, W)
    if W.shape[0] < W.shape[1]:
        done = clip_step(W.T, max_norm, name, basis)
        return done._replace(matrix=done.matrix.T)
    if W.shape[1] <= SMALL or W.dtype.kind == "c":
        return _by_svd(xp, W, max_norm, name)
    B = W.astype(np.float64)
    size = norm(name, B)
    if size <= max_norm:
        return Clipped(W, size, _nothing(xp, W), size)
    if size > FAR * max_norm:
        return _by_svd(xp, W, max_norm, name)
    B /= max_norm
    if basis is not None and len(basis) == W.shape[1] and 0 < basis.shape[1] < len(basis):
        proved = _by_subspace(xp, W, B, max_norm, basis.astype(np.float64))
        if proved is not None:
            return proved
    return _by_eigh(xp, W, B, max_norm)


def _by_svd(xp: Any, W: Array, max_norm: float, name: str) -> Clipped:
    clipped, largest = clip_singular_values(W, max_norm, name)
    bound = min(largest, max_norm)
    return Clipped(clipped, bound, _nothing(xp, W), bound)


def _nothing(xp: Any, W: Array) -> Array:
    return xp.zeros((W.shape[1], 0))


def _by_eigh(xp: Any, W: Array, B: Array, max_norm: float) -> Clipped:
    """Decompose G: three to five times cheaper than the singular values of W."""
    values, vectors = xp.linalg.eigh(B.T @ B)
    values, vectors = values[::-1], vectors[:, ::-1]  # from the largest to the smallest
    k = int((values > 1).sum())
    m = _worth_keeping(xp, values, k)
    largest, rest = (max(float(values[i]), 0.0) ** 0.5 for i in (0, m))
    V = vectors[:, :k]
    clipped = _clip(W, V, B @ V, values[:k], max_norm)
    basis = vectors[:, :m].copy()
    return Clipped(clipped, min(largest, 1.0) * max_norm, basis, min(rest, 1.0) * max_norm)


def _clip(W: Array, V: Array, BV: Array, squares: Array, max_norm: float) -> Array:
    """Return ``W - W V (1 - 1/S) V^T``."""
    if not squares.size:
        return W
    return (W - (max_norm * BV * (1 - squares**-0.5)) @ V.T).astype(W.dtype)


# ---------------------------------------------------------------- a few singular values, and the proof


def _by_subspace(xp: Any, W: Array, B: Array, max_norm: float, X: Array) -> Clipped | None:
    """Return the result with its proof, or None if that is as much work as decomposing G, or there is no proof."""
    tolerance = max(1e-9, 2 * float(np.finfo(W.dtype).eps))
    left = WORK * len(X) / (X.shape[1] + START)
    narrow = B.astype(W.dtype)
    G = narrow.T @ narrow
    while True:
        X, BX, squares, R = _rotated(xp, B, X)
        k, edge = int((squares > 1).sum()), max(float(squares[-1]), FLOOR)
        if edge >= 1:
            return None
        residual, degree = norm("the residual", R[:, :k] / squares[:k] ** 0.5), float(DEGREE)
        rest = (1 + edge**0.5) / 2
        others = _together(float(squares[k]), norm("the residual", R[:, k:]), rest)
        if residual > tolerance:
            degree = 1 + math.log(2 * residual / tolerance) / float(_growth(xp, squares[-1]))
        elif others < 1 or (k and others <= 1 + tolerance):
            if _none_above(xp, G - (X * squares).astype(G.dtype) @ X.T.astype(G.dtype), (edge**0.5 + rest) / 2):
                clipped = _clip(W, X[:, :k], BX[:, :k], squares[:k], max_norm)
                return Clipped(clipped, (1.0 if k else others) * max_norm, X, rest * max_norm)
        if degree > left:
            return None
        degree = math.ceil(min(degree, DEGREE))
        left -= degree
        X = _filtered(xp, G, X, squares, R, edge, degree)


def norm_bound(W: Array, known: Clipped, scale: float) -> float:
    """Return an upper bound of the spectral norm of W, from what is known of a matrix A near it, without any n^3 work.

    Weyl's inequality first, ``||W|| <= ||A|| + ||W - A||``. It wastes what most steps of a training are like: a few
    directions move far, the others little. So it is used a second time beside orthonormal vectors Q, which hold V and
    the main directions of ``W - A``. There ``||W - W Q Q^T|| <= rest + ||W - A - (W - A) Q Q^T||_F``; on Q, and between
    Q and the others, the norm is computed.

    Parameters
    ----------
    W : Array, shape (M, K)
    known : Clipped
        Of a matrix of this shape.
    scale : float
        What is of interest: a bound far above it need not be sharp.

    Returns
    -------
    float

    References
    ----------
    H. Weyl, Das asymptotische Verteilungsgesetz der Eigenwerte linearer partieller Differentialgleichungen,
    Math. Ann. 71 (1912).

    Examples
    --------
    >>> import numpy as np
    >>> A = 0.03 * np.random.default_rng(0).normal(size=(100, 100))
    >>> known = clip_step(A, 1.0)
    >>> np.linalg.norm(A + 0.001, 2) < norm_bound(A + 0.001, known, 1.0) < 1
    True
    """
    xp, A = namespace(W=W), known.matrix
    wide = xp.result_type(W.dtype, np.float64)
    W, E = W.astype(wide), W.astype(wide) - A.astype(wide)
    moved = norm("the step", abs(E))
    if known.norm + moved <= scale or max(known.norm, moved) >= scale or not known.basis.shape[1]:
        return known.norm + moved
    V, W, E = known.basis.astype(wide), W / scale, E / scale
    if len(V) != W.shape[1]:
        W, E = W.T, E.T
    Q = xp.linalg.qr(xp.concatenate([V, E.T @ (E @ V)], axis=1))[0]
    rest = known.rest / scale + max((moved / scale) ** 2 - norm("the step", E @ Q) ** 2, 0.0) ** 0.5
    WQ = W @ Q
    T = WQ.T @ WQ
    residual = norm("the residual", W.T @ WQ - Q @ T)
    return scale * _together(float(xp.linalg.eigvalsh(T)[-1]), residual, rest)


def _together(square: float, residual: float, rest: float) -> float:
    """Bound the root of the norm of ``[[square, residual], [residual, rest^2]]``, blocks given by their norms."""
    return math.sqrt((square + rest**2) / 2 + math.hypot((square - rest**2) / 2, residual))


def _rotated(xp: Any, B: Array, X: Array) -> tuple[Array, Array, Array, Array]:
    """Return the best eigenvectors X of G in the span of X, ``B X``, the values D from the largest, ``G X - X D``."""
    X = xp.linalg.qr(X)[0]
    BX = B @ X
    values, Z = xp.linalg.eigh(BX.T @ BX)
    values, Z = values[::-1], Z[:, ::-1]
    X, BX = X @ Z, BX @ Z
    return X, BX, values, B.T @ BX - X * values


def _filtered(xp: Any, G: Array, X: Array, squares: Array, R: Array, edge: float, degree: int) -> Array:
    """Return ``c(G) X``, c being the Chebyshev polynomial that is at most 1 on [0, edge] and grows fastest above.

    It is computed as ``X c(S^2) + Y``. Y is as small as R, so that products with G in float32 give the digits of more.
    """
    slope = 2 / edge
    line = slope * squares - 1
    c_before, c = xp.ones_like(squares), line
    before, Y = xp.zeros_like(R), slope * R
    for _ in range(degree - 1):
        size = xp.abs(Y).max() or 1.0
        GY = (G @ (Y / size).astype(G.dtype)) * size
        before, Y = Y, 2 * (slope * (GY + R * c) - Y) - before
        c_before, c = c, 2 * line * c - c_before
    return X * c + Y


def _growth(xp: Any, edge: Array) -> Array:
    """Return the logarithm by which that polynomial grows at 1, for each degree."""
    return xp.arccosh(2 / xp.clip(edge, FLOOR, 1.0) - 1)


def _worth_keeping(xp: Any, values: Array, k: int) -> int:
    """Return for how many vectors the next step has the least to do, if k values are clipped; 0 if it is too much."""
    m = xp.arange(k + SPARE, len(values) // 4)
    if not m.size:
        return 0
    work = (m + START) * math.log(GAIN) / xp.maximum(_growth(xp, values[m - 1]), 1e-9)
    best = int(work.argmin())
    return int(m[best]) if k == 0 or float(work[best]) <= WORK * len(values) else 0  # 0 to clip: no filter is needed


def _none_above(xp: Any, G: Array, root: float) -> bool:
    """Whether G has no eigenvalue above ``root^2``: then the difference has a Cholesky factor."""
    difference = -G
    difference[xp.arange(len(G)), xp.arange(len(G))] += root**2
    if xp is not np:  # CuPy returns a factor that is none, without a word
        return bool(xp.linalg.eigvalsh(difference)[0] > 0)
    try:
        np.linalg.cholesky(difference)
    except np.linalg.LinAlgError:
        return False
    return True
