"""Weights from PyTorch's and Keras's layouts, as plain arrays; and back to PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def from_pytorch(state: Mapping[str, np.ndarray], suffix: str = "_l0") -> dict[str, np.ndarray]:
    """Return rnnlab's parameters of one layer in one direction of ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``.

    ``state`` is ``{name: p.detach().numpy() for name, p in module.named_parameters()}``; ``suffix`` is ``"_l0"``,
    ``"_l1"``, or ``"_l0_reverse"`` for the other direction. A GRU becomes one with ``reset="after"``.
    """
    params = {name: state[name + suffix] for name in ("weight_ih", "weight_hh")}
    if "bias_ih" + suffix not in state:
        return params
    b_ih, b_hh = state["bias_ih" + suffix], state["bias_hh" + suffix]
    rows, H = params["weight_hh"].shape
    if rows != 3 * H:
        return {**params, "bias": b_ih + b_hh}
    # A GRU: the reset gate multiplies b_hh in the rows of n, so there the two stay apart.
    return {**params, "bias": np.concatenate([b_ih[: 2 * H] + b_hh[: 2 * H], b_ih[2 * H :]]), "bias_hn": b_hh[2 * H :]}


def to_pytorch(params: Mapping[str, np.ndarray], suffix: str = "_l0") -> dict[str, np.ndarray]:
    """Return PyTorch's parameters; the second bias is zero where it is not needed."""
    state = {name + suffix: params[name] for name in ("weight_ih", "weight_hh")}
    if "bias" not in params:
        return state
    b_hh = np.zeros_like(params["bias"])
    if "bias_hn" in params:
        b_hh[-len(params["bias_hn"]) :] = params["bias_hn"]
    return {**state, "bias_ih" + suffix: params["bias"], "bias_hh" + suffix: b_hh}


def from_keras(weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return rnnlab's parameters from ``layer.get_weights()`` of Keras's SimpleRNN, LSTM or GRU.

    Keras stores the transposes, and a GRU's gates as z, r, n. With ``reset_after=True`` (its default) a GRU has two
    rows of biases and becomes ``GRU(reset="after")``, without it ``GRU(reset="before")``.
    """
    kernel, recurrent, *rest = weights
    H = recurrent.shape[0]
    gates = {1: [0], 3: [1, 0, 2], 4: [0, 1, 2, 3]}[recurrent.shape[1] // H]
    columns = np.concatenate([np.arange(H) + gate * H for gate in gates])
    params = {"weight_ih": kernel.T[columns], "weight_hh": recurrent.T[columns]}
    if not rest:
        return params
    bias = rest[0][..., columns]
    if bias.ndim == 1:
        return {**params, "bias": bias}
    b_ih, b_hh = bias
    return {**params, "bias": np.concatenate([b_ih[: 2 * H] + b_hh[: 2 * H], b_ih[2 * H :]]), "bias_hn": b_hh[2 * H :]}
