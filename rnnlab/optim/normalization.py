"""Gradients brought to a standard size and mean: weight gradient normalization and its neighbours."""

from __future__ import annotations

from collections.abc import Callable

from rnnlab.backend import Array, namespace
from rnnlab.optim.parts import Flat, GradientTransform, flag, global_norm, number, one_of, pattern, refuse_not_finite

__all__ = ["block_normalize_gradients", "centralize_gradients", "normalize_weight_gradients"]

DENOMINATORS: dict[str, tuple[float, Callable[[Array, Array], Array]]] = {
    # The power of eps that is of the gradient's unit, and the denominator made of the variance and that power.
    "std+eps": (1.0, lambda var, floor: var**0.5 + floor),
    "sqrt(var+eps)": (0.5, lambda var, floor: (var + floor * floor) ** 0.5),
}
PER = ("array", "gate", "row")
TINY = 1e-308  # the norm of nothing: its reciprocal is no number


class normalize_weight_gradients(GradientTransform):  # used like a function
    """Weight gradient normalization: from each gradient its mean is subtracted, then it is divided by its spread.

    ``g = (g - mean(g)) / (std(g) + eps)``, mean and (population) standard deviation over all elements of an array.
    A step of SGD behind it then has the length ``rate * sqrt(size)`` whatever the gradient's size was, and never
    changes the mean of the weights.

    Parameters
    ----------
    eps : float
        The paper's delta.
    denominator : {"std+eps", "sqrt(var+eps)"}
        The paper's Eq. 5, or the reading of its Eq. 7 in which eps stands below the root. For gradients whose
        spread is about ``sqrt(eps)`` or less the two differ widely.
    center : bool
        Whether the mean is subtracted.
    per : {"array", "gate", "row"}
        What shares a mean and a spread: an array; the rows of one gate in the ``weight_ih``, ``weight_hh`` and
        ``bias`` of an LSTM or a GRU; or a row, which holds the weights into one unit (an array of one axis counts as
        one row). The paper does not say how it treats gates.
    only : str, optional
        A pattern for the parameters meant, such as ``"weight_*"``. By default all.

    Raises
    ------
    FloatingPointError
        By `step`, if a gradient holds a NaN or an infinity, which would spread to all of its array.

    Notes
    -----
    Where all elements are equal the result is 0, with ``eps=0`` too; but with ``center=False`` and ``eps > 0`` it is
    ``g / eps``: do not use that on arrays of one element.

    References
    ----------
    Wu et al., Applied Sciences 14(15), 6578, 2024, Eq. 5; doi 10.3390/app14156578.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.normalize_weight_gradients(), rl.optim.sgd(0.1))
    >>> w = np.array([1.0, 2.0, 3.0])
    >>> w, _ = optimizer.step(w, np.array([-1e6, 0.0, 1e6]), optimizer.init(w))
    >>> w.round(3), round(float(w.mean()), 12)
    (array([1.122, 2.   , 2.878]), 2.0)
    """

    def __init__(
        self,
        eps: float = 1e-5,
        denominator: str = "std+eps",
        center: bool = True,
        per: str = "array",
        only: str | None = None,
    ) -> None:
        self.eps = number("eps", eps, or_equal=True)
        self.denominator = one_of("denominator", denominator, DENOMINATORS)
        self.center = flag("center", center)
        self.per = one_of("per", per, PER)
        self.only = pattern(only)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the normalized gradient of one parameter."""
        refuse_not_finite(path, g)
        groups = {"array": 1, "gate": _gates(path, params), "row": len(g) if g.ndim > 1 else 1}[self.per]
        return self._normalize(g.reshape(groups, -1)).reshape(g.shape) if g.size else g

    def _normalize(self, g: Array) -> Array:
        """Return the rows of a matrix, each normalized."""
        xp = namespace(grads=g)
        power, spread_of = DENOMINATORS[self.denominator]
        floor = self.eps**power
        # Squares of very large or small elements would overflow or vanish, and so would what eps is to them: each row
        # is divided by its largest element, or by eps if that is larger.
        unit = xp.maximum(xp.abs(g).max(axis=1, keepdims=True), floor)
        unit = xp.where(unit > 0, unit, xp.ones_like(unit))
        u = g / unit
        centered = u - u.mean(axis=1, keepdims=True)
        var = (centered * centered).mean(axis=1, keepdims=True)
        spread = spread_of(var, floor / unit)
        # Equal elements leave nothing but the rounding of their mean, which must not be blown up.
        flat = (g.max(axis=1, keepdims=True) == g.min(axis=1, keepdims=True)) & (self.center or self.eps == 0)
        return xp.where(flat, 0, centered if self.center else u) / xp.where(flat, 1, spread)


def _gates(path: str, params: Flat) -> int:
    """Return the number of gates stacked in a parameter, as the ``weight_hh`` beside it tells; 1 if it tells none.

    Examples
    --------
    >>> import numpy as np
    >>> lstm = {"weight_hh": np.zeros((8, 2)), "bias": np.zeros(8)}
    >>> _gates("bias", lstm), _gates("bias", {"bias": np.zeros(8)})
    (4, 1)
    """
    prefix, dot, name = path.rpartition(".")
    weight_hh = params.get(f"{prefix}{dot}weight_hh")
    if weight_hh is None or name not in ("weight_ih", "weight_hh", "bias"):
        return 1
    rows, H = weight_hh.shape if weight_hh.ndim == 2 else (0, 0)
    found = [G for G in (3, 4) if rows == G * H and params[path].shape[0] == rows]  # a GRU's, an LSTM's
    return found[0] if found else 1


class centralize_gradients(GradientTransform):
    """Gradient centralization: from each row of a weight's gradient its mean is subtracted.

    ``g[i] = g[i] - mean(g[i])`` for the weights ``i`` into one unit; arrays of one axis stay as they are.

    Parameters
    ----------
    only : str, optional
        A pattern for the parameters meant. By default all.

    References
    ----------
    H. Yong et al., Gradient centralization: a new optimization technique for deep neural networks, ECCV 2020, Eq. 1.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.centralize_gradients(), rl.optim.sgd(1.0))
    >>> w = np.zeros((2, 2))
    >>> optimizer.step(w, np.array([[1.0, 3.0], [5.0, 5.0]]), optimizer.init(w))[0]
    array([[ 1., -1.],
           [ 0.,  0.]])
    """

    def __init__(self, only: str | None = None) -> None:
        self.only = pattern(only)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the centred gradient of one parameter."""
        refuse_not_finite(path, g)
        return g if g.ndim < 2 or not g.size else g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True)


class block_normalize_gradients(GradientTransform):
    """Block-normalized gradients: each array's gradient is divided by its Euclidean norm, ``g = g / ||g||``.

    Parameters
    ----------
    only : str, optional
        A pattern for the parameters meant. By default all.

    Notes
    -----
    A gradient of 0 stays 0. Behind a centred gradient this is `normalize_weight_gradients` with ``eps=0``, up to
    the factor ``sqrt(size)``.

    References
    ----------
    A. W. Yu et al., Block-normalized gradient method: an empirical study for training deep neural network,
    arXiv 1707.04822, 2017.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(rl.optim.block_normalize_gradients(), rl.optim.sgd(1.0))
    >>> w = np.zeros(2)
    >>> optimizer.step(w, np.array([3e9, 4e9]), optimizer.init(w))[0]
    array([-0.6, -0.8])
    """

    def __init__(self, only: str | None = None) -> None:
        self.only = pattern(only)

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the normalized gradient of one parameter."""
        size = global_norm({path: g})
        if not isinstance(size, float):  # on a GPU
            return (g / namespace(grads=g).maximum(size, TINY)).astype(g.dtype)
        return g / size if size > TINY else namespace(grads=g).zeros_like(g)
