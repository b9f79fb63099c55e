"""One time loop for every cell: forward over a sequence, and back through time (BPTT).

Memory, counted in numbers of the arrays' dtype, for T steps, N sequences, D inputs, H hidden units:

===========  =========================================  =====================================
layer        tape (kept from forward to backward)       backward adds, besides dx and grads
===========  =========================================  =====================================
RNN          (T+1) N H                                  2 T N H
LSTM         5 T N H + 2 (T+1) N H                      5 T N H
GRU after    4 T N H + (T+1) N H                        5 T N H
GRU before   4 T N H + (T+1) N H                        4 T N H
===========  =========================================  =====================================

Backward also holds the slopes of a chunk of steps, three arrays of at most ``CHUNK`` numbers (more only where one
step has more). Forward also returns ``y`` (T N H). The tape refers to ``x`` and to the parameters and does not copy
them: leave them as they are until backward has run. With ``lengths``, x is copied (T N D), and so is
``dy`` in backward (T N H). `Recurrent.tape_size` is the middle column.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnlab import activations, initializers
from rnnlab.activations import Activation
from rnnlab.backend import Array, Tree, namespace, to_numpy, tree_map
from rnnlab.cells import GRUCell, LSTMCell, RNNCell
from rnnlab.cells.blocks import Workspace, workspace
from rnnlab.initializers import Initializer

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "Tape", "carry_state", "valid_steps"]

Params = dict[str, Array]

CHUNK = 2**17  # how many numbers of slopes are computed at a time: half a megabyte in float32


class Tape(NamedTuple):
    """What forward remembers for backward. Features-first, so that each gate is one block."""

    params: Params
    x: Array  # (T, N, D), zero beyond lengths
    gates: Array  # (T, G, H*N)
    states: tuple[Array, ...]  # (T+1, H*N) each
    cache: tuple[Array, ...]  # (T, H*N) each
    valid: Array | None  # (T, N) booleans, or None when every sequence is full


def valid_steps(lengths: Any, T: int, N: int, xp: Any) -> Array | None:
    """Return the ``(T, N)`` table of ``t < lengths[n]``, or None when every sequence is full.

    Raises
    ------
    ValueError
        ``lengths`` is not one integer from 0 to T for each sequence.
    """
    if lengths is None:
        return None
    host = np.asarray(to_numpy(lengths) if hasattr(lengths, "shape") else lengths)
    if host.shape != (N,):
        raise ValueError(f"lengths must have shape (N,) = ({N},); got {host.shape}")
    if host.dtype.kind not in "iu":
        raise ValueError(f"lengths must be integers; got dtype {host.dtype}")
    if N and (host.min() < 0 or host.max() > T):
        raise ValueError(f"lengths must be from 0 to T = {T}; got {host.min()} to {host.max()}")
    if (host == T).all():
        return None
    valid: Array = xp.asarray(np.arange(T)[:, None] < host)
    return valid


def carry_state(state: Tree, keep: Array | None = None) -> Tree:
    """Return the state that the next chunk of a truncated BPTT starts from.

    Truncated BPTT is: carry the state, drop its gradient. The values pass from chunk to chunk through this
    function; the gradient stops because nobody hands the ``dstate`` of the next chunk's backward to this one's.

    Parameters
    ----------
    state : Tree
        The final state of the last chunk, arrays ``(N, H)``.
    keep : Array of booleans, shape (N,), optional
        False where a new sequence begins: its state starts at zero.

    Returns
    -------
    Tree
        A copy, so that the last chunk's arrays can be freed.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> rl.carry_state((np.ones((2, 1)), np.ones((2, 1))), keep=np.array([True, False]))
    (array([[1.],
           [0.]]), array([[1.],
           [0.]]))
    """
    if keep is None:
        return tree_map(lambda s: s.copy(), state)
    xp = namespace(state=state, keep=keep)
    return tree_map(lambda s: xp.where(keep[:, None], s, xp.zeros_like(s)), state)


class Recurrent:
    """A cell run over a sequence: the base of `RNN`, `LSTM` and `GRU`.

    Parameters
    ----------
    cell : object
        One step forward and back; see `rnnlab.cells` for what it must offer.
    input_size, hidden_size : int
        D and H.
    bias : bool
        Whether there are biases.
    init_ih, init_hh : callable, optional
        Initializers of each gate's block of ``weight_ih`` and ``weight_hh``; default Glorot uniform and orthogonal.
    """

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        init_ih: Initializer | None = None,
        init_hh: Initializer | None = None,
    ) -> None:
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, (int, np.integer)) or size < 1:
                raise ValueError(f"{name} must be a positive integer; got {size!r}")
        self.cell = cell
        self.input_size = int(input_size)
        self.hidden_size = int(hidden_size)
        self.bias = bool(bias)
        self.init_ih = init_ih or initializers.glorot()
        self.init_hh = init_hh or initializers.orthogonal()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(input_size={self.input_size}, hidden_size={self.hidden_size})"

    # ------------------------------------------------------------------------------ parameters

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of every parameter."""
        GH = len(self.cell.gates) * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (GH, self.input_size),
            "weight_hh": (GH, self.hidden_size),
        }
        if self.bias:
            shapes["bias"] = (GH,)
        return {**shapes, **self.cell.parameters(self.bias)}

    def init(self, rng: np.random.Generator, dtype: Any = np.float64) -> Params:
        """Draw the parameters.

        Parameters
        ----------
        rng : numpy.random.Generator
        dtype : dtype

        Returns
        -------
        dict
            ``weight_ih (G*H, D)`` and ``weight_hh (G*H, H)``, each gate's block initialized on its own;
            biases are zero (but see ``forget_bias`` of `LSTM`).
        """
        draw = {"weight_ih": self.init_ih, "weight_hh": self.init_hh}
        params = {}
        for name, shape in self.parameter_shapes().items():
            if name in draw:
                params[name] = initializers.by_gate(draw[name], len(self.cell.gates))(rng, shape, dtype)
            else:
                params[name] = np.zeros(shape, dtype)
        return params

    def tape_size(self, T: int, N: int) -> int:
        """Return how many numbers the tape holds besides x: see the head of this file."""
        G, TNH = len(self.cell.gates), T * N * self.hidden_size
        states = len(self.cell.states) * (TNH + N * self.hidden_size)
        return states + (0 if G == 1 else (G + 1) * TNH)

    # --------------------------------------------------------------------------------- forward

    def forward(
        self,
        params: Params,
        x: Array,
        state: Tree = None,
        lengths: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Tree, Tape]:
        """Run the layer over a batch of sequences.

        Parameters
        ----------
        params : dict
            As `init` returns them.
        x : Array, shape (T, N, D)
        state : Array of shape (N, H), or for the LSTM a tuple of two; optional
            The initial state; None means zeros.
        lengths : integers, shape (N,), optional
            Sequence n is valid for ``t < lengths[n]``.
        rng : numpy.random.Generator, optional
            Not used: accepted so that every layer is called alike.

        Returns
        -------
        y : Array, shape (T, N, H)
            The hidden state of every step, zero beyond a sequence's length.
        state : like ``state``
            The state after each sequence's last valid step.
        tape : Tape
            For `backward`, which may be called with it any number of times.

        Raises
        ------
        ValueError
            A shape does not fit.
        TypeError
            Arguments belong to different array libraries, or hold no floating-point numbers.
        """
        xp = namespace(x=x, params=params, state=state)
        self._check(x, params)
        T, N, _ = x.shape
        initial = self._unpack(state, "state", N)
        dtype = xp.result_type(x, *params.values(), *initial)
        if dtype.kind not in "fc":
            raise TypeError(f"x and params must be of a floating-point dtype; got {dtype}")
        params = {name: p.astype(dtype, copy=False) for name, p in params.items()}
        x = x.astype(dtype, copy=False)
        valid = valid_steps(lengths, T, N, xp)
        if valid is not None:
            x = xp.where(valid[:, :, None], x, xp.zeros((), dtype))  # padding may hold anything, NaN too

        gates, states, cache = self.cell.allocate(xp, T, N, dtype)
        for s, s0 in zip(states, initial or [None] * len(states), strict=True):
            s[0] = 0 if s0 is None else s0.T.reshape(-1)
        a = gates.reshape(T, gates.shape[1] * self.hidden_size, N)
        xp.matmul(params["weight_ih"], x.transpose(0, 2, 1), out=a)
        if self.bias:
            a += params["bias"][:, None]
        tape = Tape(params, x, gates, states, cache, valid)
        self._forward_steps(xp, tape)

        # Never a view: the tape must stay as it is.
        y = states[0][1:].reshape(T, self.hidden_size, N).transpose(0, 2, 1).copy()
        if valid is not None:
            xp.copyto(y, xp.zeros((), dtype), where=~valid[:, :, None])  # not a product: 0 * inf is no 0
        return y, self._pack([s[T].reshape(self.hidden_size, N).T.copy() for s in states]), tape

    def _forward_steps(self, xp: Any, tape: Tape) -> None:
        work = workspace(xp, tape.gates)
        states, new_states = _steps([s[:-1] for s in tape.states]), _steps([s[1:] for s in tape.states])
        caches = _steps(tape.cache) if tape.cache else itertools.repeat(())
        for t, a in enumerate(tape.gates):
            state, new_state = next(states), next(new_states)
            self.cell.forward(xp, tape.params, a, state, new_state, next(caches), work)
            if tape.valid is not None:  # a sequence that has ended keeps its state
                for s, s_new in zip(state, new_state, strict=True):
                    xp.copyto(self._columns(s_new, tape), self._columns(s, tape), where=~tape.valid[t])

    # -------------------------------------------------------------------------------- backward

    def backward(self, params: Params, tape: Tape, dy: Array, dstate: Tree = None) -> tuple[Array, Tree, Params]:
        """Backpropagate through time.

        Parameters
        ----------
        params : dict
            As they were in `forward`.
        tape : Tape
            From `forward`; left as it is.
        dy : Array, shape (T, N, H)
            Gradient of the loss with respect to ``y``.
        dstate : like the state, optional
            Gradient of the loss with respect to the final state; None means zeros.

        Returns
        -------
        dx : Array, shape (T, N, D)
        dstate : like the state
            Gradient with respect to the initial state.
        grads : dict
            Gradients with respect to the parameters, of their names and shapes.

        Raises
        ------
        ValueError
            A shape does not fit.
        TypeError
            Arguments belong to different array libraries.
        """
        xp = namespace(x=tape.x, dy=dy, dstate=dstate, params=params)
        T, N, D = tape.x.shape
        H, G = self.hidden_size, tape.gates.shape[1]
        if dy.shape != (T, N, H):
            raise ValueError(f"dy must have the shape of y, {(T, N, H)}; got {dy.shape}")
        dtype = tape.gates.dtype
        final = self._unpack(dstate, "dstate", N)
        d = [ds.T.astype(dtype).reshape(-1) for ds in final] or [xp.zeros(H * N, dtype) for _ in tape.states]
        if tape.valid is not None:
            dy = xp.where(tape.valid[:, :, None], dy, xp.zeros((), dtype))

        rows = self._backward_steps(xp, tape, dy, d)
        grads = self.cell.weight_gradients(xp, rows, tape)
        rows = rows[:, : G * H]
        dx = (rows @ tape.params["weight_ih"]).reshape(T, N, D)
        grads["weight_ih"] = rows.T @ tape.x.reshape(T * N, D)
        if self.bias:
            grads["bias"] = rows.sum(axis=0)
        return dx, self._pack([ds.reshape(H, N).T.copy() for ds in d]), {name: grads[name] for name in tape.params}

    def _backward_steps(self, xp: Any, tape: Tape, dy: Array, d: list[Array]) -> Array:
        """Run the steps back; ``d`` becomes the initial state's gradient. Returns da as rows."""
        T, N, H = dy.shape
        blocks = self.cell.da_blocks
        rows = xp.empty((T, N, blocks * H), tape.gates.dtype)
        work = workspace(xp, tape.gates)
        # What needs no gradient from later steps, the slopes, is computed for several steps at a time: few large
        # operations instead of many small ones, and yet so few steps that the slopes stay in the cache.
        together = max(1, CHUNK // (blocks * H * N or 1))
        for stop in range(T, 0, -together):
            steps = slice(max(0, stop - together), stop)
            slopes = self.cell.slopes(xp, tape, steps)
            dh = dy[steps].transpose(0, 2, 1).reshape(len(slopes), H * N)
            for t in reversed(range(steps.start, stop)):
                self._backward_step(xp, tape, t, slopes[t - steps.start], dh[t - steps.start], d, work)
            da = slopes[:, :blocks].reshape(len(slopes), blocks * H, N)
            rows[steps] = da.transpose(0, 2, 1)
        return rows.reshape(T * N, blocks * H)

    def _backward_step(
        self, xp: Any, tape: Tape, t: int, slopes: Array, dh: Array, d: list[Array], work: Workspace
    ) -> None:
        """Take ``d`` one step back; ``slopes`` become da."""
        d[0] += dh
        if tape.valid is None:
            self.cell.backward(xp, tape.params, slopes, tape.gates[t], d, work)
            return
        # The gradient of a sequence that has ended passes by the cell.
        ended, zero = ~tape.valid[t], xp.zeros((), dh.dtype)
        passing = [xp.where(ended, self._columns(ds, tape), zero) for ds in d]
        for ds in d:
            xp.copyto(self._columns(ds, tape), zero, where=ended)
        self.cell.backward(xp, tape.params, slopes, tape.gates[t], d, work)
        for ds, ds_passing in zip(d, passing, strict=True):
            ds += ds_passing.reshape(-1)

    # ------------------------------------------------------------------------- states and checks

    def _columns(self, flat: Array, tape: Tape) -> Array:
        """Return a flat state as a matrix, one column a sequence."""
        return flat.reshape(self.hidden_size, tape.x.shape[1])

    def final_hidden(self, state: Tree) -> Array:
        """Return h ``(N, H)`` of a final state: what a classifier reads."""
        h: Array = self._unpack(state, "state")[0]
        return h

    def final_hidden_gradient(self, dh: Array) -> Tree:
        """Return the ``dstate`` for `backward` of a loss that reads `final_hidden`."""
        zeros = namespace(dh=dh).zeros_like
        return self._pack([dh, *(zeros(dh) for _ in self.cell.states[1:])])

    def _pack(self, arrays: Sequence[Array]) -> Tree:
        return arrays[0] if len(self.cell.states) == 1 else tuple(arrays)

    def _unpack(self, state: Tree, name: str, N: int | None = None) -> list[Array]:
        """Return the state's arrays; an empty list for None."""
        if state is None:
            return []
        wanted = self.cell.states
        arrays = [state] if len(wanted) == 1 else list(state) if isinstance(state, (tuple, list)) else []
        if len(arrays) != len(wanted) or any(not hasattr(s, "shape") for s in arrays):
            form = "an array h" if len(wanted) == 1 else f"a tuple ({', '.join(wanted)})"
            raise ValueError(f"{name} of {self!r} must be {form}; got {type(state).__name__}")
        for part, s in zip(wanted, arrays, strict=True):
            if N is not None and s.shape != (N, self.hidden_size):
                raise ValueError(f"{part} in {name} must have shape (N, H) = {(N, self.hidden_size)}; got {s.shape}")
        return arrays

    def _check(self, x: Array, params: Params) -> None:
        if not hasattr(x, "shape"):
            raise TypeError(f"x must be a NumPy or CuPy array; got {type(x).__name__}")
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(f"x must have shape (T, N, {self.input_size}) for {self!r}; got {tuple(x.shape)}")
        shapes = self.parameter_shapes()
        if params.keys() != shapes.keys():
            raise ValueError(f"params of {self!r} must have the keys {list(shapes)}; got {list(params)}")
        for name, shape in shapes.items():
            if params[name].shape != shape:
                raise ValueError(f"params[{name!r}] must have shape {shape} for {self!r}; got {params[name].shape}")


def _steps(arrays: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
    """Iterate over the steps of several arrays at once: half the time of looking each step up."""
    return zip(*arrays, strict=True)


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
