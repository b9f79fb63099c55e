"""One sentence under each picture: what is to be seen in it, worked out from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnlab.plots.series import (
    Results,
    Series,
    Trace,
    at_best_rate,
    count,
    finite,
    geometric_mean,
    mean,
    number,
    stack,
)

__all__ = [
    "about_gradient_norm",
    "about_gradient_through_time",
    "about_learning_rate",
    "about_spectrum",
    "about_training_loss",
    "listed",
    "score",
]

Arm = Mapping[str, Any]
NOTHING = "No arm has a run that finished without diverging, so there is nothing to see yet."


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def score(value: float, results: Results) -> str:
    """Return a value of the metric for people: bits with three decimals, others with three digits."""
    return f"{value:.3f}" if results["metric"]["key"] == "validation_bpc" else number(value)


def _ranked(results: Results) -> list[tuple[float, Arm]]:
    """Return mean and arm of those arms that have a best rate, the best first."""
    key = f"{results['metric']['key']}_mean"
    arms = [arm for arm in results["arms"].values() if arm[key] is not None and arm["best_learning_rate"] is not None]
    return sorted(((float(arm[key]), arm) for arm in arms), key=lambda pair: pair[0])


# ------------------------------------------------------------------------- the metric against the rate


def about_learning_rate(results: Results) -> str:
    """Say which arm is best and at what rate, and how far each arm's rate may be off."""
    ranked = _ranked(results)
    if not ranked:
        return NOTHING
    metric, (lowest, best) = results["metric"], ranked[0]
    rate = number(best["best_learning_rate"])
    averaged = ", mean over the seeds," if _seeds_at_best(best) > 1 else ""
    start = (
        f"The lowest {metric['name']}{averaged} is {score(lowest, results)}, by {best['title']} at learning rate {rate}"
    )
    near = [
        arm["title"]
        for value, arm in ranked[1:]
        if value - lowest <= max(_spread(best, results), _spread(arm, results))
    ]
    if near:
        start += f" (within the spread over the seeds: {listed(near)})"
    if metric["guess"] is not None and lowest >= metric["guess"]:
        start += f", no better than the {score(metric['guess'], results)} of {metric.get('guess_title', 'a guess')}"
    tolerance = _tolerance(results, lowest)
    ranges = listed([f"{_usable(arm, results, tolerance)} for {arm['title']}" for _, arm in ranked])
    return f"{start}; the rates that stay within {number(tolerance)} of an arm's own best are {ranges}."


def _seeds_at_best(arm: Arm) -> int:
    return sum(run["learning_rate"] == arm["best_learning_rate"] for run in arm["runs"])


def _spread(arm: Arm, results: Results) -> float:
    return float(arm[f"{results['metric']['key']}_std"] or 0.0)


def _tolerance(results: Results, lowest: float) -> float:
    """Return what counts as near the best: 0.1 bits, or else a tenth of the score of a guess."""
    metric = results["metric"]
    if metric["key"] == "validation_bpc":
        return 0.1
    return 0.1 * abs(lowest if metric["guess"] is None else metric["guess"]) or 0.1


def _usable(arm: Arm, results: Results, tolerance: float) -> str:
    """Return the range of neighbouring rates around an arm's best that are nearly as good."""
    key, best = results["metric"]["key"], arm["best_learning_rate"]
    rates = sorted({run["learning_rate"] for run in arm["runs"]})
    means = {rate: _mean_at(arm, rate, key) for rate in rates}
    first = last = rates.index(best)
    while first > 0 and means[rates[first - 1]] <= means[best] + tolerance:
        first -= 1
    while last + 1 < len(rates) and means[rates[last + 1]] <= means[best] + tolerance:
        last += 1
    if first == last:
        return f"{number(best)} alone" if len(rates) > 1 else f"{number(best)} (no other was tried)"
    at_least = "at least " if first == 0 or last + 1 == len(rates) else ""
    factor = number(float(f"{rates[last] / rates[first]:.2g}"))
    return f"{number(rates[first])} to {number(rates[last])} ({at_least}a factor of {factor})"


def _mean_at(arm: Arm, rate: float, key: str) -> float:
    """Return the mean over the seeds at a rate; infinity where a seed diverged."""
    runs = [run for run in arm["runs"] if run["learning_rate"] == rate]
    if any(run["diverged"] or run[key] is None for run in runs):
        return math.inf
    return float(np.mean([run[key] for run in runs]))


# ----------------------------------------------------------------------------------- at the best rates


def about_training_loss(results: Results) -> str:
    """Say which arm ends lowest, and which highest."""
    ends = []
    for _, arm in _ranked(results):
        losses = [run["training_loss"] for run in arm["runs"] if run["learning_rate"] == arm["best_learning_rate"]]
        if losses and None not in losses:
            ends.append((float(np.mean(losses)), arm["title"]))
    if not ends:
        return NOTHING
    (low, best), (high, worst) = min(ends), max(ends)
    start = f"Over the last tenth of the steps {best} has the lowest training loss, {number(low)}"
    return f"{start}." if len(ends) == 1 else f"{start}, and {worst} the highest, {number(high)}."


def about_gradient_norm(results: Results, traces: Sequence[Trace]) -> str:
    """Count the explosions of each arm, at its best rate and over the whole sweep."""
    arms = results["arms"]
    at_best, in_all = [], []
    for name, arm in arms.items():
        if not arm["runs"]:
            continue
        in_all.append(f"{arm['title']} {sum(run['explosions'] for run in arm['runs'])}")
        runs = at_best_rate(results, traces, name)
        if runs:
            at_best.append(f"{arm['title']} {sum(len(run['explosions']) for run in runs)}")
    if not in_all:
        return NOTHING
    seeds = "all seeds together" if len(results["seeds"]) > 1 else "one seed"
    start = f"Explosions at the best rates ({seeds}): {', '.join(at_best)}; over" if at_best else "Explosions over"
    largest = max((float(np.fmax.reduce(finite(run["gradient_norm"]), initial=0.0)) for run in traces), default=0.0)
    counts = f"{start} all rates, those that diverged included: {', '.join(in_all)}"
    return f"{counts}; the largest norm was {number(largest)}."


def about_spectrum(results: Results, traces: Sequence[Trace]) -> str:
    """Say where the spectral norm went, and whether the projection kept it below its bound."""
    arms, settings = results["arms"], results["settings"]
    moves = []
    for name, arm in arms.items():
        norms = mean(stack([finite(run["spectral_norm"]) for run in at_best_rate(results, traces, name)]))
        if len(norms) > 1 and np.isfinite(norms[[0, -1]]).all():
            moves.append(f"from {norms[0]:.2f} to {norms[-1]:.2f} for {arm['title']}")
    if not moves:
        return NOTHING
    sentence = f"Over training the spectral norm goes {listed(moves)}"
    bound = settings.get("projection_max_norm")
    runs = at_best_rate(results, traces, "projection") if "projection" in arms and bound is not None else []
    # The first look comes before the first projection.
    later = [finite(run["spectral_norm"])[np.asarray(run["spectrum_steps"]) > 0] for run in runs]
    norms = np.concatenate([*later, np.zeros(0)])
    norms = norms[np.isfinite(norms)]
    if norms.size:
        kept = norms.max() <= bound * (1 + 1e-3)
        keeps = "keeps its own at or below" if kept else "does not keep its own below"
        sentence += f"; the projection {keeps} {number(bound)}"
        sentence += f" from the first step on (largest seen: {norms.max():.3f})"
    return f"{sentence}."


def about_gradient_through_time(results: Results, traces: Sequence[Trace]) -> str:
    """Say by what factor the gradient shrinks or grows on its way back, before training and after it."""
    start, end = (_changes(results, traces, moment) for moment in ("start", "end"))
    if not start:
        return NOTHING
    distance = max(steps for _, _, steps in start)
    factors = [factor for _, factor, _ in start]
    if all(math.isfinite(factor) for factor in factors) and max(factors) <= 1.01 * min(factors):
        first = f"{_change(factors[0])} whatever the arm, for all start alike"
    else:
        first = listed([f"{_change(factor)} for {title}" for title, factor, _ in start])
    sentence = (
        f"{count(distance, 'step').capitalize()} back from the loss the gradient norm is, before training, {first}"
    )
    if end:
        sentence += f"; after training, {listed([f'{_change(factor)} for {title}' for title, factor, _ in end])}"
    return f"{sentence}."


def _changes(results: Results, traces: Sequence[Trace], moment: str) -> list[tuple[str, float, int]]:
    """Return title, ratio of the farthest gradient norm to the nearest, and distance, of each arm at its best rate."""
    changes = []
    for name, arm in results["arms"].items():
        ratios, steps = [], 0
        for run in at_best_rate(results, traces, name):
            norms: Series = np.asarray(run[f"through_time_{moment}"], dtype=np.float64)
            if len(norms) > 1 and norms[0] > 0:
                ratios.append(float(norms[-1] / norms[0]))
                steps = len(norms) - 1
        if ratios:
            whole = geometric_mean(np.array(ratios)[:, None])[0] if all(0 < r < math.inf for r in ratios) else ratios[0]
            changes.append((arm["title"], float(whole), steps))
    return changes


def _change(factor: float) -> str:
    """Return what became of a norm.

    Examples
    --------
    >>> [_change(x) for x in (0.001, 1.0, 25.0, 0.0, float("inf"))]
    ['1000 times smaller', 'about the same', '25 times larger', '0', 'no finite number']
    """
    if not math.isfinite(factor):
        return "no finite number"
    if factor == 0:
        return "0"
    if 1 / 1.05 < factor < 1.05:
        return "about the same"
    size = factor if factor > 1 else 1 / factor
    return f"{number(float(f'{size:.2g}'))} times {'larger' if factor > 1 else 'smaller'}"
