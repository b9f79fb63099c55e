"""Gradients of penalties on the weights, added to those of the loss."""

from __future__ import annotations

from rnnlab.backend import Array, namespace
from rnnlab.optim.parts import Flat, GradientTransform, number, pattern

__all__ = ["l1", "l2"]


class l1(GradientTransform):  # used like a function
    """Penalize ``strength * sum(|w|)``: ``g = g + strength * sign(w)``.

    Parameters
    ----------
    strength : float
    only : str, optional
        A pattern for the parameters meant, such as ``"weight_*"`` to spare the biases. By default all.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.l1(0.5), rl.optim.sgd(1.0))
    >>> w = np.array([3.0, 0.0, -3.0])
    >>> optimizer.step(w, np.zeros(3), optimizer.init(w))[0]
    array([ 2.5,  0. , -2.5])
    """

    def __init__(self, strength: float, only: str | None = None) -> None:
        self.strength, self.only = number("strength", strength, or_equal=True), pattern(only)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the gradient of loss and penalty."""
        w = params[path]
        return g + self.strength * namespace(params=w).sign(w)


class l2(GradientTransform):
    """Penalize ``strength/2 * sum(w**2)``: ``g = g + strength * w``, PyTorch's ``weight_decay``.

    Parameters
    ----------
    strength : float
    only : str, optional
        A pattern for the parameters meant, such as ``"weight_*"`` to spare the biases. By default all.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.l2(0.5), rl.optim.sgd(1.0))
    >>> w = np.array([3.0, 0.0, -3.0])
    >>> optimizer.step(w, np.zeros(3), optimizer.init(w))[0]
    array([ 1.5,  0. , -1.5])
    """

    def __init__(self, strength: float, only: str | None = None) -> None:
        self.strength, self.only = number("strength", strength, or_equal=True), pattern(only)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the gradient of loss and penalty."""
        return g + self.strength * params[path]
