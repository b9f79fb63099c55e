"""What every recurrent layer does: parameters, forward, backward, and the checks of what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnlab import initializers
from rnnlab.backend import Array, Tree, library_of, namespace, tree_map
from rnnlab.initializers import Initializer
from rnnlab.kernels import product
from rnnlab.recurrent.loop import Params, Tape, input_product, steps_back, steps_forward

__all__ = ["Recurrent", "carry_state", "valid_steps"]


def valid_steps(lengths: Any, T: int, N: int, xp: Any) -> Array | None:
    """Return the ``(T, N)`` table of ``t < lengths[n]``, or None when every sequence is full.

    Raises
    ------
    ValueError
        ``lengths`` is not one integer from 0 to T for each sequence.
    """
    if lengths is None:
        return None
    on_device = hasattr(lengths, "shape") and library_of(lengths, "lengths") is not np
    host = lengths if on_device else np.asarray(lengths)
    if host.shape != (N,):
        raise ValueError(f"lengths must have shape (N,) = ({N},); got {host.shape}")
    if host.dtype.kind not in "iu":
        raise ValueError(f"lengths must be integers; got dtype {host.dtype}")
    if on_device:  # their values are not looked at: the host would wait for them
        return xp.arange(T)[:, None] < host
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
        """Return how many numbers the tape holds besides x: see the head of `rnnlab.recurrent`."""
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
            s[0] = 0 if s0 is None else s0.T
        tape = Tape(params, x, gates, states, cache, valid)
        input_product(xp, params, x, gates)
        steps_forward(xp, self.cell, tape)

        y = states[0][1:].transpose(0, 2, 1).copy()  # never a view: the tape must stay as it is
        if valid is not None:
            xp.copyto(y, xp.zeros((), dtype), where=~valid[:, :, None])  # not a product: 0 * inf is no 0
        return y, self._pack([s[T].T.copy() for s in states]), tape

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
        (T, N, D), H = tape.x.shape, self.hidden_size
        if dy.shape != (T, N, H):
            raise ValueError(f"dy must have the shape of y, {(T, N, H)}; got {dy.shape}")
        dtype = tape.gates.dtype
        final = self._unpack(dstate, "dstate", N)
        d = [ds.T.astype(dtype, order="C") for ds in final] or [xp.zeros((H, N), dtype) for _ in tape.states]
        dy = dy.astype(dtype, copy=False)
        if tape.valid is not None:
            dy = xp.where(tape.valid[:, :, None], dy, xp.zeros((), dtype))

        da = steps_back(xp, self.cell, tape, dy, d)
        grads = self.cell.weight_gradients(xp, da, tape)
        da = da[: tape.gates.shape[1]]
        dx = product(xp, da.T, tape.params["weight_ih"]).reshape(T, N, D)
        grads["weight_ih"] = product(xp, da, tape.x.reshape(T * N, D))
        if self.bias:
            grads["bias"] = da.sum(axis=1)
        return dx, self._pack([ds.T.copy() for ds in d]), {name: grads[name] for name in tape.params}

    # ------------------------------------------------------------------------- states and checks

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
