"""The arms of Kanai et al. 2017, and what must hold of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rnnlab.experiments.analysis import Interval, Missing, Point, Results, successes
from rnnlab.experiments.experiment import FAILS, HOLDS, Arm, Claim
from rnnlab.experiments.papers.parts import better, counted, present, shown

__all__ = [
    "DELTAS",
    "arms",
    "bounded",
    "claims",
    "gentler",
    "never_diverges",
    "somewhere_diverges",
    "succeeds",
    "tuned",
]

Check = Callable[[Results], tuple[str, str]]
DELTAS = (0.2, 0.5, 0.8, 1.1, 1.4)
BOUNDS = tuple(round(2 - delta, 1) for delta in DELTAS)


def arms(rates: tuple[float, ...]) -> tuple[Arm, ...]:
    """Return projection at each delta, clipping at each threshold and plain SGD, all over one grid of rates."""
    return (
        Arm("projection", {}, rates, ("optimizer.project_spectral_norm", BOUNDS)),
        Arm("clip", {}, rates, ("optimizer.clip_global_norm", (5.0, 10.0, 15.0, 20.0))),
        Arm("sgd", {}, rates),
    )


def claims(variants: Sequence[str], rate: float, measure: str) -> tuple[Claim, ...]:
    """Return what must hold; at `rate` no run of projection may diverge, and the lower `measure` the better."""

    def claim(name: str, sentence: str, check: Callable[[Sequence[str]], Check]) -> Claim:
        return Claim(name, sentence, check(variants))

    return (
        claim("projection bounds", "The spectral norm of the projected block never exceeds 2 - delta.", bounded),
        claim(
            "projection never diverges",
            f"At a rate of {rate:g} no run with projection diverges, at any delta.",
            lambda names: never_diverges(names, rate),
        ),
        claim(
            "projection succeeds",
            "There is a rate at which every run with projection finds a solution, at any delta.",
            succeeds,
        ),
        claim("clipping diverges", "At some threshold and rate runs with clipping diverge.", somewhere_diverges),
        claim(
            "less constraint is better",
            f"At its best rate delta = 0.2 has a lower {measure} than delta = 1.4.",
            gentler,
        ),
        claim(
            "projection beats tuned clipping",
            "With the rate of both swept, projection is better than clipping.",
            tuned,
        ),
    )


def bounded(variants: Sequence[str]) -> Check:
    """Return a check of the spectral norms on record against their bound."""

    def check(results: Results) -> tuple[str, str]:
        largest, seen = 0.0, 0
        for variant in present(results, variants):
            for point in results.arm(variant, "projection").points:
                for run in point.runs:
                    # The record of a step is of the parameters before it: of the first, those that were drawn.
                    norms = [v for v in _candidate_norms(run["monitor"])[1:] if v is not None]
                    largest = max([largest, *(v / point.option for v in norms)])
                    seen += len(norms)
        if not seen:
            raise Missing("no spectral norm is on record")
        words = f"the largest of {seen} spectral norms on record is {largest:.6f} of its bound."
        return (HOLDS if largest <= 1 + 1e-5 else FAILS), words

    return check


def _candidate_norms(monitor: dict[str, list[float | None]] | None) -> list[float | None]:
    found = {key: rows for key, rows in (monitor or {}).items() if key.startswith("spectral_norm.")}
    return next((rows for key, rows in found.items() if key.endswith(".n")), [])


def never_diverges(variants: Sequence[str], rate: float) -> Check:
    """Return a check that no run of projection diverged at a rate."""

    def check(results: Results) -> tuple[str, str]:
        points = _points(results, variants, "projection", rate)
        runs, bad = sum(len(p.runs) for p in points), sum(p.diverged for p in points)
        return (FAILS if bad else HOLDS), f"{bad} of {runs} runs of projection diverged at a rate of {rate:g}."

    return check


def somewhere_diverges(variants: Sequence[str]) -> Check:
    """Return a check that clipping diverged somewhere; the words compare its success with that of projection."""

    def check(results: Results) -> tuple[str, str]:
        parts, bad = [], 0
        for arm in ("clip", "projection"):
            points = _points(results, variants, arm)
            runs, diverged = sum(len(p.runs) for p in points), sum(p.diverged for p in points)
            where = sorted({(p.rate, p.option) for p in points if p.diverged})
            at = "" if not where else " (" + ", ".join(f"rate {r:g} at {o:g}" for r, o in where[:8]) + ")"
            parts.append(f"{diverged} of {runs} runs of {arm} diverged{at}")
            bad += diverged if arm == "clip" else 0
        return (HOLDS if bad else FAILS), "; ".join(parts) + "."

    return check


def succeeds(variants: Sequence[str]) -> Check:
    """Return a check that at some rate every run of projection finds a solution, whatever the bound.

    The words say the same of clipping at its best rate: the rate at which most runs succeed over all thresholds.
    """

    def check(results: Results) -> tuple[str, str]:
        parts = []
        for variant in present(results, variants):
            found = {arm: _best_success(_points(results, [variant], arm)) for arm in ("projection", "clip")}
            words = [f"{arm} {found[arm][0]} of {found[arm][1]} at a rate of {found[arm][2]:g}" for arm in found]
            good, runs, _ = found["projection"]
            parts.append((HOLDS if good == runs else FAILS, f"{variant}: {', '.join(words)} find a solution"))
        return counted(parts)

    return check


def _best_success(points: Sequence[Point]) -> tuple[int, int, float]:
    """Return how many runs succeed at the rate at which most do, of how many, and the rate."""
    runs = {rate: [run for p in points if p.rate == rate for run in p.runs] for rate in {p.rate for p in points}}
    best = max(runs, key=lambda rate: (successes(runs[rate]) / len(runs[rate]), -rate))
    return successes(runs[best]), len(runs[best]), best


def _points(results: Results, variants: Sequence[str], arm: str, rate: float | None = None) -> list[Point]:
    found = [p for v in present(results, variants) for p in results.arm(v, arm).points if p.runs]
    found = [p for p in found if rate is None or math.isclose(p.rate, rate)]
    if not found:
        raise Missing(f"{arm} was not run" + ("" if rate is None else f" at a rate of {rate:g}"))
    return found


def gentler(variants: Sequence[str]) -> Check:
    """Return a check that the weakest bound of projection is better than the strongest, each at its best rate."""

    def check(results: Results) -> tuple[str, str]:
        parts = []
        for variant in present(results, variants):
            weak, strong = (_best(results, variant, bound) for bound in (1.8, 0.6))
            words = f"{variant}: {shown(weak)} at delta = 0.2, {shown(strong)} at 1.4"
            parts.append((HOLDS if weak.mean < strong.mean else FAILS, words))
        return counted(parts)

    return check


def _best(results: Results, variant: str, bound: float) -> Interval:
    points = [p for p in results.arm(variant, "projection").points if p.option == bound and p.runs and not p.diverged]
    found = [(p.of("valid"), p.of("test")) for p in points]
    sound = [(valid.mean, test) for valid, test in found if valid is not None and test is not None]
    if not sound:
        raise Missing(f"{variant} has no run of projection at {bound:g} that did not diverge")
    return min(sound, key=lambda pair: pair[0])[1]


def tuned(variants: Sequence[str]) -> Check:
    """Return a check that projection is better than clipping, each at its best rate and threshold."""
    return better(variants, "projection", "clip")
