"""Feed-forward layers: ``y, tape = layer.forward(params, x)``, ``dx, grads = layer.backward(params, tape, dy)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab import initializers
from rnnlab.backend import Array, library_of, namespace, scatter_add
from rnnlab.initializers import Initializer
from rnnlab.kernels import product

__all__ = ["Dropout", "Embedding", "Linear"]

Params = dict[str, Array]


def _check_size(name: str, size: Any) -> int:
    if not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(f"{name} must be a positive integer; got {size!r}")
    return int(size)


def _check_weight(layer: Any, params: Params, shape: tuple[int, ...]) -> Array:
    if "weight" not in params or params["weight"].shape != shape:
        got = params["weight"].shape if "weight" in params else f"the keys {list(params)}"
        raise ValueError(f"params['weight'] of {layer!r} must have shape {shape}; got {got}")
    return params["weight"]


class Embedding:
    """A table of vectors, one a symbol: ``y = weight[ids]``.

    Parameters
    ----------
    vocab_size, embedding_size : int
        V and E.
    init_weight : callable, optional
        Initializer of ``weight (V, E)``; default normal of standard deviation 0.1.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.Embedding(4, 2)
    >>> params = layer.init(np.random.default_rng(0))
    >>> y, tape = layer.forward(params, np.array([[0, 3, 3]]))
    >>> _, grads = layer.backward(params, tape, np.ones_like(y))
    >>> grads["weight"][:, 0]
    array([1., 0., 0., 2.])
    """

    def __init__(self, vocab_size: int, embedding_size: int, init_weight: Initializer | None = None) -> None:
        self.vocab_size = _check_size("vocab_size", vocab_size)
        self.embedding_size = _check_size("embedding_size", embedding_size)
        self.init_weight = init_weight or initializers.normal(0.1)

    def __repr__(self) -> str:
        return f"Embedding(vocab_size={self.vocab_size}, embedding_size={self.embedding_size})"

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw ``weight (V, E)``."""
        return {"weight": self.init_weight(rng, (self.vocab_size, self.embedding_size), dtype)}

    def forward(self, params: Params, ids: Array, rng: Any = None) -> tuple[Array, Array]:
        """Look up the vectors of ``ids (...)``, integers from 0 to V-1: ``y (..., E)``.

        Raises
        ------
        ValueError
            An id is no integer or not in the table (on a GPU values are not looked at).
        """
        xp = namespace(ids=ids, params=params)
        weight = _check_weight(self, params, (self.vocab_size, self.embedding_size))
        if ids.dtype.kind not in "iu":
            raise ValueError(f"ids must be integers; got dtype {ids.dtype}")
        if xp.__name__ == "numpy" and ids.size and not (0 <= ids.min() and ids.max() < self.vocab_size):
            raise ValueError(f"ids must be from 0 to {self.vocab_size - 1}; got {ids.min()} to {ids.max()}")
        return weight[ids], ids

    def backward(self, params: Params, tape: Array, dy: Array) -> tuple[None, Params]:
        """Add each ``dy (..., E)`` to its symbol's row. Ids have no gradient, hence the None."""
        xp = namespace(dy=dy, params=params)
        weight = xp.zeros(params["weight"].shape, dy.dtype)
        scatter_add(weight, tape.reshape(-1), dy.reshape(-1, self.embedding_size))
        return None, {"weight": weight}


class Linear:
    """``y = x W^T + b`` on the last axis.

    Backward: ``dx = dy W``, ``dW = sum dy^T x``, ``db = sum dy``.

    Parameters
    ----------
    input_size, output_size : int
        Width of x and of y.
    bias : bool
        Whether there is a bias.
    init_weight : callable, optional
        Initializer of ``weight (output_size, input_size)``; default Glorot uniform.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.Linear(3, 2)
    >>> params = layer.init(np.random.default_rng(0))
    >>> y, tape = layer.forward(params, np.ones((5, 4, 3)))
    >>> dx, grads = layer.backward(params, tape, np.ones_like(y))
    >>> y.shape, dx.shape, grads["bias"]
    ((5, 4, 2), (5, 4, 3), array([20., 20.]))
    """

    def __init__(
        self, input_size: int, output_size: int, bias: bool = True, init_weight: Initializer | None = None
    ) -> None:
        self.input_size = _check_size("input_size", input_size)
        self.output_size = _check_size("output_size", output_size)
        self.bias = bool(bias)
        self.init_weight = init_weight or initializers.glorot()

    def __repr__(self) -> str:
        return f"Linear(input_size={self.input_size}, output_size={self.output_size})"

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw ``weight (output_size, input_size)``; ``bias (output_size,)`` is zero."""
        params = {"weight": self.init_weight(rng, (self.output_size, self.input_size), dtype)}
        if self.bias:
            params["bias"] = np.zeros(self.output_size, dtype)
        return params

    def forward(self, params: Params, x: Array, rng: Any = None) -> tuple[Array, Array]:
        """Map ``x (..., input_size)`` to ``y (..., output_size)`` as one matrix product.

        Raises
        ------
        ValueError
            A shape does not fit.
        """
        xp = namespace(x=x, params=params)
        weight = _check_weight(self, params, (self.output_size, self.input_size))
        if x.ndim < 1 or x.shape[-1] != self.input_size:
            raise ValueError(f"x must have shape (..., {self.input_size}) for {self!r}; got {tuple(x.shape)}")
        y = product(xp, x.reshape(-1, self.input_size), weight.T)
        if self.bias:
            y = y + params["bias"]  # not +=, so that a complex step in the bias alone passes
        return y.reshape(*x.shape[:-1], self.output_size), x

    def backward(self, params: Params, tape: Array, dy: Array) -> tuple[Array, Params]:
        """Return ``dx (..., input_size)`` and the gradients."""
        xp, x = library_of(dy, "dy"), tape
        rows = dy.reshape(-1, self.output_size)
        dx = product(xp, rows, params["weight"]).reshape(x.shape)
        grads = {"weight": product(xp, rows.T, x.reshape(-1, self.input_size))}
        if self.bias:
            grads["bias"] = rows.sum(axis=0)
        return dx, grads


class Dropout:
    """Drop each value with probability ``rate`` and divide the others by ``1 - rate``; only when an rng is passed.

    Parameters
    ----------
    rate : float
        From 0 to 1.

    References
    ----------
    N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> y, tape = rl.Dropout(0.5).forward({}, np.ones(6), rng=np.random.default_rng(0))
    >>> y
    array([2., 2., 2., 0., 0., 0.])
    """

    def __init__(self, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"dropout rate must be from 0 to 1; got {rate!r}")
        self.rate = rate

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Return no parameters."""
        return {}

    def forward(self, params: Params, x: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array | None]:
        """Return ``x * mask``, and the mask; without an rng x itself."""
        xp = namespace(x=x)
        if rng is None or self.rate == 0:
            return x, None
        # Drawn on the host, so that a seed means the same on a GPU.
        kept = xp.asarray(rng.random(x.shape, dtype="f") >= self.rate)
        mask = kept * x.dtype.type(0 if self.rate == 1 else 1 / (1 - self.rate))
        return x * mask, mask

    def backward(self, params: Params, tape: Array | None, dy: Array) -> tuple[Array, Params]:
        """Return ``dy * mask``."""
        return (dy if tape is None else dy * tape), {}
