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

import numpy as np

from rnnlab.backend import Array, namespace
from rnnlab.kernels import product

__all__ = ["nearest_within", "norm_by_products"]

POLAR_STEPS = 16  # for norms up to 1e4 times the limit
SIGN_STEPS = 28
STABLE = 1.69770248526  # the largest r: with more, values of 1 would become too small to keep their digits
SIGN_LOW = 1e-9  # of the largest: nearer to the limit than that, a singular value may stay where it is
SQUARINGS = 10  # of G, for a norm that is at most K^(1/4096) too large: 0.2 % with K = 1500
SLACK = 1 + 1e-4  # more than rounding takes away


def nearest_within(B: Array) -> tuple[Array, Array]:
    """Return the nearest matrix with no singular value above 1, and ``V V^T`` of the right vectors V of those above.

    Parameters
    ----------
    B : Array, shape (M, K)
        Real, with ``M >= K``; what is not finite gives what is not finite.

    Returns
    -------
    nearest : Array, shape (M, K)
    projector : Array, shape (K, K)
        Its trace is how many values were clipped; one within 1e-9 of 1 may count in part.

    Notes
    -----
    The error is about 1e-8 of the norm of B in float64, and 4e-6 of it in float32. It takes 93 products, more than a
    training step has: it is for a first projection, or where very many values are clipped.

    References
    ----------
    J. Chen, E. Chow, A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian
    matrix, Argonne National Laboratory, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> nearest, projector = nearest_within(np.diag([3.0, 0.5]))
    >>> nearest.round(6), round(float(np.trace(projector)), 6)
    (array([[1. , 0. ],
           [0. , 0.5]]), 1.0)
    """
    xp = namespace(B=B)
    one = xp.eye(B.shape[1], dtype=B.dtype)
    norm = _rough_norm(xp, B)
    low = xp.minimum(1 / norm, xp.ones_like(norm))
    O = _newton_schulz(xp, B / norm, one, low, POLAR_STEPS)
    A = product(xp, O.T, B) - one
    A = (A + A.T) / (2 * xp.maximum(norm, xp.ones_like(norm)))
    sign = _newton_schulz(xp, A, one, xp.full_like(norm, SIGN_LOW), SIGN_STEPS)
    return (O + B - product(xp, B - O, sign)) / 2, (one + sign) / 2


def norm_by_products(G: Array) -> Array:
    """Return at least ``||G||_2`` of a symmetric matrix, and at most ``K^(1/2048)`` times that, as an array of no axes.

    ``||G||^p = ||G^p|| <= ||G^p||_F`` with ``p = 2^SQUARINGS``; what is squared is divided by its norm first.

    Parameters
    ----------
    G : Array, shape (K, K)

    Returns
    -------
    Array, shape ()

    Examples
    --------
    >>> import numpy as np
    >>> round(float(norm_by_products(np.diag([-2.0, 1.9, 0.0]))), 3)
    2.0
    """
    xp, share = namespace(G=G), 1.0
    bound = xp.full_like(G[0, 0], SLACK)
    for _ in range(SQUARINGS):
        size = _frobenius(xp, G)
        G = G / size
        G, bound, share = product(xp, G, G), bound * size**share, share / 2
    return bound * _frobenius(xp, G) ** share


def _frobenius(xp: Any, G: Array) -> Array:
    """Return ``||G||_F``, or next to nothing if that is 0."""
    return xp.maximum(xp.sqrt((G * G).sum()), np.finfo(G.dtype).tiny)


def _rough_norm(xp: Any, B: Array) -> Array:
    """Return at least ``||B||_2``, and at most ``K^(1/16)`` times that: ``||(B^T B)^4||_F^(1/8)``."""
    size = xp.sqrt((B * B).sum())
    size = size + xp.where(size == 0, xp.ones_like(size), xp.zeros_like(size))
    B = B / size  # so that no power overflows
    G = product(xp, B.T, B)
    for _ in range(2):
        G = product(xp, G, G)
    return size * xp.maximum(xp.sqrt(xp.sqrt(xp.sqrt(xp.sqrt((G * G).sum())))), xp.full_like(size, 1e-4)) * SLACK


def _newton_schulz(xp: Any, X: Array, one: Array, low: Array, steps: int) -> Array:
    """Take the singular values of X, at most 1, to 1 where they are at least ``low``, and elsewhere to at most 1."""
    for _ in range(steps):
        r = xp.minimum(xp.sqrt(3 / (1 + low + low * low)), xp.full_like(low, STABLE))
        X = product(xp, X, 1.5 * r * one - 0.5 * r**3 * product(xp, X.T, X))
        low = xp.minimum(0.5 * r * xp.minimum(low * (3 - r * r * low * low), 3 - r * r), xp.full_like(low, 1))
    return X
