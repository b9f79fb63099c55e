"""The updates: how a gradient moves a parameter. Each equals PyTorch's optimizer of the same name.

``w`` is a parameter, ``g`` its gradient, ``rate`` the learning rate of the step ``t = 1, 2, ...``; every operation is
elementwise. Weight decay that goes through the gradient is the transform `rnnlab.optim.l2`.
"""

from __future__ import annotations

from typing import Any

from rnnlab.backend import Array, namespace
from rnnlab.optim.chain import Optimizer
from rnnlab.optim.parts import Flat, Update, flag, number
from rnnlab.optim.schedules import Schedule, as_schedule

__all__ = ["adagrad", "adam", "adamw", "rmsprop", "sgd"]

Memory = dict[str, Array]
Rate = float | Schedule


def _zeros(params: Flat) -> Flat:
    return {path: namespace(params=w).zeros_like(w) for path, w in params.items()}


def sgd(learning_rate: Rate, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Return stochastic gradient descent: ``v = momentum*v + g``, ``w = w - rate*v``.

    With ``nesterov``, ``w = w - rate*(g + momentum*v)``. Equal to ``torch.optim.SGD``.

    Parameters
    ----------
    learning_rate : float or schedule
    momentum : float
        From 0 to below 1.
    nesterov : bool

    Returns
    -------
    Optimizer

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, On the importance of initialization and momentum in deep learning,
    ICML 2013.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.sgd(0.5)
    >>> w, _ = optimizer.step(np.array([1.0]), np.array([0.2]), optimizer.init(np.array([1.0])))
    >>> w
    array([0.9])
    """
    return Optimizer((), SGD(learning_rate, momentum, nesterov), ())


class SGD(Update):
    """``v = momentum*v + g``, ``w = w - rate*v``; Nesterov's: ``w = w - rate*(g + momentum*v)``."""

    def __init__(self, learning_rate: Rate, momentum: float, nesterov: bool) -> None:
        self.learning_rate = as_schedule("learning_rate", learning_rate)
        self.momentum = number("momentum", momentum, below=1, or_equal=True)
        self.nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0; got momentum=0")

    def init(self, params: Flat) -> dict[str, Flat]:
        """Return the velocity."""
        return {"v": _zeros(params)} if self.momentum else {}

    def move(self, w: Array, g: Array, rate: float, step: int, memory: Memory) -> tuple[Array, Memory]:
        """Return the parameter moved, and its velocity."""
        if not self.momentum:
            return w - rate * g, {}
        v = self.momentum * memory["v"] + g
        return w - rate * (g + self.momentum * v if self.nesterov else v), {"v": v}


def rmsprop(learning_rate: Rate, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0) -> Optimizer:
    """Return RMSprop: each weight's step is divided by the root of a running mean of its squared gradient.

    ``s = alpha*s + (1-alpha)*g*g``, ``w = w - rate * g / (sqrt(s) + eps)``. Equal to ``torch.optim.RMSprop``.

    Parameters
    ----------
    learning_rate : float or schedule
    alpha : float
        The share of the old mean that is kept.
    eps : float
    momentum : float
        From 0 to below 1.

    Returns
    -------
    Optimizer

    References
    ----------
    T. Tieleman, G. Hinton, Lecture 6.5: RMSprop, Coursera, 2012.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.rmsprop(0.01)
    >>> w, _ = optimizer.step(np.array([1.0]), np.array([50.0]), optimizer.init(np.array([1.0])))
    >>> w.round(6)
    array([0.9])
    """
    return Optimizer((), RMSprop(learning_rate, alpha, eps, momentum), ())


class RMSprop(Update):
    """``s = alpha*s + (1-alpha)*g*g``, ``w = w - rate * g / (sqrt(s) + eps)``; momentum as in SGD."""

    def __init__(self, learning_rate: Rate, alpha: float, eps: float, momentum: float) -> None:
        self.learning_rate = as_schedule("learning_rate", learning_rate)
        self.alpha = number("alpha", alpha, below=1, or_equal=True)
        self.eps = number("eps", eps, or_equal=True)
        self.momentum = number("momentum", momentum, below=1, or_equal=True)

    def init(self, params: Flat) -> dict[str, Flat]:
        """Return the mean square and, with momentum, the velocity."""
        return {"s": _zeros(params), **({"v": _zeros(params)} if self.momentum else {})}

    def move(self, w: Array, g: Array, rate: float, step: int, memory: Memory) -> tuple[Array, Memory]:
        """Return the parameter moved, its mean square and its velocity."""
        xp = namespace(w=w)
        s = self.alpha * memory["s"] + (1 - self.alpha) * g * g
        u = g / (xp.sqrt(s) + self.eps)
        if not self.momentum:
            return w - rate * u, {"s": s}
        v = self.momentum * memory["v"] + u
        return w - rate * v, {"s": s, "v": v}


def adagrad(learning_rate: Rate, eps: float = 1e-10) -> Optimizer:
    """Return Adagrad: each weight's step is divided by the root of the sum of its squared gradients.

    ``s = s + g*g``, ``w = w - rate * g / (sqrt(s) + eps)``. Equal to ``torch.optim.Adagrad``.

    Parameters
    ----------
    learning_rate : float or schedule
    eps : float

    Returns
    -------
    Optimizer

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, Adaptive subgradient methods for online learning and stochastic optimization,
    JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.adagrad(0.1)
    >>> w, _ = optimizer.step(np.array([1.0]), np.array([50.0]), optimizer.init(np.array([1.0])))
    >>> w.round(6)
    array([0.9])
    """
    return Optimizer((), Adagrad(learning_rate, eps), ())


class Adagrad(Update):
    """``s = s + g*g``, ``w = w - rate * g / (sqrt(s) + eps)``."""

    def __init__(self, learning_rate: Rate, eps: float) -> None:
        self.learning_rate = as_schedule("learning_rate", learning_rate)
        self.eps = number("eps", eps, or_equal=True)

    def init(self, params: Flat) -> dict[str, Flat]:
        """Return the sum of squares."""
        return {"s": _zeros(params)}

    def move(self, w: Array, g: Array, rate: float, step: int, memory: Memory) -> tuple[Array, Memory]:
        """Return the parameter moved, and its sum of squares."""
        s = memory["s"] + g * g
        return w - rate * g / (namespace(w=w).sqrt(s) + self.eps), {"s": s}


def adam(learning_rate: Rate, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Return Adam: a running mean of the gradient, divided by the root of one of its square.

    ``m = b1*m + (1-b1)*g``, ``s = b2*s + (1-b2)*g*g``, ``w = w - rate * m_hat / (sqrt(s_hat) + eps)`` with
    ``m_hat = m / (1 - b1**t)``, ``s_hat = s / (1 - b2**t)``. Equal to ``torch.optim.Adam``.

    Parameters
    ----------
    learning_rate : float or schedule
    betas : tuple of two floats
        b1 and b2, from 0 to below 1.
    eps : float

    Returns
    -------
    Optimizer

    References
    ----------
    D. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.adam(0.1)
    >>> w, _ = optimizer.step(np.array([1.0]), np.array([50.0]), optimizer.init(np.array([1.0])))
    >>> w.round(6)
    array([0.9])
    """
    return Optimizer((), Adam(learning_rate, betas, eps), ())


class Adam(Update):
    """``m = b1*m + (1-b1)*g``, ``s = b2*s + (1-b2)*g*g``, ``w = w - rate * m_hat / (sqrt(s_hat) + eps)``.

    ``m_hat = m / (1 - b1**t)`` and ``s_hat = s / (1 - b2**t)`` make up for the start at 0.
    """

    def __init__(self, learning_rate: Rate, betas: tuple[float, float], eps: float) -> None:
        self.learning_rate = as_schedule("learning_rate", learning_rate)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas must be two numbers, such as (0.9, 0.999); got {betas!r}")
        b1, b2 = betas
        self.betas = number("betas[0]", b1, below=1, or_equal=True), number("betas[1]", b2, below=1, or_equal=True)
        self.eps = number("eps", eps, or_equal=True)

    def init(self, params: Flat) -> dict[str, Flat]:
        """Return the two moments."""
        return {"m": _zeros(params), "s": _zeros(params)}

    def move(self, w: Array, g: Array, rate: float, step: int, memory: Memory) -> tuple[Array, Memory]:
        """Return the parameter moved, and its two moments."""
        b1, b2 = self.betas
        m = b1 * memory["m"] + (1 - b1) * g
        s = b2 * memory["s"] + (1 - b2) * g * g
        root = namespace(w=w).sqrt(s) / (1 - b2**step) ** 0.5 + self.eps
        return w - rate / (1 - b1**step) * m / root, {"m": m, "s": s}


def adamw(
    learning_rate: Rate, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
) -> Optimizer:
    """Return Adam with decoupled weight decay: before each of its steps ``w = w - rate * weight_decay * w``.

    Equal to ``torch.optim.AdamW``.

    Parameters
    ----------
    learning_rate : float or schedule
    betas : tuple of two floats
    eps : float
    weight_decay : float

    Returns
    -------
    Optimizer

    References
    ----------
    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.adamw(0.1, weight_decay=0.5)
    >>> w, _ = optimizer.step(np.array([1.0]), np.array([50.0]), optimizer.init(np.array([1.0])))
    >>> w.round(6)
    array([0.85])
    """
    return Optimizer((), AdamW(learning_rate, betas, eps, weight_decay), ())


class AdamW(Adam):
    """Adam, after ``w = w - rate * weight_decay * w``."""

    def __init__(self, learning_rate: Rate, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        super().__init__(learning_rate, betas, eps)
        self.weight_decay = number("weight_decay", weight_decay, or_equal=True)

    def move(self, w: Array, g: Array, rate: float, step: int, memory: Memory) -> tuple[Array, Any]:
        """Return the parameter moved, and its two moments."""
        return super().move(w * (1 - rate * self.weight_decay), g, rate, step, memory)
