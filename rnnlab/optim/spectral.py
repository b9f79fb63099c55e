"""The nearest matrix with no singular value above a limit, by the cheapest way that is surely right.

Let ``B = W / max_norm`` and ``G = B^T B``: what is clipped belongs to the eigenvalues of G above 1. With orthonormal
eigenvectors V of these, and S their roots, the nearest matrix is ``W - W V (1 - 1/S) V^T``.

A few such eigenvectors come from a block Krylov space that starts at those of the step before, without decomposing G.
Two numbers then prove the result. With ``V^T G V = S^2`` and the residual ``R = (G V - V S^2) / S``:

- W lies within ``||R||_F`` of a matrix which has S and V exactly: ``B - U R^T``, with ``U = B V / S``.
- If ``(1 + t)^2 I - (G - V S^2 V^T)`` has a Cholesky factor, no other singular value is above ``1 + t``. Clipping
  those between 1 and ``1 + t`` too would move B by ``t ||B||_F`` at most.

Clipping moves no two matrices apart, so the result is wrong by ``2 ||R||_F + t ||B||_F`` at most, whatever the space
may have missed. Where the proof fails, G is decomposed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, namespace
from rnnlab.optim.parts import norm

__all__ = ["Clipped", "clip_singular_values", "clip_step", "norm_bound", "refuse_not_finite"]

SMALL = 64  # up to this many rows or columns the full decomposition costs nothing worth saving
FAR = 4.0  # times the limit; above, the squares in G and the difference from W would lose digits
NEAR = 1.5  # times the limit; above, float32 has not the digits for the proof
MOST, SPARE = 16, 8  # how many values a Krylov space is tried for, and the vectors added to their own
CROWDED = 0.9  # squares; values that near below the limit leave a Krylov space no gap to converge by
LARGEST = 192  # dimension of a Krylov space; beyond, decomposing G is about as cheap


class Clipped(NamedTuple):
    """A clipped matrix A and what the next step may use of it."""

    matrix: Array
    norm: float  # at least ||A||_2
    basis: Array  # V (n, m), about the singular vectors of A's largest values; m = 0 where they would not help
    rest: float  # at least ||A - A V V^T||_2


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
    U, s, Vt = xp.linalg.svd(W, full_matrices=False)
    largest = float(s[0]) if s.size else 0.0
    if largest <= max_norm:
        return W, largest
    if largest > FAR * max_norm:  # as after an explosion: a difference of large numbers would leave more than the limit
        return (U * xp.minimum(s, max_norm)) @ Vt, largest
    k = int((s > max_norm).sum())  # the same as U min(S, max_norm) V^T, and what is not clipped keeps every digit
    return W - (U[:, :k] * (s[:k] - max_norm)) @ Vt[:k], largest


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
        ``(matrix, norm, basis, rest)``.

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
    """
    xp = namespace(W=W)
    refuse_not_finite(name, W)
    if W.shape[0] < W.shape[1]:
        done = clip_step(W.T, max_norm, name, basis)
        return done._replace(matrix=done.matrix.T)
    size = norm(name, W)
    if size <= max_norm:
        return Clipped(W, size, _nothing(xp, W), size)
    if W.shape[1] <= SMALL or float(xp.abs(W).max()) > FAR * max_norm:
        return _by_svd(xp, W, max_norm, name)
    B = W / W.dtype.type(max_norm)
    if basis is not None and basis.shape[0] == W.shape[1] and 0 < basis.shape[1] < W.shape[1] // 4:
        proved = _by_krylov(xp, W, B, max_norm, basis)
        if proved is not None:
            return proved
    return _by_eigh(xp, W, B, max_norm, name)


def _by_svd(xp: Any, W: Array, max_norm: float, name: str) -> Clipped:
    clipped, largest = clip_singular_values(W, max_norm, name)
    bound = min(largest, max_norm)
    return Clipped(clipped, bound, _nothing(xp, W), bound)


def _nothing(xp: Any, W: Array) -> Array:
    return xp.zeros((W.shape[1], 0), W.dtype)


def _by_eigh(xp: Any, W: Array, B: Array, max_norm: float, name: str) -> Clipped:
    """Decompose G, in float64: three to five times cheaper than the singular values of W."""
    B = B.astype(np.float64)
    values, vectors = xp.linalg.eigh(B.T @ B)  # from the smallest to the largest
    largest = float(values[-1]) ** 0.5
    if largest > FAR:
        return _by_svd(xp, W, max_norm, name)
    k = int((values > 1).sum())
    m = min(k + SPARE, len(values) - 1)
    if k > MOST or (k and float(values[-1 - m]) > CROWDED):
        m = 0
    top = vectors[:, ::-1].astype(W.dtype)
    clipped = _clip(xp, W, top[:, :k], values[::-1][:k])
    rounding = 8 * float(np.finfo(W.dtype).eps) * largest
    rest = max(float(values[-1 - m]), 0.0) ** 0.5 + rounding
    return Clipped(clipped, min(largest, 1.0) * max_norm, top[:, :m].copy(), min(rest, 1.0) * max_norm)


def _clip(xp: Any, W: Array, V: Array, squares: Array) -> Array:
    """Return ``W - W V (1 - 1/S) V^T``."""
    if not squares.size:
        return W
    return W - ((W @ V) * (1 - squares**-0.5).astype(W.dtype)) @ V.T


# ------------------------------------------------------------------ a few singular values, and the proof


def _by_krylov(xp: Any, W: Array, B: Array, max_norm: float, basis: Array) -> Clipped | None:
    """Return the result with its proof, or None if there is none."""
    G = B.T @ B
    tolerance = max(1e-9, 2 * float(np.finfo(W.dtype).eps))
    X, squares, residual = _rotated(xp, G, _orthonormal(xp, G @ (G @ basis)))
    if float(squares[0]) < 1:  # perhaps there is nothing to clip
        rest = 0.5 * float(squares[-1]) ** 0.5 + 0.5
        above = _together(float(squares[0]), residual, rest**2)
        if above < 1 and _none_above(xp, _without(G, X, squares), rest**2):
            return Clipped(W, above * max_norm, X, rest * max_norm)
    found = _largest(xp, G, X, tolerance * norm("B", B))
    if found is None:
        return None
    V, squares, basis = found
    if squares.size and float(squares[0]) > NEAR**2:
        return None
    if not _none_above(xp, _without(G, V, squares), (1 + tolerance) ** 2):
        return None
    return Clipped(_clip(xp, W, V, squares), max_norm, basis, max_norm)


def _without(G: Array, V: Array, squares: Array) -> Array:
    """Return G with its values on V lowered to 0."""
    return G - (V * squares.astype(G.dtype)) @ V.T


def _together(top: float, residual: float, rest: float) -> float:
    """Bound the root of the norm of ``[[top, residual], [residual, rest]]``, blocks given by their norms."""
    return math.sqrt(0.5 * (top + rest) + math.hypot(0.5 * (top - rest), residual))


def norm_bound(W: Array, known: Clipped, scale: float) -> float:
    """Return an upper bound of the spectral norm of W, from what is known of a matrix A near it, without any n^3 work.

    Weyl's inequality, ``||W|| <= ||A|| + ||W - A||``, first. It wastes what most steps of a training are like: a few
    directions move far, the others little. So it is used a second time beside orthonormal vectors Q, which hold V and
    the main directions of ``W - A``: there ``||W - W Q Q^T|| <= rest + ||W - A - (W - A) Q Q^T||_F``, and on Q
    the norm is computed.

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

    Examples
    --------
    >>> import numpy as np
    >>> A = 0.03 * np.random.default_rng(0).normal(size=(100, 100))
    >>> known = clip_step(A, 1.0)
    >>> np.linalg.norm(A + 0.001, 2) < norm_bound(A + 0.001, known, 1.0) < 1
    True
    """
    E = W - known.matrix
    moved = norm("the step", E)
    if known.norm + moved < scale or moved > scale or known.rest >= scale or not known.basis.shape[1]:
        return known.norm + moved
    xp, W, E = namespace(W=W), W / W.dtype.type(scale), E / W.dtype.type(scale)
    if len(known.basis) != W.shape[1]:
        W, E = W.T, E.T
    Q = _orthonormal(xp, xp.concatenate([known.basis, E.T @ (E @ known.basis)], axis=1))
    left = (moved / scale) ** 2 * (1 + 1e-4) - norm("the step", E @ Q) ** 2  # 1e-4: far above what rounding takes away
    rest = known.rest / scale + max(left, 0.0) ** 0.5
    WQ = W @ Q
    image = W.T @ WQ
    T = WQ.T @ WQ
    residual = norm("the residual", image - Q @ T)
    rounding = 1 + 16 * float(np.finfo(W.dtype).eps)
    return rounding * scale * _together(float(_eigh(xp, T)[0][0]), residual, rest**2)


def _none_above(xp: Any, G: Array, square: float) -> bool:
    """Whether G has no eigenvalue above one number: then the difference has a Cholesky factor."""
    difference = -G.astype(np.float64)
    difference[xp.arange(len(G)), xp.arange(len(G))] += square
    if xp is not np:  # CuPy returns a factor that is none, without a word
        return bool(xp.linalg.eigvalsh(difference)[0] > 0)
    try:
        np.linalg.cholesky(difference)
    except np.linalg.LinAlgError:
        return False
    return True


def _largest(xp: Any, G: Array, X: Array, most: float) -> tuple[Array, Array, Array] | None:
    """Return the eigenvectors of G found for values above 1, the values, and vectors for the next step to start at.

    None if the residual does not come below ``most``.
    """
    space, images = X, G @ X
    block, last = images, np.inf
    while space.shape[1] + X.shape[1] <= LARGEST:
        for _ in range(2):
            for _ in range(2):  # twice is enough for orthogonality to the digits there are
                block = block - space @ (space.T @ block)
                block = _orthonormal(xp, block)
            space, block = xp.concatenate([space, block], axis=1), G @ block
            images = xp.concatenate([images, block], axis=1)
        values, Z = _eigh(xp, space.T @ images)
        k = int((values > 1).sum())
        V = space @ Z[:, :k]
        R = (images @ Z[:, :k] - V * values[:k].astype(G.dtype)) / (values[:k] ** 0.5).astype(G.dtype)
        residual = norm("the residual", R)
        if residual <= most:
            # Where G has low rank the space may run out of new directions: then these vectors prove nothing.
            orthonormal = norm("V", V.T @ V - xp.eye(k, dtype=G.dtype)) <= 64 * float(np.finfo(G.dtype).eps)
            return (V, values[:k], space @ Z[:, : k + SPARE]) if orthonormal else None
        if residual > last / 2:
            return None
        last = residual
    return None


def _rotated(xp: Any, G: Array, X: Array) -> tuple[Array, Array, float]:
    """Return the orthonormal X turned to the best eigenvectors of G in its span, their values and their residual."""
    image = G @ X
    values, Z = _eigh(xp, X.T @ image)
    X, image = X @ Z, image @ Z
    return X, values, norm("the residual", image - X * values.astype(G.dtype))


def _eigh(xp: Any, T: Array) -> tuple[Array, Array]:
    """Return eigenvalues from the largest to the smallest, in float64, and eigenvectors."""
    values, Z = xp.linalg.eigh(((T + T.T) / 2).astype(np.float64))
    return values[::-1], Z[:, ::-1].astype(T.dtype)


def _orthonormal(xp: Any, X: Array) -> Array:
    return xp.linalg.qr(X)[0]
