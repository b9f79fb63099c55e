"""The LSTM cell, with the forget gate and without peepholes."""

from __future__ import annotations

from typing import Any

from rnnlab.activations import sigmoid
from rnnlab.backend import Array
from rnnlab.cells.blocks import as_rows, blocks

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
        H = self.hidden_size
        gates = xp.empty((T, 4 * H, N), dtype)
        h, c = xp.empty((T + 1, H, N), dtype), xp.empty((T + 1, H, N), dtype)
        return gates, (h, c), (xp.empty((T, H, N), dtype),)

    def forward(self, xp: Any, params: Any, a: Array, state: Any, new_state: Any, cache: Any, product: Array) -> None:
        """``c' = f*c + i*g``, ``h' = o * tanh(c')``; ``a`` becomes the gates."""
        h, c = state
        h_new, c_new = new_state
        (tanh_c,) = cache
        H = self.hidden_size
        a += xp.matmul(params["weight_hh"], h, out=product)
        sigmoid.value(a[: 2 * H], out=a[: 2 * H])
        sigmoid.value(a[3 * H :], out=a[3 * H :])
        i, f, g, o = blocks(a, 4)
        xp.tanh(g, out=g)
        xp.multiply(f, c, out=c_new)
        c_new += i * g
        xp.tanh(c_new, out=tanh_c)
        xp.multiply(o, tanh_c, out=h_new)

    def backward(
        self, xp: Any, params: Any, a: Array, state: Any, new_state: Any, cache: Any, dstate: Any, da: Array
    ) -> None:
        """From ``dh', dc'`` to ``da`` and ``dh, dc``."""
        _, c = state
        (tanh_c,) = cache
        dh, dc = dstate
        i, f, g, o = blocks(a, 4)
        di, df, dg, do = blocks(da, 4)
        xp.multiply(dh, tanh_c, out=do)
        dc += dh * o * (1 - tanh_c * tanh_c)
        xp.multiply(dc, g, out=di)
        xp.multiply(dc, c, out=df)
        xp.multiply(dc, i, out=dg)
        dc *= f
        di *= i * (1 - i)
        df *= f * (1 - f)
        dg *= 1 - g * g
        do *= o * (1 - o)
        xp.matmul(params["weight_hh"].T, da, out=dh)

    def weight_gradients(self, xp: Any, rows: Array, tape: Any) -> dict[str, Array]:
        """``dW_hh = sum_t da_t h_{t-1}^T``."""
        h, _ = tape.states
        return {"weight_hh": rows.T @ as_rows(h[:-1])}
