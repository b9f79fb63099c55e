"""The GRU cell in its two variants, which differ in where the reset gate acts."""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnlab.backend import Array
from rnnlab.cells.blocks import as_columns, blocks
from rnnlab.kernels import Kernel, product

__all__ = ["GRUCell"]


class Work(NamedTuple):
    """Room for a step's product ``(3H, N)``, its two parts, and constants."""

    room: Array
    rz: Array
    n: Array
    b_hn: Array  # (H, N)
    half: Array


FORWARD_AFTER = Kernel(
    "gru_after_forward",
    "raw T s, T b_hn, T h, bool alive",
    "raw T a, T h_new, T u",
    """
    const T gate_r = sigmoid(a[GATE(0)] + s[GATE(0)]);
    const T gate_z = sigmoid(a[GATE(1)] + s[GATE(1)]);
    const T next_u = s[GATE(2)] + b_hn;
    const T gate_n = tanh(a[GATE(2)] + gate_r * next_u);
    a[GATE(0)] = gate_r;
    a[GATE(1)] = gate_z;
    a[GATE(2)] = gate_n;
    u = next_u;
    h_new = alive ? (1 - gate_z) * gate_n + gate_z * h : h;
    """,
)
BACKWARD_AFTER = Kernel(
    "gru_after_backward",
    "raw T gates, T h, T u, T dy, T room, bool alive",
    "raw T da, T dh",
    """
    const T r = gates[GATE(0)], z = gates[GATE(1)], gate_n = gates[GATE(2)];
    const T dh_new = dh + room + dy;
    const T dh_in = alive ? dh_new : 0;
    const T da_n = dh_in * (1 - z) * (1 - gate_n * gate_n);
    da[GATE(0)] = da_n * u * r * (1 - r);
    da[GATE(1)] = dh_in * (h - gate_n) * z * (1 - z);
    da[GATE(2)] = da_n * r;
    da[GATE(3)] = da_n;
    dh = alive ? dh_in * z : dh_new;
    """,
)
FORWARD_BEFORE = (
    Kernel(
        "gru_before_forward_gates",
        "raw T s, T h",
        "raw T a, T v",
        """
        const T gate_r = sigmoid(a[GATE(0)] + s[GATE(0)]);
        a[GATE(0)] = gate_r;
        a[GATE(1)] = sigmoid(a[GATE(1)] + s[GATE(1)]);
        v = gate_r * h;
        """,
    ),
    Kernel(
        "gru_before_forward_state",
        "raw T s, T h, bool alive",
        "raw T a, T h_new",
        """
        const T gate_z = a[GATE(1)];
        const T gate_n = tanh(a[GATE(2)] + s[GATE(2)]);
        a[GATE(2)] = gate_n;
        h_new = alive ? (1 - gate_z) * gate_n + gate_z * h : h;
        """,
    ),
)
BACKWARD_BEFORE = (
    Kernel(
        "gru_before_backward_state",
        "raw T gates, T h, T dy, T room, bool alive",
        "raw T da, T dh",
        """
        const T z = gates[GATE(1)], gate_n = gates[GATE(2)];
        const T dh_new = dh + room + dy;
        const T dh_in = alive ? dh_new : 0;
        da[GATE(1)] = dh_in * (h - gate_n) * z * (1 - z);
        da[GATE(2)] = dh_in * (1 - z) * (1 - gate_n * gate_n);
        dh = alive ? dh_in * z : dh_new;
        """,
    ),
    Kernel(
        "gru_before_backward_reset",
        "raw T gates, T h, T dv",
        "raw T da, T dh",
        """
        const T r = gates[GATE(0)];
        da[GATE(0)] = dv * h * r * (1 - r);
        dh += dv * r;
        """,
    ),
)


class GRUCell:
    """One step of the GRU, and its backward.

    With ``x (D, N)``, ``h (H, N)`` and the gates stacked as rows r, z, n::

        r, z = sigmoid(a_r + W_hr h), sigmoid(a_z + W_hz h)      where a = W_ih x + b   (3H, N)
        n  = tanh(a_n + r * u),   u = W_hn h + b_hn              reset="after"
        n  = tanh(a_n + W_hn (r * h))                            reset="before"
        h' = (1-z) * n + z * h

    and backward::

        dz, dn = dh' * (h - n), dh' * (1-z)
        dh  = dh' * z
        da_n = dn * (1 - n^2)
        dr, du = da_n * u, da_n * r                              reset="after"
        dv  = W_hn^T da_n;  dr = dv * h;  dh += dv * r           reset="before"
        da_r, da_z = dr * r * (1-r), dz * z * (1-z)
        dh += W_hr^T da_r + W_hz^T da_z  (+ W_hn^T du with reset="after")

    Parameters
    ----------
    hidden_size : int
        H.
    reset : {"after", "before"}
        Whether the reset gate acts after the product with ``W_hn`` or before it.

    Notes
    -----
    ``reset="after"`` is PyTorch's and cuDNN's cell; ``reset="before"`` is the published one (arXiv 1406.1078 version 3,
    in PyTorch's polarity of z: z = 1 keeps the state). They are different functions with different weights.

    References
    ----------
    K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, Eqs. 5-8.

    Examples
    --------
    >>> import rnnlab as rl
    >>> rl.GRU(3, 4, reset="before").cell.gates
    ('r', 'z', 'n')
    """

    gates = ("r", "z", "n")
    states = ("h",)
    kernels = True

    def __init__(self, hidden_size: int, reset: str = "after") -> None:
        if reset not in ("after", "before"):
            raise ValueError(f"reset must be 'after' or 'before'; got {reset!r}")
        self.hidden_size = hidden_size
        self.reset = reset
        # With reset="after" W_hn h is not reached by da_n but by du = da_n * r; backward gives both.
        self.da_blocks = 4 if reset == "after" else 3

    def parameters(self, bias: bool) -> dict[str, tuple[int, ...]]:
        """``bias_hn (H,)``, which only ``reset="after"`` can tell from ``bias``."""
        return {"bias_hn": (self.hidden_size,)} if bias and self.reset == "after" else {}

    def allocate(self, xp: Any, T: int, N: int, dtype: Any) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Arrays for T steps: the three gates; h; and u with ``reset="after"``, v = r*h with "before"."""
        H = self.hidden_size
        return xp.empty((T, 3 * H, N), dtype), (xp.empty((T + 1, H, N), dtype),), (xp.empty((T, H, N), dtype),)

    def workspace(self, xp: Any, params: Any, N: int, dtype: Any) -> Work:
        """What the steps of a forward pass share."""
        H = self.hidden_size
        room, b_hn = xp.empty((3 * H, N), dtype), xp.zeros((H, N), dtype)
        if "bias_hn" in params:
            b_hn += params["bias_hn"][:, None]
        half = xp.asarray(0.5, dtype=dtype)  # of no axes: NumPy takes twice the time for a Python number
        return Work(room, room[: 2 * H], room[2 * H :], b_hn, half)

    def forward(self, xp: Any, params: Any, a: Array, gates: Any, state: Any, new: Any, cache: Any, work: Work) -> None:
        """``h' = (1-z)*n + z*h``; ``a`` becomes the gates."""
        step = self._forward_after if self.reset == "after" else self._forward_before
        (h,), (h_new,), (_, z, n) = state, new, gates
        step(xp, params["weight_hh"], a, gates, h, cache[0], work)
        xp.subtract(h, n, h_new)
        h_new *= z
        h_new += n

    def slopes(self, xp: Any, tape: Any, steps: slice) -> Array:
        """The part of ``da`` that does not depend on later steps, for K steps at a time: ``(K, da_blocks*H, N)``."""
        gates, h, u = tape.gates[steps], tape.states[0][steps], tape.cache[0][steps]
        r, z, n = blocks(gates, self.hidden_size)
        slopes = xp.empty((gates.shape[0], self.da_blocks * self.hidden_size, gates.shape[2]), gates.dtype)
        s_r, s_z, *s_u, s_n = blocks(slopes, self.hidden_size)
        xp.subtract(1, z, s_n)
        xp.subtract(h, n, s_z)
        s_z *= z
        s_z *= s_n  # da_z = dh' * (h-n) * z * (1-z)
        s_n *= xp.subtract(1, xp.multiply(n, n, s_r), s_r)  # da_n = dh' * (1-z) * (1-n^2)
        xp.subtract(1, r, s_r)
        s_r *= r
        if self.reset == "before":
            s_r *= h  # da_r = dv * h * r * (1-r)
        else:
            s_r *= u
            s_r *= s_n  # da_r = da_n * u * r * (1-r)
            xp.multiply(s_n, r, s_u[0])  # du = da_n * r
        return slopes

    def backward(self, xp: Any, params: Any, da: Array, slopes: Any, gates: Any, dstate: Any, room: Any) -> None:
        """From ``dh'`` to ``dh``; ``slopes`` become ``da``."""
        step = self._backward_after if self.reset == "after" else self._backward_before
        step(xp, params["weight_hh"], da, slopes, gates, dstate[0], room)

    # ---------------------------------------------------- n = tanh(a_n + r * (W_hn h + b_hn))

    def _forward_after(self, xp: Any, W_hh: Array, a: Array, gates: Any, h: Array, u: Array, work: Work) -> None:
        r, _, n = gates
        a_rz = a[: 2 * self.hidden_size]
        xp.dot(W_hh, h, work.room)
        a_rz += work.rz
        self._sigmoid(xp, a_rz, work.half)
        xp.add(work.n, work.b_hn, u)
        n += xp.multiply(r, u, work.n)
        xp.tanh(n, n)

    def _backward_after(self, xp: Any, W_hh: Array, da: Array, slopes: Any, gates: Any, dh: Array, room: Array) -> None:
        for s in slopes:
            s *= dh  # da_r, da_z, du, da_n
        dh *= gates[1]  # z
        dh += xp.dot(W_hh.T, da[: 3 * self.hidden_size], room)

    # ---------------------------------------------------------- n = tanh(a_n + W_hn (r * h))

    def _forward_before(self, xp: Any, W_hh: Array, a: Array, gates: Any, h: Array, v: Array, work: Work) -> None:
        r, _, n = gates
        H = self.hidden_size
        W_rz, W_n, a_rz = W_hh[: 2 * H], W_hh[2 * H :], a[: 2 * H]
        a_rz += xp.dot(W_rz, h, work.rz)
        self._sigmoid(xp, a_rz, work.half)
        xp.multiply(r, h, v)
        n += xp.dot(W_n, v, work.n)
        xp.tanh(n, n)

    def _backward_before(
        self, xp: Any, W_hh: Array, da: Array, slopes: Any, gates: Any, dh: Array, room: Array
    ) -> None:
        H = self.hidden_size
        W_rz, W_n = W_hh[: 2 * H], W_hh[2 * H :]
        r, z, _ = gates
        da_r, da_z, da_n = slopes
        da_z *= dh
        da_n *= dh
        dh *= z
        dv = xp.dot(W_n.T, da_n, room)
        da_r *= dv
        dv *= r
        dh += dv
        dh += xp.dot(W_rz.T, da[: 2 * H], room)

    def _sigmoid(self, xp: Any, a: Array, half: Array) -> None:
        """``a`` becomes its sigmoid, ``0.5*tanh(a/2) + 0.5``: no overflow, and analytic, so that complex steps pass."""
        a *= half
        xp.tanh(a, a)
        a *= half
        a += half

    # ------------------------------------------------------------------------- both, as kernels

    def launch_forward(
        self, xp: Any, params: Any, a: Array, state: Any, new: Any, cache: Any, s: Array, alive: Any
    ) -> None:
        """`forward` as one product and one kernel, or with ``reset="before"`` two of each."""
        W_hh, H, (h,) = params["weight_hh"], self.hidden_size, state
        if self.reset == "after":
            b_hn = params["bias_hn"][:, None] if "bias_hn" in params else 0
            product(xp, W_hh, h, s)
            FORWARD_AFTER(s, b_hn, h, alive, a, *new, *cache)
            return
        product(xp, W_hh[: 2 * H], h, s[: 2 * H])
        FORWARD_BEFORE[0](s, h, a, *cache)
        product(xp, W_hh[2 * H :], cache[0], s[2 * H :])
        FORWARD_BEFORE[1](s, h, alive, a, *new)

    def launch_backward(
        self, xp: Any, tape: Any, t: int, dy: Array, da: Array, d: Any, room: Array, alive: Any
    ) -> None:
        """`slopes` and `backward` as one kernel and one product, or with ``reset="before"`` two of each."""
        W_hh, H, gates, h = tape.params["weight_hh"], self.hidden_size, tape.gates[t], tape.states[0][t]
        if self.reset == "after":
            BACKWARD_AFTER(gates, h, tape.cache[0][t], dy, room, alive, da, *d)
            product(xp, W_hh.T, da[: 3 * H], room)
            return
        BACKWARD_BEFORE[0](gates, h, dy, room, alive, da, *d)
        product(xp, W_hh[2 * H :].T, da[2 * H :], room)
        BACKWARD_BEFORE[1](gates, h, room, da, *d)
        product(xp, W_hh[: 2 * H].T, da[: 2 * H], room)

    def weight_gradients(self, xp: Any, da: Array, tape: Any) -> dict[str, Array]:
        """``dW_hr, dW_hz`` from h; ``dW_hn`` from h and ``du``, or from ``v = r*h`` and ``da_n``."""
        H = self.hidden_size
        (h,), (cache,) = tape.states, tape.cache
        if self.reset == "before":
            weight_rz = product(xp, da[: 2 * H], as_columns(h[:-1]).T)
            return {"weight_hh": xp.concatenate([weight_rz, product(xp, da[2 * H :], as_columns(cache).T)])}
        grads = {"weight_hh": product(xp, da[: 3 * H], as_columns(h[:-1]).T)}
        if "bias_hn" in tape.params:
            grads["bias_hn"] = da[2 * H : 3 * H].sum(axis=1)
        da[2 * H : 3 * H] = da[3 * H :]  # du has served; da_n is what reaches W_in x
        return grads
