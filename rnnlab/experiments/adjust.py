"""A declared experiment with other settings than it declares, and sentences that say which."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnlab.experiments.config import SCHEMA, ConfigError, parse_config
from rnnlab.experiments.experiment import Arm, Experiment, Variant, merged

__all__ = ["adjusted", "read_rates", "read_setting", "read_value"]

OWN_ARGUMENT = {"optimizer.learning_rate": "--rates", "training.seed": "--seeds"}
Settings = Mapping[str, Any]  # TABLE.KEY -> value


def adjusted(
    experiment: Experiment,
    settings: Settings | None = None,
    rates: Sequence[float] | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Experiment:
    """Return an experiment with other settings, whose ``changed`` says what is not as declared.

    Parameters
    ----------
    experiment : Experiment
    settings : mapping, optional
        ``TABLE.KEY`` -> value, put over the configuration of every variant and every arm.
    rates : sequence of float, optional
        In place of the grids of learning rates.
    arms : sequence of str, optional
        The arms that ``rates`` is for; by default all.
    seeds : sequence of int, optional
        In place of the seeds.

    Returns
    -------
    Experiment

    Raises
    ------
    ConfigError
        There is no such key, a value is not allowed, or the key is one that an arm has a grid of.

    Examples
    --------
    >>> data = {"data": {"name": "adding"}, "training": {"epochs": 60}}
    >>> experiment = Experiment("toy", "", "", "", (), (Variant("adding", data, (Arm("sgd", {}, (0.1, 1.0)),)),), (0,))
    >>> shorter = adjusted(experiment, {"training.epochs": 5}, rates=(0.1,))
    >>> [(run.rate, run.tables["training"]["epochs"]) for run in shorter.plan()]
    [(0.1, 5)]
    >>> shorter.changed
    ('training.epochs is 5 here, 60 in the declaration', 'the rates of sgd are 0.1 here, 0.1, 1 in the declaration')
    """
    settings = _one_length(dict(settings or {}))
    words = [sentence for name in settings for sentence in _said(experiment, name, settings[name])]
    tables: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        table, key = _known(name)
        tables.setdefault(table, {})[key] = value
    variants = tuple(_with_settings(variant, tables) for variant in experiment.variants)
    if rates is not None:
        words += _said_of_rates(experiment, rates, arms)
        variants = tuple(_with_rates(variant, rates, arms) for variant in variants)
    if seeds is not None and tuple(seeds) != experiment.seeds:
        words.append(f"{_seeds(len(seeds))} here, {len(experiment.seeds)} in the declaration")
    changed = (*experiment.changed, *words)
    found = replace(experiment, variants=variants, seeds=tuple(seeds or experiment.seeds), changed=changed)
    for variant, arm in ((v, a) for v in found.variants for a in v.arms):
        _check(variant, arm, settings)
    return found


def _one_length(settings: dict[str, Any]) -> dict[str, Any]:
    """Training has either epochs or steps: who sets the one takes the other away."""
    for name, other in (("training.steps", "training.epochs"), ("training.epochs", "training.steps")):
        if name in settings and other not in settings:
            return {**settings, other: None}
    return settings


def _known(name: str) -> tuple[str, str]:
    table, dot, key = name.partition(".")
    if not dot or table not in SCHEMA or key not in SCHEMA[table]:
        close = difflib.get_close_matches(name, [f"{t}.{k}" for t in SCHEMA for k in SCHEMA[t]], 1)
        raise ConfigError(f"--set: there is no key {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    if name in OWN_ARGUMENT:
        raise ConfigError(f"--set: {name} is set by {OWN_ARGUMENT[name]}")
    return table, key


def _with_settings(variant: Variant, tables: dict[str, dict[str, Any]]) -> Variant:
    for arm in variant.arms:
        table, _, key = (arm.option[0] if arm.option else "").partition(".")
        if key in tables.get(table, {}):
            raise ConfigError(f"--set: {table}.{key} cannot be set, for {arm.name} has a grid of it")
    # Over the arms' changes too, for these come after the variant's configuration.
    arms = tuple(replace(arm, changes={**arm.changes, **_over(arm.changes, tables)}) for arm in variant.arms)
    return replace(variant, config=merged(variant.config, tables), arms=arms)


def _over(changes: Mapping[str, Mapping[str, Any]], tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**changes.get(name, {}), **table} for name, table in tables.items()}


def _with_rates(variant: Variant, rates: Sequence[float], chosen: Sequence[str] | None) -> Variant:
    arms = (replace(a, rates=tuple(rates)) if chosen is None or a.name in chosen else a for a in variant.arms)
    return replace(variant, arms=tuple(arms))


def _check(variant: Variant, arm: Arm, settings: Settings) -> None:
    """Say of a wrong value which it is, before anything is run."""
    if not settings:
        return
    tables = merged(variant.config, arm.changes)
    if arm.option is not None:
        table, _, key = arm.option[0].partition(".")
        tables = merged(tables, {table: {key: arm.option[1][0]}})
    try:
        parse_config(merged(tables, {"optimizer": {"learning_rate": arm.rates[0]}}))
    except ConfigError as error:
        raise ConfigError(f"--set: {error} (variant {variant.name}, arm {arm.name})") from None


# ------------------------------------------------------------------------------------ what was changed


def _said(experiment: Experiment, name: str, value: Any) -> list[str]:
    table, key = _known(name)
    declared: dict[str, list[str]] = {}
    for variant in experiment.variants:
        for arm in variant.arms:
            found = merged(variant.config, arm.changes).get(table, {}).get(key, SCHEMA[table][key].default)
            names = declared.setdefault(_shown(found), [])
            names += [] if variant.name in names else [variant.name]
    if list(declared) in ([], [_shown(value)]):
        return []
    if len(declared) == 1:
        words = next(iter(declared))
    else:
        words = "; ".join(f"{shown} for {', '.join(names)}" for shown, names in declared.items())
    return [f"{name} is {_shown(value)} here, {words} in the declaration"]


def _said_of_rates(experiment: Experiment, rates: Sequence[float], chosen: Sequence[str] | None) -> list[str]:
    declared: dict[str, list[str]] = {}
    for variant in experiment.variants:
        for arm in variant.arms:
            if (chosen is None or arm.name in chosen) and tuple(arm.rates) != tuple(rates):
                names = declared.setdefault(_listed(arm.rates), [])
                names += [] if arm.name in names else [arm.name]
    return [
        f"the rates of {', '.join(names)} are {_listed(rates)} here, {grid} in the declaration"
        for grid, names in declared.items()
    ]


def _listed(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)


def _seeds(count: int) -> str:
    return "there is 1 seed" if count == 1 else f"there are {count} seeds"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------------------------ reading the user


def read_setting(given: str) -> tuple[str, Any]:
    """Return the key and the value of ``TABLE.KEY=VALUE``.

    Examples
    --------
    >>> read_setting("training.epochs=5"), read_setting("training.dtype=float64")
    (('training.epochs', 5), ('training.dtype', 'float64'))
    """
    name, equals, word = given.partition("=")
    if not equals or "." not in name or not word.strip():
        raise ConfigError(f"--set must be TABLE.KEY=VALUE, such as training.epochs=5; got {given!r}")
    _known(name.strip())
    return name.strip(), read_value(word)


def read_value(word: str) -> Any:
    """Return a value as TOML reads it; what TOML cannot read is a string.

    Examples
    --------
    >>> read_value("0.5"), read_value("true"), read_value("[0.9, 0.99]"), read_value("lstm")
    (0.5, True, [0.9, 0.99], 'lstm')
    """
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return word.strip()


def read_rates(given: str) -> tuple[float, ...]:
    """Return the learning rates of a list such as ``0.1,0.3``.

    Examples
    --------
    >>> read_rates("0.1,0.3,0.1")
    (0.1, 0.3)
    """
    rates = []
    for word in given.split(","):
        try:
            rate = float(word)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            raise ConfigError(f"--rates must be positive numbers; got {word!r}")
        rates.append(rate)
    return tuple(dict.fromkeys(rates))
