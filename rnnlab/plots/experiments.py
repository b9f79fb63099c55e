"""The pictures of an experiment, one function each; what they draw are plain dicts and lists."""

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
    LARGE,
    LOOKS,
    SMALL,
    TINY,
    Look,
    dress,
    empty_figure,
    legend,
    look_of,
    plain_decades,
    rate_axis,
    say,
    wrapped,
)
from rnnlab.plots.series import finite, number, positive

__all__ = ["horizons", "learning_curves", "option_sensitivity", "traces", "weight_histograms", "weight_statistics"]

STATISTICS = {"mean": "mean", "std": "standard\ndeviation", "skewness": "skewness", "kurtosis": "excess\nkurtosis"}
RAMP = ("#4B2991", "#A3319F", "#EA4F88", "#FA7876", "#EDA247")  # dark to light: the values of a second grid in order
STEPS, LOSSES = ("step", "validation_step"), ("training_loss", "validation_loss")  # of training, of validation
MARKERS = ("o", "s", "^", "D", "v", "P", "*")
SOLID: Any = "-"
DASHED: Any = (0, (4, 2))


def _line(look: Look, label: str, marker: bool = True) -> Line2D:
    return Line2D([], [], color=look.color, linestyle=look.line, marker=look.marker if marker else "", markersize=7,
                  linewidth=2, label=wrapped(label))  # fmt: skip


# ---------------------------------------------------------------------------------------- horizons


def horizons(found: Mapping[str, Any]) -> Figure:
    """Draw to which length each cell and optimizer solves each task: a bar a pair, a panel a task.

    Parameters
    ----------
    found : mapping
        ``rows``: the names of the cells; ``bars``: the names of the optimizers; ``tasks``: task -> ``lengths`` (those
        that were run, ascending) and ``reached`` ((row, bar) -> the horizon, 0 for none, None for not run).

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows, bars, tasks = found["rows"], found["bars"], found["tasks"]
    columns = min(2, len(tasks))
    lines = math.ceil(len(tasks) / columns) if tasks else 1
    figure = empty_figure(extra=lines * (0.75 + 0.095 * len(rows) * (len(bars) + 1.5)) - 3.4)
    panels = figure.subplots(lines, max(1, columns), squeeze=False, sharey=True)
    looks = dict(zip(bars, _looks(bars), strict=True))
    for axes, (task, entry) in zip(panels.flat, tasks.items(), strict=False):
        _draw_horizons(axes, entry, rows, looks)
        axes.set_title(task, fontsize=LARGE)
    for axes in panels.flat[len(tasks) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.45, -0.55)
    for k, axes in enumerate(panels.flat[: len(tasks)]):
        axes.set_xlabel("longest T solved" if k + columns >= len(tasks) else "", fontsize=LARGE)
    legend(figure, [_line(look._replace(line=SOLID), name) for name, look in looks.items()])
    return figure


def _looks(names: Sequence[str]) -> list[Look]:
    arms = dict.fromkeys(names)
    return [look_of(name, arms) for name in names]


def _draw_horizons(axes: Axes, entry: Mapping[str, Any], rows: Sequence[str], looks: Mapping[str, Look]) -> None:
    lengths = entry["lengths"]
    places = {T: k for k, T in enumerate([0, *lengths])}
    for row, name in enumerate(rows):
        for k, (bar, look) in enumerate(looks.items()):
            T = entry["reached"].get((name, bar))
            y = row + 0.72 * ((k + 0.5) / len(looks) - 0.5)
            if T is not None:
                axes.plot([0, places[T]], [y, y], color=look.color, linewidth=3, solid_capstyle="butt", alpha=0.85)
                axes.plot([places[T]], [y], color=look.color, marker=look.marker, markersize=6, clip_on=False)
    dress(axes)
    axes.set_xticks(range(len(places)), ["none", *map(str, lengths)])
    axes.set_xlim(-0.15, len(lengths) + 0.15)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color="0.9", linewidth=0.8, zorder=0)


# --------------------------------------------------------------------------- over a second grid, too


def option_sensitivity(found: Mapping[str, Any]) -> Figure:
    """Draw the metric and the success rate against the learning rate, a line for each value of an arm's second grid.

    Parameters
    ----------
    found : mapping
        ``metric``: its name; ``arms``: arm -> ``title``, ``option`` (the grid's name) and ``points``, dicts of
        ``rate``, ``value`` (of the second grid), ``metric`` (the mean over seeds, or None) and ``success`` (a share).

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms = found["arms"]
    figure = empty_figure(extra=1.5)
    panels = figure.subplots(2, max(1, len(arms)), squeeze=False, sharex=True, sharey="row", height_ratios=[1.0, 2.0])
    handles = []
    for k, (arm, (upper, lower)) in enumerate(zip(arms.values(), panels.T, strict=False)):
        rate_axis(lower, [point["rate"] for point in arm["points"]])
        values = sorted({point["value"] for point in arm["points"]})
        looks = {value: _shade(i, len(values)) for i, value in enumerate(values)}
        for value, look in looks.items():
            points = sorted((p for p in arm["points"] if p["value"] == value), key=lambda p: float(p["rate"]))
            rates = [p["rate"] for p in points]
            drawn: dict[str, Any] = {"color": look.color, "marker": look.marker, "markersize": 6, "linewidth": 1.8}
            apart = 3.0 * (list(looks).index(value) - (len(looks) - 1) / 2)  # for lines that lie upon each other
            upper.plot(rates, [100 * p["success"] + apart for p in points], **drawn)
            lower.plot(rates, finite([math.nan if p["metric"] is None else p["metric"] for p in points]), **drawn)
        upper.set_title(wrapped(f"{arm['title']}\n({arm['option']})"), fontsize=LARGE)
        dress(upper, "", "success, %\n(lines set apart)" if k == 0 else "")
        dress(lower, "learning rate", found["metric"] if k == 0 else "")
        handles += [_line(look, f"{arm['title']} {number(value)}") for value, look in looks.items()]
    panels[0, 0].set_ylim(-12, 112)
    _tame(panels[1, 0], [p["metric"] for arm in arms.values() for p in arm["points"]])
    legend(figure, handles)
    return figure


def _shade(place: int, count: int) -> Look:
    at = 0 if count == 1 else round(place * (len(RAMP) - 1) / (count - 1))
    return Look(RAMP[at], MARKERS[place % len(MARKERS)], SOLID)


def _tame(axes: Axes, values: Sequence[float | None]) -> None:
    """Make y logarithmic where one value would press all else flat."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if known and min(known) > 0 and max(known) > 8 * min(known):
        plain_decades(axes)


# --------------------------------------------------------------------------------- over the training


def learning_curves(found: Mapping[str, Any]) -> Figure:
    """Draw training and validation loss over the course of training, a line for each run.

    Parameters
    ----------
    found : mapping
        ``constant``: the validation loss of the best answer that does not look at the input, or None; ``arms``:
        arm -> ``title`` and ``runs`` (a run a seed), dicts of ``step``, ``training_loss``, ``validation_step`` and
        ``validation_loss``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    arms, constant = found["arms"], found["constant"]
    figure = empty_figure(extra=-0.2)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    looks = dict(zip(arms, _looks(list(arms)), strict=True))
    known = []
    for arm, entry in arms.items():
        alpha = 1.0 if len(entry["runs"]) < 4 else 0.5
        for run in entry["runs"]:
            for axes, step, loss in zip(panels, STEPS, LOSSES, strict=True):
                y = finite([math.nan if v is None else v for v in run[loss]])
                marker = looks[arm].marker if len(y) == 1 else ""  # there is no line through one point
                axes.plot(run[step], y, color=looks[arm].color, linestyle=looks[arm].line, linewidth=1.5, alpha=alpha,
                          marker=marker)  # fmt: skip
                known += [v for v in run[loss] if v is not None]
    _tame(panels[0], known)
    handles = [_line(looks[arm], entry["title"], marker=False) for arm, entry in arms.items()]
    if constant is not None:
        panels[1].axhline(constant, **DOTTED, zorder=1)
        handles.append(Line2D([], [], **DOTTED, label="the best constant answer"))
    for axes, words in zip(panels, ("training", "validation"), strict=True):
        dress(axes, "step", "loss" if words == "training" else "")
        axes.set_title(words, fontsize=LARGE)
        axes.locator_params(axis="x", nbins=5)
    legend(figure, handles)
    return figure


def traces(found: Mapping[str, Any]) -> Figure:
    """Draw the gradient norm, and spectral norm and radius of a recurrent block, over the course of some runs.

    Parameters
    ----------
    found : mapping
        ``block``: the name of the matrix; ``bound``: a value to mark, or None; ``runs``: dicts of ``title``,
        ``look`` (an arm's name), ``faint`` (whether it is there to compare with), ``gradient_step``, ``gradient_norm``,
        ``spectral_step``, ``spectral_norm`` and ``spectral_radius``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = empty_figure(extra=1.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    handles, drawn, greys = [], False, iter(("0.45", "0.75", "0.6"))
    for run in found["runs"]:
        look = Look(next(greys, "0.6"), "", SOLID) if run["faint"] else LOOKS.get(run["look"], LOOKS["block"])
        y = positive([math.nan if v is None else v for v in run["gradient_norm"]])
        drawn |= bool(np.isfinite(y).any())
        upper.plot(run["gradient_step"], y, color=look.color, linewidth=1.5)
        for key, line in (("spectral_norm", SOLID), ("spectral_radius", DASHED)):
            values = finite([math.nan if v is None else v for v in run[key]])
            lower.plot(run["spectral_step"], values, color=look.color, linestyle=line, linewidth=1.6)
        handles.append(Line2D([], [], color=look.color, linewidth=2, label=wrapped(run["title"])))
    if drawn:
        plain_decades(upper)
    else:
        say(upper, "no finished run")
    _tame(lower, [v for run in found["runs"] for v in run["spectral_norm"]])
    if found["bound"] is not None:
        lower.axhline(found["bound"], **DOTTED, zorder=1)
    dress(upper, "", "gradient norm\nbefore clipping")
    dress(lower, "step", f"spectrum of\n{found['block']}")
    handles += [Line2D([], [], color="0.2", linestyle=line, linewidth=1.8, label=words)
                for line, words in ((SOLID, "spectral norm"), (DASHED, "spectral radius"))]  # fmt: skip
    if found["bound"] is not None:
        handles.append(Line2D([], [], **DOTTED, label=f"{number(found['bound'])}: norms below are stable at 0"))
    legend(figure, handles)
    return figure


# ---------------------------------------------------------------------------------------- the weights


def weight_statistics(found: Mapping[str, Any]) -> Figure:
    """Draw mean, standard deviation, skewness and excess kurtosis of weights over training: a row each.

    Parameters
    ----------
    found : mapping
        ``arrays``: path -> title, a column each; ``arms``: arm -> ``title``, ``step`` and ``statistics``, which is
        path -> ``mean``, ``std``, ``skewness`` and ``kurtosis``, lists as long as ``step``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    arrays, arms = found["arrays"], found["arms"]
    figure = empty_figure(extra=3.0)
    panels = figure.subplots(len(STATISTICS), max(1, len(arrays)), sharex=True, squeeze=False)
    looks = dict(zip(arms, _looks(list(arms)), strict=True))
    for row, (key, words) in enumerate(STATISTICS.items()):
        for column, (path, title) in enumerate(arrays.items()):
            axes = panels[row, column]
            for arm, entry in arms.items():
                values = entry["statistics"].get(path, {}).get(key, [])
                y = finite([math.nan if v is None else v for v in values])
                axes.plot(entry["step"][: len(y)], y, color=looks[arm].color, linestyle=looks[arm].line, linewidth=1.8)
            if key == "mean":
                _no_magnifying(
                    axes, [v for arm in arms.values() for v in arm["statistics"].get(path, {}).get("std", [])]
                )
            dress(axes, "step" if row == len(STATISTICS) - 1 else "", words if column == 0 else "")
            axes.tick_params(labelsize=TINY - 1)
            axes.locator_params(nbins=4)
            axes.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
            axes.yaxis.get_offset_text().set_fontsize(TINY - 1)
            if row == 0:
                axes.set_title(title, fontsize=SMALL)
    figure.align_ylabels(panels[:, 0])
    legend(figure, [_line(looks[arm], entry["title"], marker=False) for arm, entry in arms.items()])
    return figure


def _no_magnifying(axes: Axes, spreads: Sequence[float | None]) -> None:
    """Let an axis span at least a hundredth of the weights' spread: what is below that is rounding."""
    low, high = axes.get_ylim()
    least = 0.01 * min((v for v in spreads if v is not None and math.isfinite(v)), default=0.0)
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def weight_histograms(found: Mapping[str, Any]) -> Figure:
    """Draw how the weights are distributed at the end of training: the density, on a logarithmic axis.

    Parameters
    ----------
    found : mapping
        ``arrays``: path -> title, a panel each; ``arms``: arm -> ``title`` and ``weights``, which is path -> ``low``,
        ``high`` and ``counts`` of a histogram.

    Returns
    -------
    matplotlib.figure.Figure
    """
    arrays, arms = found["arrays"], found["arms"]
    figure = empty_figure(extra=-0.6)
    panels = figure.subplots(1, max(1, len(arrays)), squeeze=False)[0]
    looks = dict(zip(arms, _looks(list(arms)), strict=True))
    for axes, (path, title) in zip(panels, arrays.items(), strict=False):
        for arm, entry in arms.items():
            bins = entry["weights"].get(path)
            if bins is not None and bins["high"] > bins["low"]:
                counts = np.asarray(bins["counts"])
                counts = counts.reshape(-1, 2).sum(axis=1) if len(counts) % 2 == 0 else counts  # fewer jags
                edges = np.linspace(bins["low"], bins["high"], len(counts) + 1)
                density = counts / (counts.sum() * np.diff(edges))
                axes.plot((edges[1:] + edges[:-1]) / 2, positive(density), color=looks[arm].color,
                          linestyle=looks[arm].line, linewidth=1.8)  # fmt: skip
        dress(axes, "weight")
        axes.set_title(title, fontsize=SMALL)
        axes.locator_params(nbins=5)
        axes.tick_params(labelsize=TINY - 1)
        if axes.lines:
            plain_decades(axes)
        else:
            say(axes, "none on record")
    panels[0].set_ylabel("density", fontsize=LARGE)
    legend(figure, [_line(looks[arm], entry["title"], marker=False) for arm, entry in arms.items()])
    return figure
