"""Instruments: spectra against NumPy and known answers, gates' blocks, gradients through time."""

import numpy as np
import pytest
from cases import LAYERS
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import dynamics
from rnnlab.backend import tree_map

seeds = st.integers(0, 2**32 - 1)


# ------------------------------------------------------------------------------- spectra


@given(seeds, st.integers(1, 6), st.integers(1, 6), st.sampled_from(["f4", "f8"]))
def test_the_spectral_norm_is_the_largest_singular_value(seed, M, K, dtype):
    matrix = np.random.default_rng(seed).normal(size=(M, K)).astype(dtype)
    found = dynamics.spectral_norm(matrix)
    assert type(found) is float
    expected = np.linalg.svd(matrix.astype(float), compute_uv=False)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "f4" else 1e-12)


@given(seeds, st.integers(1, 6))
def test_the_spectral_radius_is_what_powers_of_the_matrix_grow_by_and_at_most_the_norm(seed, M):
    matrix = np.random.default_rng(seed).normal(size=(M, M))
    radius = dynamics.spectral_radius(matrix)
    assert type(radius) is float
    np.testing.assert_allclose(radius, np.abs(np.linalg.eigvals(matrix)).max(), rtol=1e-12)
    assert radius <= dynamics.spectral_norm(matrix) * (1 + 1e-12)
    similar = np.diag(np.arange(1.0, M + 1))
    np.testing.assert_allclose(dynamics.spectral_radius(similar @ matrix @ np.linalg.inv(similar)), radius, rtol=1e-6)


def test_spectra_with_known_answers():
    turn = 0.9 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])  # a complex pair
    np.testing.assert_allclose([dynamics.spectral_radius(turn), dynamics.spectral_norm(turn)], 0.9, rtol=1e-14)
    shear = np.array([[0.5, 100.0], [0.0, -0.6]])
    np.testing.assert_allclose(dynamics.spectral_radius(shear), 0.6, rtol=1e-14)
    assert dynamics.spectral_norm(shear) > 100
    assert dynamics.spectral_norm(np.zeros((3, 2))) == 0 == dynamics.spectral_radius(np.zeros((3, 3)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_spectra_of_a_matrix_that_is_not_finite_are_nan(wrong):
    matrix = np.eye(3)
    matrix[1, 2] = wrong
    assert np.isnan(dynamics.spectral_norm(matrix)) and np.isnan(dynamics.spectral_radius(matrix))


# ------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("make", [rl.RNN, rl.GRU, rl.LSTM], ids=["rnn", "gru", "lstm"])
@pytest.mark.parametrize("H", [1, 3, 4])
def test_the_blocks_are_views_named_like_the_cells_gates_in_their_order(make, H):
    layer = make(2, H)
    weight_hh = layer.init(np.random.default_rng(0))["weight_hh"]
    blocks = dynamics.recurrent_blocks(weight_hh)
    assert tuple(blocks) == layer.cell.gates
    np.testing.assert_array_equal(np.concatenate(list(blocks.values())), weight_hh)
    for block in blocks.values():
        assert block.shape == (H, H) and np.shares_memory(block, weight_hh)


@pytest.mark.parametrize("shape", [(2, 1), (10, 5), (7, 3), (13, 4), (15, 3), (3, 4)])
def test_a_matrix_of_no_cell_is_refused(shape):
    message = rf"weight_hh must have shape \(H, H\), \(3H, H\) or \(4H, H\); got \({shape[0]}, {shape[1]}\)"
    with pytest.raises(ValueError, match=message):
        dynamics.recurrent_blocks(np.zeros(shape))


# ------------------------------------------------------------------------------- gradients through time


def linear_rnn(weight_hh, rng, T, N):
    """An RNN that stays where relu is the identity, its parameters and an input."""
    H = weight_hh.shape[0]
    layer = rl.RNN(2, H, activation="relu")
    params = {"weight_ih": rng.random((H, 2)), "weight_hh": weight_hh, "bias": rng.random(H) + 0.1}
    return layer, params, rng.random((T, N, 2))


def directions(seed, N, H):
    """The unit vectors that a generator of that seed gives."""
    v = np.random.default_rng(seed).normal(size=(N, H))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3])
def test_through_a_scaled_identity_and_a_scaled_permutation_the_norm_is_a_power_of_the_scale(scale):
    rng = np.random.default_rng(0)
    for matrix in (np.eye(4), np.eye(4)[[1, 2, 3, 0]]):
        layer, params, x = linear_rnn(scale * matrix, rng, 7, 3)
        norms = dynamics.gradient_norm_through_time(layer, params, x, rng)
        assert norms.shape == (7,) and norms.dtype == float
        np.testing.assert_allclose(norms, scale ** np.arange(7), rtol=1e-12)


@given(seeds)
def test_through_a_linear_rnn_the_norm_is_that_of_powers_of_the_transpose(seed):
    rng = np.random.default_rng(seed)
    W = rng.random((3, 3)) / 2
    layer, params, x = linear_rnn(W, rng, 6, 4)
    norms = dynamics.gradient_norm_through_time(layer, params, x, np.random.default_rng(1))
    v = directions(1, 4, 3)
    expected = [np.linalg.norm(v @ np.linalg.matrix_power(W, k), axis=1).mean() for k in range(6)]
    np.testing.assert_allclose(norms, expected, rtol=1e-12)


def test_a_saturated_forget_gate_carries_the_cells_gradient_unchanged():
    rng = np.random.default_rng(2)
    layer = rl.LSTM(2, 3)
    params = layer.init(rng)
    params["weight_ih"][:], params["weight_hh"][:], params["bias"][3:6] = 0, 0, 50  # f = 1, i = o = 1/2, g = 0
    norms = dynamics.gradient_norm_through_time(layer, params, rng.normal(size=(5, 4, 2)), rng)
    # h = o * tanh(c) with c = 0, so dc = v / 2, and nothing else comes back.
    np.testing.assert_allclose(norms, [1, 0.5, 0.5, 0.5, 0.5], rtol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "rnn-nobias", "gru-after", "gru-before", "lstm"])
@pytest.mark.parametrize("given_state", [False, True])
def test_the_norms_are_those_of_the_whole_piece_at_once(name, given_state):
    rng = np.random.default_rng(3)
    T, N, H = 6, 3, 4
    layer = LAYERS[name](2, H)
    params = tree_map(lambda p: p + 0.3 * rng.normal(size=p.shape), layer.init(rng))
    x = rng.normal(size=(T, N, 2))
    _, start, _ = layer.forward(params, rng.normal(size=(2, N, 2)))
    start = start if given_state else None
    norms = dynamics.gradient_norm_through_time(layer, params, x, np.random.default_rng(4), start)
    assert norms[0] == 1
    for k in range(1, T):
        _, state, _ = layer.forward(params, x[: T - k], start)
        y, _, tape = layer.forward(params, x[T - k :], state)
        dy = np.zeros_like(y)
        dy[-1] = directions(4, N, H)
        _, dstate, _ = layer.backward(params, tape, dy)
        both = np.concatenate(dstate, axis=1) if isinstance(dstate, tuple) else dstate
        np.testing.assert_allclose(norms[k], np.linalg.norm(both, axis=1).mean(), rtol=1e-12)


def test_one_step_float32_and_a_stack_are_taken_and_nothing_passed_in_changes():
    rng = np.random.default_rng(5)
    layer = rl.Stacked([rl.GRU(2, 3), rl.LSTM(3, 4)])
    params = layer.init(rng, np.float32)
    x = rng.normal(size=(5, 2, 2)).astype(np.float32)
    kept_x, kept_params = x.copy(), tree_map(np.copy, params)
    norms = dynamics.gradient_norm_through_time(layer, params, x, rng)
    assert norms.shape == (5,) and norms[0] == 1 and (norms > 0).all()
    np.testing.assert_array_equal(x, kept_x)
    tree_map(np.testing.assert_array_equal, params, kept_params)
    np.testing.assert_array_equal(dynamics.gradient_norm_through_time(layer, params, x[:1], rng), [1.0])
