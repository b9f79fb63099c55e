"""What pictures and sentences read out of the results and traces of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "Results",
    "Series",
    "Trace",
    "at_best_rate",
    "at_rate",
    "count",
    "finite",
    "geometric_mean",
    "mean",
    "number",
    "positive",
    "smooth",
    "stack",
    "survived",
    "why_empty",
]

Results = Mapping[str, Any]
Trace = Mapping[str, Any]
Series = np.ndarray[Any, np.dtype[np.float64]]


def number(value: float | None) -> str:
    """Return a number as people write it, to three digits.

    Examples
    --------
    >>> [number(x) for x in (1e-3, 10.0, 0.03, 6.0224, 1e-5, 123456.0, 3.2e-9, None)]
    ['0.001', '10', '0.03', '6.02', '0.00001', '123000', '3.2e-9', '–']
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-5 <= abs(value) < 1e6:
        return np.format_float_positional(value, precision=3, unique=True, fractional=False, trim="-")
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def count(amount: int, noun: str) -> str:
    """Return an amount with its noun.

    Examples
    --------
    >>> count(1, "step"), count(2, "step")
    ('1 step', '2 steps')
    """
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def at_rate(arm: Mapping[str, Any]) -> str:
    """Return an arm's best rate in words, or why it has none."""
    best = arm["best_learning_rate"]
    return why_empty(arm) if best is None else f"rate {number(best)}"


def why_empty(arm: Mapping[str, Any]) -> str:
    """Return why an arm has no best rate."""
    if not arm["runs"]:
        return "no finished run"
    return "every run diverged" if all(run["diverged"] for run in arm["runs"]) else "a run diverged at every rate"


def survived(run: Mapping[str, Any], key: str) -> bool:
    """Whether a run has a value of the metric and did not diverge."""
    return run[key] is not None and not run["diverged"]


def at_best_rate(results: Results, traces: Sequence[Trace], arm: str) -> list[Trace]:
    """Return the traces of an arm at its best learning rate, by seed."""
    best = results["arms"][arm]["best_learning_rate"]
    chosen = [trace for trace in traces if trace["arm"] == arm and trace["learning_rate"] == best]
    return sorted(chosen, key=lambda trace: int(trace["seed"]))


def at_first_divergence(results: Results, traces: Sequence[Trace], arm: str) -> list[Trace]:
    """Return the traces of the diverged runs of an arm at the lowest rate above its best that has any."""
    entry = results["arms"][arm]
    above = entry["best_learning_rate"] or 0.0
    lost = {(run["learning_rate"], run["seed"]) for run in entry["runs"] if run["diverged"]}
    first = min((rate for rate, _ in lost if rate > above), default=None)
    chosen = [t for t in traces if t["arm"] == arm and t["learning_rate"] == first and (first, t["seed"]) in lost]
    return sorted(chosen, key=lambda trace: int(trace["seed"]))


def finite(values: Any) -> Series:
    """Return the values with NaN for all that is not finite."""
    y = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(y), y, np.nan)


def positive(values: Any) -> Series:
    """Return the values with NaN for all that a logarithmic axis cannot show."""
    y = finite(values)
    return np.where(y > 0, y, np.nan)


def stack(series: Sequence[Series]) -> Series:
    """Return series as the rows of a table, short ones filled up with NaN.

    Examples
    --------
    >>> stack([np.array([1.0, 2.0]), np.array([3.0])])
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    table = np.full((len(series), max(map(len, series), default=0)), np.nan)
    for row, values in zip(table, series, strict=True):
        row[: len(values)] = values
    return table


def mean(table: Series) -> Series:
    """Return the mean of each column over what is not NaN in it.

    Examples
    --------
    >>> mean(np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]]))
    array([ 2.,  5., nan])
    """
    present = np.isfinite(table)
    total = np.where(present, table, 0.0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan)


def geometric_mean(table: Series) -> Series:
    """Return the geometric mean of each column over what is positive and finite in it.

    Examples
    --------
    >>> geometric_mean(np.array([[1.0, 0.0], [100.0, 0.0]]))
    array([10., nan])
    """
    values = positive(table)
    logarithms = np.log(np.where(np.isnan(values), 1.0, values))
    return np.exp(mean(np.where(np.isnan(values), np.nan, logarithms)))


def smooth(values: Any, window: int) -> Series:
    """Return the mean of the last ``window`` values at each place that has so many.

    Examples
    --------
    >>> smooth([1.0, 3.0, 5.0, 9.0], 2)
    array([2., 4., 7.])
    """
    y = finite(values)
    if len(y) < window:
        return np.full(0, np.nan)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(y, window).mean(axis=1), dtype=np.float64)
