"""Layers made of recurrent layers: both directions, and one on top of another, in any mix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, Tree, namespace
from rnnlab.layers import Dropout
from rnnlab.recurrent import valid_steps

__all__ = ["Bidirectional", "Stacked", "reverse_sequences"]


def reverse_sequences(x: Array, valid: Array | None = None) -> Array:
    """Reverse each sequence in time within its own length; padding stays where it is.

    Parameters
    ----------
    x : Array, shape (T, N, K)
    valid : Array of booleans, shape (T, N), optional
        From `rnnlab.recurrent.valid_steps`; None reverses over all T.

    Returns
    -------
    Array, shape (T, N, K)

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(4.0).reshape(4, 1, 1)
    >>> reverse_sequences(x, np.array([[True], [True], [True], [False]])).ravel()
    array([2., 1., 0., 3.])
    """
    xp = namespace(x=x, valid=valid)
    if valid is None:
        return x[::-1]
    t = xp.arange(x.shape[0])[:, None]
    source = xp.where(valid, valid.sum(axis=0) - 1 - t, t)
    return xp.take_along_axis(x, source[:, :, None], axis=0)


class BidirectionalTape(NamedTuple):
    """What `Bidirectional.forward` remembers."""

    forward: Any
    backward: Any
    valid: Array | None


class Bidirectional:
    """Two layers over the same input, one of them backwards in time; outputs side by side.

    ``y_t = [y_forward_t, y_backward_t]``: the second half at step t has seen ``x_t, ..., x_{length-1}``.

    Parameters
    ----------
    forward_layer, backward_layer : layer
        Layers of the same ``input_size``.

    Notes
    -----
    Parameters are ``{"forward": ..., "backward": ...}``, the state is ``(forward's, backward's)``. The final state
    of the backward layer is that after ``x_0``. With ``lengths`` each sequence is reversed within its own length.
    ``hidden_size`` is the width of ``y``.

    References
    ----------
    M. Schuster, K. K. Paliwal, Bidirectional recurrent neural networks, IEEE Trans. Signal Processing 45, 1997.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.Bidirectional(rl.GRU(3, 4), rl.GRU(3, 4))
    >>> params = layer.init(np.random.default_rng(0))
    >>> y, state, tape = layer.forward(params, np.ones((5, 2, 3)), lengths=[5, 3])
    >>> y.shape
    (5, 2, 8)
    """

    def __init__(self, forward_layer: Any, backward_layer: Any) -> None:
        if forward_layer.input_size != backward_layer.input_size:
            raise ValueError(
                "forward_layer and backward_layer must have the same input_size; "
                f"got {forward_layer.input_size} and {backward_layer.input_size}"
            )
        self.forward_layer = forward_layer
        self.backward_layer = backward_layer
        self.input_size = forward_layer.input_size
        self.hidden_size = forward_layer.hidden_size + backward_layer.hidden_size

    def __repr__(self) -> str:
        return f"Bidirectional({self.forward_layer!r}, {self.backward_layer!r})"

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> dict[str, Any]:
        """Draw the parameters of both directions."""
        return {
            "forward": self.forward_layer.init(rng, dtype),
            "backward": self.backward_layer.init(rng, dtype),
        }

    def forward(
        self,
        params: dict[str, Any],
        x: Array,
        state: Tree = None,
        lengths: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Tree, BidirectionalTape]:
        """Run both directions; see `rnnlab.Recurrent.forward`. ``y`` is ``(T, N, H_forward + H_backward)``."""
        xp = namespace(x=x, params=params, state=state)
        _check_parts(self, params, ("forward", "backward"))
        state_f, state_b = _part_states(self, state, 2)
        if x.ndim != 3:
            raise ValueError(f"x must have shape (T, N, {self.input_size}); got {tuple(x.shape)}")
        valid = valid_steps(lengths, x.shape[0], x.shape[1], xp)
        y_f, state_f, tape_f = self.forward_layer.forward(params["forward"], x, state_f, lengths, rng=rng)
        x_reversed = reverse_sequences(x, valid)
        y_b, state_b, tape_b = self.backward_layer.forward(params["backward"], x_reversed, state_b, lengths, rng=rng)
        y = xp.concatenate([y_f, reverse_sequences(y_b, valid)], axis=2)
        return y, (state_f, state_b), BidirectionalTape(tape_f, tape_b, valid)

    def backward(
        self, params: dict[str, Any], tape: BidirectionalTape, dy: Array, dstate: Tree = None
    ) -> tuple[Array, Tree, dict[str, Any]]:
        """Backpropagate through both directions; see `rnnlab.Recurrent.backward`."""
        dstate_f, dstate_b = _part_states(self, dstate, 2, "dstate")
        H = self.forward_layer.hidden_size
        if dy.shape[-1] != self.hidden_size:
            raise ValueError(f"dy must have {self.hidden_size} features for {self!r}; got shape {dy.shape}")
        dx_f, dstate_f, grads_f = self.forward_layer.backward(params["forward"], tape.forward, dy[:, :, :H], dstate_f)
        dx_b, dstate_b, grads_b = self.backward_layer.backward(
            params["backward"], tape.backward, reverse_sequences(dy[:, :, H:], tape.valid), dstate_b
        )
        dx = dx_f + reverse_sequences(dx_b, tape.valid)
        return dx, (dstate_f, dstate_b), {"forward": grads_f, "backward": grads_b}

    def final_hidden(self, state: Tree) -> Array:
        """Return the final h of both directions, ``(N, hidden_size)``: each has seen the whole sequence."""
        h = [self.forward_layer.final_hidden(state[0]), self.backward_layer.final_hidden(state[1])]
        return namespace(state=state).concatenate(h, axis=1)

    def final_hidden_gradient(self, dh: Array) -> Tree:
        """Return the ``dstate`` for `backward` of a loss that reads `final_hidden`."""
        H = self.forward_layer.hidden_size
        return (
            self.forward_layer.final_hidden_gradient(dh[:, :H]),
            self.backward_layer.final_hidden_gradient(dh[:, H:]),
        )


class Stacked:
    """Layers one on top of another, with dropout between them.

    ``y_0 = x;  y_k = layer_k(dropout(y_{k-1}))`` with no dropout before the first layer nor after the last.

    Parameters
    ----------
    layers : sequence of layers
        Each one's ``input_size`` is the ``hidden_size`` of the one below.
    dropout : float
        Share of the values dropped between layers; acts only when forward gets an ``rng``.

    Notes
    -----
    Parameters are ``{"layer0": ..., "layer1": ...}``, the state is the tuple of the layers' states.

    References
    ----------
    W. Zaremba, I. Sutskever, O. Vinyals, Recurrent neural network regularization, arXiv 1409.2329: dropout on the
    connections between layers, not on those through time.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.Stacked([rl.Bidirectional(rl.LSTM(3, 4), rl.LSTM(3, 4)), rl.RNN(8, 5)], dropout=0.5)
    >>> rng = np.random.default_rng(0)
    >>> y, state, tape = layer.forward(layer.init(rng), np.ones((6, 2, 3)), rng=rng)
    >>> y.shape
    (6, 2, 5)
    """

    def __init__(self, layers: Sequence[Any], dropout: float = 0.0) -> None:
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("layers must hold at least one layer; got none")
        for k, (below, above) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            if above.input_size != below.hidden_size:
                raise ValueError(
                    f"layers[{k + 1}].input_size must be layers[{k}].hidden_size = {below.hidden_size}; "
                    f"got {above.input_size}"
                )
        self.dropout = Dropout(dropout)
        self.names = tuple(f"layer{k}" for k in range(len(self.layers)))
        self.input_size = self.layers[0].input_size
        self.hidden_size = self.layers[-1].hidden_size

    def __repr__(self) -> str:
        return f"Stacked({self.layers!r}, dropout={self.dropout.rate})"

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> dict[str, Any]:
        """Draw the parameters of every layer."""
        return {name: layer.init(rng, dtype) for name, layer in zip(self.names, self.layers, strict=True)}

    def forward(
        self,
        params: dict[str, Any],
        x: Array,
        state: Tree = None,
        lengths: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Tree, list[Any]]:
        """Run all layers; see `rnnlab.Recurrent.forward`. With ``rng``, dropout acts between layers."""
        namespace(x=x, params=params, state=state)
        _check_parts(self, params, self.names)
        states = _part_states(self, state, len(self.layers))
        y, finals, tapes = x, [], []
        for k, (name, layer) in enumerate(zip(self.names, self.layers, strict=True)):
            dropped = None
            if k > 0:
                y, dropped = self.dropout.forward({}, y, rng)
            y, final, tape = layer.forward(params[name], y, states[k], lengths, rng=rng)
            finals.append(final)
            tapes.append((dropped, tape))
        return y, tuple(finals), tapes

    def backward(
        self, params: dict[str, Any], tape: list[Any], dy: Array, dstate: Tree = None
    ) -> tuple[Array, Tree, dict[str, Any]]:
        """Backpropagate through all layers; see `rnnlab.Recurrent.backward`."""
        dfinals = _part_states(self, dstate, len(self.layers), "dstate")
        dinitials: list[Tree] = [None] * len(self.layers)
        grads: dict[str, Any] = {}
        for k in reversed(range(len(self.layers))):
            dropped, layer_tape = tape[k]
            name = self.names[k]
            dy, dinitials[k], grads[name] = self.layers[k].backward(params[name], layer_tape, dy, dfinals[k])
            if k > 0:
                dy, _ = self.dropout.backward({}, dropped, dy)
        return dy, tuple(dinitials), {name: grads[name] for name in self.names}

    def final_hidden(self, state: Tree) -> Array:
        """Return the final h of the last layer, ``(N, hidden_size)``."""
        return self.layers[-1].final_hidden(state[-1])

    def final_hidden_gradient(self, dh: Array) -> Tree:
        """Return the ``dstate`` for `backward` of a loss that reads `final_hidden`."""
        return (*[None] * (len(self.layers) - 1), self.layers[-1].final_hidden_gradient(dh))


def _check_parts(layer: Any, params: Any, names: tuple[str, ...]) -> None:
    if not isinstance(params, dict) or set(params) != set(names):
        got = list(params) if isinstance(params, dict) else type(params).__name__
        raise ValueError(f"params of {layer!r} must be a dict with the keys {list(names)}; got {got}")


def _part_states(layer: Any, state: Tree, count: int, name: str = "state") -> Sequence[Tree]:
    if state is None:
        return [None] * count
    if not isinstance(state, (tuple, list)) or len(state) != count:
        raise ValueError(f"{name} of {layer!r} must be a tuple of {count} states; got {type(state).__name__}")
    return state
