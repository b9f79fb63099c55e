"""The layers that every contract test runs over, and random cases for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.backend import tree_map

# name -> (D, H) -> layer. The activations here are analytic; kinked ones stand in KINKED.
LAYERS = {
    "rnn": lambda D, H: rl.RNN(D, H),
    "rnn-sigmoid": lambda D, H: rl.RNN(D, H, activation="sigmoid"),
    "rnn-nobias": lambda D, H: rl.RNN(D, H, bias=False),
    "lstm": lambda D, H: rl.LSTM(D, H, forget_bias=1.0),
    "lstm-nobias": lambda D, H: rl.LSTM(D, H, bias=False),
    "gru-after": lambda D, H: rl.GRU(D, H, reset="after"),
    "gru-after-nobias": lambda D, H: rl.GRU(D, H, reset="after", bias=False),
    "gru-before": lambda D, H: rl.GRU(D, H, reset="before"),
    "gru-before-nobias": lambda D, H: rl.GRU(D, H, reset="before", bias=False),
    "bidirectional": lambda D, H: rl.Bidirectional(rl.LSTM(D, H), rl.GRU(D, H)),
    "stacked": lambda D, H: rl.Stacked([rl.GRU(D, H, reset="before"), rl.LSTM(H, H + 1)], dropout=0.5),
    "mix": lambda D, H: rl.Stacked(
        [
            rl.Bidirectional(rl.RNN(D, H), rl.GRU(D, H + 1)),
            rl.Bidirectional(rl.LSTM(2 * H + 1, 2), rl.RNN(2 * H + 1, H)),
        ]
    ),
}
KINKED = {
    f"rnn-{name}": lambda D, H, name=name: rl.RNN(D, H, activation=name) for name in ("relu", "leaky_relu", "elu")
}


@dataclass
class Case:
    """A layer with random arguments and random upstream gradients; nothing in it is zero by default."""

    layer: Any
    params: Any
    x: np.ndarray
    state: Any
    lengths: np.ndarray | None
    dy: np.ndarray
    dstate: Any

    def loss(self, params=None, x=None, state=None):
        """The scalar ``sum(dy * y) + sum(dstate * final state)``, whose gradients backward returns."""
        y, final, _ = self.layer.forward(
            self.params if params is None else params,
            self.x if x is None else x,
            self.state if state is None else state,
            self.lengths,
        )
        total = (self.dy * y).sum()
        for upstream, array in zip(leaves(self.dstate), leaves(final), strict=True):
            total = total + (upstream * array).sum()
        return total

    def gradients(self):
        """``{"x", "state", "params"}`` by the layer's own backward."""
        _, _, tape = self.layer.forward(self.params, self.x, self.state, self.lengths)
        dx, dstate, grads = self.layer.backward(self.params, tape, self.dy, self.dstate)
        return {"x": dx, "state": dstate, "params": grads}


def leaves(tree):
    """The arrays of a tree, in order."""
    from rnnlab.backend import tree_items

    return [array for _, array in tree_items(tree)]


def make_case(make_layer, seed, T, N, D, H, lengths=None, dtype=np.float64) -> Case:
    """Draw a case; weights and biases are all random and distinct."""
    rng = np.random.default_rng(seed)
    layer = make_layer(D, H)
    params = tree_map(lambda p: (p + 0.4 * rng.normal(size=p.shape)).astype(dtype), layer.init(rng))
    x = rng.normal(size=(T, N, D)).astype(dtype)
    y, final, _ = layer.forward(params, x)
    draw = lambda a: rng.normal(size=a.shape).astype(dtype)  # noqa: E731
    return Case(layer, params, x, tree_map(draw, final), lengths, draw(y), tree_map(draw, final))


@st.composite
def cases(draw, make_layer, ragged):
    """Cases of T >= 3 steps, N >= 2 sequences and D != H."""
    T, N = draw(st.integers(3, 6)), draw(st.integers(2, 4))
    D, H = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)).filter(lambda s: s[0] != s[1]))
    lengths = np.array(draw(st.lists(st.integers(0, T), min_size=N, max_size=N))) if ragged else None
    return make_case(make_layer, draw(st.integers(0, 2**32 - 1)), T, N, D, H, lengths)
