"""The nearest matrix with no singular value above a limit, by the cheapest way that is surely right.

Let ``B = W / max_norm`` and ``G = B^T B``: what is clipped belongs to the eigenvalues of G above 1. With orthonormal
eigenvectors V of these, and S their roots, the nearest matrix is ``W - W V (1 - 1/S) V^T``, for clipping the singular
values is the projection onto a ball of the spectral norm (Kanai et al. 2017, Eqs. 12-14).

Where W has changed little, `rnnlab.optim.subspace` finds V from that of the step before, and proves that it is all of
it. Without the proof G is decomposed, or on a GPU, where nothing of its size is, `rnnlab.optim.newton_schulz` finds the
nearest matrix by products.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, namespace, to_numpy
from rnnlab.kernels import on_device
from rnnlab.optim.newton_schulz import nearest_within, norm_by_products
from rnnlab.optim.parts import norm
from rnnlab.optim.subspace import find_largest, growth, together

__all__ = ["Clipped", "clip_singular_values", "clip_step", "norm_bound", "refuse_not_finite"]

SMALL = 64  # up to this many rows or columns the full decomposition costs nothing worth saving
FAR = 1000.0  # times the limit, for the Frobenius norm; above, the squares in G would lose digits
SPARE = 8  # vectors kept beside those of the values to clip, at least
WORK = 3.0  # products of G with a vector, per row of G; with more, decomposing G is as cheap
START = 16  # products of G with a vector that take as long as G takes to be read once
DEVICE_SPARE, DEVICE_WORK = 24, 60  # on a GPU: vectors, which cost little; products, against those by `nearest_within`
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
    if not on_device(xp):  # there the norm below tells, so that the host need not wait twice
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
    if not size <= FAR * max_norm:
        return _by_svd(xp, W, max_norm, name)
    B /= max_norm
    X = _nothing(xp, W) if basis is None else basis.astype(np.float64)
    if len(X) == W.shape[1] and 0 < X.shape[1] < len(X):
        work = DEVICE_WORK if on_device(xp) else WORK * len(X) / (X.shape[1] + START)
        found, X = find_largest(xp, B, W.dtype, X, work)
        if found is not None:
            clipped = _clip(W, X[:, : found.k], found.BX[:, : found.k], found.D[: found.k], max_norm)
            return Clipped(clipped, found.norm * max_norm, X, found.rest * max_norm)
    return _by_products(xp, W, B, max_norm, X) if on_device(xp) else _by_eigh(xp, W, B, max_norm)


def _by_svd(xp: Any, W: Array, max_norm: float, name: str) -> Clipped:
    """For few rows or columns, and after an explosion; of an array on a GPU on the host."""
    on_host = to_numpy(W)
    clipped, largest = clip_singular_values(on_host, max_norm, name)
    bound = min(largest, max_norm)
    return Clipped(W if clipped is on_host else xp.asarray(clipped), bound, _nothing(xp, W), bound)


def _nothing(xp: Any, W: Array) -> Array:
    return xp.zeros((W.shape[1], 0))


def _by_eigh(xp: Any, W: Array, B: Array, max_norm: float) -> Clipped:
    """Decompose G: three to five times cheaper than the singular values of W."""
    values, vectors = xp.linalg.eigh(B.T @ B)
    values, vectors = values[::-1], vectors[:, ::-1]  # from the largest to the smallest
    k = int((values > 1).sum())
    m = _worth_keeping(values, k)
    largest, rest = (max(float(values[i]), 0.0) ** 0.5 for i in (0, m))
    V = vectors[:, :k]
    clipped = _clip(W, V, B @ V, values[:k], max_norm)
    basis = vectors[:, :m].copy()
    return Clipped(clipped, min(largest, 1.0) * max_norm, basis, min(rest, 1.0) * max_norm)


def _by_products(xp: Any, W: Array, B: Array, max_norm: float, X: Array) -> Clipped:
    """Do without a decomposition; the next step's search goes on from X, or from here if X has too few vectors."""
    narrow = B.astype(W.dtype)
    bound = float(norm_by_products(narrow.T @ narrow)) ** 0.5
    if bound <= 1:
        return Clipped(W, bound * max_norm, _nothing(xp, W), bound * max_norm)
    nearest, P = nearest_within(B)
    k, n = round(float(P.diagonal().sum())), len(P)
    if not k:
        return Clipped(W, max_norm, _nothing(xp, W), max_norm)
    if k + DEVICE_SPARE > n // 4:
        X = _nothing(xp, W)
    elif not k + SPARE <= X.shape[1] < n:
        i = xp.arange(1.0, n + 1)[:, None]
        X = xp.cos(0.7 * i * i * xp.arange(1.0, k + DEVICE_SPARE + 1))  # without a structure that W could have, too
        X = xp.linalg.qr(xp.concatenate([P @ X[:, :k], nearest.T @ (nearest @ X[:, k:])], axis=1))[0]
    return Clipped((nearest * max_norm).astype(W.dtype), max_norm, X, max_norm)


def _clip(W: Array, V: Array, BV: Array, squares: Array, max_norm: float) -> Array:
    """Return ``W - W V (1 - 1/S) V^T``."""
    if not squares.size:
        return W
    return (W - (max_norm * BV * (1 - squares**-0.5)) @ V.T).astype(W.dtype)


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
    return scale * together(float(np.linalg.eigvalsh(to_numpy(T))[-1]), residual, rest)


def _worth_keeping(values: np.ndarray, k: int) -> int:
    """Return for how many vectors the next step has the least to do, if k values are clipped; 0 if it is too much."""
    m = np.arange(k + SPARE, len(values) // 4)
    if not m.size:
        return 0
    work = (m + START) * math.log(GAIN) / np.maximum(growth(values[m - 1]), 1e-9)
    best = int(work.argmin())
    return int(m[best]) if k == 0 or float(work[best]) <= WORK * len(values) else 0  # 0 to clip: no filter is needed
