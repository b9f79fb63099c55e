"""What the layer interface promises, as a table of named checks on one random case."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, Tree, namespace, to_backend, to_numpy, tree_items, tree_map
from rnnlab.gradcheck.check import check_gradients
from rnnlab.gradcheck.report import GradientReport

__all__ = ["CHECKS", "LENGTHS", "Case", "CheckFailed", "CheckSkipped"]

CLOSE = 1e-10  # what two ways to compute the same in float64 may differ by


class CheckFailed(Exception):
    """The layer does not do what it should; the message says what."""


class CheckSkipped(Exception):
    """The check does not apply to this layer; the message says why."""


class Case:
    """A layer with a random batch; the only place that calls the layer.

    ``call`` is the last call in words, for an error message. A feed-forward layer is seen as one whose
    state is None.
    """

    def __init__(
        self, layer: Any, rng: np.random.Generator, method: str, x: Array | None, backend: str, options: dict[str, Any]
    ) -> None:
        self.layer, self.rng, self.method, self.backend, self.options = layer, rng, method, backend, options
        self.recurrent = hasattr(layer, "hidden_size") or _takes(layer, "state")
        self.given, self.call = x, ""
        self.params: Any = None
        self.x: Any = None
        self.state: Any = None
        self.lengths: Any = None
        self.dy: Any = None
        self.dstate: Any = None

    def normal(self, shape: tuple[int, ...], scale: float = 1.0) -> Array:
        """Draw normal numbers, on the layer's backend."""
        return to_backend(np.asarray(scale * self.rng.standard_normal(shape)), self.backend)

    def normal_like(self, tree: Tree) -> Tree:
        """Draw normal numbers in the shapes of a tree."""
        return tree_map(lambda array: self.normal(array.shape), tree)

    def init(self) -> None:
        """Draw parameters, add normal numbers to all of them (biases start at zero), and draw the input."""
        self.call = "layer.init(rng, dtype=np.float64)"
        params = self.layer.init(self.rng, dtype=np.float64)
        for name, array in _arrays(params, "params"):
            if array.dtype != np.float64:
                raise CheckFailed(f"init(rng, dtype=np.float64) gave {name} in {array.dtype}")
        self.params = to_backend(tree_map(lambda p: to_numpy(p) + self._perturbation(p.shape), params), self.backend)
        self.x = self._input() if self.given is None else to_backend(self.given, self.backend)
        if self.recurrent:
            N, T = self.x.shape[1], self.x.shape[0]
            draws = [T, max(1, T // 2), 0, *self.rng.integers(1, T + 1, N)]  # a full, a short and an empty sequence
            self.lengths = to_backend(np.array(draws[:N]), self.backend)

    def _perturbation(self, shape: tuple[int, ...]) -> Array:
        scale = 0.5 / np.sqrt(max(shape[-1], 1)) if len(shape) > 1 else 0.5
        return scale * self.rng.standard_normal(shape)

    def _input(self) -> Array:
        size = getattr(self.layer, "input_size", None)
        if size is None:
            raise CheckFailed("the layer has no input_size: pass an input with x=")
        T = int(self.rng.integers(4, 7))
        taken = T, size, getattr(self.layer, "hidden_size", 0)  # sizes all different show axes that are swapped
        N = int(self.rng.choice([n for n in range(3, 8) if n not in taken]))
        return self.normal((T, N, size))

    def forward(self, x: Array, params: Any = None, state: Tree = None, lengths: Any = None) -> tuple[Any, Any, Any]:
        """Call the layer's forward; (y, final state, tape)."""
        keywords = {k: v for k, v in (("state", state), ("lengths", lengths)) if v is not None}
        self.call = f"layer.forward(params, x{''.join(f', {k}={k}' for k in keywords)})"
        result = self.layer.forward(self.params if params is None else params, x, **keywords)
        names = "(y, state, tape)" if self.recurrent else "(y, tape)"
        y, *state_out, tape = _unpacked(result, names, self.call)
        return y, state_out[0] if state_out else None, tape

    def backward(self, tape: Any, dy: Array, dstate: Tree = None, params: Any = None) -> tuple[Any, Any, Any]:
        """Call the layer's backward; (dx, gradient of the initial state, grads)."""
        keywords = {} if dstate is None else {"dstate": dstate}
        self.call = f"layer.backward(params, tape, dy{''.join(f', {k}={k}' for k in keywords)})"
        result = self.layer.backward(self.params if params is None else params, tape, dy, **keywords)
        names = "(dx, dstate, grads)" if self.recurrent else "(dx, grads)"
        dx, *dstate_out, grads = _unpacked(result, names, self.call)
        return dx, dstate_out[0] if dstate_out else None, grads

    def run(self, lengths: Any = None) -> tuple[Any, Any]:
        """Run forward and backward; what each returns, without the tape."""
        y, final, tape = self.forward(self.x, state=self.state, lengths=lengths)
        return (y, final), self.backward(tape, self.dy, self.dstate)

    def gradients(self, lengths: Any = None) -> GradientReport:
        """Check the gradients of x, the initial state and every parameter under random upstream gradients."""
        differentiable = self.x.dtype.kind == "f"
        tree = dict(self.params) if isinstance(self.params, Mapping) else {"params": self.params}
        tree |= {"x": self.x} if differentiable else {}
        tree |= {"state": self.state} if self.state is not None else {}

        def parts(tree: dict[str, Any]) -> tuple[Any, Any, Any]:
            params = {k: v for k, v in tree.items() if k not in ("x", "state")}
            params = params if isinstance(self.params, Mapping) else params["params"]
            return params, tree.get("x", self.x), tree.get("state")

        def loss(tree: dict[str, Any]) -> Any:
            params, x, state = parts(tree)
            y, final, _ = self.forward(x, params, state, lengths)
            return _inner(y, self.dy) + _inner(final, self.dstate)

        def function(tree: dict[str, Any]) -> tuple[Any, Any]:
            params, x, state = parts(tree)
            y, final, tape = self.forward(x, params, state, lengths)
            dx, dstate, grads = self.backward(tape, self.dy, self.dstate, params)
            grads = dict(grads) if isinstance(self.params, Mapping) else {"params": grads}
            grads |= {"x": dx} if differentiable else {}
            grads |= {"state": dstate} if state is not None else {}
            return _inner(y, self.dy) + _inner(final, self.dstate), grads

        return check_gradients(function, tree, self.method, rng=self.rng, loss=loss, **self.options)


# -------------------------------------------------------------------------------------- the checks


def _init(case: Case) -> None:
    case.init()


def _forward_shapes(case: Case) -> None:
    y, state, _ = case.forward(case.x)
    _arrays(y, "y")
    if case.recurrent:
        T, N = case.x.shape[:2]
        hidden = getattr(case.layer, "hidden_size", y.shape[-1])
        if y.shape != (T, N, hidden):
            raise CheckFailed(f"y must have shape (T, N, hidden_size) = {(T, N, hidden)}; got {y.shape}")
        for name, array in _arrays(state, "state"):
            if array.ndim < 1 or array.shape[0] != N:
                raise CheckFailed(f"the final {name} must have shape (N, ...) with N = {N}; got {array.shape}")
        case.state = case.normal_like(state)
        _, final, _ = case.forward(case.x, state=case.state)
        _same_shapes(final, case.state, "the final state")
        case.dstate = case.normal_like(state)
    case.dy = case.normal(y.shape)


def _backward_shapes(case: Case) -> None:
    _, (dx, dstate, grads) = case.run()
    if case.x.dtype.kind == "f":
        _same_shapes(dx, case.x, "dx")
    _same_shapes(dstate, case.state, "dstate (the gradient of the initial state)")
    _same_shapes(grads, case.params, "grads")


def _forward_twice(case: Case) -> None:
    first = case.forward(case.x, state=case.state)[:2]
    _same(case.forward(case.x, state=case.state)[:2], first, "the second forward of the same input differs")


def _backward_twice(case: Case) -> None:
    _, _, tape = case.forward(case.x, state=case.state)
    first = _copy(case.backward(tape, case.dy, case.dstate))
    second = case.backward(tape, case.dy, case.dstate)
    _same(second, first, "the second backward on one tape differs: backward changes the tape, or adds to old gradients")


def _tapes_apart(case: Case) -> None:
    _, _, tape = case.forward(case.x, state=case.state)
    expected = _copy(case.backward(tape, case.dy, case.dstate))
    _, _, tape = case.forward(case.x, state=case.state)
    case.forward(case.x[::-1] if case.x.dtype.kind in "iu" else case.normal(case.x.shape))
    got = case.backward(tape, case.dy, case.dstate)
    words = "another forward in between changes backward: what it needs must be on the tape, not in the layer"
    _same(got, expected, words)


def _arguments_kept(case: Case) -> None:
    arguments = {"params": case.params, "x": case.x, "state": case.state, "dy": case.dy, "dstate": case.dstate}
    before = _copy(arguments)
    case.run()
    for name, tree in arguments.items():
        _same(tree, before[name], f"forward or backward changes its argument {name}")


def _zero_upstream(case: Case) -> None:
    _, _, tape = case.forward(case.x, state=case.state)
    zeros = tree_map(lambda array: 0 * array, (case.dy, case.dstate))
    dx, dstate, grads = case.backward(tape, *zeros)
    _zero((dx, dstate, grads), "with dy = 0 (and dstate = 0) every gradient must be 0")


def _gradients(case: Case) -> GradientReport:
    return case.gradients()


def _state_default(case: Case) -> None:
    zeros = tree_map(lambda array: 0 * array, case.state)
    got, expected = case.forward(case.x)[:2], case.forward(case.x, state=zeros)[:2]
    _close(got, expected, "state=None does not do the same as a state of zeros")


def _dstate_default(case: Case) -> None:
    _, _, tape = case.forward(case.x, state=case.state)
    expected = case.backward(tape, case.dy, tree_map(lambda array: 0 * array, case.dstate))
    _close(case.backward(tape, case.dy), expected, "dstate=None does not do the same as a dstate of zeros")


def _chunks(case: Case) -> None:
    x, k = case.x, case.x.shape[0] // 2
    whole, whole_back = case.run()
    xp = namespace(x=x)
    altered = xp.concatenate([x[:-1], x[-1:][:, ::-1]])
    if not np.array_equal(to_numpy(case.forward(altered, state=case.state)[0][0]), to_numpy(whole[0][0])):
        raise CheckSkipped("y[0] depends on the last input: the layer reads ahead")
    y1, middle, tape1 = case.forward(x[:k], state=case.state)
    y2, final, tape2 = case.forward(x[k:], state=middle)
    _close((xp.concatenate([y1, y2]), final), whole, "two chunks with the state carried over differ from the whole")
    dx2, dmiddle, grads2 = case.backward(tape2, case.dy[k:], case.dstate)
    dx1, dstate, grads1 = case.backward(tape1, case.dy[:k], dmiddle)
    dx = xp.concatenate([dx1, dx2]) if x.dtype.kind == "f" else whole_back[0]
    back = (dx, dstate, tree_map(lambda a, b: a + b, grads1, grads2))
    _close(back, whole_back, "backward through two chunks, with dstate carried back, differs from the whole")


def _lengths(case: Case) -> None:
    try:
        y, final, _ = case.forward(case.x, state=case.state, lengths=case.lengths)
    except TypeError as error:
        if "lengths" not in str(error):
            raise
        raise CheckFailed("forward does not take lengths; leave these checks out with lengths=False") from error
    for n, length in enumerate(int(length) for length in case.lengths):
        _zero(y[length:, n], f"y must be 0 beyond the length of a sequence (sequence {n}, length {length})")
        start = tree_map(lambda array, n=n: array[n : n + 1], case.state)
        end = tree_map(lambda array, n=n: array[n : n + 1], final)
        if length == 0:
            _same(end, start, f"a sequence of length 0 must return its initial state (sequence {n})")
            continue
        alone = case.forward(case.x[:length, n : n + 1], state=start)[:2]
        words = f"sequence {n} of length {length} differs from the same sequence alone"
        _close((y[:length, n : n + 1], end), alone, words)


def _padding(case: Case) -> None:
    (y, final), (dx, dstate, grads) = case.run(case.lengths)
    padded = to_numpy(case.lengths) <= np.arange(case.x.shape[0])[:, None]
    if case.x.dtype.kind == "f":
        _zero(to_numpy(dx)[padded], "dx must be exactly 0 beyond the length of a sequence")
    kept, other = case.x, to_numpy(case.x).copy()
    other[padded] = np.flip(other)[padded]
    case.x = to_backend(other, case.backend)
    try:
        again = case.run(case.lengths)
    finally:
        case.x = kept
    _close(again, ((y, final), (dx, dstate, grads)), "what x holds beyond the length of a sequence has an influence")


def _gradients_with_lengths(case: Case) -> GradientReport:
    return case.gradients(case.lengths)


class Check(NamedTuple):
    """A named check, and the checks that it makes no sense without."""

    name: str
    function: Callable[[Case], GradientReport | None]
    needs: tuple[str, ...]
    recurrent: bool = False  # whether it is for recurrent layers only


BEGIN, FORWARD, BACKWARD, LENGTHS = (
    "parameters",
    "shapes after forward",
    "shapes after backward",
    "forward with lengths",
)

CHECKS = (
    Check(BEGIN, _init, ()),
    Check(FORWARD, _forward_shapes, (BEGIN,)),
    Check("forward twice gives the same", _forward_twice, (FORWARD,)),
    Check("state=None means zeros", _state_default, (FORWARD,), recurrent=True),
    Check(LENGTHS, _lengths, (FORWARD,), recurrent=True),
    Check(BACKWARD, _backward_shapes, (FORWARD,)),
    Check("backward twice on one tape gives the same", _backward_twice, (BACKWARD,)),
    Check("two tapes do not disturb each other", _tapes_apart, (BACKWARD,)),
    Check("arguments are left alone", _arguments_kept, (BACKWARD,)),
    Check("a zero gradient stays zero", _zero_upstream, (BACKWARD,)),
    Check("gradients", _gradients, (BACKWARD,)),
    Check("dstate=None means zeros", _dstate_default, (BACKWARD,), recurrent=True),
    Check("two chunks are the whole", _chunks, (BACKWARD,), recurrent=True),
    Check("padding has no influence", _padding, (BACKWARD, LENGTHS), recurrent=True),
    Check("gradients with lengths", _gradients_with_lengths, (BACKWARD, LENGTHS), recurrent=True),
)


# ------------------------------------------------------------------------------------ comparisons


def _takes(layer: Any, name: str) -> bool:
    try:
        return name in inspect.signature(layer.forward).parameters
    except (AttributeError, TypeError, ValueError):
        return False


def _unpacked(result: Any, names: str, call: str) -> Any:
    count = names.count(",") + 1
    if not isinstance(result, tuple) or len(result) != count:
        got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise CheckFailed(f"{call} must return {names}; got {got}")
    return result


def _arrays(tree: Tree, name: str) -> list[tuple[str, Array]]:
    if tree is None:
        raise CheckFailed(f"{name} is None")
    try:
        namespace(**{name: tree})
    except TypeError as error:
        raise CheckFailed(str(error)) from None
    return list(tree_items(tree, name))


def _same_shapes(got: Tree, expected: Tree, name: str) -> None:
    if expected is None:
        return
    if got is None:
        raise CheckFailed(f"{name} is None")
    found, wanted = dict(_arrays(got, "")), dict(tree_items(expected, ""))
    for path in [*wanted, *found]:
        what = f"{name} {path}".strip()
        if path not in found:
            raise CheckFailed(f"{what} is missing")
        if path not in wanted:
            raise CheckFailed(f"{what} is one too many; expected are {', '.join(wanted) or 'one array'}")
        if found[path].shape != wanted[path].shape:
            raise CheckFailed(f"{what} must have shape {wanted[path].shape}; got {found[path].shape}")


def _copy(tree: Tree) -> Any:
    return tree_map(lambda array: to_numpy(array).copy(), tree)


def _same(got: Tree, expected: Tree, words: str) -> None:
    for (_, a), (_, b) in zip(tree_items(got), tree_items(expected), strict=True):
        if not np.array_equal(to_numpy(a), to_numpy(b)):
            raise CheckFailed(words)


def _close(got: Tree, expected: Tree, words: str) -> None:
    for (_, a), (_, b) in zip(tree_items(got), tree_items(expected), strict=True):
        a, b = to_numpy(a), to_numpy(b)
        worst = float(np.max(np.abs(a - b), initial=0.0)) if a.shape == b.shape else np.inf
        if not worst <= CLOSE * max(1.0, float(np.max(np.abs(b), initial=0.0))):
            raise CheckFailed(f"{words} (by up to {worst:.1e})")


def _zero(tree: Tree, words: str) -> None:
    for _, array in tree_items(tree):
        if np.any(to_numpy(array)):
            raise CheckFailed(f"{words}; got up to {float(np.max(np.abs(to_numpy(array)))):.1e}")


def _inner(tree: Tree, weights: Tree) -> Any:
    total: Any = 0.0
    for (_, a), (_, b) in zip(tree_items(tree), tree_items(weights), strict=True):
        total = total + (a * b).sum()
    return total
