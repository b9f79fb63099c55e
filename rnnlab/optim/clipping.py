"""Gradients that are too large, made smaller."""

from __future__ import annotations

from typing import Any

from rnnlab.backend import Array, namespace
from rnnlab.kernels import on_device
from rnnlab.optim.parts import Flat, GradientTransform, global_norm, number, refuse_not_finite

__all__ = ["clip_by_global_norm", "clip_by_norm", "clip_by_value"]


class clip_by_value(GradientTransform):  # used like a function
    """Clip each element of the gradients: ``g = min(max(g, -limit), limit)``. This changes the direction.

    Parameters
    ----------
    limit : float

    References
    ----------
    T. Mikolov, Statistical language models based on neural networks, PhD thesis, Brno, 2012.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.clip_by_value(1.0), rl.optim.sgd(0.1))
    >>> w = np.zeros(3)
    >>> optimizer.step(w, np.array([-5.0, 0.5, 5.0]), optimizer.init(w))[0]
    array([ 0.1 , -0.05, -0.1 ])
    """

    def __init__(self, limit: float) -> None:
        self.limit = number("limit", limit)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the clipped gradient of one parameter."""
        xp = namespace(grads=g)
        if not on_device(xp) and bool(xp.isnan(g).any()):  # an infinity is clipped; a NaN would pass
            refuse_not_finite(path, g)
        return xp.clip(g, -self.limit, self.limit)


class clip_by_global_norm(GradientTransform):
    """Scale all gradients together: ``g = g * min(1, max_norm / ||g||)``, the norm taken over all arrays.

    Parameters
    ----------
    max_norm : float

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013,
    Algorithm 1.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1.0), rl.optim.sgd(1.0))
    >>> params, grads = {"w": np.zeros(1), "b": np.zeros(1)}, {"w": np.array([3.0]), "b": np.array([4.0])}
    >>> optimizer.step(params, grads, optimizer.init(params))[0]
    {'w': array([-0.6]), 'b': array([-0.8])}
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = number("max_norm", max_norm)

    def __call__(self, grads: Flat, params: Flat) -> Flat:
        """Return the scaled gradients."""
        total = global_norm(grads)
        if isinstance(total, float) and total <= self.max_norm:
            return grads
        return {path: _at_most(g, self.max_norm, total) for path, g in grads.items()}


class clip_by_norm(GradientTransform):
    """Scale each array of the gradients on its own: ``g = g * min(1, max_norm / ||g||)``.

    Parameters
    ----------
    max_norm : float

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.clip_by_norm(1.0), rl.optim.sgd(1.0))
    >>> params, grads = {"w": np.zeros(1), "b": np.zeros(1)}, {"w": np.array([3.0]), "b": np.array([0.5])}
    >>> optimizer.step(params, grads, optimizer.init(params))[0]
    {'w': array([-1.]), 'b': array([-0.5])}
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = number("max_norm", max_norm)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the scaled gradient of one parameter."""
        return _at_most(g, self.max_norm, global_norm({path: g}))


def _at_most(g: Array, max_norm: float, size: Any) -> Array:
    """Return ``g * min(1, max_norm / size)``."""
    if not isinstance(size, float):  # on a GPU, where nothing can be decided without waiting
        return (g * (max_norm / namespace(grads=size).maximum(size, max_norm))).astype(g.dtype)
    if size <= max_norm:
        return g
    factor = max_norm / size
    return g * factor if factor > 1e-30 else (g * (1 / size)) * max_norm  # would it vanish in g's own digits?
