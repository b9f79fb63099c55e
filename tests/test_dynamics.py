"""Instruments: spectra, blocks of gates, gradients through time, Jacobians, gates, statistics of weights."""

import numpy as np
import pytest
import strict
from cases import KINKED, LAYERS
from hypothesis import given, settings
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


@given(seeds, st.integers(1, 5), st.lists(st.integers(1, 3), max_size=2), st.sampled_from(["f4", "f8"]))
def test_a_spectrum_is_sorted_has_the_determinant_as_product_and_takes_stacks(seed, M, stack, dtype):
    matrix = np.random.default_rng(seed).normal(size=(*stack, M, M)).astype(dtype)
    eigenvalues, singular_values = dynamics.spectrum(matrix)
    assert eigenvalues.shape == singular_values.shape == (*stack, M) and np.iscomplexobj(eigenvalues)
    assert (np.diff(np.abs(eigenvalues)) <= 1e-6).all() and (np.diff(singular_values) <= 0).all()
    determinant = np.linalg.det(matrix.astype(float))
    np.testing.assert_allclose(eigenvalues.prod(axis=-1), determinant, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(singular_values.prod(axis=-1), abs(determinant), rtol=1e-3, atol=1e-3)
    first = matrix.reshape(-1, M, M)[0]
    np.testing.assert_allclose(singular_values.reshape(-1, M)[0, 0], dynamics.spectral_norm(first), rtol=1e-5)
    np.testing.assert_allclose(abs(eigenvalues.reshape(-1, M)[0, 0]), dynamics.spectral_radius(first), rtol=1e-5)


def test_a_matrix_that_is_not_finite_spoils_only_its_own_spectrum():
    matrices = np.stack([np.eye(2), np.array([[1.0, np.nan], [0, 1]]), 3 * np.eye(2)])
    eigenvalues, singular_values = dynamics.spectrum(matrices)
    for found in (eigenvalues, singular_values):
        np.testing.assert_array_equal(found[[0, 2]], [[1, 1], [3, 3]])
        assert np.isnan(found[1]).all()
    with pytest.raises(ValueError, match=r"matrix must have shape \(..., M, M\); got \(2, 3\)"):
        dynamics.spectrum(np.zeros((2, 3)))


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


# ------------------------------------------------------------------------------- Jacobians by formula

FORMULAS = ["rnn", "rnn-sigmoid", "rnn-nobias", "lstm", "lstm-nobias"]
FORMULAS += ["gru-after", "gru-after-nobias", "gru-before", "gru-before-nobias"]


def drawn(make, seed, T=4, N=2, D=2, H=3, given_state=True):
    """A layer with random weights and non-zero biases, an input and an initial state."""
    rng = np.random.default_rng(seed)
    layer = make(D, H)
    params = tree_map(lambda p: p + 0.5 * rng.normal(size=p.shape), layer.init(rng))
    x = rng.normal(size=(T, N, D))
    state = tree_map(lambda s: rng.normal(size=s.shape), layer.forward(params, x)[1]) if given_state else None
    return layer, params, x, state


def jacobian_by_complex_step(layer, params, x, state):
    """Column b is the imaginary part of a step from ``state + i*1e-30*e_b``: exact to rounding, no difference taken."""
    parts = state if isinstance(state, tuple) else (state,)
    sizes = np.cumsum([s.shape[1] for s in parts])
    columns = []
    for b in range(sizes[-1]):
        moved = np.concatenate(parts, axis=1).astype(complex)
        moved[:, b] += 1e-30j
        pieces = tuple(np.split(moved, sizes[:-1], axis=1))
        _, final, _ = layer.forward(params, x[None], pieces if isinstance(state, tuple) else pieces[0])
        after = np.concatenate(final, axis=1) if isinstance(final, tuple) else final
        columns.append(after.imag / 1e-30)
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", FORMULAS)
@given(seeds)
@settings(max_examples=10)
def test_the_formulas_are_what_complex_steps_give_at_every_step(name, seed):
    layer, params, x, state = drawn(LAYERS[name], seed)
    J = dynamics.step_jacobians(layer, params, x, state)
    for t in range(len(x)):
        np.testing.assert_allclose(J[t], jacobian_by_complex_step(layer, params, x[t], state), rtol=1e-9, atol=1e-12)
        _, state, _ = layer.forward(params, x[t : t + 1], state)


@pytest.mark.parametrize("name", [*FORMULAS, *KINKED])
@pytest.mark.parametrize("given_state", [False, True])
def test_the_formulas_are_what_the_layers_own_backward_gives(name, given_state):
    layer, params, x, state = drawn({**LAYERS, **KINKED}[name], 12, given_state=given_state)
    J = dynamics.step_jacobians(layer, params, x, state)
    for t in range(len(x)):
        np.testing.assert_allclose(J[t], dynamics.state_jacobian(layer, params, x[t], state), rtol=1e-9, atol=1e-12)
        _, state, _ = layer.forward(params, x[t : t + 1], state)


@pytest.mark.parametrize("factor", ["slope of c'", "forget gate", "reset gate"])
def test_a_formula_with_a_factor_left_out_is_seen(factor, monkeypatch):
    layer, params, x, state = drawn(LAYERS["gru-after" if factor == "reset gate" else "lstm"], 13)
    good = dynamics.step_jacobians(layer, params, x[:1], state)[0]
    values = dynamics.gate_values

    def spoilt(*args):
        gates = values(*args)
        name = {"slope of c'": "o", "forget gate": "f", "reset gate": "r"}[factor]
        return {**gates, name: np.ones_like(gates[name])}

    monkeypatch.setattr("rnnlab.dynamics.jacobians.gate_values", spoilt)
    bad = dynamics.step_jacobians(layer, params, x[:1], state)[0]
    exact = jacobian_by_complex_step(layer, params, x[0], state)
    assert abs(good - exact).max() < 1e-12 and abs(bad - exact).max() > 1e-2


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru-after", "gru-before-nobias"])
def test_the_formulas_and_what_is_made_of_them_take_arrays_of_a_device(name, monkeypatch):
    layer, params, x, state = drawn(LAYERS[name], 19)
    J = dynamics.step_jacobians(layer, params, x, state)
    monkeypatch.setattr("rnnlab.recurrent.loop.has_kernels", lambda xp, dtype: False)
    with strict.installed(monkeypatch):
        there = dynamics.step_jacobians(layer, *rl.to_backend((params, x, state), "cupy"))
        np.testing.assert_allclose(rl.to_backend(there, "numpy"), J, rtol=1e-12, atol=1e-15)
        for found, expected in (
            (dynamics.jacobian_product(there), dynamics.jacobian_product(J)),
            (dynamics.spectrum(there), dynamics.spectrum(J)),
        ):
            for a, b in zip(found, expected, strict=True):
                assert type(a) is np.ndarray
                np.testing.assert_allclose(abs(a), abs(b), rtol=1e-9, atol=1e-12)


def test_jacobians_keep_float32_and_only_single_cells_have_a_formula():
    for name in FORMULAS:
        layer, params, x, state = drawn(LAYERS[name], 14)
        single = tree_map(lambda a: a.astype(np.float32), (params, x, state))
        J = dynamics.step_jacobians(layer, *single)
        assert J.dtype == np.float32
        np.testing.assert_allclose(J, dynamics.step_jacobians(layer, params, x, state), atol=1e-5)
    layer = LAYERS["stacked"](2, 3)
    with pytest.raises(TypeError, match="layer must be an RNN, an LSTM or a GRU; got Stacked"):
        dynamics.step_jacobians(layer, layer.init(np.random.default_rng(0)), np.zeros((1, 1, 2)))


# ------------------------------------------------------------------------------- products of Jacobians


@given(seeds, st.integers(1, 8), st.integers(1, 3), st.integers(1, 5))
def test_a_short_product_has_the_norm_of_the_product_and_rates_that_add_up_to_its_determinant(seed, T, N, S):
    J = np.random.default_rng(seed).normal(size=(T, N, S, S))
    log_norms, rates = dynamics.jacobian_product(J)
    assert log_norms.shape == (T + 1, N) and rates.shape == (N, S) and (np.diff(rates) <= 0).all()
    for n in range(N):
        product = np.eye(S)
        for k in range(T + 1):
            np.testing.assert_allclose(log_norms[k, n], np.log(np.linalg.norm(product, 2)), rtol=1e-8, atol=1e-8)
            product = product @ J[T - 1 - k, n] if k < T else product
        np.testing.assert_allclose(T * rates[n].sum(), np.log(abs(np.linalg.det(product))), rtol=1e-6, atol=1e-6)
        alone = dynamics.jacobian_product(J[:, n])
        np.testing.assert_allclose(alone.log_norms, log_norms[:, n], atol=1e-12)
        np.testing.assert_allclose(alone.rates, rates[n], atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_product_of_a_thousand_neither_overflows_nor_underflows(scale):
    rng = np.random.default_rng(15)
    values = scale * np.array([2.0, 1.0, 0.5])
    basis = rng.normal(size=(3, 3))
    J = np.broadcast_to(basis @ np.diag(values) @ np.linalg.inv(basis), (1000, 3, 3))
    log_norms, rates = dynamics.jacobian_product(J)
    np.testing.assert_allclose(rates, np.log(values), atol=0.01)  # the exponents are the eigenvalues' logarithms
    np.testing.assert_allclose(np.diff(log_norms)[-1], np.log(values[0]), atol=1e-9)
    np.testing.assert_allclose(log_norms[-1], 1000 * np.log(values[0]), atol=5)
    turn = scale * np.linalg.qr(basis)[0]  # an orthogonal one stretches nothing: exact, whatever T
    log_norms, rates = dynamics.jacobian_product(np.broadcast_to(turn, (1000, 3, 3)))
    np.testing.assert_allclose(log_norms, np.log(scale) * np.arange(1001), atol=1e-9)
    np.testing.assert_allclose(rates, np.log(scale), atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "gru-before", "gru-after"])
def test_the_products_norm_bounds_the_gradient_through_time_and_of_one_unit_is_it(name):
    layer, params, x, state = drawn(LAYERS[name], 16, T=9, H=1)
    norms = dynamics.gradient_norm_through_time(layer, params, x, np.random.default_rng(1), state)
    log_norms = dynamics.jacobian_product(dynamics.step_jacobians(layer, params, x, state)).log_norms
    np.testing.assert_allclose(np.exp(log_norms[:-1]).mean(axis=1), norms, rtol=1e-10)
    layer, params, x, state = drawn(LAYERS[name], 17, T=9, N=1, H=4)
    norms = dynamics.gradient_norm_through_time(layer, params, x, np.random.default_rng(1), state)
    log_norms = dynamics.jacobian_product(dynamics.step_jacobians(layer, params, x, state)).log_norms
    assert (norms <= np.exp(log_norms[:-1, 0]) * (1 + 1e-12)).all()


def test_products_that_are_zero_not_finite_or_empty():
    J = np.tile(np.eye(2), (4, 3, 1, 1))
    J[2, 1], J[1, 2, 0, 1] = 0, np.inf
    log_norms, rates = dynamics.jacobian_product(J)
    np.testing.assert_array_equal(log_norms[:, 0], 0)
    np.testing.assert_array_equal(log_norms[:, 1], [0, 0, -np.inf, -np.inf, -np.inf])
    np.testing.assert_array_equal(rates, [[0, 0], [-np.inf, -np.inf], [np.nan, np.nan]])
    assert np.isnan(log_norms[:, 2]).all()
    rank_one = np.random.default_rng(18).normal(size=(50, 2, 5, 1)) * np.ones(5)
    assert np.isfinite(dynamics.jacobian_product(rank_one).log_norms).all()
    assert (np.isfinite(dynamics.jacobian_product(rank_one).rates) == ([True] + 4 * [False])).all()
    empty = dynamics.jacobian_product(J[:0])
    assert empty.log_norms.tolist() == [[0, 0, 0]] and empty.rates.tolist() == [[0, 0]] * 3
    with pytest.raises(ValueError, match=r"jacobians must have shape \(T, N, S, S\) or \(T, S, S\); got \(2, 3\)"):
        dynamics.jacobian_product(np.zeros((2, 3)))


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
