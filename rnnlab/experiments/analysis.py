"""What the runs of an experiment say: means and intervals over seeds, success rates, best points, and the claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from rnnlab.experiments.experiment import HOLDS, UNDECIDED, Arm, Claim, Experiment, identity

__all__ = [
    "ArmResult",
    "Interval",
    "Missing",
    "Point",
    "Results",
    "Verdict",
    "gather",
    "interval",
    "student",
    "verdicts",
]

Record = Mapping[str, Any]


class Missing(LookupError):
    """A claim asks for what was not run; its verdict is then "not decided"."""


class Interval(NamedTuple):
    """A mean over seeds and half the width of its 95 % interval, which is None where there is one seed."""

    mean: float
    half: float | None
    seeds: int

    @property
    def low(self) -> float:
        """The lower end; of one seed, its value."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """The upper end; of one seed, its value."""
        return self.mean + (self.half or 0.0)

    def overlaps(self, other: Interval) -> bool:
        """Whether two intervals have a number in common."""
        return self.low <= other.high and other.low <= self.high


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution.

    Parameters
    ----------
    freedom : int
        Degrees of freedom, at least 1.

    Returns
    -------
    float

    Examples
    --------
    >>> [round(student(n), 3) for n in (1, 2, 9, 30)]
    [12.706, 4.303, 2.262, 2.042]

    References
    ----------
    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: the integral over whole degrees of
    freedom is a finite sum in the angle ``arctan(t / sqrt(freedom))``.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < 0.95 else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _central(angle: float, freedom: int) -> float:
    """The probability of a t between -sqrt(freedom) tan(angle) and its opposite."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def interval(values: Iterable[float | None]) -> Interval | None:
    """Return mean and 95 % interval (Student's t) of numbers, one a seed; None where one of them is missing.

    A seed without a number, which had a network that blew up, must not be left out of a mean in silence.

    Examples
    --------
    >>> found = interval([1.0, 2.0, 3.0])
    >>> found.mean, round(found.half, 3), found.seeds
    (2.0, 2.484, 3)
    >>> interval([1.0]), interval([]), interval([1.0, None])
    (Interval(mean=1.0, half=None, seeds=1), None, None)
    """
    numbers = list(values)
    given = [value for value in numbers if value is not None]
    if not given or len(given) < len(numbers):
        return None
    n = len(given)
    half = None if n == 1 else student(n - 1) * float(np.std(given, ddof=1)) / math.sqrt(n)
    return Interval(float(np.mean(given)), half, n)


def share(runs: Sequence[Record]) -> float | None:
    """Return the share of runs that succeeded; None of none."""
    return successes(runs) / len(runs) if runs else None


def successes(runs: Sequence[Record]) -> int:
    """Return how many runs succeeded; of a record without a word on it, whether it did not diverge."""
    return sum(run.get("succeeded", not run["diverged"]) for run in runs)


@dataclass(frozen=True)
class Point:
    """The runs at one rate and one value of the second grid, by seed.

    A run is a dict. Its ``valid``, ``test`` (the problem's measure of the parameters that were best on validation),
    ``valid_end`` (of the last ones), ``valid_loss``, ``valid_loss_start`` and ``valid_loss_end`` (mean losses) are None
    where they are no finite numbers; ``diverged`` and ``succeeded`` are as `rnnlab.experiments.outcome` decides;
    ``stopped``, ``steps``, ``best_step``, ``seed`` and ``seconds`` are what they say; ``curve`` and ``monitor`` are
    dicts of lists of at most 100 entries; ``weights`` is None or, of each matrix, a histogram of its last entries.
    """

    rate: float
    option: Any
    runs: tuple[Record, ...]

    @property
    def diverged(self) -> int:
        """How many of the runs diverged."""
        return sum(run["diverged"] for run in self.runs)

    @property
    def success(self) -> float | None:
        """The share of the runs that succeeded."""
        return share(self.runs)

    def of(self, key: str) -> Interval | None:
        """Return mean and interval of a number of the runs, such as "test", diverged ones among them."""
        return interval(run[key] for run in self.runs)


@dataclass(frozen=True)
class ArmResult:
    """What came of an arm; ``points`` are in the order of its grid, those without runs among them."""

    arm: Arm
    points: tuple[Point, ...]
    higher_is_better: bool

    @property
    def runs(self) -> list[Record]:
        """Every run."""
        return [run for point in self.points for run in point.runs]

    @property
    def success(self) -> float | None:
        """The share of all runs that succeeded."""
        return share(self.runs)

    @property
    def best(self) -> Point | None:
        """The point with the best validation mean; one at which a seed diverged cannot be it.

        After an interruption a point has fewer seeds than another: those with the most seeds are compared. Where two
        are level, such as in the accuracy on few sequences, the validation loss decides.
        """
        sound = [p for p in self.points if p.runs and not p.diverged and p.of("valid") is not None]
        most = max((len(p.runs) for p in sound), default=0)
        return min((p for p in sound if len(p.runs) == most), key=self._rank, default=None)

    def _rank(self, point: Point) -> tuple[float, float]:
        valid, loss = (found.mean if found else math.inf for found in (point.of("valid"), point.of("valid_loss")))
        return -valid if self.higher_is_better else valid, loss

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest of several that were run."""
        rates = sorted({p.rate for p in self.points if p.runs})
        best = self.best
        return best is not None and len(rates) > 1 and best.rate in (rates[0], rates[-1])

    def at(self, rate: float, option: Any = None) -> Point:
        """Return the runs at a rate (and a value of the second grid).

        Raises
        ------
        Missing
            There are none.
        """
        for point in self.points:
            if math.isclose(point.rate, rate) and point.option == option and point.runs:
                return point
        raise Missing(f"{self.arm.name} was not run at rate {rate:g}" + ("" if option is None else f", {option}"))


@dataclass(frozen=True)
class Results:
    """The runs of an experiment, by variant and arm; what a claim is given.

    ``arms`` is variant -> arm -> `ArmResult`; ``measures`` is variant -> the measure's name, None before a run.
    """

    experiment: Experiment
    arms: Mapping[str, Mapping[str, ArmResult]]
    measures: Mapping[str, str | None]
    done: int
    planned: int
    other: int = 0  # runs in the folder with settings that are none of this experiment's
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # variant -> runs done, runs planned

    @property
    def runs(self) -> list[Record]:
        """Every run."""
        return [run for arms in self.arms.values() for arm in arms.values() for run in arm.runs]

    @property
    def complete(self) -> bool:
        """Whether all planned runs are done."""
        return self.done == self.planned

    def arm(self, variant: str, arm: str) -> ArmResult:
        """Return what came of an arm.

        Raises
        ------
        Missing
            There is no such arm here (``--quick`` may leave it out), or no run of it is done.
        """
        found = self.arms.get(variant, {}).get(arm)
        if found is None or not found.runs:
            raise Missing(f"there is no run of {arm} on {variant}")
        return found

    def best(self, variant: str, arm: str) -> Point:
        """Return an arm's best point.

        Raises
        ------
        Missing
            There is no run, or a seed diverged at every point.
        """
        found = self.arm(variant, arm).best
        if found is None:
            raise Missing(f"a run of {arm} on {variant} diverged at every rate")
        return found

    def test(self, variant: str, arm: str) -> Interval:
        """Return the test figure at an arm's best point.

        Raises
        ------
        Missing
            As `best`, or a test figure is no finite number.
        """
        found = self.best(variant, arm).of("test")
        if found is None:
            raise Missing(f"a test figure of {arm} on {variant} is no finite number")
        return found


class Verdict(NamedTuple):
    """What became of a claim: one of ``HOLDS``, ``FAILS``, ``UNDECIDED``, and why."""

    claim: Claim
    verdict: str
    why: str


def gather(experiment: Experiment, records: Sequence[Record]) -> Results:
    """Put the records of runs in their places.

    Seeds, rates and option values that are in the records beyond the experiment's own are taken in.

    Parameters
    ----------
    experiment : Experiment
    records : sequence of mappings
        As `rnnlab.experiments.store` returns them.

    Returns
    -------
    Results
    """
    wanted = {(run.variant, run.arm, identity(run.tables)) for run in experiment.plan()}
    found = {(r["variant"], r["arm"], r["config"]): r for r in records}
    points: dict[tuple[str, str], dict[tuple[float, Any], list[Record]]] = {}
    used = 0
    for run in _widened(experiment, records).plan():
        key = (run.variant, run.arm, identity(run.tables))
        record = found.get(key)
        if record is None and key not in wanted:
            continue
        used += record is not None
        runs = points.setdefault((run.variant, run.arm), {}).setdefault((run.rate, run.option), [])
        runs += [] if record is None else [record]
    arms: dict[str, dict[str, ArmResult]] = {}
    measures: dict[str, str | None] = {}
    for variant in experiment.variants:
        mine = [r for name in variant.arms for runs in points.get((variant.name, name.name), {}).values() for r in runs]
        measures[variant.name] = mine[0]["measure"] if mine else None
        higher = bool(mine and mine[0]["higher_is_better"])
        arms[variant.name] = {
            arm.name: ArmResult(arm, _ordered(points.get((variant.name, arm.name), {})), higher) for arm in variant.arms
        }
    done = wanted & found.keys()
    counts = {v.name: (_count(done, v.name), _count(wanted, v.name)) for v in experiment.variants}
    return Results(experiment, arms, measures, len(done), len(wanted), len(found) - used, counts)


def _count(keys: Iterable[tuple[str, ...]], variant: str) -> int:
    return sum(key[0] == variant for key in keys)


def _ordered(points: dict[tuple[float, Any], list[Record]]) -> tuple[Point, ...]:
    by_seed = (Point(rate, option, tuple(sorted(runs, key=_seed))) for (rate, option), runs in points.items())
    return tuple(sorted(by_seed, key=lambda p: (p.rate, isinstance(p.option, str), p.option or 0)))


def _seed(record: Record) -> int:
    return int(record["seed"])


def _widened(experiment: Experiment, records: Sequence[Record]) -> Experiment:
    """Return the experiment with the seeds, rates and option values of the records beside its own."""
    variants = []
    for variant in experiment.variants:
        arms = []
        for arm in variant.arms:
            mine = [r for r in records if (r["variant"], r["arm"]) == (variant.name, arm.name)]
            rates = tuple(dict.fromkeys([*arm.rates, *(r["rate"] for r in mine)]))
            option = arm.option
            if option is not None:
                values = [*option[1], *(r["option"] for r in mine if r["option"] is not None)]
                option = (option[0], tuple(dict.fromkeys(values)))
            arms.append(replace(arm, rates=rates, option=option))
        variants.append(replace(variant, arms=tuple(arms)))
    seeds = tuple(dict.fromkeys([*experiment.seeds, *(r["seed"] for r in records)]))
    return replace(experiment, variants=tuple(variants), seeds=seeds)


def verdicts(results: Results) -> list[Verdict]:
    """Return what becomes of every claim; where something that it needs was not run, it is not decided."""
    found = []
    for claim in results.experiment.claims:
        try:
            verdict, why = claim.check(results)
        except Missing as error:
            verdict, why = UNDECIDED, f"{error}."
        if verdict == HOLDS and not results.complete:
            why += f" ({results.done} of {results.planned} runs are done.)"
        found.append(Verdict(claim, verdict, why))
    return found
