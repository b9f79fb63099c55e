"""Instruments: spectra, blocks of gates, gradients through time, Jacobians, gates, statistics of weights."""

import numpy as np
import pytest
from cases import LAYERS
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import dynamics
from rnnlab.backend import tree_items, tree_map

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


# ------------------------------------------------------------------------------- the Jacobian of one step


@pytest.mark.parametrize("name", ["rnn", "rnn-sigmoid", "lstm", "gru-after", "gru-before", "stacked"])
def test_the_jacobian_is_what_central_differences_give(name):
    rng = np.random.default_rng(6)
    layer = LAYERS[name](2, 3)
    params = tree_map(lambda p: p + 0.3 * rng.normal(size=p.shape), layer.init(rng))
    x = rng.normal(size=(2, 2))
    state = tree_map(lambda s: 0.5 * rng.normal(size=s.shape), layer.forward(params, x[None])[1])
    J = dynamics.state_jacobian(layer, params, x, state)

    def after(shift):
        moved = [shift]

        def move(s):
            piece, moved[0] = moved[0][:, : s.shape[1]], moved[0][:, s.shape[1] :]
            return s + piece

        _, final, _ = layer.forward(params, x[None], tree_map(move, state))
        return np.concatenate([s for _, s in tree_items(final)], axis=1)

    S = J.shape[1]
    assert J.shape == (2, S, S)
    for b in range(S):
        step = np.zeros((2, S))
        step[:, b] = 1e-6
        np.testing.assert_allclose(J[:, :, b], (after(step) - after(-step)) / 2e-6, atol=1e-8)


def test_products_of_jacobians_are_the_gradient_through_time():
    rng = np.random.default_rng(7)
    layer = rl.LSTM(2, 3)
    params, x = layer.init(rng), rng.normal(size=(4, 2, 2))
    state, jacobians = None, []
    for step in x:
        jacobians.append(dynamics.state_jacobian(layer, params, step, state))
        _, state, _ = layer.forward(params, step[None], state)
    norms = dynamics.gradient_norm_through_time(layer, params, x, np.random.default_rng(1))
    carried = np.concatenate([directions(1, 2, 3), np.zeros((2, 3))], axis=1)
    for k in range(1, 4):
        carried = np.einsum("na,nab->nb", carried, jacobians[-k])
        np.testing.assert_allclose(norms[k], np.linalg.norm(carried, axis=1).mean(), rtol=1e-12)


# ------------------------------------------------------------------------------- gates

CELLS = ["rnn", "rnn-sigmoid", "rnn-nobias", "lstm", "lstm-nobias", "gru-after", "gru-after-nobias", "gru-before"]


def with_lengths(layer, seed, given_state=True):
    rng = np.random.default_rng(seed)
    params = tree_map(lambda p: p + 0.7 * rng.normal(size=p.shape), layer.init(rng))
    x, lengths = rng.normal(size=(6, 4, 2)), np.array([6, 3, 0, 1])
    state = tree_map(lambda s: rng.normal(size=s.shape), layer.forward(params, x)[1]) if given_state else None
    return params, x, state, lengths


@pytest.mark.parametrize("name", [*CELLS, "gru-before-nobias"])
@pytest.mark.parametrize("given_state", [False, True])
def test_the_cells_equations_rebuild_the_output_from_the_gates(name, given_state):
    layer = LAYERS[name](2, 3)
    params, x, state, lengths = with_lengths(layer, 8, given_state)
    y, final, _ = layer.forward(params, x, state, lengths)
    gates = dynamics.gate_values(layer, params, x, state, lengths)
    assert tuple(gates) == layer.cell.gates
    parts = state if isinstance(state, tuple) else (state,)
    h, c = parts[0] if given_state else 0.0, parts[-1] if given_state else 0.0
    for t in range(len(x)):
        now = {gate: values[t] for gate, values in gates.items()}
        if "o" in now:
            c = now["f"] * c + now["i"] * now["g"]
            h = now["o"] * np.tanh(c)
        elif "z" in now:
            h = (1 - now["z"]) * now["n"] + now["z"] * h
        else:
            h = now["h"]
        valid = t < lengths
        np.testing.assert_allclose(h[valid], y[t][valid], rtol=1e-12)
        assert all((values[~valid] == 0).all() for values in now.values())


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_grus_candidate_is_that_of_its_variant(reset):
    layer = rl.GRU(2, 3, reset=reset)
    params, x, state, _ = with_lengths(layer, 9)
    r, n = (dynamics.gate_values(layer, params, x[:1], state)[name][0] for name in "rn")
    W_in, W_hn = params["weight_ih"][6:], params["weight_hh"][6:]
    a = x[0] @ W_in.T + params["bias"][6:]
    u = r * (state @ W_hn.T + params["bias_hn"]) if reset == "after" else (r * state) @ W_hn.T
    np.testing.assert_allclose(n, np.tanh(a + u), rtol=1e-12)


def test_gates_of_combinations_are_named_by_their_path_and_are_those_of_their_parts():
    layer = LAYERS["mix"](2, 3)
    params, x, state, lengths = with_lengths(layer, 10)
    gates = dynamics.gate_values(layer, params, x, state, lengths)
    assert list(gates) == [
        *["layer0.forward.h", "layer0.backward.r", "layer0.backward.z", "layer0.backward.n"],
        *["layer1.forward.i", "layer1.forward.f", "layer1.forward.g", "layer1.forward.o", "layer1.backward.h"],
    ]
    below, above = layer.layers
    y, _, _ = below.forward(params["layer0"], x, state[0], lengths)
    ahead = dynamics.gate_values(above.forward_layer, params["layer1"]["forward"], y, state[1][0], lengths)
    np.testing.assert_array_equal(gates["layer1.forward.f"], ahead["f"])
    # An RNN's only gate is its output, so the backward one's must be the second half of y, at the same places.
    y, _, _ = above.forward(params["layer1"], y, state[1], lengths)
    np.testing.assert_array_equal(gates["layer1.backward.h"], y[:, :, 2:])


def test_saturation_counts_the_valid_values_at_either_end():
    layer = rl.RNN(1, 2)
    params = {"weight_ih": np.eye(2)[:, :1], "weight_hh": np.zeros((2, 2)), "bias": np.array([0.0, -3.0])}
    x = np.arctanh(np.array([[0.95, -0.95], [0.89, 0.99], [0.3, 0.0]]))[:, :, None]
    np.testing.assert_allclose(dynamics.gate_saturation(layer, params, x)["h"], (7 / 12, 2 / 12), rtol=1e-15)
    # without the last step of the first sequence and all of the second: 0.95, 0.89 and twice -0.995
    short = dynamics.gate_saturation(layer, params, x, lengths=[2, 0])["h"]
    np.testing.assert_allclose(short, (1 / 2, 1 / 4), rtol=1e-15)
    assert np.isnan(dynamics.gate_saturation(layer, params, x, lengths=[0, 0])["h"]).all()


def test_the_saturation_of_a_gate_between_0_and_1_begins_at_a_tenth():
    layer = rl.LSTM(1, 1)
    logit = {p: np.log(p / (1 - p)) for p in (0.05, 0.15, 0.85, 0.95)}
    params = {"weight_ih": np.zeros((4, 1)), "weight_hh": np.zeros((4, 1)), "bias": np.zeros(4)}
    params["bias"][:] = logit[0.05], logit[0.15], np.arctanh(-0.85), logit[0.95]
    found = dynamics.gate_saturation(layer, params, np.zeros((3, 2, 1)))
    assert found == {"i": (1, 0), "f": (0, 0), "g": (0, 0), "o": (0, 1)}
    params["bias"][:] = logit[0.85], logit[0.05], np.arctanh(-0.95), logit[0.15]
    found = dynamics.gate_saturation(layer, params, np.zeros((3, 2, 1)))
    assert found == {"i": (0, 0), "f": (1, 0), "g": (1, 0), "o": (0, 0)}
    assert found["g"].low == 1.0


def test_a_relu_has_no_saturation():
    layer = rl.RNN(2, 3, activation="relu")
    with pytest.raises(ValueError, match="activation 'sigmoid' or 'tanh'; got 'relu' for 'h'"):
        dynamics.gate_saturation(layer, layer.init(np.random.default_rng(0)), np.zeros((3, 2, 2)))


# ------------------------------------------------------------------------------- weights


@given(seeds, st.integers(2, 50), st.sampled_from(["f4", "f8"]))
def test_the_statistics_are_the_moments_written_out_element_by_element(seed, size, dtype):
    array = np.random.default_rng(seed).gamma(2.0, size=size).astype(dtype) - 1
    w = [float(v) for v in array]
    mean = sum(w) / size
    moment = {k: sum((v - mean) ** k for v in w) / size for k in (2, 3, 4)}
    std = moment[2] ** 0.5
    expected = mean, std, moment[3] / std**3, moment[4] / std**4 - 3
    found = dynamics.weight_statistics(array.reshape(1, -1, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.std == found[1] and all(type(value) is float for value in found)


def test_the_statistics_of_known_distributions():
    rng = np.random.default_rng(11)
    np.testing.assert_allclose(dynamics.weight_statistics(rng.normal(3, 2, 400_000)), (3, 2, 0, 0), atol=0.03)
    np.testing.assert_allclose(dynamics.weight_statistics(rng.random(400_000)), (0.5, 12**-0.5, 0, -1.2), atol=0.02)
    np.testing.assert_allclose(dynamics.weight_statistics(rng.exponential(size=400_000)), (1, 1, 2, 6), rtol=0.1)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_the_statistics_are_free_of_overflow_and_of_the_unit(scale):
    mean, std, skewness, kurtosis = dynamics.weight_statistics(scale * np.array([0.0, 0.0, 0.0, 4.0]))
    np.testing.assert_allclose([mean / scale, std / scale, skewness, kurtosis], [1, 3**0.5, 2 / 3**0.5, -2 / 3])
    small = dynamics.update_ratio(scale * np.array([3.0, 4.0]), scale * np.array([3.0, 6.5]))
    np.testing.assert_allclose(small, 0.5, rtol=1e-12)


def test_equal_elements_have_no_shape_and_wrong_ones_no_statistics():
    mean, std, skewness, kurtosis = dynamics.weight_statistics(np.full((3, 7), 0.1))
    assert (mean, std) == (pytest.approx(0.1, rel=1e-15), 0.0) and np.isnan([skewness, kurtosis]).all()
    assert dynamics.weight_statistics(np.zeros(4))[:2] == (0, 0)
    for array in (np.array([1.0, np.nan]), np.array([1.0, -np.inf]), np.zeros(0)):
        assert np.isnan(dynamics.weight_statistics(array)).all()


def test_the_update_ratio_of_what_does_not_move_and_of_what_comes_from_zero():
    w = np.array([[1.0, -2.0], [0.0, 2.0]])
    kept = w.copy()
    assert dynamics.update_ratio(w, w) == 0 == dynamics.update_ratio(np.zeros(2), np.zeros(2))
    assert dynamics.update_ratio(np.zeros(2), np.ones(2)) == np.inf
    assert dynamics.update_ratio(w, -w) == 2
    assert np.isnan(dynamics.update_ratio(w, np.where(w > 1, np.nan, w)))
    assert np.isnan(dynamics.update_ratio(w, w + np.inf))
    np.testing.assert_array_equal(w, kept)
    tiny = np.float32([1.0, 1.0]), np.float32([1.0, 1.0 + 1e-7])
    np.testing.assert_allclose(dynamics.update_ratio(*tiny), 2**-23 / 2**0.5, rtol=1e-12)
