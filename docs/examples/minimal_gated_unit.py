"""A cell of one's own: the minimal gated unit, in one file.

Run ``python docs/examples/minimal_gated_unit.py``: it checks every gradient, then trains a small language model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rnnlab as rl
from rnnlab.backend import Array
from rnnlab.cells.blocks import as_columns, blocks


class MGUCell:
    """One step of the minimal gated unit, and its backward.

    With ``x (D, N)``, ``h (H, N)`` and the gates stacked as rows f, n::

        f  = sigmoid(a_f + W_hf h)                               where a = W_ih x + b   (2H, N)
        n  = tanh(a_n + W_hn v),   v = f * h
        h' = (1-f) * h + f * n

    and backward::

        dn  = dh' * f
        dh  = dh' * (1-f)
        da_n = dn * (1 - n^2)
        dv  = W_hn^T da_n
        dh += dv * f
        df  = dh' * (n - h) + dv * h
        da_f = df * f * (1-f)
        dh += W_hf^T da_f

    References
    ----------
    G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, Minimal gated unit for recurrent neural networks, Int. J. Automation and
    Computing 13, 2016.
    """

    gates = ("f", "n")
    states = ("h",)
    da_blocks = 2
    kernels = False  # no kernels of its own on a GPU: the code below runs there as it is

    def __init__(self, hidden_size: int) -> None:
        self.hidden_size = hidden_size

    def parameters(self, bias: bool) -> dict[str, tuple[int, ...]]:
        """Parameters beyond weight_ih, weight_hh and bias: none."""
        return {}

    def allocate(self, xp: Any, T: int, N: int, dtype: Any) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Arrays for T steps: the two gates; h; and v = f*h, which the gradient of W_hn needs."""
        H = self.hidden_size
        return xp.empty((T, 2 * H, N), dtype), (xp.empty((T + 1, H, N), dtype),), (xp.empty((T, H, N), dtype),)

    def workspace(self, xp: Any, params: Any, N: int, dtype: Any) -> None:
        """Nothing that the steps share."""

    def forward(self, xp: Any, params: Any, a: Array, gates: Any, state: Any, new: Any, cache: Any, work: None) -> None:
        """``h' = (1-f)*h + f*n``; ``a`` becomes the gates."""
        (a_f, a_n), (h,), (h_new,), (v,) = gates, state, new, cache
        W_hf, W_hn = params["weight_hh"][: self.hidden_size], params["weight_hh"][self.hidden_size :]
        f = a_f[...] = 0.5 * xp.tanh(0.5 * (a_f + W_hf @ h)) + 0.5  # the sigmoid, without overflow
        v[...] = f * h
        n = a_n[...] = xp.tanh(a_n + W_hn @ v)
        h_new[...] = (1 - f) * h + f * n

    def slopes(self, xp: Any, tape: Any, steps: slice) -> Array:
        """All that needs no gradient of later steps, for K steps at once: ``(K, 3*H, N)``."""
        f, n = blocks(tape.gates[steps], self.hidden_size)
        h = tape.states[0][steps]
        s = f * (1 - f)
        return xp.concatenate([s * (n - h), f * (1 - n * n), s * h], axis=1)

    def backward(self, xp: Any, params: Any, da: Array, slopes: Any, gates: Any, dstate: Any, room: Any) -> None:
        """From ``dh'`` to ``dh``; the first two slopes become ``da``."""
        (dh,), (da_f, da_n, s_v), (f, _) = dstate, slopes, gates
        W_hf, W_hn = params["weight_hh"][: self.hidden_size], params["weight_hh"][self.hidden_size :]
        da_n *= dh  # dh' * f * (1-n^2)
        dv = W_hn.T @ da_n
        da_f *= dh
        da_f += dv * s_v  # (dh' * (n-h) + dv * h) * f * (1-f)
        dh *= 1 - f
        dh += dv * f + W_hf.T @ da_f

    def weight_gradients(self, xp: Any, da: Array, tape: Any) -> dict[str, Array]:
        """``dW_hf`` from h and ``da_f``, ``dW_hn`` from v and ``da_n``."""
        H, (h,), (v,) = self.hidden_size, tape.states, tape.cache
        weight_hf, weight_hn = da[:H] @ as_columns(h[:-1]).T, da[H:] @ as_columns(v).T
        return {"weight_hh": xp.concatenate([weight_hf, weight_hn])}


class MGU(rl.Recurrent):
    """The minimal gated unit over a sequence: all that a layer does comes from `rnnlab.Recurrent`."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(MGUCell(hidden_size), input_size, hidden_size, bias)


def train(steps: int = 200, T: int = 32, N: int = 16) -> list[float]:
    """Train a character model on Shakespeare; return the loss of every step, in nats per character."""
    rng = np.random.default_rng(0)
    text = rl.data.shakespeare()[:100_000]
    vocabulary = rl.data.Vocabulary(text)
    symbols = vocabulary.encode(text)
    model = rl.models.LanguageModel(len(vocabulary), embedding_size=16, recurrent=MGU(16, 64))
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1.0), rl.optim.adam(0.01))
    params = model.init(rng)
    opt_state, losses = optimizer.init(params), []
    for _ in range(steps):
        starts = rng.integers(0, len(symbols) - T - 1, N)
        chunk = symbols[starts + np.arange(T + 1)[:, None]]
        loss, grads, _ = model.loss_and_grads(params, (chunk[:-1], chunk[1:]))
        params, opt_state = optimizer.step(params, grads, opt_state)
        losses.append(float(loss))
    return losses


if __name__ == "__main__":
    report = rl.check_layer(MGU(3, 5))
    print(report)
    report.raise_if_failed()
    losses = train()
    print(f"nats per character: {losses[0]:.2f} at first, {np.mean(losses[-20:]):.2f} after {len(losses)} steps")
