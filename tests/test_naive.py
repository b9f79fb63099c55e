"""The forward pass against a slow oracle: one number at a time, no array operation at all."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.backend import tree_items, tree_map

# The oracle reads the equations off the page: parameters, x (D), h and c (H) are lists of numbers,
# ``affine(k)`` is row k of W_ih x + W_hh h + bias.


def dot(row, vector):
    return sum(weight * value for weight, value in zip(row, vector, strict=True))


def sigmoid(a):
    return 1.0 / (1.0 + math.exp(-a))


def rnn_step(activation):
    def step(p, x, h):
        return [activation(dot(p["weight_ih"][j], x) + dot(p["weight_hh"][j], h) + p["bias"][j]) for j in range(len(h))]

    return step


def lstm_step(p, x, state):
    h, c = state
    H = len(h)

    def affine(k):
        return dot(p["weight_ih"][k], x) + dot(p["weight_hh"][k], h) + p["bias"][k]

    new_h, new_c = [], []
    for j in range(H):
        i, f = sigmoid(affine(j)), sigmoid(affine(H + j))
        g, o = math.tanh(affine(2 * H + j)), sigmoid(affine(3 * H + j))
        new_c.append(f * c[j] + i * g)
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, new_c


def gru_after_step(p, x, h):
    H = len(h)

    def affine(k):
        return dot(p["weight_ih"][k], x) + dot(p["weight_hh"][k], h) + p["bias"][k]

    new_h = []
    for j in range(H):
        r, z = sigmoid(affine(j)), sigmoid(affine(H + j))
        k = 2 * H + j
        inner = dot(p["weight_hh"][k], h) + p["bias_hn"][j]
        n = math.tanh(dot(p["weight_ih"][k], x) + p["bias"][k] + r * inner)
        new_h.append((1.0 - z) * n + z * h[j])
    return new_h


def gru_before_step(p, x, h):
    H = len(h)

    def affine(k, h):
        return dot(p["weight_ih"][k], x) + dot(p["weight_hh"][k], h) + p["bias"][k]

    reset_h = [sigmoid(affine(j, h)) * h[j] for j in range(H)]
    new_h = []
    for j in range(H):
        z, n = sigmoid(affine(H + j, h)), math.tanh(affine(2 * H + j, reset_h))
        new_h.append((1.0 - z) * n + z * h[j])
    return new_h


CELLS = {
    "rnn_tanh": (lambda D, H, bias: rl.RNN(D, H, bias=bias, activation="tanh"), rnn_step(math.tanh)),
    "rnn_relu": (
        lambda D, H, bias: rl.RNN(D, H, bias=bias, activation="relu"),
        rnn_step(lambda a: max(0.0, a)),
    ),
    "lstm": (rl.LSTM, lstm_step),
    "gru_after": (lambda D, H, bias: rl.GRU(D, H, bias=bias, reset="after"), gru_after_step),
    "gru_before": (lambda D, H, bias: rl.GRU(D, H, bias=bias, reset="before"), gru_before_step),
}


def first_state(state):
    return state[0] if isinstance(state, tuple) else state


def naive_forward(step, params, x, state, lengths):
    """Run one sequence after another, each for its own length; give y (T, N, H) and the final state."""
    T, N, _ = x.shape
    params = tree_map(np.ndarray.tolist, params)
    y = np.zeros((T, N, first_state(state).shape[1]))
    final = tree_map(np.zeros_like, state)
    for n in range(N):
        now = tree_map(lambda array, n=n: array[n].tolist(), state)
        for t in range(lengths[n]):
            now = step(params, x[t, n].tolist(), now)
            y[t, n] = first_state(now)
        for whole, part in zip(arrays(final), now if isinstance(now, tuple) else (now,), strict=True):
            whole[n] = part
    return y, final


def arrays(tree):
    return [array for _, array in tree_items(tree)]


def random_like(rng, tree, scale):
    return tree_map(lambda array: rng.normal(0.0, scale, array.shape), tree)


def draw_lengths(rng, kind, T, N):
    if kind == "full":
        return None
    return rng.integers(0 if kind == "with empty" else 1, T + 1, N)


@pytest.mark.parametrize("name", CELLS)
@given(
    T=st.integers(1, 6),
    N=st.integers(1, 4),
    D=st.integers(1, 5),
    H=st.integers(1, 5),
    kind=st.sampled_from(["full", "ragged", "with empty"]),
    with_bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_forward_equals_a_loop_over_numbers(name, T, N, D, H, kind, with_bias, seed):
    rng = np.random.default_rng(seed)
    make, step = CELLS[name]
    layer = make(D, H, bias=with_bias)
    params = random_like(rng, layer.init(rng, dtype=np.float64), 0.7)
    assert any("bias" in key for key in params) == with_bias
    x, h, c = rng.normal(size=(T, N, D)), rng.normal(size=(N, H)), rng.normal(size=(N, H))
    state = (h, c) if name == "lstm" else h
    lengths = draw_lengths(rng, kind, T, N)
    y, final, _ = layer.forward(params, x, state=state, lengths=lengths)

    zero_bias = {"bias": np.zeros(len(params["weight_hh"])), "bias_hn": np.zeros(H)}
    steps = np.full(N, T) if lengths is None else lengths
    expected = naive_forward(step, zero_bias | params, x, state, steps)
    for got, want in zip(arrays((y, final)), arrays(expected), strict=True):
        assert got.shape == want.shape
        assert np.max(np.abs(got - want) / np.maximum(1.0, np.abs(want))) <= 1e-12
