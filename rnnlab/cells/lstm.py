"""The LSTM cell, with the forget gate and without peepholes."""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnlab.backend import Array
from rnnlab.cells.blocks import as_columns, blocks
from rnnlab.kernels import Kernel, product

__all__ = ["LSTMCell"]


class Work(NamedTuple):
    """Room for a step's product, and the constants; all ``(4H, N)``, as NumPy is fastest with equal shapes."""

    room: Array
    scale: Array
    shift: Array


FORWARD = Kernel(
    "lstm_forward",
    "raw T s, T h, T c, bool alive",
    "raw T a, T h_new, T c_new, T tanh_c",
    """
    const T gate_i = sigmoid(a[GATE(0)] + s[GATE(0)]);
    const T gate_f = sigmoid(a[GATE(1)] + s[GATE(1)]);
    const T gate_g = tanh(a[GATE(2)] + s[GATE(2)]);
    const T gate_o = sigmoid(a[GATE(3)] + s[GATE(3)]);
    const T next_c = gate_f * c + gate_i * gate_g;
    const T next_tanh_c = tanh(next_c);
    a[GATE(0)] = gate_i;
    a[GATE(1)] = gate_f;
    a[GATE(2)] = gate_g;
    a[GATE(3)] = gate_o;
    tanh_c = next_tanh_c;
    c_new = alive ? next_c : c;
    h_new = alive ? gate_o * next_tanh_c : h;
    """,
)
BACKWARD = Kernel(
    "lstm_backward",
    "raw T gates, T c, T tanh_c, T dy, T room, bool alive",
    "raw T da, T dh, T dc",
    """
    const T gate_i = gates[GATE(0)], gate_f = gates[GATE(1)], gate_g = gates[GATE(2)], gate_o = gates[GATE(3)];
    const T dh_new = dh + room + dy;
    const T dh_in = alive ? dh_new : 0;
    const T dc_in = alive ? dc + dh_in * gate_o * (1 - tanh_c * tanh_c) : 0;
    da[GATE(0)] = dc_in * gate_g * gate_i * (1 - gate_i);
    da[GATE(1)] = dc_in * c * gate_f * (1 - gate_f);
    da[GATE(2)] = dc_in * gate_i * (1 - gate_g * gate_g);
    da[GATE(3)] = dh_in * tanh_c * gate_o * (1 - gate_o);
    dc = alive ? dc_in * gate_f : dc;
    dh = alive ? 0 : dh_new;
    """,
)


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
    da_blocks = 4
    kernels = True
    # All four gates are scale * tanh(scale * a) + shift, since sigmoid(a) = 0.5*tanh(a/2) + 0.5: one tanh serves them.
    scale = (0.5, 0.5, 1.0, 0.5)
    shift = (0.5, 0.5, 0.0, 0.5)

    def __init__(self, hidden_size: int) -> None:
        self.hidden_size = hidden_size

    def parameters(self, bias: bool) -> dict[str, tuple[int, ...]]:
        """The cell's own parameters: none."""
        return {}

    def allocate(self, xp: Any, T: int, N: int, dtype: Any) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Arrays for T steps: the four gates; h and c; tanh(c')."""
        H = self.hidden_size
        h, c = xp.empty((T + 1, H, N), dtype), xp.empty((T + 1, H, N), dtype)
        return xp.empty((T, 4 * H, N), dtype), (h, c), (xp.empty((T, H, N), dtype),)

    def workspace(self, xp: Any, params: Any, N: int, dtype: Any) -> Work:
        """What the steps of a forward pass share."""
        work = Work(*(xp.empty((4 * self.hidden_size, N), dtype) for _ in range(3)))
        for k in range(4):
            block = slice(k * self.hidden_size, (k + 1) * self.hidden_size)
            work.scale[block], work.shift[block] = self.scale[k], self.shift[k]
        return work

    def forward(self, xp: Any, params: Any, a: Array, gates: Any, state: Any, new: Any, cache: Any, work: Work) -> None:
        """``c' = f*c + i*g``, ``h' = o * tanh(c')``; ``a`` becomes the gates."""
        i, f, g, o = gates
        (h, c), (h_new, c_new), (tanh_c,) = state, new, cache
        a += xp.dot(params["weight_hh"], h, work.room)
        a *= work.scale
        xp.tanh(a, a)
        a *= work.scale
        a += work.shift
        xp.multiply(f, c, c_new)
        c_new += xp.multiply(i, g, tanh_c)
        xp.tanh(c_new, tanh_c)
        xp.multiply(o, tanh_c, h_new)

    def slopes(self, xp: Any, tape: Any, steps: slice) -> Array:
        """The part of ``da`` that does not depend on later steps, for K steps at a time: ``(K, 5*H, N)``."""
        H = self.hidden_size
        gates, c, tanh_c = tape.gates[steps], tape.states[1][steps], tape.cache[0][steps]
        i, f, g, o = blocks(gates, H)
        slopes = xp.empty((gates.shape[0], 5 * H, gates.shape[2]), gates.dtype)
        s_i, s_f, s_g, s_o, s_c = blocks(slopes, H)
        xp.multiply(gates, gates, slopes[:, : 4 * H])
        xp.subtract(i, s_i, s_i)  # i - i^2 = i * (1-i)
        xp.subtract(f, s_f, s_f)
        xp.subtract(1, s_g, s_g)
        xp.subtract(o, s_o, s_o)
        s_i *= g  # da_i = dc' * s_i, and so on
        s_f *= c
        s_g *= i
        s_o *= tanh_c  # da_o = dh' * s_o
        xp.multiply(tanh_c, tanh_c, s_c)
        xp.subtract(1, s_c, s_c)
        s_c *= o  # dc' = dc' + dh' * s_c
        return slopes

    def backward(self, xp: Any, params: Any, da: Array, slopes: Any, gates: Any, dstate: Any, room: Any) -> None:
        """From ``dh', dc'`` to ``dh, dc``; ``slopes`` become ``da``."""
        dh, dc = dstate
        da_i, da_f, da_g, da_o, s_c = slopes
        _, f, _, _ = gates
        s_c *= dh
        dc += s_c
        da_o *= dh
        da_i *= dc
        da_f *= dc
        da_g *= dc
        dc *= f
        xp.dot(params["weight_hh"].T, da, dh)

    def launch_forward(
        self, xp: Any, params: Any, a: Array, state: Any, new: Any, cache: Any, s: Array, alive: Any
    ) -> None:
        """`forward` as one product and one kernel."""
        product(xp, params["weight_hh"], state[0], s)
        FORWARD(s, *state, alive, a, *new, *cache)

    def launch_backward(
        self, xp: Any, tape: Any, t: int, dy: Array, da: Array, d: Any, room: Array, alive: Any
    ) -> None:
        """`slopes` and `backward` as one kernel and one product."""
        BACKWARD(tape.gates[t], tape.states[1][t], tape.cache[0][t], dy, room, alive, da, *d)
        product(xp, tape.params["weight_hh"].T, da, room)

    def weight_gradients(self, xp: Any, da: Array, tape: Any) -> dict[str, Array]:
        """``dW_hh = sum_t da_t h_{t-1}^T``."""
        return {"weight_hh": product(xp, da, as_columns(tape.states[0][:-1]).T)}
