"""The vanilla (Elman) cell: h' = f(W_ih x + W_hh h + b)."""

from __future__ import annotations

from typing import Any

from rnnlab import activations
from rnnlab.activations import Activation
from rnnlab.backend import Array
from rnnlab.cells.blocks import as_columns
from rnnlab.kernels import Kernel, product

__all__ = ["RNNCell"]


FORWARD = Kernel("rnn_tanh_forward", "T s, T h, bool alive", "T a", "a = alive ? tanh(a + s) : h;")
BACKWARD = Kernel(
    "rnn_tanh_backward",
    "T h_new, T dy, T room, bool alive",
    "T da, T dh",
    """
    const T dh_new = dh + room + dy;
    da = alive ? dh_new * (1 - h_new * h_new) : 0;
    dh = alive ? 0 : dh_new;
    """,
)


class RNNCell:
    """One step of the vanilla RNN of Elman 1990, and its backward.

    With ``x (D, N)``, ``h (H, N)``::

        a  = W_ih x + W_hh h + b                    (H, N)
        h' = f(a)

    and backward, where ``f'`` is computed from the output ``h'``::

        da = dh' * f'(a)
        dh = W_hh^T da

    Parameters
    ----------
    hidden_size : int
        H.
    activation : Activation
        f, one of `rnnlab.activations`.

    References
    ----------
    J. L. Elman, Finding structure in time, Cognitive Science 14, 1990.

    Examples
    --------
    >>> import rnnlab as rl
    >>> rl.RNN(3, 4).cell.gates
    ('h',)
    """

    gates = ("h",)
    states = ("h",)
    da_blocks = 1

    def __init__(self, hidden_size: int, activation: Activation) -> None:
        self.hidden_size = hidden_size
        self.activation = activation
        self.kernels = activation is activations.tanh

    def parameters(self, bias: bool) -> dict[str, tuple[int, ...]]:
        """The cell's own parameters: none."""
        return {}

    def allocate(self, xp: Any, T: int, N: int, dtype: Any) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Arrays for T steps; the gate is the new state, so they share their memory."""
        h = xp.empty((T + 1, self.hidden_size, N), dtype)
        return h[1:], (h,), ()

    def workspace(self, xp: Any, params: Any, N: int, dtype: Any) -> Array:
        """Room for a step's product."""
        return xp.empty((self.hidden_size, N), dtype)

    def forward(self, xp: Any, params: Any, a: Array, gates: Any, state: Any, new: Any, cache: Any, room: Any) -> None:
        """``h' = f(W_ih x + b + W_hh h)``, written over ``a``, which is ``h'``'s place."""
        (h,) = state
        a += xp.dot(params["weight_hh"], h, room)
        self.activation.value(a, out=a)

    def slopes(self, xp: Any, tape: Any, steps: slice) -> Array:
        """The part of ``da`` that does not depend on later steps, for K steps at a time: ``f'(a) (K, H, N)``."""
        h_new: Array = tape.gates[steps]
        return self.activation.slope(h_new)

    def backward(self, xp: Any, params: Any, da: Array, slopes: Any, gates: Any, dstate: Any, room: Any) -> None:
        """``da = dh' * f'(a)``, ``dh = W_hh^T da``."""
        (dh,) = dstate
        da *= dh
        xp.dot(params["weight_hh"].T, da, dh)

    def launch_forward(
        self, xp: Any, params: Any, a: Array, state: Any, new: Any, cache: Any, s: Array, alive: Any
    ) -> None:
        """`forward` as one product and one kernel."""
        product(xp, params["weight_hh"], state[0], s)
        FORWARD(s, state[0], alive, a)

    def launch_backward(
        self, xp: Any, tape: Any, t: int, dy: Array, da: Array, d: Any, room: Array, alive: Any
    ) -> None:
        """`slopes` and `backward` as one kernel and one product."""
        BACKWARD(tape.gates[t], dy, room, alive, da, *d)
        product(xp, tape.params["weight_hh"].T, da, room)

    def weight_gradients(self, xp: Any, da: Array, tape: Any) -> dict[str, Array]:
        """``dW_hh = sum_t da_t h_{t-1}^T``."""
        (h,) = tape.states
        return {"weight_hh": product(xp, da, as_columns(h[:-1]).T)}
