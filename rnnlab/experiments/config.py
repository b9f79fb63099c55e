"""The TOML file of ``rnnlab train``: its tables and keys, checked before anything is made of it.

Every table is a dict ``key -> Key``. An unknown key is an error that suggests the nearest one; a wrong value is one
that names the key, what was got and what is allowed. What the parts themselves check, such as a negative learning
rate, they report under the table's name when they are built (`rnnlab.experiments.build`).
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rnnlab.monitor import QUANTITIES

__all__ = ["SCHEMA", "Config", "ConfigError", "Key", "differences", "load_config", "parse_config"]


class ConfigError(ValueError):
    """A configuration cannot be used; the message is one line."""


class Key(NamedTuple):
    """What a key may hold: ``test(value)``, said in words by ``allowed``; None as default means it may be missing."""

    test: Callable[[Any], bool]
    allowed: str
    default: Any = None
    required: bool = False


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_patterns(value: Any) -> bool:
    patterns = value if isinstance(value, list) else [value]
    return len(patterns) > 0 and all(isinstance(pattern, str) and pattern != "" for pattern in patterns)


def whole(least: int, default: int | None = None) -> Key:
    """Return a key for an integer of at least ``least``."""
    words = {0: "an integer of at least 0", 1: "a positive integer"}.get(least, f"an integer of at least {least}")
    return Key(lambda value: _is_whole(value) and value >= least, words, default)


def number(allowed: str, test: Callable[[float], bool], default: float | None = None) -> Key:
    """Return a key for a finite number."""
    return Key(lambda value: _is_number(value) and test(value), allowed, default)


def choice(options: Any, default: str | None = None, required: bool = False) -> Key:
    """Return a key for one of several words."""
    options = tuple(options)
    return Key(lambda value: value in options and isinstance(value, str), f"one of {', '.join(options)}",
               default, required)  # fmt: skip


def yes_or_no(default: bool | None = False) -> Key:
    """Return a key for a boolean."""
    return Key(lambda value: isinstance(value, bool), "true or false", default)


def text(allowed: str, required: bool = False) -> Key:
    """Return a key for a string that is not empty."""
    return Key(lambda value: isinstance(value, str) and value != "", allowed, None, required)


def share(default: float | None = None, zero: bool = False) -> Key:
    """Return a key for a share of something."""
    words = "a number from 0 to below 1" if zero else "a number between 0 and 1"
    return number(words, lambda value: value < 1 and (value > 0 or zero and value == 0), default)


positive = number("a positive number", lambda value: value > 0)
not_negative = number("a number of at least 0", lambda value: value >= 0)
DATA_NAMES = ("shakespeare", "ptb", "ettm1", "nottingham", "jsb", "mnist", "mnist-pixels", "mnist-permuted", "adding",
              "copying", "temporal-order")  # fmt: skip

INITIALIZERS = ("orthogonal", "glorot", "he", "identity", "normal", "uniform")

DATA = {
    "name": text(f"one of {', '.join(DATA_NAMES)}, ucr:NAME, or the path of a text or token file", required=True),
    "root": text("the folder that holds the data sets"),
    "batch_size": whole(1, 32),
    "length": whole(1),
    "context": whole(1),
    "horizon": whole(1),
    "target": text("the name of a column of the series"),
    "batches": whole(1),
    "valid_share": share(),
    "limit": whole(1),
    "held_out_limit": whole(1),
    "vocabulary": whole(2),
    "split": choice(("months", "70/15/15")),
    "measure": choice(("squared", "absolute")),
    "standardize": yes_or_no(None),
    "valid": text("the path of a token file"),
    "test": text("the path of a token file"),
}
MODEL = {
    "cell": choice(("rnn", "lstm", "gru"), "lstm"),
    "hidden": whole(1, 128),
    "layers": whole(1, 1),
    "bidirectional": yes_or_no(),
    "embedding": whole(1),
    "embedding_factor": positive,
    "dropout": share(0.0, zero=True),
    "bias": yes_or_no(True),
    "activation": choice(("tanh", "sigmoid", "relu", "leaky_relu", "elu")),
    "reset": choice(("after", "before")),
    "forget_bias": number("a number", lambda value: True),
    "recurrent_init": choice(INITIALIZERS),
    "recurrent_scale": positive,
    "input_init": choice(INITIALIZERS),
    "input_scale": positive,
}
SCHEDULE = {
    "name": choice(("constant", "step_decay", "exponential", "cosine", "reduce_on_plateau"), "constant"),
    "warmup": whole(1),
    "hold": whole(1),
    "factor": positive,
    "every": whole(1),
    "decay": positive,
    "steps": whole(1),
    "final": not_negative,
    "patience": whole(0),
    "threshold": share(zero=True),
    "lowest": not_negative,
}
OPTIMIZER = {
    "update": choice(("sgd", "rmsprop", "adagrad", "adam", "adamw"), "sgd"),
    "learning_rate": Key(positive.test, positive.allowed, None, required=True),
    "momentum": share(zero=True),
    "nesterov": Key(lambda value: isinstance(value, bool), "true or false"),
    "alpha": share(zero=True),
    "eps": positive,
    "betas": Key(
        lambda value: isinstance(value, list) and len(value) == 2 and all(_is_number(b) and 0 <= b < 1 for b in value),
        "two numbers from 0 to below 1",
    ),
    "weight_decay": not_negative,
    "gradient_factor": positive,
    "l1": positive,
    "l2": positive,
    "centralize": yes_or_no(),
    "wgn": yes_or_no(),
    "wgn_eps": not_negative,
    "wgn_denominator": choice(("std+eps", "sqrt(var+eps)")),
    "wgn_center": Key(lambda value: isinstance(value, bool), "true or false"),
    "wgn_per": choice(("array", "gate", "row")),
    "wgn_only": Key(_are_patterns, "a pattern of parameters, such as weight_hh, or a list of them"),
    "block_normalize": yes_or_no(),
    "clip_value": positive,
    "clip_norm": positive,
    "clip_global_norm": positive,
    "project_spectral_norm": positive,
    "project_only": text("a pattern of parameters, such as weight_hn or weight_hh"),
    "schedule": Key(lambda value: isinstance(value, dict), "a table [optimizer.schedule]"),
}
TRAINING = {
    "epochs": whole(1),
    "steps": whole(1),
    "seed": whole(0, 0),
    "dtype": choice(("float32", "float64"), "float32"),
    "patience": whole(1),
    "validate_every": whole(1),
    "checkpoint_every": whole(1),
    "keep": whole(1, 3),
    "on_nonfinite": choice(("raise", "skip", "stop"), "raise"),
}
MONITOR = {
    "quantities": Key(
        lambda value: isinstance(value, list) and all(q in QUANTITIES for q in value),
        f"a list of {', '.join(QUANTITIES)}",
        ["gradient_norm", "update_ratio", "weight_statistics"],
    ),
    "every": whole(1, 10),
    "max_share": Key(
        lambda value: value is False or (_is_number(value) and 0 < value <= 1), "a share above 0, or false", 0.1
    ),
    "format": choice(("csv", "jsonl"), "csv"),
}
SCHEMA = {"data": DATA, "model": MODEL, "optimizer": OPTIMIZER, "training": TRAINING, "monitor": MONITOR}
OPTIONAL = ("model", "monitor")


class Config(NamedTuple):
    """A checked configuration: each table with its defaults filled in; keys without a default are None."""

    data: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    training: dict[str, Any]
    monitor: dict[str, Any] | None  # None: nothing is recorded


def load_config(path: str | Path, base: Path | None = None) -> tuple[Config, str]:
    """Return the checked configuration of a TOML file, and the file's text.

    Parameters
    ----------
    path : path
    base : path, optional
        The folder that relative paths of files start from; by default the file's.

    Returns
    -------
    config : Config
    source : str

    Raises
    ------
    ConfigError
        The file cannot be read, is no TOML, or holds a key or a value that is not allowed.
    """
    try:
        source = Path(path).read_text(encoding="utf-8")
        return parse_config(tomllib.loads(source), base or Path(path).parent), source
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be UTF-8; byte {error.start} is not") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_config(tables: Mapping[str, Any], base: Path | None = None) -> Config:
    """Return the checked configuration of what TOML's tables hold.

    Parameters
    ----------
    tables : mapping
        Table -> key -> value.
    base : path, optional
        The folder that relative paths of files start from; by default the current one.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        A table, a key or a value is not allowed.

    Examples
    --------
    >>> tables = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 5}}
    >>> config = parse_config(tables)
    >>> config.model["cell"], config.training["dtype"], config.monitor is None
    ('lstm', 'float32', True)
    >>> parse_config({**tables, "optimizer": {"learning_rat": 1.0}})
    Traceback (most recent call last):
    rnnlab.experiments.config.ConfigError: [optimizer] learning_rat: unknown key; did you mean 'learning_rate'?
    """
    for name in tables:
        if name not in SCHEMA:
            raise ConfigError(f"[{name}]: unknown table; {_nearest(name, SCHEMA)}")
        if not isinstance(tables[name], Mapping):
            raise ConfigError(f"{name} must be a table [{name}]; got {tables[name]!r}")
    checked: dict[str, Any] = {name: _checked(name, tables[name], SCHEMA[name]) for name in SCHEMA if name in tables}
    for name in SCHEMA:
        if name not in tables and name not in OPTIONAL:
            raise ConfigError(f"[{name}]: this table is missing")
        checked.setdefault(name, _checked(name, {}, SCHEMA[name]) if name in OPTIONAL else None)
    if checked["optimizer"]["schedule"] is not None:
        schedule = _checked("optimizer.schedule", checked["optimizer"]["schedule"], SCHEDULE)
        checked["optimizer"]["schedule"] = {key: value for key, value in schedule.items() if value is not None}
    checked["data"]["name"] = _data_name(checked["data"]["name"], base)
    for key in ("valid", "test"):
        if checked["data"][key] is not None:
            checked["data"][key] = _file(key, checked["data"][key], base)
    _fit_together(checked)
    return Config(**{**checked, "monitor": checked["monitor"] if "monitor" in tables else None})


def _checked(table: str, given: Mapping[str, Any], keys: dict[str, Key]) -> dict[str, Any]:
    for name, value in given.items():
        if name not in keys:
            raise ConfigError(f"[{table}] {name}: unknown key; {_nearest(name, keys)}")
        if not keys[name].test(value):
            raise ConfigError(f"[{table}] {name} must be {keys[name].allowed}; got {_shown(value)}")
    for name, key in keys.items():
        if key.required and name not in given:
            raise ConfigError(f"[{table}] {name} is missing: it must be {key.allowed}")
    return {name: given.get(name, key.default) for name, key in keys.items()}


def _nearest(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _shown(value: Any) -> str:
    """A value as TOML writes it, roughly, and not too long."""
    words = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    words = words or repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."


def _data_name(name: str, base: Path | None) -> str:
    """Return the name of the data; of a text file its whole path."""
    if name in DATA_NAMES or (name.startswith("ucr:") and name[4:]):
        return name
    path = Path(name) if base is None else base / name
    if path.is_file() or path.suffix or "/" in name:
        return _file("name", name, base)
    raise ConfigError(f"[data] name must be {DATA['name'].allowed}; got {name!r}; {_nearest(name, DATA_NAMES)}")


def _file(key: str, name: str, base: Path | None) -> str:
    path = Path(name) if base is None else base / name
    if not path.is_file():
        kind = "text" if key == "name" and path.suffix != ".npy" else "token"
        raise ConfigError(f"[data] {key}: there is no {kind} file {str(path)!r}")
    return str(path.resolve())


def _fit_together(tables: dict[str, dict[str, Any]]) -> None:
    """Refuse keys that say nothing beside the others, rather than to ignore them."""
    model, training, optimizer = tables["model"], tables["training"], tables["optimizer"]
    for key, cell in (("activation", "rnn"), ("reset", "gru"), ("forget_bias", "lstm")):
        if model[key] is not None and model["cell"] != cell:
            raise ConfigError(f"[model] {key} goes with cell = {cell!r}; got cell = {model['cell']!r}")
    if (training["epochs"] is None) == (training["steps"] is None):
        both = "neither" if training["epochs"] is None else "both"
        raise ConfigError(f"[training] needs either epochs or steps; got {both}")
    if optimizer["project_only"] is not None and optimizer["project_spectral_norm"] is None:
        raise ConfigError("[optimizer] project_only goes with project_spectral_norm, which is missing")
    for key, value in optimizer.items():
        if key.startswith("wgn_") and value is not None and not optimizer["wgn"]:
            raise ConfigError(f"[optimizer] {key} goes with wgn = true, which is missing")
    for part in ("recurrent", "input"):
        if model[f"{part}_scale"] is not None and model[f"{part}_init"] is None:
            raise ConfigError(f"[model] {part}_scale goes with {part}_init, which is missing")


def differences(one: Config, other: Config) -> list[str]:
    """Return the keys in which two configurations differ, as ``[table] key``.

    Examples
    --------
    >>> tables = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 5}}
    >>> longer = {**tables, "training": {"steps": 9}}
    >>> differences(parse_config(tables), parse_config(longer))
    ['[training] steps']
    """
    found = []
    for table in SCHEMA:
        a, b = getattr(one, table), getattr(other, table)
        if a is None or b is None:
            found += [f"[{table}]"] if a != b else []
        else:
            found += [f"[{table}] {key}" for key in SCHEMA[table] if a[key] != b[key]]
    return found
