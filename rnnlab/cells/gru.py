"""The GRU cell in its two variants, which differ in where the reset gate acts."""

from __future__ import annotations

from typing import Any

from rnnlab.backend import Array
from rnnlab.cells.blocks import Workspace, as_rows, product, sigmoid

__all__ = ["GRUCell"]


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
        HN = self.hidden_size * N
        return xp.empty((T, 3, HN), dtype), (xp.empty((T + 1, HN), dtype),), (xp.empty((T, HN), dtype),)

    def forward(self, xp: Any, params: Any, a: Array, state: Any, new_state: Any, cache: Any, work: Workspace) -> None:
        """``h' = (1-z)*n + z*h``; ``a`` becomes the gates."""
        step = self._forward_after if self.reset == "after" else self._forward_before
        (h,), (h_new,) = state, new_state
        step(xp, params, a, h, cache[0], work)
        _, z, n = a
        xp.subtract(h, n, h_new)
        h_new *= z
        h_new += n

    def slopes(self, xp: Any, tape: Any, steps: slice) -> Array:
        """The part of ``da`` that does not depend on later steps, for K steps at a time: ``(K, da_blocks, H*N)``."""
        gates, h, u = tape.gates[steps], tape.states[0][steps], tape.cache[0][steps]
        r, z, n = gates.transpose(1, 0, 2)
        slopes = xp.empty((len(gates), self.da_blocks, gates.shape[2]), gates.dtype)
        s_r, s_z, s_n = (slopes[:, k] for k in (0, 1, -1))
        s_z[...] = (h - n) * z * (1 - z)  # da_z = dh' * s_z, and so on
        s_n[...] = (1 - z) * (1 - n * n)
        if self.reset == "before":
            s_r[...] = h * r * (1 - r)  # da_r = dv * s_r
        else:
            s_r[...] = s_n * u * r * (1 - r)
            slopes[:, 2] = s_n * r  # du
        return slopes

    def backward(self, xp: Any, params: Any, slopes: Array, a: Array, dstate: Any, work: Workspace) -> None:
        """From ``dh'`` to ``dh``; ``slopes`` become ``da``."""
        step = self._backward_after if self.reset == "after" else self._backward_before
        step(xp, params, slopes, a, dstate[0], work)

    # ---------------------------------------------------- n = tanh(a_n + r * (W_hn h + b_hn))

    def _forward_after(self, xp: Any, params: Any, a: Array, h: Array, u: Array, work: Workspace) -> None:
        a_rz, n, W_n_h = a[:2], a[2], work.room[2]
        product(xp, params["weight_hh"], h, work.room)
        a_rz += work.room[:2]
        sigmoid(xp, a_rz, work.half)
        if "bias_hn" in params:
            matrix = W_n_h.reshape(self.hidden_size, -1)
            xp.add(matrix, params["bias_hn"][:, None], u.reshape(matrix.shape))
        else:
            u[...] = W_n_h
        n += xp.multiply(a[0], u, W_n_h)  # r * u
        xp.tanh(n, n)

    def _backward_after(self, xp: Any, params: Any, slopes: Array, a: Array, dh: Array, work: Workspace) -> None:
        slopes *= dh  # da_r, da_z, du, da_n
        dh *= a[1]  # z
        dh += product(xp, params["weight_hh"].T, slopes[:3], work.room[0])

    # ---------------------------------------------------------- n = tanh(a_n + W_hn (r * h))

    def _forward_before(self, xp: Any, params: Any, a: Array, h: Array, v: Array, work: Workspace) -> None:
        H = self.hidden_size
        W_rz, W_n = params["weight_hh"][: 2 * H], params["weight_hh"][2 * H :]
        a_rz, n = a[:2], a[2]
        a_rz += product(xp, W_rz, h, work.room[:2])
        sigmoid(xp, a_rz, work.half)
        xp.multiply(a[0], h, v)  # r * h
        n += product(xp, W_n, v, work.room[2])
        xp.tanh(n, n)

    def _backward_before(self, xp: Any, params: Any, slopes: Array, a: Array, dh: Array, work: Workspace) -> None:
        H = self.hidden_size
        W_rz, W_n = params["weight_hh"][: 2 * H], params["weight_hh"][2 * H :]
        r, z, _ = a
        da_r, da_z, da_n = slopes
        dv, W_da = work.room[:2]
        da_z *= dh
        da_n *= dh
        dh *= z
        product(xp, W_n.T, da_n, dv)
        da_r *= dv
        dv *= r
        dh += dv
        dh += product(xp, W_rz.T, slopes[:2], W_da)

    def weight_gradients(self, xp: Any, rows: Array, tape: Any) -> dict[str, Array]:
        """``dW_hr, dW_hz`` from h; ``dW_hn`` from h and ``du``, or from ``v = r*h`` and ``da_n``."""
        H = self.hidden_size
        (h,), (cache,) = tape.states, tape.cache
        if self.reset == "before":
            weight_rz = rows[:, : 2 * H].T @ as_rows(h[:-1], H)
            return {"weight_hh": xp.concatenate([weight_rz, rows[:, 2 * H :].T @ as_rows(cache, H)])}
        grads = {"weight_hh": rows[:, : 3 * H].T @ as_rows(h[:-1], H)}
        if "bias_hn" in tape.params:
            grads["bias_hn"] = rows[:, 2 * H : 3 * H].sum(axis=0)
        rows[:, 2 * H : 3 * H] = rows[:, 3 * H :]  # du has served; da_n is what reaches W_in x
        return grads
