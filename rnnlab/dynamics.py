"""Instruments: what happens to gradients through time, to the recurrent matrix, to the gates and to the weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, Tree, namespace, to_numpy, tree_items, tree_map
from rnnlab.gates import Saturation, gate_saturation, gate_values, recurrent_blocks

__all__ = [
    "Saturation",
    "WeightStatistics",
    "gate_saturation",
    "gate_values",
    "gradient_norm_through_time",
    "recurrent_blocks",
    "spectral_norm",
    "spectral_radius",
    "state_jacobian",
    "update_ratio",
    "weight_statistics",
]


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


# ----------------------------------------------------------------------------------------- weights


class WeightStatistics(NamedTuple):
    """The first four moments of an array's elements; the kurtosis is the excess over a normal distribution's 3."""

    mean: float
    std: float
    skewness: float
    kurtosis: float


def weight_statistics(array: Array) -> WeightStatistics:
    r"""Return mean, standard deviation, skewness and excess kurtosis of all elements of an array.

    With ``z = (w - mean) / std``, all means over the K elements (the population's moments, not corrected for K)::

        mean = sum(w) / K               std = sqrt(mean((w - mean)^2))
        skewness = mean(z^3)            kurtosis = mean(z^4) - 3

    so that skewness and kurtosis of a normal distribution are 0, and a uniform one's kurtosis is -1.2.

    Parameters
    ----------
    array : Array of real numbers, any shape
        Weights, or their gradient.

    Returns
    -------
    WeightStatistics
        In float64. Skewness and kurtosis are NaN where all elements are equal; all four are NaN where one is not
        finite or there is none.

    Examples
    --------
    >>> import numpy as np
    >>> weight_statistics(np.array([-1.0, 1.0, -1.0, 1.0]))
    WeightStatistics(mean=0.0, std=1.0, skewness=0.0, kurtosis=-2.0)
    """
    xp = namespace(array=array)
    w = array.astype(xp.float64).ravel()
    scale = float(xp.abs(w).max()) if w.size else math.nan
    if not math.isfinite(scale):
        return WeightStatistics(*[math.nan] * 4)
    scale = _power_of_two(scale)
    w /= scale  # so that no square overflows, and nothing is rounded
    mean = float(w.mean())
    w -= mean
    squares = w * w
    std = math.sqrt(float(squares.mean()))
    if std <= 4 * float(np.finfo(float).eps):  # nothing but the rounding of the mean
        return WeightStatistics(scale * mean, 0.0, math.nan, math.nan)
    K = w.size
    third, fourth = float(xp.dot(squares, w)) / K, float(xp.dot(squares, squares)) / K
    return WeightStatistics(scale * mean, scale * std, third / std**3, fourth / std**4 - 3)


def update_ratio(before: Array, after: Array) -> float:
    """Return how far a step moved an array in relation to its size, ``||after - before|| / ||before||``.

    About 1e-3 is the rule of thumb for weights that learn; much more and they are overwritten, much less and they
    stand still.

    Parameters
    ----------
    before, after : Array
        A parameter before and after the step.

    Returns
    -------
    float
        0 if nothing moved, infinity if it moved away from zero, NaN if an element is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> update_ratio(np.array([3.0, 4.0]), np.array([3.0, 6.5]))
    0.5
    """
    xp = namespace(before=before, after=after)
    old = before.astype(xp.float64).ravel()
    new = after.astype(xp.float64).ravel()
    largest = float(xp.abs(xp.concatenate([old, new])).max()) if old.size else 0.0
    if not math.isfinite(largest):
        return math.nan
    scale = _power_of_two(largest)
    old, new = old / scale, new / scale
    moved, size = float(xp.linalg.norm(new - old)), float(xp.linalg.norm(old))
    if moved == 0:
        return 0.0
    return moved / size if size else math.inf


def _power_of_two(size: float) -> float:
    """The power of two just below a size; 1 for 0."""
    return math.ldexp(1.0, math.frexp(size)[1] - 1) if size else 1.0
