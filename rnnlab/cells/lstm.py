"""The LSTM cell, with the forget gate and without peepholes."""

from __future__ import annotations

from typing import Any

from rnnlab.backend import Array
from rnnlab.cells.blocks import Workspace, as_rows, product

__all__ = ["LSTMCell"]


class LSTMCell:
    """One step of the LSTM, and its backward.

    With ``x (D, N)``, ``h, c (H, N)`` and the gates stacked as rows i, f, g, o::

        a  = W_ih x + W_hh h + b                    (4H, N)
        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
        g  = tanh(a_g)
        c' = f * c + i * g
        h' = o * tanh(c')

    and backward::

        do  = dh' * tanh(c')
        dc' = dc' + dh' * o * (1 - tanh(c')^2)
        di, df, dg = dc' * g, dc' * c, dc' * i
        dc  = dc' * f
        da_i, da_f, da_o = di * i * (1-i), df * f * (1-f), do * o * (1-o)
        da_g = dg * (1 - g^2)
        dh  = W_hh^T da

    Parameters
    ----------
    hidden_size : int
        H.

    Notes
    -----
    This is PyTorch's and cuDNN's variant and gate order. The forget gate is that of Gers et al. 2000; Hochreiter and
    Schmidhuber's own cell of 1997 has ``f = 1``.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9, 1997.
    F. A. Gers, J. Schmidhuber, F. Cummins, Learning to forget, Neural Computation 12, 2000.

    Examples
    --------
    >>> import rnnlab as rl
    >>> rl.LSTM(3, 4).cell.gates
    ('i', 'f', 'g', 'o')
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def __init__(self, hidden_size: int) -> None:
        self.hidden_size = hidden_size
        self.da_blocks = 4

    def parameters(self, bias: bool) -> dict[str, tuple[int, ...]]:
        """The cell's own parameters: none."""
        return {}

    def allocate(self, xp: Any, T: int, N: int, dtype: Any) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Arrays for T steps: the four gates; h and c; tanh(c')."""
        HN = self.hidden_size * N
        h, c = xp.empty((T + 1, HN), dtype), xp.empty((T + 1, HN), dtype)
        return xp.empty((T, 4, HN), dtype), (h, c), (xp.empty((T, HN), dtype),)

    def forward(self, xp: Any, params: Any, a: Array, state: Any, new_state: Any, cache: Any, work: Workspace) -> None:
        """``c' = f*c + i*g``, ``h' = o * tanh(c')``; ``a`` becomes the gates."""
        h, c = state
        h_new, c_new = new_state
        (tanh_c,) = cache
        i, f, g, o = a
        i_f, half = a[:2], work.half
        # a = a + W_hh h, halved where sigmoid(a) = 0.5 + 0.5*tanh(a/2) is to come: one tanh serves all four gates
        a += product(xp, params["weight_hh"], h, work.room)
        i_f *= half
        o *= half
        xp.tanh(a, a)
        i_f *= half
        i_f += half
        o *= half
        o += half
        xp.multiply(f, c, c_new)
        xp.multiply(i, g, tanh_c)
        c_new += tanh_c
        xp.tanh(c_new, tanh_c)
        xp.multiply(o, tanh_c, h_new)

    def slopes(self, xp: Any, tape: Any, steps: slice) -> Array:
        """The part of ``da`` that does not depend on later steps, for K steps at a time: ``(K, 5, H*N)``."""
        gates, c, tanh_c = tape.gates[steps], tape.states[1][steps], tape.cache[0][steps]
        i, f, g, o = gates.transpose(1, 0, 2)
        slopes = xp.empty((len(gates), 5, gates.shape[2]), gates.dtype)
        s_i, s_f, s_g, s_o, s_c = slopes.transpose(1, 0, 2)
        s_i[...] = g * i * (1 - i)  # da_i = dc' * s_i, and so on
        s_f[...] = c * f * (1 - f)
        s_g[...] = i * (1 - g * g)
        s_o[...] = tanh_c * o * (1 - o)  # da_o = dh' * s_o
        s_c[...] = o * (1 - tanh_c * tanh_c)  # dc' = dc' + dh' * s_c
        return slopes

    def backward(self, xp: Any, params: Any, slopes: Array, a: Array, dstate: Any, work: Workspace) -> None:
        """From ``dh', dc'`` to ``dh, dc``; ``slopes`` become ``da``."""
        dh, dc = dstate
        da_i, da_f, da_g, da_o, s_c = slopes
        s_c *= dh
        dc += s_c
        da_o *= dh
        da_i *= dc
        da_f *= dc
        da_g *= dc
        dc *= a[1]  # f
        product(xp, params["weight_hh"].T, slopes[:4], dh)

    def weight_gradients(self, xp: Any, rows: Array, tape: Any) -> dict[str, Array]:
        """``dW_hh = sum_t da_t h_{t-1}^T``."""
        return {"weight_hh": rows.T @ as_rows(tape.states[0][:-1], self.hidden_size)}
