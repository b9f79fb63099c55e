"""The gates of a recurrent layer: each one's block of the weights, its values over a sequence, how saturated it is."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from rnnlab.backend import Array, Tree, namespace
from rnnlab.combinators import Bidirectional, Stacked, reverse_sequences
from rnnlab.recurrent import valid_steps

__all__ = ["Saturation", "gate_saturation", "gate_values", "recurrent_blocks"]


def recurrent_blocks(weight_hh: Array) -> dict[str, Array]:
    """Return the square block of each gate of a recurrent matrix, by the gate's name.

    Parameters
    ----------
    weight_hh : Array, shape (G*H, H)
        Of an RNN (G = 1), a GRU (3) or an LSTM (4).

    Returns
    -------
    dict
        Gate name -> view of shape (H, H).

    Raises
    ------
    ValueError
        The shape is that of no cell.

    Examples
    --------
    >>> import numpy as np
    >>> list(recurrent_blocks(np.zeros((12, 4))))
    ['r', 'z', 'n']
    """
    gates = {1: ("h",), 3: ("r", "z", "n"), 4: ("i", "f", "g", "o")}
    H = weight_hh.shape[1]
    names = gates.get(weight_hh.shape[0] // H)
    if names is None or weight_hh.shape[0] != len(names) * H:
        raise ValueError(f"weight_hh must have shape (H, H), (3H, H) or (4H, H); got {tuple(weight_hh.shape)}")
    return {name: weight_hh[k * H : (k + 1) * H] for k, name in enumerate(names)}


def gate_values(
    layer: Any, params: dict[str, Any], x: Array, state: Tree = None, lengths: Any = None
) -> dict[str, Array]:
    """Return the value of every gate at every step.

    They are computed anew from the input and from ``h``, the output of the layer's own forward: the equations are
    those of `rnnlab.cells`.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, or a Stacked or Bidirectional of them
    params : dict
    x : Array, shape (T, N, D)
    state : Tree, optional
        The initial state; None means zeros.
    lengths : integers, shape (N,), optional

    Returns
    -------
    dict
        Gate name -> Array of shape (T, N, H), zero beyond a sequence's length: ``"h"`` of an RNN, ``"r", "z", "n"`` of
        a GRU, ``"i", "f", "g", "o"`` of an LSTM; behind the path of its layer in a combination, as
        ``"layer0.forward.i"``.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.GRU(2, 3)
    >>> params = layer.init(np.random.default_rng(0))
    >>> {name: gate.shape for name, gate in gate_values(layer, params, np.ones((5, 4, 2))).items()}
    {'r': (5, 4, 3), 'z': (5, 4, 3), 'n': (5, 4, 3)}
    """
    return {name: gate for name, _, gate in _all_gates(layer, params, x, state, lengths)}


def _all_gates(layer: Any, params: Any, x: Array, state: Tree, lengths: Any) -> list[tuple[str, str, Array]]:
    """``(name, squashing function, values)`` of every gate, in the order of the parameters."""
    if isinstance(layer, Stacked):
        found: list[tuple[str, str, Array]] = []
        states = state or [None] * len(layer.layers)
        for name, part, s in zip(layer.names, layer.layers, states, strict=True):
            found += [(f"{name}.{gate}", *rest) for gate, *rest in _all_gates(part, params[name], x, s, lengths)]
            x = part.forward(params[name], x, s, lengths)[0]
        return found
    if isinstance(layer, Bidirectional):
        valid = valid_steps(lengths, x.shape[0], x.shape[1], namespace(x=x))
        forward, backward = state or (None, None)
        ahead = _all_gates(layer.forward_layer, params["forward"], x, forward, lengths)
        reverse = reverse_sequences(x, valid)
        back = _all_gates(layer.backward_layer, params["backward"], reverse, backward, lengths)
        return [(f"forward.{name}", kind, gate) for name, kind, gate in ahead] + [
            (f"backward.{name}", kind, reverse_sequences(gate, valid)) for name, kind, gate in back
        ]
    return _cell_gates(layer, params, x, state, lengths)


def _cell_gates(layer: Any, params: Any, x: Array, state: Tree, lengths: Any) -> list[tuple[str, str, Array]]:
    xp = namespace(x=x, params=params, state=state)
    y = layer.forward(params, x, state, lengths)[0]
    names = tuple(recurrent_blocks(params["weight_hh"]))
    if len(names) == 1:
        return [("h", layer.cell.activation.name, y)]
    h0 = xp.zeros_like(y[:1]) if state is None else layer.final_hidden(state)[None]
    h = xp.concatenate([h0, y[:-1]])
    a = dict(zip(names, xp.split(x @ params["weight_ih"].T + params.get("bias", 0), len(names), axis=2), strict=True))
    W = recurrent_blocks(params["weight_hh"])
    gates: dict[str, Array] = {}
    for name in names:
        if name == "n" and layer.cell.reset == "after":
            a[name] += gates["r"] * (h @ W["n"].T + params.get("bias_hn", 0))
        else:
            a[name] += (gates["r"] * h if name == "n" else h) @ W[name].T
        # 0.5 + 0.5*tanh(a/2) is the sigmoid that does not overflow
        gates[name] = xp.tanh(a[name]) if name in "gn" else 0.5 + 0.5 * xp.tanh(0.5 * a[name])
    valid = valid_steps(lengths, x.shape[0], x.shape[1], xp)
    if valid is not None:
        gates = {name: xp.where(valid[:, :, None], gate, xp.zeros_like(gate)) for name, gate in gates.items()}
    return [(name, "tanh" if name in "gn" else "sigmoid", gate) for name, gate in gates.items()]


class Saturation(NamedTuple):
    """The shares of a gate's values at either end of its range."""

    low: float
    high: float


def gate_saturation(
    layer: Any, params: dict[str, Any], x: Array, state: Tree = None, lengths: Any = None
) -> dict[str, Saturation]:
    """Return which share of each gate's values is saturated.

    ``low`` is the share below 0.1 and ``high`` that above 0.9 of a gate between 0 and 1; of a tanh, which lies between
    -1 and 1, the shares below -0.9 and above 0.9. A saturated gate passes hardly any gradient to its weights.

    Parameters
    ----------
    layer, params, x, state, lengths
        As for `gate_values`; steps beyond a sequence's length do not count.

    Returns
    -------
    dict
        Gate name -> Saturation; NaN if there is no step at all.

    Raises
    ------
    ValueError
        An activation of the layer does not saturate at both ends.

    References
    ----------
    A. Karpathy, J. Johnson, L. Fei-Fei, Visualizing and understanding recurrent networks, arXiv 1506.02078, sec. 4.2.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.LSTM(2, 3, forget_bias=9.0)
    >>> params = layer.init(np.random.default_rng(0))
    >>> gate_saturation(layer, params, np.zeros((5, 4, 2)))["f"]
    Saturation(low=0.0, high=1.0)
    """
    xp = namespace(x=x, params=params)
    valid = valid_steps(lengths, x.shape[0], x.shape[1], xp)
    found = {}
    for name, kind, gate in _all_gates(layer, params, x, state, lengths):
        if kind not in ("sigmoid", "tanh"):
            raise ValueError(f"gates must have the activation 'sigmoid' or 'tanh'; got {kind!r} for {name!r}")
        values = gate if valid is None else gate[valid]
        low = 0.1 if kind == "sigmoid" else -0.9
        shares = [float(side.mean()) if values.size else math.nan for side in (values < low, values > 0.9)]
        found[name] = Saturation(*shares)
    return found
