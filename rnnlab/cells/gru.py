"""The GRU cell in its two variants, which differ in where the reset gate acts."""

from __future__ import annotations

from typing import Any

from rnnlab.activations import sigmoid
from rnnlab.backend import Array
from rnnlab.cells.blocks import as_rows, blocks

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
        H = self.hidden_size
        h = xp.empty((T + 1, H, N), dtype)
        return xp.empty((T, 3 * H, N), dtype), (h,), (xp.empty((T, H, N), dtype),)

    def forward(self, xp: Any, params: Any, a: Array, state: Any, new_state: Any, cache: Any, product: Array) -> None:
        """``h' = (1-z)*n + z*h``; ``a`` becomes the gates."""
        step = self._forward_after if self.reset == "after" else self._forward_before
        step(xp, params, a, state[0], cache[0], product)
        (h,), (h_new,) = state, new_state
        _, z, n = blocks(a, 3)
        xp.subtract(h, n, out=h_new)
        h_new *= z
        h_new += n

    def backward(
        self, xp: Any, params: Any, a: Array, state: Any, new_state: Any, cache: Any, dstate: Any, da: Array
    ) -> None:
        """From ``dh'`` to ``da`` and ``dh``."""
        (h,), (dh,) = state, dstate
        r, z, n = blocks(a, 3)
        dz, dn = blocks(da, self.da_blocks)[1], blocks(da, self.da_blocks)[-1]
        xp.subtract(h, n, out=dz)
        dz *= dh
        dz *= z * (1 - z)
        xp.multiply(dh, (1 - z) * (1 - n * n), out=dn)
        dh *= z
        step = self._backward_after if self.reset == "after" else self._backward_before
        step(xp, params, r, h, cache[0], dh, da)

    # ---------------------------------------------------- n = tanh(a_n + r * (W_hn h + b_hn))

    def _forward_after(self, xp: Any, params: Any, a: Array, h: Array, u: Array, product: Array) -> None:
        H = self.hidden_size
        xp.matmul(params["weight_hh"], h, out=product)
        a[: 2 * H] += product[: 2 * H]
        sigmoid.value(a[: 2 * H], out=a[: 2 * H])
        u[...] = product[2 * H :]
        if "bias_hn" in params:
            u += params["bias_hn"][:, None]
        r, _, n = blocks(a, 3)
        n += r * u
        xp.tanh(n, out=n)

    def _backward_after(self, xp: Any, params: Any, r: Array, h: Array, u: Array, dh: Array, da: Array) -> None:
        dr, _, du, dn = blocks(da, 4)
        xp.multiply(dn, u, out=dr)
        dr *= r * (1 - r)
        xp.multiply(dn, r, out=du)
        dh += params["weight_hh"].T @ da[: 3 * self.hidden_size]

    # ---------------------------------------------------------- n = tanh(a_n + W_hn (r * h))

    def _forward_before(self, xp: Any, params: Any, a: Array, h: Array, v: Array, product: Array) -> None:
        H = self.hidden_size
        W_rz, W_n = params["weight_hh"][: 2 * H], params["weight_hh"][2 * H :]
        a[: 2 * H] += xp.matmul(W_rz, h, out=product[: 2 * H])
        sigmoid.value(a[: 2 * H], out=a[: 2 * H])
        r, _, n = blocks(a, 3)
        xp.multiply(r, h, out=v)
        n += xp.matmul(W_n, v, out=product[2 * H :])
        xp.tanh(n, out=n)

    def _backward_before(self, xp: Any, params: Any, r: Array, h: Array, v: Array, dh: Array, da: Array) -> None:
        H = self.hidden_size
        W_rz, W_n = params["weight_hh"][: 2 * H], params["weight_hh"][2 * H :]
        dr, _, dn = blocks(da, 3)
        dv = W_n.T @ dn
        xp.multiply(dv, h, out=dr)
        dr *= r * (1 - r)
        dh += dv * r
        dh += W_rz.T @ da[: 2 * H]

    def weight_gradients(self, xp: Any, rows: Array, tape: Any) -> dict[str, Array]:
        """``dW_hr, dW_hz`` from h; ``dW_hn`` from h and ``du``, or from ``v = r*h`` and ``da_n``."""
        H = self.hidden_size
        (h,), (cache,) = tape.states, tape.cache
        if self.reset == "before":
            weight_rz = rows[:, : 2 * H].T @ as_rows(h[:-1])
            return {"weight_hh": xp.concatenate([weight_rz, rows[:, 2 * H :].T @ as_rows(cache)])}
        grads = {"weight_hh": rows[:, : 3 * H].T @ as_rows(h[:-1])}
        if "bias_hn" in tape.params:
            grads["bias_hn"] = rows[:, 2 * H : 3 * H].sum(axis=0)
        rows[:, 2 * H : 3 * H] = rows[:, 3 * H :]  # du has served; da_n is what reaches W_in x
        return grads
