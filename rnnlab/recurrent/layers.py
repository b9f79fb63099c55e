"""The three layers: a cell, its options and its initial parameters; everything else is `Recurrent`."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab import activations
from rnnlab.activations import Activation
from rnnlab.cells import GRUCell, LSTMCell, RNNCell
from rnnlab.initializers import Initializer
from rnnlab.recurrent.base import Recurrent
from rnnlab.recurrent.loop import Params

__all__ = ["GRU", "LSTM", "RNN"]


class RNN(Recurrent):
    """The vanilla (Elman) RNN: ``h_t = f(W_ih x_t + W_hh h_{t-1} + b)``.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    activation : str or Activation
        f: "tanh", "sigmoid", "relu", "leaky_relu", "elu", or one of `rnnlab.activations`.
    bias : bool
        Whether there is a bias.
    init_ih, init_hh : callable, optional
        Initializers, default Glorot uniform and orthogonal.

    Notes
    -----
    Equations and backward: `rnnlab.cells.RNNCell`. PyTorch keeps two biases that are always added; here
    there is their sum.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.RNN(input_size=3, hidden_size=4)
    >>> params = layer.init(np.random.default_rng(0))
    >>> y, h, tape = layer.forward(params, np.ones((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (2, 4))
    >>> dx, dh, grads = layer.backward(params, tape, dy=np.ones_like(y))
    >>> {name: g.shape for name, g in grads.items()}
    {'weight_ih': (4, 3), 'weight_hh': (4, 4), 'bias': (4,)}
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: str | Activation = "tanh",
        bias: bool = True,
        init_ih: Initializer | None = None,
        init_hh: Initializer | None = None,
    ) -> None:
        cell = RNNCell(hidden_size, activations.get(activation))
        super().__init__(cell, input_size, hidden_size, bias, init_ih, init_hh)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, activation={self.cell.activation.name!r})"


class LSTM(Recurrent):
    """The LSTM, gates in PyTorch's order i, f, g, o; its state is the tuple ``(h, c)``.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    bias : bool
        Whether there is a bias.
    forget_bias : float
        Added to the forget gate's initial bias; 1.0 lets a new network remember.
    init_ih, init_hh : callable, optional
        Initializers of each gate's block, default Glorot uniform and orthogonal.

    Notes
    -----
    Equations and backward: `rnnlab.cells.LSTMCell`.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.LSTM(input_size=3, hidden_size=2, forget_bias=1.0)
    >>> params = layer.init(np.random.default_rng(0))
    >>> params["bias"]
    array([0., 0., 1., 1., 0., 0., 0., 0.])
    >>> y, (h, c), tape = layer.forward(params, np.ones((5, 2, 3)))
    >>> bool((y[-1] == h).all())
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        forget_bias: float = 0.0,
        init_ih: Initializer | None = None,
        init_hh: Initializer | None = None,
    ) -> None:
        if forget_bias and not bias:
            raise ValueError(f"forget_bias must be 0 with bias=False; got {forget_bias}")
        super().__init__(LSTMCell(hidden_size), input_size, hidden_size, bias, init_ih, init_hh)
        self.forget_bias = forget_bias

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw the parameters; the forget gate's bias starts at ``forget_bias``."""
        params = super().init(rng, dtype)
        if self.bias:
            params["bias"][self.hidden_size : 2 * self.hidden_size] += self.forget_bias
        return params


class GRU(Recurrent):
    """The GRU, gates in PyTorch's order r, z, n.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    reset : {"after", "before"}
        "after" is PyTorch's and cuDNN's ``n = tanh(W_in x + b + r * (W_hn h + b_hn))``; "before" is that of
        Cho et al. 2014, ``n = tanh(W_in x + W_hn (r * h) + b)``. Weights of one do not fit the other.
    bias : bool
        Whether there are biases; ``reset="after"`` has ``bias_hn (H,)`` besides ``bias (3H,)``.
    init_ih, init_hh : callable, optional
        Initializers of each gate's block, default Glorot uniform and orthogonal.

    Notes
    -----
    Equations and backward: `rnnlab.cells.GRUCell`.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> layer = rl.GRU(input_size=3, hidden_size=4, reset="before")
    >>> params = layer.init(np.random.default_rng(0))
    >>> y, h, tape = layer.forward(params, np.ones((5, 2, 3)), lengths=[5, 2])
    >>> bool((y[2:, 1] == 0).all()), bool((h[1] == y[1, 1]).all())
    (True, True)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        reset: str = "after",
        bias: bool = True,
        init_ih: Initializer | None = None,
        init_hh: Initializer | None = None,
    ) -> None:
        super().__init__(GRUCell(hidden_size, reset), input_size, hidden_size, bias, init_ih, init_hh)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, reset={self.cell.reset!r})"
