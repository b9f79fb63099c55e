"""Spectral projection (Kanai et al. 2017): exact, and no decomposition where none is needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import optim
from rnnlab.optim import projection
from rnnlab.optim.projection import clip_singular_values

seeds = st.integers(0, 2**32 - 1)


def by_full_svd(W, max_norm):
    """The paper's three steps, in float64."""
    U, s, Vt = np.linalg.svd(W.astype(float), full_matrices=False)
    return U @ np.diag(np.minimum(s, max_norm)) @ Vt


def with_singular_values(rng, values):
    """A square matrix of random singular vectors."""
    n = len(values)
    U, V = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    return U @ np.diag(values) @ V.T


@given(seeds, st.integers(1, 8), st.integers(1, 8), st.floats(-6, 6), st.sampled_from([np.float32, np.float64]))
def test_it_is_the_clipping_by_a_full_svd(seed, rows, columns, scale, dtype):
    W = (10.0**scale * np.random.default_rng(seed).normal(size=(rows, columns))).astype(dtype)
    for bound in (10.0**scale, 0.3 * 10.0**scale, 1.0):
        clipped, largest = clip_singular_values(W, bound)
        digits = 1e-6 if dtype == np.float32 else 1e-8
        expected = by_full_svd(W, bound)
        assert clipped.dtype == dtype
        assert np.linalg.norm(clipped - expected) <= digits * np.linalg.norm(expected)
        assert np.linalg.norm(clipped.astype(float), 2) <= bound * (1 + digits)
        assert largest == pytest.approx(np.linalg.norm(W.astype(float), 2), rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        [3.0, 3.0, 3.0, 1.0, 0.5, 0.0],  # repeated
        [2.0, 1.8, 1.8 - 1e-12, 1.8 + 1e-12, 1.0, 0.1],  # at the bound
        [1e6, 1.9, 1.0, 1e-3, 1e-6, 0.0],  # far apart
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # orthogonal: nothing to clip
        [5.0, 5.0, 5.0, 5.0, 5.0, 5.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ],
)
def test_repeated_gapped_and_borderline_singular_values(values):
    W = with_singular_values(np.random.default_rng(0), values)
    clipped, _ = clip_singular_values(W, 1.8)
    np.testing.assert_allclose(clipped, by_full_svd(W, 1.8), rtol=0, atol=1e-15 * (1 + max(values)) * 10)
    again, _ = clip_singular_values(clipped, 1.8)
    np.testing.assert_allclose(again, clipped, rtol=0, atol=1e-15 * (1 + max(values)) * 10)


@pytest.mark.parametrize("largest", [2.0, 5.0, 15.0, 1e2, 1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_explosion_leaves_the_small_singular_values_as_they_are(largest, dtype):
    values = [largest, *np.linspace(1.9, 0.1, 39)]
    W = with_singular_values(np.random.default_rng(0), values).astype(dtype)
    clipped, _ = clip_singular_values(W, 1.8)
    expected = by_full_svd(W, 1.8)
    assert clipped.dtype == dtype
    assert np.linalg.norm(clipped - expected) <= 1e-6 * np.linalg.norm(expected)
    assert np.linalg.norm(clipped.astype(float), 2) <= 1.8 * (1 + 1e-6)


def test_the_bound_holds_where_no_dtype_has_digits_enough():
    W = with_singular_values(np.random.default_rng(0), [1e15, 1e3, 1.7, 1.0, 0.5, 0.0])
    assert np.linalg.norm(clip_singular_values(W, 1.8)[0], 2) <= 1.8 * (1 + 1e-6)


def test_the_candidate_block_alone_is_projected():
    params = rl.GRU(3, 6).init(np.random.default_rng(0))
    params["weight_hh"] *= 2.5
    optimizer = optim.chain(optim.sgd(0.1), optim.project_spectral_norm(1.8, only="weight_hn"))
    new, _ = optimizer.step(params, {name: 0 * w for name, w in params.items()}, optimizer.init(params))
    np.testing.assert_array_equal(new["weight_hh"][:12], params["weight_hh"][:12])
    np.testing.assert_allclose(new["weight_hh"][12:], by_full_svd(params["weight_hh"][12:], 1.8), atol=1e-14)
    np.testing.assert_array_equal(new["weight_ih"], params["weight_ih"])
    assert np.linalg.norm(params["weight_hh"], 2) > 2  # the caller's array is as it was


@pytest.mark.parametrize(
    ("pattern", "projected"),
    [
        ("weight_hn", {"layer0", "layer2"}),
        ("layer2.weight_hn", {"layer2"}),
        ("*.weight_hn", {"layer0", "layer2"}),
        ("weight_hh", {"layer0", "layer1", "layer2"}),
        ("layer1.*_hh", {"layer1"}),
    ],
)
def test_patterns_of_a_stack(pattern, projected):
    layer = rl.Stacked([rl.GRU(3, 4), rl.LSTM(4, 5), rl.GRU(5, 4)])
    params = layer.init(np.random.default_rng(0))
    grads = rl.backend.tree_map(np.zeros_like, params)
    optimizer = optim.chain(optim.sgd(1.0), optim.project_spectral_norm(0.5, only=pattern))
    new, _ = optimizer.step(params, grads, optimizer.init(params))
    changed = {name for name in params if not np.array_equal(new[name]["weight_hh"], params[name]["weight_hh"])}
    assert changed == projected


@pytest.mark.parametrize(
    ("layer", "pattern", "words"),
    [
        (rl.LSTM(2, 3), "weight_hn", "only must name a parameter, one of weight_ih, weight_hh, bias; got 'weight_hn'"),
        (rl.RNN(2, 3), "weight_hn", "got 'weight_hn'"),
        (rl.GRU(2, 3), "weight_xx", "one of .*weight_hh, bias, bias_hn, weight_hn; got 'weight_xx'"),
        (rl.GRU(2, 3), "bias", r"only must name matrices; got 'bias', which means bias of shape \(9,\)"),
    ],
)
def test_a_pattern_that_means_no_matrix_is_refused(layer, pattern, words):
    optimizer = optim.chain(optim.sgd(1.0), optim.project_spectral_norm(0.5, only=pattern))
    with pytest.raises(ValueError, match=words):
        optimizer.init(layer.init(np.random.default_rng(0)))


def test_a_matrix_that_is_not_finite_raises():
    optimizer = optim.chain(optim.sgd(1e300), optim.project_spectral_norm(1.0, only="w"))
    params = {"w": np.eye(3)}
    opt_state, zero = optimizer.init(params), {"w": np.zeros((3, 3))}
    for known in (opt_state, optimizer.step(params, zero, opt_state)[1]):
        with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="^w must be finite to be projected"):
            optimizer.step(params, {"w": np.full((3, 3), 1e200)}, known)


@pytest.fixture
def decompositions(monkeypatch):
    """How often a matrix was decomposed."""
    count = []
    real = projection.clip_singular_values
    monkeypatch.setattr(projection, "clip_singular_values", lambda *a: count.append(1) or real(*a))
    return count


@given(seeds, st.floats(0.01, 0.3))
def test_the_bound_holds_at_every_step_of_a_training(seed, rate):
    rng = np.random.default_rng(seed)
    params = {"w": with_singular_values(rng, [1.0, 0.9, 0.5, 0.1])}
    optimizer = optim.chain(optim.sgd(rate), optim.project_spectral_norm(1.2, only="w"))
    opt_state = optimizer.init(params)
    for _ in range(30):
        g = rng.normal(size=(4, 4))
        expected = by_full_svd(params["w"] - rate * g, 1.2)
        params, opt_state = optimizer.step(params, {"w": g}, opt_state)
        np.testing.assert_allclose(params["w"], expected, atol=1e-13)


def test_small_steps_far_from_the_bound_need_no_decomposition(decompositions):
    rng = np.random.default_rng(0)
    params = {"w": with_singular_values(rng, [1.0, 0.9, 0.5, 0.1])}
    optimizer = optim.chain(optim.sgd(1e-3), optim.project_spectral_norm(1.8, only="w"))
    opt_state = optimizer.init(params)
    for _ in range(100):
        params, opt_state = optimizer.step(params, {"w": rng.normal(size=(4, 4))}, opt_state)
    assert len(decompositions) == 1


def test_the_bound_holds_for_parameters_that_came_from_elsewhere(decompositions):
    optimizer = optim.chain(optim.sgd(0.1), optim.project_spectral_norm(1.0, only="w"))
    _, opt_state = optimizer.step({"w": 0.1 * np.eye(3)}, {"w": np.zeros((3, 3))}, optimizer.init({"w": np.eye(3)}))
    new, _ = optimizer.step({"w": 7 * np.eye(3)}, {"w": np.zeros((3, 3))}, opt_state)
    np.testing.assert_allclose(new["w"], np.eye(3), atol=1e-14)
    assert len(decompositions) == 2


def test_the_bound_holds_when_the_parameters_are_changed_in_place():
    optimizer = optim.chain(optim.sgd(0.1), optim.project_spectral_norm(1.0, only="w"))
    zero = {"w": np.zeros((3, 3))}
    params, opt_state = optimizer.step({"w": 0.1 * np.eye(3)}, zero, optimizer.init(zero))
    params["w"] *= 70
    np.testing.assert_allclose(optimizer.step(params, zero, opt_state)[0]["w"], np.eye(3), atol=1e-14)
