"""The time loop: memory by the formula, initial parameters, shapes at the edges."""

import tracemalloc

import numpy as np
import pytest
from cases import LAYERS, leaves, make_case

import rnnlab as rl
from rnnlab.recurrent.loop import CHUNK, COLUMNS

SINGLE = {name: make for name, make in LAYERS.items() if name.partition("-")[0] in ("rnn", "lstm", "gru")}

# The right-hand column of the table at the head of rnnlab.recurrent: what backward adds, in units of T N H.
BACKWARD = {"rnn": 2, "lstm": 5, "gru-after": 5, "gru-before": 4}


def peak_while(call):
    """What the call returns, and the most memory that it held at one time, in bytes."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru-after", "gru-before"])
@pytest.mark.parametrize("shape", [(400, 32, 8, 64), (50, 4, 100, 64)], ids=str)
def test_memory_is_what_the_formula_says(name, shape):
    T, N, D, H = shape
    layer = LAYERS[name](D, H)
    rng = np.random.default_rng(0)
    params, x, dy = layer.init(rng), rng.normal(size=(T, N, D)), rng.normal(size=(T, N, H))
    layer.forward(params, x)  # whatever is allocated once
    (_, _, tape), peak = peak_while(lambda: layer.forward(params, x))
    G = len(layer.cell.gates)
    # y, or room for the input product of some steps: they are never there together
    forward = layer.tape_size(T, N) + max(T * N * H, G * H * min(T * N, COLUMNS))
    loop = 8 * 6 * G * H * N + 100_000  # a few arrays of one step, and Python's own objects
    assert abs(peak - 8 * forward) < loop
    kept = {id(a): a.nbytes for a in (*tape.states, *tape.cache) if a.base is None}
    if tape.gates.base is None:
        kept[id(tape.gates)] = tape.gates.nbytes
    assert sum(kept.values()) == 8 * layer.tape_size(T, N)

    (_, _, grads), peak = peak_while(lambda: layer.backward(params, tape, dy))
    # columns of da, then either h as columns or dx, whichever is larger: they are never there together
    backward = (BACKWARD[name] - 1) * T * N * H + T * N * max(H, D) + 2 * sum(g.size for g in grads.values())
    assert 0.85 * 8 * backward - loop < peak < 8 * (backward + 3 * CHUNK) + loop


def test_the_tape_counts_as_the_table_at_the_head_of_the_package():
    T, N, H = 7, 5, 3
    sizes = {name: make(2, H).tape_size(T, N) for name, make in SINGLE.items()}
    assert sizes["rnn"] == (T + 1) * N * H
    assert sizes["lstm"] == 5 * T * N * H + 2 * (T + 1) * N * H
    assert sizes["gru-after"] == sizes["gru-before"] == 4 * T * N * H + (T + 1) * N * H


@pytest.mark.parametrize("name", SINGLE)
def test_a_sequence_of_no_steps_and_a_batch_of_no_sequences(name):
    case = make_case(LAYERS[name], 0, 3, 2, 3, 4)
    y, final, tape = case.layer.forward(case.params, case.x[:0], case.state)
    assert y.shape == (0, 2, 4)
    for a, b in zip(leaves(final), leaves(case.state), strict=True):
        np.testing.assert_array_equal(a, b)
    dx, dstate, grads = case.layer.backward(case.params, tape, y, case.dstate)
    assert dx.shape == (0, 2, 3) and not any(g.any() for g in leaves(grads))
    for a, b in zip(leaves(dstate), leaves(case.dstate), strict=True):
        np.testing.assert_array_equal(a, b)
    assert case.layer.forward(case.params, case.x[:, :0])[0].shape == (3, 0, 4)


def test_each_gates_block_is_initialized_on_its_own():
    params = rl.LSTM(6, 6).init(np.random.default_rng(0))
    for k in range(4):
        block = params["weight_hh"][6 * k : 6 * k + 6]
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-12)
        assert np.abs(params["weight_ih"][6 * k : 6 * k + 6]).max() <= np.sqrt(6 / 12)
    assert not params["bias"].any()


def test_the_forget_bias_goes_to_the_forget_gate_alone():
    bias = rl.LSTM(2, 3, forget_bias=1.5).init(np.random.default_rng(0), np.float32)["bias"]
    np.testing.assert_array_equal(bias, np.float32([0] * 3 + [1.5] * 3 + [0] * 6))
    assert bias.dtype == np.float32


def test_the_initializers_of_the_irnn():
    layer = rl.RNN(2, 4, activation="relu", init_hh=rl.initializers.identity(0.5))
    np.testing.assert_array_equal(layer.init(np.random.default_rng(0))["weight_hh"], 0.5 * np.eye(4))


def test_a_seed_gives_the_same_parameters_and_leaves_global_randomness_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a, b = (rl.GRU(3, 4).init(np.random.default_rng(7)) for _ in range(2))
    for left, right in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_gru_before_and_after_are_different_functions():
    after, before = rl.GRU(3, 4), rl.GRU(3, 4, reset="before")
    params = make_case(LAYERS["gru-before"], 0, 4, 2, 3, 4).params
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    y_before, _, _ = before.forward(params, x)
    y_after, _, _ = after.forward({**params, "bias_hn": np.zeros(4)}, x)
    assert np.abs(y_after - y_before).max() > 1e-2


def test_reprs_say_how_to_make_the_layer():
    assert repr(rl.RNN(3, 4)) == "RNN(input_size=3, hidden_size=4, activation='tanh')"
    assert repr(rl.LSTM(3, 4)) == "LSTM(input_size=3, hidden_size=4)"
    assert repr(rl.GRU(3, 4)) == "GRU(input_size=3, hidden_size=4, reset='after')"


def test_kanais_fixed_point_the_gru_without_biases_has_half_identity_plus_quarter_weight_at_zero():
    """papers: Kanai et al. 2017; J = I/2 + W_hn/4 at h = 0, x = 0, for both variants."""
    for name in ("gru-after-nobias", "gru-before-nobias"):
        layer = LAYERS[name](2, 5)
        params = make_case(LAYERS[name], 1, 1, 1, 2, 5).params
        h = 1e-30j * np.eye(5)
        _, final, _ = layer.forward(params, np.zeros((1, 5, 2)), h)
        jacobian = final.imag.T / 1e-30
        np.testing.assert_allclose(jacobian, np.eye(5) / 2 + params["weight_hh"][10:] / 4, atol=1e-14)


def test_a_state_that_overflowed_does_not_leak_into_the_padding():
    layer = rl.RNN(1, 1, activation="relu")
    params = {"weight_ih": np.ones((1, 1)), "weight_hh": np.full((1, 1), 1e200), "bias": np.ones(1)}
    with np.errstate(over="ignore"):
        y, final, _ = layer.forward(params, np.ones((4, 2, 1)), lengths=[3, 1])
    assert np.isinf(y[2, 0]) and np.isinf(final[0])
    assert y[3, 0] == 0 and not y[1:, 1].any() and final[1] == 2


def test_a_gradient_that_is_not_finite_stays_in_its_own_sequence():
    layer = rl.LSTM(2, 3)
    case = make_case(LAYERS["lstm"], 0, 5, 2, 2, 3)
    _, _, tape = layer.forward(case.params, case.x, lengths=[0, 5])
    dy, dh = np.ones((5, 2, 3)), np.array([[np.inf] * 3, [0.0] * 3])
    dx, (dh0, _), grads = layer.backward(case.params, tape, dy, (dh, np.zeros((2, 3))))
    assert np.isinf(dh0[0]).all() and np.isfinite(dh0[1]).all() and np.isfinite(dx).all()
    assert all(np.isfinite(g).all() for g in grads.values())
