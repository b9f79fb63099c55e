"""Initializers: functions of a Generator, a shape and a dtype that return a NumPy array.

Draws are made on the host, so that a seed means the same whatever library the arrays move to afterwards.
A matrix has shape ``(fan_out, fan_in)``: it maps fan_in inputs to fan_out units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Initializer", "by_gate", "glorot", "he", "identity", "normal", "orthogonal", "uniform", "zeros"]

# A name in quotes: NumPy loads numpy.random only when it is used, and a type is no reason to.
Initializer = Callable[["np.random.Generator", tuple[int, ...], Any], np.ndarray]


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive; got {value!r}")


def _spread(std: float, distribution: str) -> Initializer:
    """Draws of mean 0 and standard deviation ``std``."""
    if distribution == "uniform":
        return uniform(-np.sqrt(3) * std, np.sqrt(3) * std)
    if distribution == "normal":
        return normal(std)
    raise ValueError(f"distribution must be 'uniform' or 'normal'; got {distribution!r}")


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"shape must be (fan_out, fan_in); got {shape}")
    return shape[0], shape[1]


def glorot(gain: float = 1.0, distribution: str = "uniform") -> Initializer:
    """Glorot (Xavier): variance ``gain^2 * 2 / (fan_in + fan_out)``.

    Parameters
    ----------
    gain : float
    distribution : {"uniform", "normal"}

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``

    Raises
    ------
    ValueError
        A bad gain or distribution; when called, a shape that is no matrix.

    References
    ----------
    X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> w = rl.initializers.glorot()(np.random.default_rng(0), (4, 2), np.float32)
    >>> w.shape, w.dtype, bool(abs(w).max() <= 1)
    ((4, 2), dtype('float32'), True)
    """
    _check_positive("gain", gain)
    _spread(1.0, distribution)

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return _spread(gain * np.sqrt(2 / sum(_matrix(shape))), distribution)(rng, shape, dtype)

    return draw


def he(gain: float = 1.0, distribution: str = "normal") -> Initializer:
    """He (Kaiming): variance ``gain^2 * 2 / fan_in``, for ReLU.

    Parameters
    ----------
    gain : float
    distribution : {"uniform", "normal"}

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``

    Raises
    ------
    ValueError
        A bad gain or distribution; when called, a shape that is no matrix.

    References
    ----------
    K. He et al., Delving deep into rectifiers, ICCV 2015, Eq. 10.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> w = rl.initializers.he()(np.random.default_rng(0), (300, 50), float)
    >>> round(float(w.std()), 2)
    0.2
    """
    _check_positive("gain", gain)
    _spread(1.0, distribution)

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return _spread(gain * np.sqrt(2 / _matrix(shape)[1]), distribution)(rng, shape, dtype)

    return draw


def orthogonal(gain: float = 1.0) -> Initializer:
    """Orthogonal: ``gain`` times a matrix with orthonormal rows or columns, whichever are fewer.

    Parameters
    ----------
    gain : float
        Every singular value.

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``

    Raises
    ------
    ValueError
        A bad gain; when called, a shape that is no matrix.

    References
    ----------
    A. Saxe, J. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks, ICLR 2014. Signs as in F. Mezzadri, How to generate random matrices from the classical
    compact groups, 2007: without them the draw would not be uniform over the orthogonal group.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> w = rl.initializers.orthogonal()(np.random.default_rng(0), (3, 3), float)
    >>> bool(np.allclose(w @ w.T, np.eye(3)))
    True
    """
    _check_positive("gain", gain)

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        rows, columns = _matrix(shape)
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return (gain * (q if rows >= columns else q.T)).astype(dtype, order="C")

    return draw


def identity(scale: float = 1.0) -> Initializer:
    """``scale`` times the identity: with ReLU the IRNN, which starts by copying its state.

    Parameters
    ----------
    scale : float

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``; nothing is drawn.

    Raises
    ------
    ValueError
        When called: a shape that is not square.

    References
    ----------
    Q. Le, N. Jaitly, G. Hinton, A simple way to initialize recurrent networks of rectified linear units,
    arXiv 1504.00941.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rl.initializers.identity(0.5)(np.random.default_rng(0), (2, 2), float)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        rows, columns = _matrix(shape)
        if rows != columns:
            raise ValueError(f"identity needs a square shape; got {shape}")
        return (scale * np.eye(rows)).astype(dtype)

    return draw


def uniform(low: float = -0.1, high: float = 0.1) -> Initializer:
    """Uniform draws from ``[low, high)``.

    Parameters
    ----------
    low, high : float

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``

    Raises
    ------
    ValueError
        ``low`` is not below ``high``.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> w = rl.initializers.uniform(-1, 1)(np.random.default_rng(0), (100,), float)
    >>> bool(-1 <= w.min() < 0 < w.max() < 1)
    True
    """
    if not low < high:
        raise ValueError(f"low must be below high; got {low!r} and {high!r}")

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return rng.uniform(low, high, shape).astype(dtype)

    return draw


def normal(std: float = 0.01) -> Initializer:
    """Normal draws of mean 0 and standard deviation ``std``.

    Parameters
    ----------
    std : float

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``

    Raises
    ------
    ValueError
        ``std`` is not positive.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rl.initializers.normal(0.5)(np.random.default_rng(0), (2, 3), float).shape
    (2, 3)
    """
    _check_positive("std", std)

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return (std * rng.normal(size=shape)).astype(dtype)

    return draw


def zeros() -> Initializer:
    """All zero: for biases.

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array``; nothing is drawn.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rl.initializers.zeros()(np.random.default_rng(0), (2,), float)
    array([0., 0.])
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.zeros(shape, dtype)

    return draw


def by_gate(initializer: Initializer, gates: int) -> Initializer:
    """Initialize each gate's block of rows on its own.

    An orthogonal ``(4H, H)`` matrix would have blocks that are not orthogonal, and Glorot's variance would be taken
    from the wrong fan_out.

    Parameters
    ----------
    initializer : callable
        For one block.
    gates : int
        How many blocks are stacked.

    Returns
    -------
    callable
        ``(rng, shape, dtype) -> array`` for the stacked shape.

    Raises
    ------
    ValueError
        When called: the rows are no multiple of ``gates``.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> draw = rl.initializers.by_gate(rl.initializers.identity(), 2)
    >>> draw(np.random.default_rng(0), (4, 2), float)
    array([[1., 0.],
           [0., 1.],
           [1., 0.],
           [0., 1.]])
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        rows, rest = divmod(shape[0], gates)
        if rest:
            raise ValueError(f"shape must have a multiple of {gates} rows, one block a gate; got {shape}")
        return np.concatenate([initializer(rng, (rows, *shape[1:]), dtype) for _ in range(gates)])

    return draw
