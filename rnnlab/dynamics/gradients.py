"""The gradient's norm on its way back through time."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.backend import Array, Tree, namespace, to_numpy, tree_map

__all__ = ["gradient_norm_through_time"]


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
