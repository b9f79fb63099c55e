"""Instruments: what happens to gradients on their way back through time, and to the recurrent matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.backend import Array, Tree, namespace, to_numpy, tree_map

__all__ = ["gradient_norm_through_time", "recurrent_blocks", "spectral_norm", "spectral_radius"]


def spectral_norm(matrix: Array) -> float:
    """Return the largest singular value, the most by which the matrix stretches a vector.

    Parameters
    ----------
    matrix : Array, shape (M, K)

    Returns
    -------
    float
        NaN if the matrix holds a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> round(spectral_norm(np.array([[0.0, 3.0], [0.0, 0.0]])), 12)
    3.0
    """
    m = to_numpy(matrix)
    return float(np.linalg.norm(m, 2)) if np.isfinite(m).all() else float("nan")


def spectral_radius(matrix: Array) -> float:
    """Return the largest modulus of an eigenvalue, the rate at which high powers of the matrix grow.

    Parameters
    ----------
    matrix : Array, shape (M, M)

    Returns
    -------
    float
        NaN if the matrix holds a NaN or an infinity. Never larger than `spectral_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> spectral_radius(np.array([[0.0, 3.0], [0.0, 0.0]]))
    0.0
    """
    m = to_numpy(matrix)
    return float(np.abs(np.linalg.eigvals(m)).max()) if np.isfinite(m).all() else float("nan")


def recurrent_blocks(weight_hh: Array) -> dict[str, Array]:
    """Return the square block of each gate of a recurrent matrix, by the gate's name.

    Parameters
    ----------
    weight_hh : Array, shape (G*H, H)
        Of an RNN (G = 1), a GRU (3) or an LSTM (4).

    Returns
    -------
    dict
        Gate name -> view of shape (H, H).

    Raises
    ------
    ValueError
        The shape is that of no cell.

    Examples
    --------
    >>> import numpy as np
    >>> list(recurrent_blocks(np.zeros((12, 4))))
    ['r', 'z', 'n']
    """
    gates = {1: ("h",), 3: ("r", "z", "n"), 4: ("i", "f", "g", "o")}
    H = weight_hh.shape[1]
    names = gates.get(weight_hh.shape[0] // H)
    if names is None or weight_hh.shape[0] != len(names) * H:
        raise ValueError(f"weight_hh must have shape (H, H), (3H, H) or (4H, H); got {tuple(weight_hh.shape)}")
    return {name: weight_hh[k * H : (k + 1) * H] for k, name in enumerate(names)}


def gradient_norm_through_time(
    layer: Any, params: dict[str, Any], x: Array, rng: np.random.Generator, state: Tree = None
) -> np.ndarray:
    r"""Return how large the gradient of a loss at the last step is when it has travelled k steps back.

    For a random unit vector v a sequence and the loss ``L = v . h_{T-1}`` this is the mean over the sequences of
    ``||dL/d state_{T-1-k}||_2`` for k = 0 .. T-1, which is 1 at k = 0. It falls where gradients vanish and rises where
    they explode.

    Parameters
    ----------
    layer : layer
        Any with rnnlab's layer interface that runs forwards in time.
    params : dict
    x : Array, shape (T, N, D)
    rng : numpy.random.Generator
        Draws v.
    state : Tree, optional
        The initial state; None means zeros.

    Returns
    -------
    numpy.ndarray, shape (T,)
        Element k is the norm at distance k.

    Notes
    -----
    The sequence is run as T pieces of one step, state carried forward and its gradient carried back, so that
    nothing but the layer's own forward and backward is used.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rng = np.random.default_rng(0)
    >>> layer = rl.RNN(2, 4)
    >>> norms = gradient_norm_through_time(layer, layer.init(rng), rng.normal(size=(6, 3, 2)), rng)
    >>> norms.shape, round(float(norms[0]), 12)
    ((6,), 1.0)
    """
    xp = namespace(x=x, params=params, state=state)
    T = x.shape[0]
    tapes: list[Any] = []
    for t in range(T):
        y, state, tape = layer.forward(params, x[t : t + 1], state)
        tapes.append(tape)
    v = rng.normal(size=y.shape[1:])
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    dy = xp.asarray(v[None].astype(y.dtype))
    dstate, norms = None, [1.0]
    for t in reversed(range(1, T)):
        _, dstate, _ = layer.backward(params, tapes[t], dy, dstate)
        dy = xp.zeros_like(y)
        norms.append(_mean_norm(dstate))
    return np.array(norms)


def _mean_norm(dstate: Tree) -> float:
    """Mean over the sequences of the norm of the state's gradient, all its arrays together."""
    squares: list[np.ndarray] = []
    tree_map(lambda d: squares.append((to_numpy(d).astype(float) ** 2).sum(axis=1)), dstate)
    return float(np.sqrt(np.sum(squares, axis=0)).mean())
