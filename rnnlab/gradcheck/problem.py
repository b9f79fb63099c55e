"""The function under check: calling it, and refusing what cannot be checked.

The checker does its own arithmetic on the host, in NumPy; the function gets arrays of the library that
its parameters belong to.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnlab.backend import Array, Tree, namespace, to_numpy, tree_items, tree_map
from rnnlab.gradcheck.report import GradientCheckError

__all__ = ["Problem"]

COMPLEX_HELP = (
    "The complex step needs a function that computes with complex numbers throughout: no abs, maximum, "
    "clip, astype(float) or buffers of a fixed real dtype. Otherwise use method='central'."
)


class Problem:
    """A function ``params -> (loss, grads)`` with the point at which its gradients are checked.

    Parameters
    ----------
    function : callable
        ``params -> (loss, grads)``.
    params : Tree
        Of real floating-point arrays.
    loss_alone : callable, optional
        ``params -> loss``, the same loss without the gradients.
    allow_float32 : bool
    names : str or sequence of str, optional
        What to call ``params`` if it is one array, or its entries if it is a tuple or list.

    Attributes
    ----------
    values, grads : dict of str to numpy.ndarray
        By path: the parameters, and the gradients that the function returned.
    loss : float
    eps : float
        The machine epsilon of the least precise parameter.
    """

    def __init__(
        self,
        function: Callable[[Tree], Any],
        params: Tree,
        loss_alone: Callable[[Tree], Any] | None = None,
        allow_float32: bool = False,
        names: str | Sequence[str] | None = None,
    ) -> None:
        self.function, self.loss_alone, self.params = function, loss_alone, params
        self.allow_float32, self.names = allow_float32, names
        self.xp = namespace(params=params)
        self.values = {path: np.array(to_numpy(array)) for path, array in tree_items(params)}
        self._refuse_parameters()
        self.eps = float(max(np.finfo(value.dtype).eps for value in self.values.values()))
        self.loss, self.grads = self._first_calls()

    def label(self, path: str) -> str:
        """Return what a report calls the array at a path."""
        if not path:
            return self.names if isinstance(self.names, str) else "params"
        first, dot, rest = path.partition(".")
        if self.names and not isinstance(self.names, str) and isinstance(self.params, (tuple, list)):
            return self.names[int(first)] + dot + rest
        return path

    # ------------------------------------------------------------------------- calling the function

    def line(self, path: str, direction: Array) -> Callable[[Any], Any]:
        """Return ``t -> loss`` with the array at the path moved by ``t * direction``."""
        return self.line_through({path: direction})

    def line_through(self, directions: Mapping[str, Array]) -> Callable[[Any], Any]:
        """Return ``t -> loss`` with several arrays moved at once."""
        seen: dict[Any, Any] = {0.0: self.loss}

        def phi(t: Any) -> Any:
            if t not in seen:
                moved = {path: self.values[path] + t * step for path, step in directions.items()}
                seen[t] = self._complex_loss(moved) if isinstance(t, complex) else self._loss(moved)
            return seen[t]

        return phi

    def _tree(self, changes: Mapping[str, Array], dtype: Any = None) -> Tree:
        values = iter([changes.get(path, value) for path, value in self.values.items()])
        return tree_map(lambda _: self.xp.asarray(np.array(next(values), dtype=dtype)), self.params)

    def _loss(self, changes: Mapping[str, Array], dtype: Any = None) -> Any:
        tree = self._tree(changes, dtype)
        return _scalar(self.function(tree)[0] if self.loss_alone is None else self.loss_alone(tree))

    def _complex_loss(self, changes: Mapping[str, Array]) -> complex:
        dtype = np.result_type(*changes.values())
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            try:
                loss = self._loss(changes, dtype)
            except Exception as error:
                raise GradientCheckError(
                    f"the function fails on complex parameters: {type(error).__name__}: {error}. {COMPLEX_HELP}"
                ) from error
        if not isinstance(loss, complex):
            raise GradientCheckError(f"the loss is real although the parameters are complex. {COMPLEX_HELP}")
        return loss

    # -------------------------------------------------------------------- refusing and first calls

    def _refuse_parameters(self) -> None:
        if not self.values:
            raise ValueError("params must hold at least one array; got none")
        for path, value in self.values.items():
            name = self.label(path)
            if value.dtype.kind != "f":
                raise GradientCheckError(f"{name} must be a real floating-point array; got {value.dtype}")
            if value.dtype.itemsize < 8 and not self.allow_float32:
                raise GradientCheckError(
                    f"{name} must be float64; got {value.dtype}, in which differences keep two or three digits. "
                    "Check the gradients in float64 (init(rng, dtype=np.float64)), or pass allow_float32=True"
                )
            if not np.isfinite(value).all():
                raise GradientCheckError(f"{name} must be finite; got {_first_bad(value)}")

    def _first_calls(self) -> tuple[float, dict[str, Array]]:
        loss, grads, returned = self._call()
        again, grads_again, _ = self._call()
        causes = (
            "Usual causes: dropout or another fresh random draw (make the generator inside the function), "
            "a state kept in an object, gradients added to a buffer of the call before"
        )
        if loss != again:
            raise GradientCheckError(
                f"the function is not deterministic: the same parameters gave the loss {loss!r}, then {again!r}. "
                f"{causes}"
            )
        for path, grad in grads.items():
            if not np.array_equal(grad, grads_again[path]):
                raise GradientCheckError(
                    f"the function is not deterministic: the gradient of {self.label(path)} was not the same in "
                    f"two calls with the same parameters. {causes}"
                )
            if not np.array_equal(grad, to_numpy(returned[path])):
                raise GradientCheckError(
                    f"the gradient of {self.label(path)} that the first call returned was overwritten by the "
                    "second: the function reuses a buffer; return a new array"
                )
        if self.loss_alone is not None and self._loss({}) != loss:
            raise GradientCheckError(f"loss(params) is {self._loss({})!r}, but the function's loss is {loss!r}")
        return loss, grads

    def _call(self) -> tuple[float, dict[str, Array], dict[str, Array]]:
        params = self._tree({})
        result = self.function(params)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            got = f"{len(result)} values" if isinstance(result, (tuple, list)) else type(result).__name__
            raise GradientCheckError(f"function must return (loss, grads); got {got}")
        for path, array in tree_items(params):
            if not np.array_equal(to_numpy(array), self.values[path]):
                raise GradientCheckError(f"the function changes {self.label(path)}, a parameter it was passed")
        loss = self._checked_loss(result[0])
        returned = dict(tree_items(result[1]))
        self._refuse_gradients(returned)
        return loss, {path: np.array(to_numpy(returned[path])) for path in self.values}, returned

    def _checked_loss(self, loss: Any) -> float:
        value: float = _scalar(loss)
        if isinstance(value, complex):
            raise GradientCheckError(f"the loss must be real for real parameters; got {value!r}")
        if not math.isfinite(value):
            raise GradientCheckError(f"the loss must be finite; got {value!r}")
        dtype = getattr(loss, "dtype", None)
        if dtype is not None and dtype.kind == "f" and dtype.itemsize < 8 and not self.allow_float32:
            raise GradientCheckError(
                f"the loss is {dtype} although the parameters are float64: something inside changes the dtype"
            )
        return value

    def _refuse_gradients(self, grads: Mapping[str, Array]) -> None:
        missing = [self.label(path) for path in self.values if path not in grads]
        extra = [self.label(path) for path in grads if path not in self.values]
        if missing or extra:
            parts = [f"no gradient for {', '.join(missing)}"] * bool(missing)
            parts += [f"a gradient for {', '.join(extra)}, which params does not have"] * bool(extra)
            raise GradientCheckError(f"grads must have the structure of params; got {' and '.join(parts)}")
        for path, value in self.values.items():
            name, grad = self.label(path), grads[path]
            if namespace(**{"grads": grad}) is not self.xp:
                raise GradientCheckError(f"the gradient of {name} belongs to another array library than params")
            if grad.shape != value.shape:
                raise GradientCheckError(
                    f"the gradient of {name} must have the parameter's shape {value.shape}; got {grad.shape}"
                )
            if grad.dtype != value.dtype:
                raise GradientCheckError(
                    f"the gradient of {name} must have the parameter's dtype {value.dtype}; got {grad.dtype}"
                )
            if not np.isfinite(to_numpy(grad)).all():
                raise GradientCheckError(f"the gradient of {name} must be finite; got {_first_bad(to_numpy(grad))}")


def _scalar(loss: Any) -> Any:
    array = loss if hasattr(loss, "shape") and hasattr(loss, "dtype") else np.asarray(loss)
    if array.shape != () or array.dtype.kind not in "fciu":
        what = f"shape {array.shape}" if array.shape else f"{type(loss).__name__} {loss!r}"
        raise GradientCheckError(f"the loss must be one number; got {what}")
    value = array.item()
    return value if isinstance(value, complex) else float(value)


def _first_bad(array: Array) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"{array[index]} at index {index}"
