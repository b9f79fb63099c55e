"""The pictures of a comparison, one function each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnlab.plots.drawing import (
    DOTTED,
    GREY,
    LARGE,
    RED,
    SMALL,
    TINY,
    Look,
    dress,
    empty_figure,
    handle,
    legend,
    look_of,
    plain_decades,
    rate_axis,
    say,
    wrapped,
)
from rnnlab.plots.series import (
    Results,
    Series,
    Trace,
    at_best_rate,
    at_first_divergence,
    at_rate,
    count,
    finite,
    geometric_mean,
    mean,
    number,
    positive,
    smooth,
    stack,
    survived,
    why_empty,
)

__all__ = ["gradient_norm", "gradient_through_time", "learning_rate_sensitivity", "spectrum", "training_loss"]

SOLID: Any = "-"
DASHED: Any = (0, (4, 2))
# What a loss is measured in; the metric may be another.
LOSSES = {"text": "nats per character", "adding": "mean squared error", "copying": "nats per step"}


# ------------------------------------------------------------------------- the metric against the rate


def learning_rate_sensitivity(results: Results) -> Figure:
    """Draw the metric against the learning rate: a point for each run, a line through the means over seeds.

    A line stops at a rate where a run diverged; diverged runs are crosses in the strip on top, one row for each arm
    that has any. The best rate of each arm has a ring.

    Parameters
    ----------
    results : mapping

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms, metric = results["arms"], results["metric"]
    lost = [name for name, arm in arms.items() if any(run["diverged"] for run in arm["runs"])]
    strip_height = 0.16 + 0.15 * max(1, len(lost))
    figure = empty_figure(extra=strip_height)
    strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=[strip_height, 3.0])
    rate_axis(axes, [run["learning_rate"] for arm in arms.values() for run in arm["runs"]])
    values = []
    for name, arm in arms.items():
        values += _draw_sensitivity(axes, arm, metric["key"], look_of(name, arms))
    for row, name in enumerate(lost):
        rates = [run["learning_rate"] for run in arms[name]["runs"] if run["diverged"]]
        strip.plot(rates, [row] * len(rates), linestyle="", marker="x", color=look_of(name, arms).color,
                   markersize=8, markeredgewidth=2.2)  # fmt: skip
    _dress_strip(strip, max(1, len(lost)))
    if not values:
        say(axes, "every run diverged" if any(arm["runs"] for arm in arms.values()) else "no finished run")
    handles = [handle(name, arms) for name in arms]
    handles.append(Line2D([], [], linestyle="", marker="o", markersize=14, fillstyle="none", color="0.2",
                          label="best rate"))  # fmt: skip
    if metric["guess"] is not None:
        axes.axhline(metric["guess"], **DOTTED, zorder=1)
        words = f"{metric.get('guess_title', 'uniform guess')}: {number(metric['guess'])}"
        handles.append(Line2D([], [], **DOTTED, label=words))
        values.append(metric["guess"])
    if values:
        margin = 0.08 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
        axes.set_ylim(min(values) - margin, max(values) + 1.4 * margin)
    dress(axes, "learning rate", metric["name"])
    legend(figure, handles)
    return figure


def _draw_sensitivity(axes: Axes, arm: Mapping[str, Any], key: str, look: Look) -> list[float]:
    """Draw one arm; return the values drawn."""
    runs = [run for run in arm["runs"] if survived(run, key)]
    rates = sorted({run["learning_rate"] for run in arm["runs"]})
    lost = {run["learning_rate"] for run in arm["runs"] if not survived(run, key)}
    means = {rate: np.mean([run[key] for run in runs if run["learning_rate"] == rate]) for rate in rates
             if rate not in lost}  # fmt: skip
    line = [means.get(rate, math.nan) for rate in rates]
    axes.plot(rates, line, color=look.color, linestyle=look.line, marker=look.marker, markersize=7, linewidth=2)
    axes.plot([run["learning_rate"] for run in runs], [run[key] for run in runs], linestyle="", marker=look.marker,
              markersize=4, color=look.color, alpha=0.7)  # fmt: skip
    best = arm["best_learning_rate"]
    if best in means:
        axes.plot([best], [means[best]], linestyle="", marker="o", markersize=15, fillstyle="none",
                  color=look.color, markeredgewidth=2)  # fmt: skip
    return [float(run[key]) for run in runs]


def _dress_strip(strip: Axes, rows: int) -> None:
    strip.set_ylim(rows - 0.4, -0.6)
    strip.set_yticks([])
    strip.tick_params(bottom=False, labelbottom=False)
    strip.set_facecolor("0.95")
    strip.set_ylabel("diverged", fontsize=SMALL, rotation=0, ha="right", va="center")
    for spine in strip.spines.values():
        spine.set_visible(False)


# ----------------------------------------------------------------------------------- at the best rates


def training_loss(results: Results, traces: Sequence[Trace]) -> Figure:
    """Draw the training loss of each arm at its best rate, smoothed: the mean over seeds and their range.

    Parameters
    ----------
    results : mapping
    traces : sequence of mappings

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms = results["arms"]
    figure = empty_figure()
    axes = figure.subplots()
    window = max(1, max((len(trace["training_loss"]) for trace in traces), default=1) // 30)
    highest, several = [], False
    for name in arms:
        runs = [smooth(trace["training_loss"], window) for trace in at_best_rate(results, traces, name)]
        table = stack(runs)
        if not np.isfinite(table).any():
            continue
        look, line, steps = look_of(name, arms), mean(table), np.arange(window, window + table.shape[1])
        axes.plot(steps, line, color=look.color, linestyle=look.line, linewidth=2)
        if len(runs) > 1:
            several = True
            lowest, uppermost = np.fmin.reduce(table, axis=0), np.fmax.reduce(table, axis=0)
            axes.fill_between(steps, lowest, uppermost, color=look.color, alpha=0.18, linewidth=0)
        highest.append(float(np.fmax(line[0], np.nanquantile(line, 0.95))))
    if highest:  # one spike must not press all else flat
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.15 * max(highest)))
    else:
        say(axes, "no finished run")
    seeds = "; line: mean of seeds, shade: range" if several else ""
    dress(axes, f"step (running mean of {count(window, 'step')}{seeds})", _loss_label(results))
    legend(figure, [handle(name, arms, at_rate(arms[name]), marker=False) for name in arms])
    return figure


def _loss_label(results: Results) -> str:
    unit = LOSSES.get(results["settings"].get("task"))
    return f"training loss ({unit})" if unit else "training loss"


def gradient_norm(results: Results, traces: Sequence[Trace]) -> Figure:
    """Draw the norm of the raw gradient at each step, a panel for each arm at its best rate, explosions marked.

    Behind that, in grey, are the runs that diverged at the next higher rate that has any: what the best rate avoids.
    What is far above all that is at a best rate is drawn at the upper edge.

    Parameters
    ----------
    results : mapping
    traces : sequence of mappings

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms = results["arms"]
    columns = 1 if len(arms) == 1 else 2
    rows = math.ceil(len(arms) / columns)
    figure = empty_figure(extra=max(0.0, 1.9 * rows - 3.0))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    drawn = diverged = False
    ceiling = _ceiling(results, traces)
    for k, (name, arm) in enumerate(arms.items()):
        axes = panels.flat[k]
        runs = at_best_rate(results, traces, name)
        dress(axes, "step" if k + columns >= len(arms) else "")
        lost = at_first_divergence(results, traces, name)
        axes.set_title(wrapped(arm["title"], at_rate(arm) if runs or lost else ""), fontsize=TINY)
        shown = [_draw_gradient_norm(axes, run, GREY, ceiling) for run in lost]
        shown += [_draw_gradient_norm(axes, run, look_of(name, arms).color, ceiling) for run in runs]
        drawn, diverged = drawn or any(shown), diverged or any(shown[: len(lost)])
        if not any(shown):
            say(axes, why_empty(arm))
        if k + columns >= len(arms):
            axes.xaxis.set_tick_params(labelbottom=True)  # no panel below it
    for axes in panels.flat[len(arms) :]:
        axes.set_visible(False)
    if drawn:
        plain_decades(panels[0, 0])
    figure.supylabel("norm of the raw gradient", fontsize=LARGE)
    grey = Line2D([], [], color=GREY, linewidth=1.5, label="the lowest higher rate at which runs diverged")
    legend(figure, [_explosion_handle(results), *([grey] if diverged else [])])
    return figure


def _ceiling(results: Results, traces: Sequence[Trace]) -> float:
    """Return the norm above which everything is drawn at the edge, lest one explosion press all else flat."""
    best = [positive(run["gradient_norm"]) for name in results["arms"] for run in at_best_rate(results, traces, name)]
    values = np.concatenate([*best, np.zeros(0)])
    values = values[np.isfinite(values)]
    return 100.0 * float(values.max()) if values.size else math.inf


def _draw_gradient_norm(axes: Axes, run: Trace, color: str, ceiling: float) -> bool:
    """Draw one run; return whether there was anything to draw."""
    norms = np.asarray(run["gradient_norm"], dtype=np.float64)
    y = np.minimum(positive(norms), ceiling)
    marks = np.where(np.isfinite(norms), y, ceiling)  # a gradient that is no number is an explosion too
    steps = [step for step in np.asarray(run["explosions"], dtype=int).tolist() if step < len(y)]
    axes.plot(y, color=color, linewidth=1.0, alpha=0.85)
    axes.plot(steps, marks[steps], linestyle="", marker="v", markersize=8, color=RED, markeredgecolor="white", zorder=4)
    return bool(np.isfinite(y).any())


def _explosion_handle(results: Results) -> Line2D:
    factor = results["settings"].get("explosion_factor")
    meaning = f"above {number(factor)} times the running median" if factor else "far above the running median"
    return Line2D([], [], linestyle="", marker="v", markersize=9, color=RED, markeredgecolor="white",
                  label=f"explosion: {meaning}")  # fmt: skip


def spectrum(results: Results, traces: Sequence[Trace]) -> Figure:
    """Draw spectral norm (solid) and spectral radius (dashed) of the recurrent matrix over training, at the best rates.

    Parameters
    ----------
    results : mapping
    traces : sequence of mappings

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms = results["arms"]
    figure = empty_figure()
    axes = figure.subplots()
    seen: list[Series] = []
    for k, name in enumerate(arms):
        look = look_of(name, arms)
        for key, line in (("spectral_norm", SOLID), ("spectral_radius", DASHED)):
            for seed, run in enumerate(at_best_rate(results, traces, name)):
                y = finite(run[key])
                # Markers on one seed only, and apart where the lines of two arms lie upon each other.
                apart = max(1, len(y) // 5)
                every: Any = (k * apart // len(arms), apart) if seed == 0 else []
                axes.plot(np.asarray(run["spectrum_steps"]), y, color=look.color, linestyle=line, marker=look.marker,
                          markevery=every, markersize=7, linewidth=1.8 if seed == 0 else 0.9)  # fmt: skip
                seen.append(y[np.isfinite(y)])
    values = np.concatenate([*seen, np.zeros(0)])
    if not values.size:
        say(axes, "no finished run")
    elif 0 < 20 * values.min() < values.max():
        plain_decades(axes)
    axes.axhline(1.0, **DOTTED, zorder=1)
    block = str(results["settings"].get("spectrum_of", "weight_hh")).split(" (")[0]
    dress(axes, "step", f"spectral norm and radius\nof {block}")
    legend(figure, [*(handle(name, arms, line=False) for name in arms), *_spectrum_handles(results)])
    return figure


def _spectrum_handles(results: Results) -> list[Line2D]:
    """Say which line is which, and what 1 means: for a tanh RNN a border, of a gated cell no more than a mark."""
    meaning = "1 (norm below: gradients vanish)" if results["settings"].get("cell") == "rnn" else "a value of 1"
    return [Line2D([], [], color="0.2", linestyle=SOLID, linewidth=1.8, label="spectral norm"),
            Line2D([], [], color="0.2", linestyle=DASHED, linewidth=1.8, label="spectral radius"),
            Line2D([], [], **DOTTED, label=meaning)]  # fmt: skip


def gradient_through_time(results: Results, traces: Sequence[Trace]) -> Figure:
    """Draw the gradient norm against distance in time, before training and after it, at the best rates.

    Parameters
    ----------
    results : mapping
    traces : sequence of mappings

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms = results["arms"]
    figure = empty_figure()
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    drawn = False
    for axes, moment in zip(panels, ("start", "end"), strict=True):
        dress(axes, "distance in time (steps)")
        axes.set_title(f"at the {moment} of training", fontsize=LARGE)
        shown = [_draw_through_time(axes, results, traces, name, moment) for name in arms]
        drawn |= any(shown)
        if not any(shown):
            say(axes, "no finished run")
    if drawn:
        plain_decades(panels[0])
    panels[0].set_ylabel("gradient norm", fontsize=LARGE)
    legend(figure, [handle(name, arms) for name in arms])
    return figure


def _draw_through_time(axes: Axes, results: Results, traces: Sequence[Trace], name: str, moment: str) -> bool:
    """Draw one arm, the geometric mean of its seeds; return whether there was anything to draw."""
    arms = results["arms"]
    y = geometric_mean(stack([positive(run[f"through_time_{moment}"]) for run in at_best_rate(results, traces, name)]))
    if not np.isfinite(y).any():
        return False
    look, every = look_of(name, arms), max(1, len(y) // 5)
    first = list(arms).index(name) * every // len(arms)
    axes.plot(y, color=look.color, linestyle=look.line, marker=look.marker, markersize=6, linewidth=2,
              markevery=(first, every))  # fmt: skip
    return True
