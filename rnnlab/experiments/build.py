"""From a checked configuration to what `rnnlab.fit` takes: the optimizer, the recurrent layer, data and model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import rnnlab
from rnnlab import initializers, optim
from rnnlab.experiments.arms import projection
from rnnlab.experiments.config import ConfigError

__all__ = ["make_optimizer", "make_recurrent"]

# In this order: what changes the gradient for the sake of the weights, what standardizes it, what limits it.
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "l1": optim.l1,
    "l2": optim.l2,
    "centralize": lambda on: optim.centralize_gradients(),
    "wgn": lambda on: optim.normalize_weight_gradients(),
    "block_normalize": lambda on: optim.block_normalize_gradients(),
    "clip_value": optim.clip_by_value,
    "clip_norm": optim.clip_by_norm,
    "clip_global_norm": optim.clip_by_global_norm,
}
UPDATE_KEYS = ("momentum", "nesterov", "alpha", "eps", "betas", "weight_decay")


def make_optimizer(table: dict[str, Any], cell: str) -> optim.Optimizer:
    """Return the optimizer of a table ``[optimizer]``.

    The parts are chained in the order l1, l2, centralize, wgn, block_normalize, clip_value, clip_norm,
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
        parts = [TRANSFORMS[key](table[key]) for key in TRANSFORMS if table[key]]
        parts.append(make(_learning_rate(table), **options))
        if table["project_spectral_norm"] is not None:
            only = table["project_only"] or projection(cell)[0]
            parts.append(optim.project_spectral_norm(table["project_spectral_norm"], only=only))
        return optim.chain(*parts)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[optimizer] {error}") from None


def _learning_rate(table: dict[str, Any]) -> Any:
    """The number, or the schedule of ``[optimizer.schedule]``."""
    rate, options = table["learning_rate"], dict(table["schedule"] or {"name": "constant"})
    name, warmup = options.pop("name"), options.pop("warmup", None)
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
        if warmup is None:
            return make(rate, **options)
        if name == "reduce_on_plateau":  # it listens to the metric, so it stands outermost
            return make(optim.schedules.linear_warmup(warmup, rate), **options)
        return optim.schedules.linear_warmup(warmup, make(rate, **options))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[optimizer.schedule] {error}") from None


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
    if table["recurrent_init"] is not None:
        options["init_hh"] = getattr(initializers, table["recurrent_init"])()
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
