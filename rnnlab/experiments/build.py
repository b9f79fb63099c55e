"""From a checked configuration to what `rnnlab.fit` takes: the optimizer, the recurrent layer, data and model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import rnnlab
from rnnlab import initializers, losses, models, optim
from rnnlab.backend import Array, Tree
from rnnlab.experiments.arms import projection
from rnnlab.experiments.config import ConfigError
from rnnlab.layers import Embedding
from rnnlab.optim.parts import Flat, GradientTransform

__all__ = ["JudgedByAbsoluteError", "SmallEmbedding", "make_optimizer", "make_recurrent", "multiply_gradients"]


class multiply_gradients(GradientTransform):  # used like a function
    """All gradients times a number: those of a sum over T steps where the loss is the mean, with ``factor = T``.

    Thresholds of clipping and learning rates that were stated for the sum then mean what they meant.

    Parameters
    ----------
    factor : float

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = optim.chain(multiply_gradients(35.0), optim.sgd(1.0))
    >>> optimizer.step(np.zeros(1), np.array([2.0]), optimizer.init(np.zeros(1)))[0]
    array([-70.])
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def change(self, path: str, g: Array, params: Flat) -> Array:
        """Return the gradient of one parameter, times the factor."""
        return self.factor * g


class SmallEmbedding(Embedding):
    """An embedding whose vectors go on times a factor: with a small one the inputs stay near 0.

    Parameters
    ----------
    vocab_size, embedding_size : int
    factor : float
    """

    def __init__(self, vocab_size: int, embedding_size: int, factor: float) -> None:
        super().__init__(vocab_size, embedding_size)
        self.factor = factor

    def forward(self, params: Tree, ids: Array, rng: Any = None) -> tuple[Array, Array]:
        """Look up the vectors."""
        y, tape = super().forward(params, ids, rng)
        return self.factor * y, tape

    def backward(self, params: Tree, tape: Array, dy: Array) -> tuple[None, Any]:
        """Add each gradient, times the factor, to its symbol's row."""
        return super().backward(params, tape, self.factor * dy)


class JudgedByAbsoluteError(models.Forecaster):
    """A forecaster that is trained on the mean squared error, and judged by the mean absolute error."""

    def loss(self, params: Tree, batch: tuple[Array, Array], state: Tree = None) -> tuple[Any, Tree]:
        """Return the mean absolute error, and the final state."""
        x, target = batch
        prediction, state = self._predict(params, x, state)
        return losses.mean_absolute_error(prediction, target)[0], state


# In this order: what changes the gradient for the sake of the weights, what standardizes it, what limits it.
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "gradient_factor": multiply_gradients,
    "l1": optim.l1,
    "l2": optim.l2,
    "centralize": lambda on: optim.centralize_gradients(),
    "wgn": lambda options: optim.normalize_weight_gradients(**options),
    "block_normalize": lambda on: optim.block_normalize_gradients(),
    "clip_value": optim.clip_by_value,
    "clip_norm": optim.clip_by_norm,
    "clip_global_norm": optim.clip_by_global_norm,
}
WGN_KEYS = ("eps", "denominator", "center", "per")
UPDATE_KEYS = ("momentum", "nesterov", "alpha", "eps", "betas", "weight_decay")


def make_optimizer(table: dict[str, Any], cell: str) -> optim.Optimizer:
    """Return the optimizer of a table ``[optimizer]``.

    The parts are chained in the order gradient_factor, l1, l2, centralize, wgn, block_normalize, clip_value, clip_norm,
    clip_global_norm, the update, project_spectral_norm.

    Parameters
    ----------
    table : dict
        As `rnnlab.experiments.config.parse_config` returns it.
    cell : {"rnn", "lstm", "gru"}
        Decides what is projected where the table does not say: see `rnnlab.experiments.arms.projection`.

    Returns
    -------
    Optimizer

    Raises
    ------
    ConfigError
        A key is not one of the update's or the schedule's, or a part refuses its value.

    Examples
    --------
    >>> from rnnlab.experiments.config import parse_config
    >>> table = {"learning_rate": 1.0, "clip_global_norm": 5.0, "project_spectral_norm": 1.8}
    >>> config = parse_config({"data": {"name": "adding"}, "optimizer": table, "training": {"steps": 5}})
    >>> [type(part).__name__ for part in make_optimizer(config.optimizer, "gru").projections]
    ['project_spectral_norm']
    """
    make = getattr(optim, table["update"])
    options = {key: table[key] for key in UPDATE_KEYS if table[key] is not None}
    _refuse_others("optimizer", f"update = {table['update']!r}", options, make)
    try:
        parts = [TRANSFORMS[key](value) for key in TRANSFORMS if table[key] for value in _values(key, table)]
        parts.append(make(_learning_rate(table), **options))
        if table["project_spectral_norm"] is not None:
            only = table["project_only"] or projection(cell)[0]
            parts.append(optim.project_spectral_norm(table["project_spectral_norm"], only=only))
        return optim.chain(*parts)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[optimizer] {error}") from None


def _values(key: str, table: dict[str, Any]) -> list[Any]:
    """What a transform is made of; weight gradient normalization is made once for each pattern of parameters."""
    if key != "wgn":
        return [table[key]]
    options = {name: table[f"wgn_{name}"] for name in WGN_KEYS if table[f"wgn_{name}"] is not None}
    only = table["wgn_only"]
    return [{**options, "only": pattern} for pattern in (only if isinstance(only, list) else [only])]


def _learning_rate(table: dict[str, Any]) -> Any:
    """The number, or the schedule of ``[optimizer.schedule]``."""
    rate, options = table["learning_rate"], dict(table["schedule"] or {"name": "constant"})
    name, warmup, hold = options.pop("name"), options.pop("warmup", None), options.pop("hold", None)
    make = getattr(optim.schedules, name)
    _refuse_others("optimizer.schedule", f"name = {name!r}", options, make)
    missing = [
        key
        for key, parameter in inspect.signature(make).parameters.items()
        if parameter.default is inspect.Parameter.empty and key != "rate" and key not in options
    ]
    if missing:
        raise ConfigError(f"[optimizer.schedule] name = {name!r} needs {', '.join(missing)}")
    try:
        if name == "reduce_on_plateau":  # it listens to the metric, so it stands outermost
            return make(_begun(rate, warmup, hold), **options)
        return _begun(make(rate, **options), warmup, hold)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[optimizer.schedule] {error}") from None


def _begun(schedule: Any, warmup: int | None, hold: int | None) -> Any:
    """The schedule after so many steps at its first rate, and these after a warm-up."""
    if hold is not None and callable(schedule):
        schedule = _held(schedule, hold)
    return schedule if warmup is None else optim.schedules.linear_warmup(warmup, schedule)


def _held(schedule: Callable[[int], float], steps: int) -> Callable[[int], float]:
    return lambda step: schedule(max(0, step - steps))


def _refuse_others(table: str, chosen: str, options: dict[str, Any], make: Callable[..., Any]) -> None:
    known = [name for name in inspect.signature(make).parameters if name not in ("learning_rate", "rate")]
    for key in options:
        if key not in known:
            raise ConfigError(
                f"[{table}] {key} does not go with {chosen}, which has {', '.join(known) or 'no options'}"
            )


def make_recurrent(table: dict[str, Any], input_size: int) -> Any:
    """Return the recurrent layers of a table ``[model]``.

    Parameters
    ----------
    table : dict
        As `rnnlab.experiments.config.parse_config` returns it.
    input_size : int

    Returns
    -------
    layer
        One layer, or a `rnnlab.Stacked` of them with dropout between.

    Examples
    --------
    >>> from rnnlab.experiments.config import parse_config
    >>> tables = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 5}}
    >>> config = parse_config({**tables, "model": {"cell": "gru", "hidden": 8, "layers": 2, "reset": "before"}})
    >>> make_recurrent(config.model, 2).layers[1]
    GRU(input_size=8, hidden_size=8, reset='before')
    """
    make = {"rnn": rnnlab.RNN, "lstm": rnnlab.LSTM, "gru": rnnlab.GRU}[table["cell"]]
    options = {key: table[key] for key in ("activation", "reset", "forget_bias") if table[key] is not None}
    options["bias"] = table["bias"]
    for part, option in (("recurrent", "init_hh"), ("input", "init_ih")):
        if table[f"{part}_init"] is not None:
            options[option] = _initializer(table[f"{part}_init"], table[f"{part}_scale"])
    layers: list[Any] = []
    try:
        for _ in range(table["layers"]):
            size = layers[-1].hidden_size if layers else input_size
            count = 2 if table["bidirectional"] else 1
            both = [make(size, table["hidden"], **options) for _ in range(count)]
            layers.append(rnnlab.Bidirectional(*both) if table["bidirectional"] else both[0])
    except ValueError as error:
        raise ConfigError(f"[model] {error}") from None
    return layers[0] if len(layers) == 1 else rnnlab.Stacked(layers, dropout=table["dropout"])


def _initializer(name: str, scale: float | None) -> Any:
    """The initializer of that name; its scale is a gain, a standard deviation, or of uniform draws the bound."""
    make = getattr(initializers, name)
    if scale is None:
        return make()
    return make(-scale, scale) if name == "uniform" else make(scale)
