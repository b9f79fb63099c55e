"""The nearest matrix within a limit, and a norm, by products: against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from rnnlab.optim import newton_schulz
from rnnlab.optim.newton_schulz import nearest_within, norm_by_products

SPECTRA = {
    "near the limit": lambda k: 1 + 1e-3 * np.linspace(-1, 1, k),
    "at the limit": np.ones,
    "on both sides of it": lambda k: 1 + np.r_[np.geomspace(1e-9, 1, k // 2), -np.geomspace(1e-9, 0.9, k - k // 2)],
    "wide": lambda k: np.geomspace(1e-6, 30, k),
    "below it, singular": lambda k: np.linspace(0, 0.5, k),
    "one above": lambda k: np.r_[1.5, np.full(k - 1, 0.3)],
    "one far above": lambda k: np.r_[1e3, np.full(k - 1, 0.3)],
    "zero": np.zeros,
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("shape", [(5, 5), (40, 40), (64, 17), (150, 100)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 4e-6), ("d", 1e-8)])
def test_the_nearest_matrix_within_the_limit(spectrum, shape, dtype, tolerance):
    rng = np.random.default_rng(0)
    k = min(shape)
    U, V = (np.linalg.qr(rng.standard_normal((n, k)))[0] for n in shape)
    s = SPECTRA[spectrum](k)
    nearest, projector = nearest_within(((U * s) @ V.T).astype(dtype))
    assert nearest.dtype == projector.dtype == np.dtype(dtype)
    error = np.linalg.norm(nearest - (U * np.minimum(s, 1)) @ V.T, 2)
    assert error <= tolerance * max(1, s.max())
    clear = np.abs(s - 1) > 1e-4
    if clear.all() and dtype == "d":
        np.testing.assert_allclose(projector, (V * (s > 1)) @ V.T, atol=1e-7)


def test_how_many_products_it_takes(monkeypatch):
    counted, real = [], newton_schulz.product
    monkeypatch.setattr(newton_schulz, "product", lambda *given: counted.append(1) or real(*given))
    nearest_within(np.eye(4))
    assert len(counted) == 93
    counted.clear()
    norm_by_products(np.eye(4))
    assert len(counted) == 10
