"""What an experiment is: variants, arms, their grids, seeds, and what must hold; and the runs that follow from it."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnlab.experiments.config import Config, parse_config

if TYPE_CHECKING:
    from rnnlab.experiments.analysis import Results

__all__ = ["FAILS", "HOLDS", "UNDECIDED", "Arm", "Claim", "Experiment", "Quick", "Run", "Variant", "identity", "merged"]

# Keys that did not exist when the first runs were put on record: they count only where they are set, so that those
# runs keep their names.
ADDED_LATER = (("data", "valid"), ("data", "test"), ("data", "standardize"))
Tables = Mapping[str, Mapping[str, Any]]
HOLDS, FAILS, UNDECIDED = "holds", "fails", "not decided"


@dataclass(frozen=True)
class Arm:
    """A way to train, with its own grid of learning rates.

    Attributes
    ----------
    name : str
    changes : mapping
        Table -> key -> value, merged over the variant's configuration. A value of None takes a key away.
    rates : tuple of float
        The grid of ``[optimizer] learning_rate``.
    option : tuple, optional
        A second grid: a dotted key and its values (numbers, strings or booleans), such as
        ``("optimizer.clip_global_norm", (5.0, 10.0))``.
    """

    name: str
    changes: Tables
    rates: tuple[float, ...]
    option: tuple[str, tuple[Any, ...]] | None = None


@dataclass(frozen=True)
class Variant:
    """A row of an experiment, such as a data set or a network's size; each is swept by itself.

    Attributes
    ----------
    name : str
    config : mapping
        The tables of ``rnnlab train``; complete but for ``[optimizer] learning_rate`` and the arm's changes.
    arms : tuple of Arm
    reported : mapping
        Arm -> the paper's figure, in the unit of the problem's measure; only what was verified.
    reported_grid : mapping
        Arm -> (rate, value of the second grid) -> the paper's figure at this point.
    """

    name: str
    config: Tables
    arms: tuple[Arm, ...]
    reported: Mapping[str, float | None] = field(default_factory=dict)
    reported_grid: Mapping[str, Mapping[tuple[float, Any], float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What must hold, and how it is decided.

    Attributes
    ----------
    name : str
    sentence : str
    check : callable
        ``check(results)`` returns one of ``HOLDS``, ``FAILS``, ``UNDECIDED`` and a sentence with the numbers. It is
        given a `rnnlab.experiments.analysis.Results`; where that raises ``Missing`` the verdict is ``UNDECIDED``.
    """

    name: str
    sentence: str
    check: Callable[[Results], tuple[str, str]]


@dataclass(frozen=True)
class Quick:
    """How ``--quick`` makes an experiment small.

    Attributes
    ----------
    variants, arms : tuple of str, optional
        Which to keep, by name; None keeps all.
    rates : tuple of float or mapping of arm -> tuple, optional
        The rates to run; of an arm that is not in the mapping its own grid.
    options : mapping
        Arm -> the values of its second grid to run; of other arms all.
    seeds : tuple of int
    changes : mapping
        Tables merged over every variant's configuration, after which come the arm's changes.
    """

    variants: tuple[str, ...] | None = None
    arms: tuple[str, ...] | None = None
    rates: tuple[float, ...] | Mapping[str, tuple[float, ...]] | None = None
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    changes: Tables = field(default_factory=dict)


class Run(NamedTuple):
    """One training: where it stands in the experiment, and the tables of its configuration."""

    variant: str
    arm: str
    rate: float
    option: Any
    seed: int
    tables: dict[str, dict[str, Any]]

    @property
    def config(self) -> Config:
        """The checked configuration."""
        return parse_config(self.tables)


@dataclass(frozen=True)
class Experiment:
    """A question, and all that is run to answer it.

    Attributes
    ----------
    name, title, about, source : str
        ``source`` is the citation.
    claims : tuple of Claim
    variants : tuple of Variant
    seeds : tuple of int
    quick : Quick
    survival : callable, optional
        ``survival(results)`` returns what `rnnlab.plots.experiments.horizons` draws; by default there is no such
        picture.
    changed : tuple of str
        What is not as declared, a sentence each; empty for a declaration.
    """

    name: str
    title: str
    about: str
    source: str
    claims: tuple[Claim, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    quick: Quick = Quick()
    survival: Callable[[Results], Mapping[str, Any]] | None = None
    changed: tuple[str, ...] = ()

    def plan(self) -> list[Run]:
        """Return every run.

        One seed of everything first: what there is after an interruption is then a whole, if a coarse one. Within a
        seed, the arms of a variant take turns.

        Returns
        -------
        list of Run

        Examples
        --------
        >>> arms = Arm("sgd", {}, (0.1, 1.0)), Arm("clip", {}, (0.1,), ("optimizer.clip_global_norm", (5.0, 10.0)))
        >>> data = {"data": {"name": "adding"}, "training": {"steps": 5}}
        >>> experiment = Experiment("toy", "Toy", "", "", (), (Variant("adding", data, arms),), (0,))
        >>> [(run.arm, run.rate, run.option) for run in experiment.plan()]
        [('sgd', 0.1, None), ('clip', 0.1, 5.0), ('sgd', 1.0, None), ('clip', 0.1, 10.0)]
        """
        return [run for seed in self.seeds for variant in self.variants for run in _turns(variant, seed)]

    def quickened(self) -> Experiment:
        """Return the experiment as ``--quick`` runs it: its ``quick`` says how.

        The paper's figures are left out, for those of a smaller network or a shorter training say nothing about them.
        """
        quick = self.quick
        kept = [v for v in self.variants if quick.variants is None or v.name in quick.variants]
        about = f"{self.about} **This is the small version of `--quick`: nothing here is to be set against a paper.**"
        variants = tuple(_quickened(variant, quick) for variant in kept)
        return replace(self, about=about.strip(), variants=variants, seeds=quick.seeds)


def _quickened(variant: Variant, quick: Quick) -> Variant:
    arms = []
    for arm in variant.arms:
        if quick.arms is not None and arm.name not in quick.arms:
            continue
        rates = quick.rates.get(arm.name, arm.rates) if isinstance(quick.rates, Mapping) else quick.rates or arm.rates
        option = arm.option
        if option is not None and arm.name in quick.options:
            option = (option[0], tuple(quick.options[arm.name]))
        arms.append(replace(arm, rates=tuple(rates), option=option))
    return replace(
        variant, config=merged(variant.config, quick.changes), arms=tuple(arms), reported={}, reported_grid={}
    )


def _turns(variant: Variant, seed: int) -> list[Run]:
    grids = [
        [(arm, rate, value) for rate in sorted(arm.rates) for value in (arm.option[1] if arm.option else (None,))]
        for arm in variant.arms
    ]
    turns = (point for column in itertools.zip_longest(*grids) for point in column if point is not None)
    return [_run(variant, arm, rate, value, seed) for arm, rate, value in turns]


def _run(variant: Variant, arm: Arm, rate: float, value: Any, seed: int) -> Run:
    tables = merged(variant.config, arm.changes)
    if arm.option is not None:
        table, _, key = arm.option[0].partition(".")
        tables = merged(tables, {table: {key: value}})
    last: Tables = {"optimizer": {"learning_rate": rate}, "training": {"seed": seed, "on_nonfinite": "stop"}}
    return Run(variant.name, arm.name, rate, value, seed, merged(tables, last))


def merged(tables: Tables, changes: Tables) -> dict[str, dict[str, Any]]:
    """Return tables with the keys of others put over them; a value of None takes a key away.

    Examples
    --------
    >>> merged({"optimizer": {"update": "sgd", "wgn": True}}, {"optimizer": {"wgn": None}, "training": {"steps": 5}})
    {'optimizer': {'update': 'sgd'}, 'training': {'steps': 5}}
    """
    result = {name: dict(table) for name, table in tables.items()}
    for name, table in changes.items():
        result[name] = {**result.get(name, {}), **table}
    return {name: {k: v for k, v in table.items() if v is not None} for name, table in result.items()}


def identity(tables: Tables) -> str:
    """Return a short name of what a configuration says: equal for equal settings, however they are written.

    Defaults are filled in first; where the data lies does not count.

    Examples
    --------
    >>> tables = {"data": {"name": "adding"}, "optimizer": {"learning_rate": 1.0}, "training": {"steps": 5}}
    >>> identity(tables) == identity({**tables, "training": {"steps": 5, "seed": 0}})
    True
    >>> identity(tables) == identity({**tables, "training": {"steps": 6}})
    False
    """
    config = parse_config(tables)._asdict()
    config["data"] = {**config["data"], "root": None}
    for table, key in ADDED_LATER:
        if config[table][key] is None:
            del config[table][key]
    words = json.dumps(config, sort_keys=True, default=list)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def named(items: Sequence[Any], name: str) -> Any:
    """Return the item of that name; KeyError where there is none."""
    for item in items:
        if item.name == name:
            return item
    raise KeyError(name)
