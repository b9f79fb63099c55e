"""The Jacobian of one step, by backward and by formula, and the product of many."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, Tree, namespace, to_numpy, tree_items, tree_map
from rnnlab.gates import gate_values, recurrent_blocks
from rnnlab.recurrent import Recurrent

__all__ = ["JacobianProduct", "jacobian_product", "state_jacobian", "step_jacobians"]


def state_jacobian(layer: Any, params: dict[str, Any], x: Array, state: Tree = None) -> Array:
    r"""Return the Jacobian of one step, ``J[n, a, b] = d state_t[n, a] / d state_{t-1}[n, b]``.

    Its products over time carry the gradient back; its spectral norm bounds by how much one step can stretch a
    gradient, and its spectral radius says whether a fixed point of the network is stable.

    Parameters
    ----------
    layer : layer
        Any with rnnlab's layer interface that runs forwards in time.
    params : dict
    x : Array, shape (N, D)
        The input of the step.
    state : Tree, optional
        The state before it; None means zeros.

    Returns
    -------
    Array, shape (N, S, S)
        S is the size of all arrays of a state side by side: H for an RNN or a GRU, 2H (h, then c) for an LSTM.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.RNN(2, 3)
    >>> params = layer.init(np.random.default_rng(0))
    >>> J = state_jacobian(layer, params, np.zeros((1, 2)))       # at h = 0, tanh' is 1
    >>> bool(np.allclose(J[0], params["weight_hh"]))
    True
    """
    xp = namespace(x=x, params=params, state=state)
    N = x.shape[0]
    if state is None:
        state = tree_map(xp.zeros_like, layer.forward(params, x[None])[1])
    S = sum(array.shape[1] for _, array in tree_items(state))
    many = tree_map(lambda s: xp.concatenate([s] * S), state)  # row a*N + n: sequence n, to be differentiated for a
    y, final, tape = layer.forward(params, xp.concatenate([x] * S)[None], many)
    seeds = xp.repeat(xp.eye(S, dtype=y.dtype), N, axis=0)
    _, dstate, _ = layer.backward(params, tape, xp.zeros_like(y), _split(seeds, final))
    rows = xp.concatenate([d for _, d in tree_items(dstate)], axis=1)
    jacobian: Array = rows.reshape(S, N, S).transpose(1, 0, 2)
    return jacobian


def _split(rows: Array, state: Tree) -> Tree:
    """Cut ``(N, S)`` into arrays like those of a state."""
    position = [0]

    def piece(s: Array) -> Array:
        position.append(position[-1] + s.shape[1])
        return rows[:, position[-2] : position[-1]]

    return tree_map(piece, state)


# ------------------------------------------------------------------------------------- by formula


def step_jacobians(layer: Any, params: dict[str, Any], x: Array, state: Tree = None) -> Array:
    r"""Return the Jacobian of every step, by the cell's formula.

    It is ``J[t, n, a, b] = d state_t[n, a] / d state_{t-1}[n, b]``. With ``h, c`` before the step, ``h', c'`` after it
    and ``diag(v)`` the matrix with v on its diagonal:

    RNN::

        dh'/dh = diag(f'(a)) W_hh

    LSTM, whose state is h, then c::

        dc'/dc = diag(f)
        dc'/dh = diag(g * i*(1-i)) W_hi + diag(c * f*(1-f)) W_hf + diag(i * (1-g^2)) W_hg
        dh'/dc = diag(k) dc'/dc                                  where k = o * (1 - tanh(c')^2)
        dh'/dh = diag(k) dc'/dh + diag(tanh(c') * o*(1-o)) W_ho

    GRU, with ``e = (1-z) * (1-n^2)``::

        dh'/dh = diag(z) + diag((h-n) * z*(1-z)) W_hz + ...
        ... diag(e) (diag(r) W_hn + diag(u * r*(1-r)) W_hr)      reset="after", u = W_hn h + b_hn
        ... diag(e) W_hn (diag(r) + diag(h * r*(1-r)) W_hr)      reset="before"

    Parameters
    ----------
    layer : RNN, LSTM or GRU
    params : dict
    x : Array, shape (T, N, D)
    state : Tree, optional
        The initial state; None means zeros.

    Returns
    -------
    Array, shape (T, N, S, S)
        S is H for an RNN or a GRU, 2H for an LSTM.

    Raises
    ------
    TypeError
        There is no formula for the layer; `state_jacobian` takes any.

    See Also
    --------
    state_jacobian : The same for one step of any layer, by its own backward.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.LSTM(2, 3)
    >>> params, x = layer.init(np.random.default_rng(0)), np.ones((5, 1, 2))
    >>> J = step_jacobians(layer, params, x)
    >>> f = rl.dynamics.gate_values(layer, params, x)["f"]
    >>> J.shape, bool((J[4, 0, 3:, 3:] == np.diag(f[4, 0])).all())
    ((5, 1, 6, 6), True)
    """
    if not isinstance(layer, Recurrent):
        raise TypeError(f"layer must be an RNN, an LSTM or a GRU; got {type(layer).__name__}")
    xp = namespace(x=x, params=params, state=state)
    gates = gate_values(layer, params, x, state)
    W = recurrent_blocks(params["weight_hh"])
    if "h" in gates:
        jacobians: Array = layer.cell.activation.slope(gates["h"])[..., None] * W["h"]
        return jacobians
    y, final, _ = layer.forward(params, x, state)
    initial = tree_map(xp.zeros_like, final) if state is None else state
    h = xp.concatenate([layer.final_hidden(initial)[None], y[:-1]])
    if "o" in gates:
        return _lstm_jacobians(xp, gates, W, initial[1])
    W_hn_h = h @ W["n"].T + params.get("bias_hn", 0)
    return _gru_jacobians(xp, gates, W, h, W_hn_h if layer.cell.reset == "after" else None)


def _lstm_jacobians(xp: Any, gates: dict[str, Array], W: dict[str, Array], c: Array) -> Array:
    i, f, g, o = (gates[name] for name in "ifgo")
    states = [c]
    for t in range(len(f)):
        states.append(f[t] * states[-1] + i[t] * g[t])
    before, tanh_c = xp.stack(states[:-1]), xp.tanh(xp.stack(states[1:]))
    k = o * (1 - tanh_c**2)
    dc_dc = _diagonal(xp, f)
    dc_dh = _rows(g * i * (1 - i), W["i"]) + _rows(before * f * (1 - f), W["f"]) + _rows(i * (1 - g**2), W["g"])
    dh_dc = _rows(k, dc_dc)
    dh_dh = _rows(k, dc_dh) + _rows(tanh_c * o * (1 - o), W["o"])
    return xp.concatenate([xp.concatenate([dh_dh, dh_dc], axis=-1), xp.concatenate([dc_dh, dc_dc], axis=-1)], axis=-2)


def _gru_jacobians(xp: Any, gates: dict[str, Array], W: dict[str, Array], h: Array, u: Array | None) -> Array:
    r, z, n = (gates[name] for name in "rzn")
    e = (1 - z) * (1 - n**2)
    through_z = _diagonal(xp, z) + _rows((h - n) * z * (1 - z), W["z"])
    if u is not None:
        return through_z + _rows(e, _rows(r, W["n"]) + _rows(u * r * (1 - r), W["r"]))
    return through_z + _rows(e, W["n"] @ (_diagonal(xp, r) + _rows(h * r * (1 - r), W["r"])))


def _rows(v: Array, matrix: Array) -> Array:
    """Return ``diag(v) matrix``."""
    return v[..., None] * matrix


def _diagonal(xp: Any, v: Array) -> Array:
    """Return ``diag(v)``."""
    return v[..., None] * xp.eye(v.shape[-1], dtype=v.dtype)


# --------------------------------------------------------------------------------------- products


class JacobianProduct(NamedTuple):
    """How a product of Jacobians grows with the number of its factors; all numbers are natural logarithms."""

    log_norms: np.ndarray
    rates: np.ndarray


def jacobian_product(jacobians: Array) -> JacobianProduct:
    r"""Return how fast the product ``J_{T-1} ... J_{T-k}`` grows with k, in logarithms that never over- or underflow.

    A gradient at the last step becomes, k steps back, its product with ``P_k = J_{T-1} ... J_{T-k}``. Written with
    orthogonal ``Q_k`` and triangular ``R_k`` one step after the other,

    .. math:: J_{T-k}^T Q_{k-1} = Q_k R_k, \qquad P_k^T = Q_k R_k R_{k-1} \cdots R_1,

    the norm of ``P_k`` is that of the product of the R, which is scaled to norm 1 at every step, and the diagonals of
    the R hold the rates of growth of all directions.

    Parameters
    ----------
    jacobians : Array, shape (T, N, S, S) or (T, S, S)
        As `step_jacobians` returns them; step 0 first.

    Returns
    -------
    JacobianProduct
        ``log_norms``, numpy.ndarray of shape (T + 1, N) or (T + 1,): ``log ||P_k||_2`` for k = 0 .. T, 0 at k = 0,
        minus infinity where the product is zero.
        ``rates``, shape (N, S) or (S,): ``sum_k log |diag R_k| / T``, the largest first; growth per step in nats,
        minus infinity for a direction of which a step leaves no more than rounding (dead ReLUs).
        Both are NaN for a sequence of which a Jacobian holds a NaN or an infinity.

    Raises
    ------
    ValueError
        The shape is not one of those.

    Notes
    -----
    For T to infinity the rates are the Lyapunov exponents (those of a product taken backwards in time, as a gradient
    meets it). They add up to ``log |det P_T| / T`` at any T. Gradients vanish where the largest is below 0. The work
    is done on the CPU in double precision.

    References
    ----------
    G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, Lyapunov characteristic exponents for smooth dynamical
    systems, Meccanica 15, 1980. R. Engelken, F. Wolf, L. F. Abbott, Lyapunov spectra of chaotic recurrent neural
    networks, Physical Review Research 5, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> steps = np.array(1000 * [[[0.1, 5.0], [0.0, 0.2]]])          # 0.2^1000 is no float
    >>> product = jacobian_product(steps)
    >>> product.log_norms[[0, 1, 1000]].round(2), np.exp(product.rates).round(2)
    (array([    0.  ,     1.61, -1605.53]), array([0.2, 0.1]))
    """
    J = to_numpy(jacobians).astype(float)
    if J.ndim not in (3, 4) or J.shape[-1] != J.shape[-2]:
        raise ValueError(f"jacobians must have shape (T, N, S, S) or (T, S, S); got {J.shape}")
    usable = np.isfinite(J).all(axis=(0, -2, -1))
    J = np.where(usable[..., None, None], J, 0)
    Q = np.broadcast_to(np.eye(J.shape[-1]), J.shape[1:])
    product, scale = Q, np.zeros(J.shape[1:-2])
    log_norms, rates = [scale], np.zeros(J.shape[1:-1])
    with np.errstate(divide="ignore"):  # the logarithm of 0 is minus infinity
        for step in J[::-1]:
            Q, R = np.linalg.qr(np.swapaxes(step, -1, -2) @ Q)
            growth = np.abs(np.diagonal(R, axis1=-2, axis2=-1))
            rounding = growth.shape[-1] * np.finfo(float).eps * growth.max(axis=-1, keepdims=True)
            rates = rates + np.log(np.where(growth > rounding, growth, 0))
            product = R @ product
            norm = np.linalg.norm(product, 2, axis=(-2, -1))
            product = product / np.where(norm > 0, norm, 1)[..., None, None]
            scale = scale + np.log(norm)
            log_norms.append(scale)
    rates = -np.sort(-rates / max(len(J), 1), axis=-1)
    return JacobianProduct(np.where(usable, np.stack(log_norms), np.nan), np.where(usable[..., None], rates, np.nan))
