"""The nearest matrix with no singular value above a limit, by matrix products only: what a GPU is best at.

Let ``B = W / max_norm = U S V^T`` and let ``O = U f(S) V^T``, where ``0 <= f <= 1`` and ``f(s) = 1`` for ``s >= 1``.
Then ``A = O^T B - I = V (f(S) S - 1) V^T`` is symmetric, negative exactly where s < 1, and::

    clip(B) = (O + B - (B - O) sign(A)) / 2

For where s < 1 this is ``(f + s + s - f) / 2 = s``, whatever f is there, and elsewhere ``(1 + s - s + 1) / 2 = 1``.
Near s = 1, where no iteration finds the sign, ``B - O`` is small. O and the sign come from the Newton-Schulz
iteration ``X = (3 r X - r^3 X X^T X) / 2``, r being the scaling that is best for what lies between a lower bound and 1.

The number of products is fixed and no value is read on the host, so that a step with them can be captured.
"""

from __future__ import annotations

from typing import Any

from rnnlab.backend import Array, namespace
from rnnlab.kernels import product

__all__ = ["clip_by_products"]

POLAR_STEPS = 16  # for norms up to 1e4 times the limit
SIGN_STEPS = 28
STABLE = 1.69770248526  # the largest r: with more, values of 1 would become too small to keep their digits
SIGN_LOW = 1e-9  # of the largest: nearer to the limit than that, a singular value may stay where it is


def clip_by_products(W: Array, max_norm: float) -> Array:
    """Return the nearest matrix with no singular value above a limit.

    Parameters
    ----------
    W : Array, shape (M, K)
        Real. One that is not finite gives one that is not finite.
    max_norm : float
        Positive.

    Returns
    -------
    Array, shape (M, K)

    Notes
    -----
    The error is at most about 1e-8 of the norm of W in float64 and 4e-6 of it in float32. It takes 93 products, more
    than a training step has: it is for a first projection, not for every step. For that, `rnnlab.optim.spectral`
    needs few products where little has changed since the step before.

    References
    ----------
    J. Chen, E. Chow, A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian
    matrix, Argonne National Laboratory, 2014.
    """
    if W.shape[0] < W.shape[1]:
        return clip_by_products(W.T, max_norm).T
    xp = namespace(W=W)
    one = xp.eye(W.shape[1], dtype=W.dtype)
    B = W / W.dtype.type(max_norm)
    norm = _norm_bound(xp, B)
    low = xp.minimum(1 / norm, xp.ones_like(norm))
    O = _newton_schulz(xp, B / norm, one, low, POLAR_STEPS)
    A = product(xp, O.T, B) - one
    A = (A + A.T) / (2 * xp.maximum(norm, xp.ones_like(norm)))
    sign = _newton_schulz(xp, A, one, xp.full_like(norm, SIGN_LOW), SIGN_STEPS)
    clipped: Array = (O + B - product(xp, B - O, sign)) * W.dtype.type(0.5 * max_norm)
    return clipped


def _norm_bound(xp: Any, B: Array) -> Array:
    """Return at least ``||B||_2``, and at most ``K^(1/16)`` times that: ``||(B^T B)^4||_F^(1/8)``."""
    size = xp.sqrt((B * B).sum())
    size = size + xp.where(size == 0, xp.ones_like(size), xp.zeros_like(size))
    B = B / size  # so that no power overflows
    G = product(xp, B.T, B)
    for _ in range(2):
        G = product(xp, G, G)
    slack = 1 + 1e-4  # more than rounding takes away
    return size * xp.maximum(xp.sqrt(xp.sqrt(xp.sqrt(xp.sqrt((G * G).sum())))), xp.full_like(size, 1e-4)) * slack


def _newton_schulz(xp: Any, X: Array, one: Array, low: Array, steps: int) -> Array:
    """Take the singular values of X, at most 1, to 1 where they are at least ``low``, and elsewhere to at most 1."""
    for _ in range(steps):
        r = xp.minimum(xp.sqrt(3 / (1 + low + low * low)), xp.full_like(low, STABLE))
        X = product(xp, X, 1.5 * r * one - 0.5 * r**3 * product(xp, X.T, X))
        low = xp.minimum(0.5 * r * xp.minimum(low * (3 - r * r * low * low), 3 - r * r), xp.full_like(low, 1))
    return X
