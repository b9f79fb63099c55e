"""Clipping by products against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from rnnlab.optim.newton_schulz import clip_by_products

SPECTRA = {
    "near the limit": lambda k: 1 + 1e-3 * np.linspace(-1, 1, k),
    "at the limit": np.ones,
    "on both sides of it": lambda k: 1 + np.r_[np.geomspace(1e-9, 1, k // 2), -np.geomspace(1e-9, 0.9, k - k // 2)],
    "wide": lambda k: np.geomspace(1e-6, 30, k),
    "below it, singular": lambda k: np.linspace(0, 0.5, k),
    "one above": lambda k: np.r_[1.5, np.full(k - 1, 0.3)],
    "zero": np.zeros,
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("shape", [(5, 5), (40, 40), (64, 17), (17, 64), (150, 100)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 4e-6), ("d", 1e-8)])
@pytest.mark.parametrize("limit", [1.0, 1.8])
def test_the_nearest_matrix_within_the_limit(spectrum, shape, dtype, tolerance, limit):
    rng = np.random.default_rng(0)
    k = min(shape)
    U, V = (np.linalg.qr(rng.standard_normal((n, k)))[0] for n in shape)
    s = limit * SPECTRA[spectrum](k)
    clipped = clip_by_products(((U * s) @ V.T).astype(dtype), limit)
    assert clipped.dtype == np.dtype(dtype)
    error = np.linalg.norm(clipped - (U * np.minimum(s, limit)) @ V.T, 2)
    assert error <= tolerance * max(limit, s.max())
