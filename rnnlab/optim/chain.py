"""Joining the parts of an optimizer.

Data flows one way through a step: the gradients pass the gradient transforms, the update moves the parameters, the
projections pull the new parameters back to where they are allowed. What an optimizer must remember is in its
state, a plain tree of dicts, tuples and arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.backend import Array, Tree, namespace, tree_items, tree_map
from rnnlab.optim.parts import Flat, GradientTransform, Projection, Update
from rnnlab.optim.schedules import current_rate, reduce_on_plateau

__all__ = ["Optimizer", "chain"]

State = dict[str, Any]


class Optimizer:
    """Gradient transforms, an update, and projections, applied one after the other; made by `chain`.

    It holds hyper-parameters only: one optimizer may serve many models.
    """

    def __init__(
        self, transforms: tuple[GradientTransform, ...], update: Update, projections: tuple[Projection, ...]
    ) -> None:
        self.transforms, self.update, self.projections = transforms, update, projections

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, (*self.transforms, self.update, *self.projections)))})"

    def init(self, params: Tree) -> State:
        """Return the state before the first step.

        Parameters
        ----------
        params : Tree

        Returns
        -------
        dict

        Raises
        ------
        ValueError
            A part names parameters that there are not.
        """
        flat = dict(tree_items(params))
        namespace(params=params)
        for part in (*self.transforms, *self.projections):
            part.check(flat)
        schedule = self.update.learning_rate
        return {
            "step": np.array(0),
            "observed": schedule.init() if isinstance(schedule, reduce_on_plateau) else {},
            "memory": self.update.init(flat),
            "projections": tuple(projection.init(flat) for projection in self.projections),
        }

    def step(self, params: Tree, grads: Tree, opt_state: State) -> tuple[Any, State]:
        """Return the parameters after one step, and the next state.

        Parameters
        ----------
        params, grads : Tree
            Of one structure; both stay as they are.
        opt_state : dict
            Of `init`, or of the step before.

        Returns
        -------
        params : Tree
        opt_state : dict

        Raises
        ------
        ValueError
            The gradients do not fit the parameters.
        TypeError
            They belong to another array library, or their dtype does not go into the parameter's.
        FloatingPointError
            A gradient is not finite, and a part of this optimizer would spread that. On a GPU, where looking makes the
            host wait, it spreads: to parameters that are not finite either.
        """
        w, g = dict(tree_items(params)), dict(tree_items(grads))
        _refuse_misfit(w, g)
        namespace(params=params, grads=grads)
        g = {path: _in_dtype_of(array, g[path], path) for path, array in w.items()}
        for transform in self.transforms:
            g = transform(g, w)
        step = int(opt_state["step"])
        rate = current_rate(self.update.learning_rate, step, opt_state["observed"])
        w, memory = self._move(w, g, rate, step + 1, opt_state["memory"])
        projected = []
        for projection, state in zip(self.projections, opt_state["projections"], strict=True):
            w, state = projection.project(w, state)
            projected.append(state)
        new_state = {**opt_state, "step": np.array(step + 1), "memory": memory, "projections": tuple(projected)}
        arrays = iter(w.values())
        return tree_map(lambda _: next(arrays), params), new_state

    def _move(self, w: Flat, g: Flat, rate: float, step: int, memory: dict[str, Flat]) -> tuple[Flat, dict[str, Flat]]:
        moved: Flat = {}
        remembered: dict[str, Flat] = {name: {} for name in memory}
        for path, array in w.items():
            now = {name: arrays[path] for name, arrays in memory.items()}
            moved[path], later = self.update.move(array, g[path], rate, step, now)
            for name, value in later.items():
                remembered[name][path] = value
        return moved, remembered

    def observe(self, opt_state: State, metric: float) -> State:
        """Return the state after a metric was observed, for a schedule that listens, such as `reduce_on_plateau`.

        Parameters
        ----------
        opt_state : dict
        metric : float
            The lower the better.

        Returns
        -------
        dict
        """
        schedule = self.update.learning_rate
        if not isinstance(schedule, reduce_on_plateau):
            return opt_state
        return {**opt_state, "observed": schedule.observe(opt_state["observed"], metric)}

    def learning_rate(self, opt_state: State) -> float:
        """Return the learning rate of the next step."""
        return current_rate(self.update.learning_rate, int(opt_state["step"]), opt_state["observed"])


def chain(*parts: GradientTransform | Optimizer | Projection) -> Optimizer:
    """Join gradient transforms, one update and projections, in this order, to an optimizer.

    Parameters
    ----------
    *parts
        Gradient transforms, applied in the order given; one update, such as `sgd`; projections.

    Returns
    -------
    Optimizer
        With ``init(params)`` and ``step(params, grads, opt_state)``.

    Raises
    ------
    ValueError
        There is no update, or more than one, or a part is in the wrong place.
    TypeError
        Something is no part of an optimizer.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> optimizer = rl.optim.chain(
    ...     rl.optim.clip_by_global_norm(5.0),
    ...     rl.optim.sgd(learning_rate=0.5),
    ... )
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> opt_state = optimizer.init(params)
    >>> params, opt_state = optimizer.step(params, {"w": np.array([1.0, 0.0])}, opt_state)
    >>> params
    {'w': array([0.5, 2. ])}
    """
    for part in parts:
        if not isinstance(part, (GradientTransform, Optimizer, Projection)):
            raise TypeError(f"chain takes gradient transforms, an update and projections; got {part!r}")
    updates = [k for k, part in enumerate(parts) if isinstance(part, Optimizer)]
    if len(updates) != 1:
        found = ": ".join([str(len(updates)), *([_names(parts)] if updates else [])])
        raise ValueError(f"chain needs exactly one update, such as sgd(0.1); got {found}")
    (k,) = updates
    inner = parts[k]
    assert isinstance(inner, Optimizer)
    for part in parts[:k]:
        if isinstance(part, Projection):
            raise ValueError(f"a projection must come after the update; got {part!r} before it")
    for part in parts[k + 1 :]:
        if isinstance(part, GradientTransform):
            raise ValueError(f"a gradient transform must come before the update; got {part!r} after it")
    before, after = parts[:k], parts[k + 1 :]
    return Optimizer((*before, *inner.transforms), inner.update, (*inner.projections, *after))  # type: ignore[arg-type]


def _names(parts: tuple[Any, ...]) -> str:
    return ", ".join(type(part.update).__name__ for part in parts if isinstance(part, Optimizer))


def _refuse_misfit(w: Flat, g: Flat) -> None:
    missing, extra = [p for p in w if p not in g], [p for p in g if p not in w]
    if missing or extra:
        raise ValueError(
            f"grads must have the structure of params; missing: {', '.join(missing) or 'none'}, "
            f"too many: {', '.join(extra) or 'none'}"
        )
    for path, array in w.items():
        if _shape(array) != _shape(g[path]):
            name = f"grads.{path}" if path else "grads"
            raise ValueError(f"{name} must have the parameter's shape {_shape(array)}; got {_shape(g[path])}")


def _in_dtype_of(w: Array, g: Array, path: str) -> Array:
    """Return a gradient in its parameter's dtype: a wider one would silently widen the parameter."""
    if g.dtype == w.dtype:
        return g
    if not np.can_cast(g.dtype, w.dtype, "same_kind"):
        name = f"grads.{path}" if path else "grads"
        raise TypeError(f"{name} must have a dtype that goes into the parameter's {w.dtype}; got {g.dtype}")
    return g.astype(w.dtype)


def _shape(array: Array) -> Any:
    return tuple(array.shape) if hasattr(array, "shape") else type(array).__name__
