"""Which pictures the report of an experiment has, and what is drawn in each: whatever the runs have on record."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnlab.experiments.analysis import ArmResult, Interval, Point, Record, Results
from rnnlab.experiments.experiment import Variant

__all__ = ["Picture", "curves", "file_name", "histograms", "options", "pictures", "save_pictures", "sensitivity",
           "statistics", "traces"]  # fmt: skip

OF_WEIGHTS = ("sgd", "clip", "wgn", "wgn-decay", "adam")  # arms whose weights are drawn: more lines cannot be read
COLUMNS = {"weight_ih": "input weights", "weight_hh": "recurrent weights", "output.weight": "output weights"}
MOST = 9  # arms in a picture of sensitivity
FAILED = 2  # runs that failed are drawn beside the best ones, at most so many


class Picture(NamedTuple):
    """A picture of a report: of which variant (None: of all), its file's name without ending, what it shows."""

    variant: str | None
    name: str
    words: str
    draw: Callable[[], Any]


def pictures(results: Results) -> list[Picture]:
    """Return the pictures that can be drawn of what is done."""
    from rnnlab import plots  # imported here because matplotlib takes long
    from rnnlab.plots import experiments as draw

    survival = results.experiment.survival
    found = []
    if survival is not None and any(v.runs for arms in results.arms.values() for v in arms.values()):
        words = "The longest T that each cell and optimizer solves, with all shorter ones"
        found.append(Picture(None, "horizons", words, functools.partial(draw.horizons, survival(results))))
    kinds: tuple[tuple[str, str, Any, Any], ...] = (
        ("sensitivity", "Validation against the learning rate", sensitivity, plots.learning_rate_sensitivity),
        ("options", "Validation and success over both grids", options, draw.option_sensitivity),
        ("curves", "The loss in the course of training, at each arm's best rate", curves, draw.learning_curves),
        ("traces", "Gradient norm and spectrum in the course of training", traces, draw.traces),
        ("weights", "The distribution of weights in the course of training", statistics, draw.weight_statistics),
        ("histograms", "The distribution of weights at the end", histograms, draw.weight_histograms),
    )
    for variant in with_runs(results):
        for kind, words, gather, make in kinds:
            drawn = gather(results, variant)
            if drawn is not None:
                name = f"{kind}-{file_name(variant.name)}"
                found.append(Picture(variant.name, name, words, functools.partial(make, drawn)))
    return found


def save_pictures(folder: str | os.PathLike[str], results: Results) -> list[Picture]:
    """Write every picture as ``NAME.png`` and ``NAME.svg`` into a folder, and return what they are."""
    from rnnlab import plots

    found = pictures(results)
    for picture in found:
        plots.save(picture.draw(), Path(folder), picture.name)
    return found


def file_name(variant: str) -> str:
    """Return a variant's name as a part of a file's name.

    Examples
    --------
    >>> file_name("RNN, 1 layer")
    'RNN__1_layer'
    """
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in variant)


def with_runs(results: Results) -> list[Variant]:
    """Return the variants of which a run is done."""
    return [v for v in results.experiment.variants if any(arm.runs for arm in results.arms[v.name].values())]


def last(option: str) -> str:
    """Return the last part of a dotted key."""
    return option.rpartition(".")[2]


# ------------------------------------------------------------------------------------ over the grids


def sensitivity(results: Results, variant: Variant) -> dict[str, Any]:
    """Return what `rnnlab.plots.learning_rate_sensitivity` draws of a variant.

    An arm with a second grid is drawn at the value of its best point; where it has none, at that with the most runs
    that did not diverge. Of many arms the best are drawn.
    """
    measure = results.measures[variant.name]
    arms = {name: _drawn(arm) for name, arm in _best_few(results.arms[variant.name]).items()}
    return {"metric": {"key": "valid", "name": f"validation {measure}", "guess": None}, "arms": arms}


def _best_few(arms: Mapping[str, ArmResult]) -> dict[str, ArmResult]:
    """Return the arms with runs, in their order; of more than can be told apart those that are best on validation."""
    done = {name: arm for name, arm in arms.items() if arm.runs}
    if len(done) <= MOST:
        return done

    def rank(name: str) -> float:
        best = done[name].best
        valid = None if best is None else best.of("valid")
        return math.inf if valid is None else -valid.mean if done[name].higher_is_better else valid.mean

    few = sorted(done, key=rank)[:MOST]
    return {name: arm for name, arm in done.items() if name in few}


def _drawn(result: ArmResult) -> dict[str, Any]:
    best, title = result.best, result.arm.name
    values = list(dict.fromkeys(point.option for point in result.points))
    value = max(values, key=lambda v: _sound(result, v), default=None) if best is None else best.option
    if result.arm.option is not None:
        title += f", {last(result.arm.option[0])} {value}"
    runs = [
        {"learning_rate": point.rate, "valid": run["valid"], "diverged": run["diverged"], "seed": run["seed"]}
        for point in result.points
        if point.option == value
        for run in point.runs
    ]
    return {"title": title, "runs": runs, "best_learning_rate": None if best is None else best.rate}


def _sound(result: ArmResult, value: Any) -> int:
    return sum(len(point.runs) - point.diverged for point in result.points if point.option == value)


def options(results: Results, variant: Variant) -> dict[str, Any] | None:
    """Return what `rnnlab.plots.experiments.option_sensitivity` draws of a variant; None without a second grid."""
    arms = {}
    for name, result in results.arms[variant.name].items():
        done = [point for point in result.points if point.runs]
        values = {point.option for point in done}
        if result.arm.option is not None and len(values) > 1 and all(isinstance(v, (int, float)) for v in values):
            points = [{"rate": p.rate, "value": p.option, "metric": _valid(p), "success": p.success} for p in done]
            arms[name] = {"title": name, "option": last(result.arm.option[0]), "points": points}
    return {"metric": f"validation {results.measures[variant.name]}", "arms": arms} if arms else None


def _valid(point: Point) -> float | None:
    found: Interval | None = point.of("valid")
    return None if found is None or point.diverged else found.mean


# ------------------------------------------------------------------------------------ over the training


def curves(results: Results, variant: Variant) -> dict[str, Any] | None:
    """Return what `rnnlab.plots.experiments.learning_curves` draws: every seed at each arm's best point; or None."""
    arms, constant = {}, None
    for name, arm in _best_few(results.arms[variant.name]).items():
        runs = [] if arm.best is None else [run for run in arm.best.runs if run["curve"].get("validation_loss")]
        if arm.best is not None and runs:
            arms[name] = {"title": _titled(arm, arm.best), "runs": [run["curve"] for run in runs]}
            constant = constant or runs[0].get("valid_loss_constant")  # the same of all; the first runs have it not
    return {"constant": constant, "arms": arms} if arms else None


def traces(results: Results, variant: Variant) -> dict[str, Any] | None:
    """Return what `rnnlab.plots.experiments.traces` draws: each arm's best point, and runs that failed; or None."""
    best, failed = [], []
    factor = variant.config.get("optimizer", {}).get("gradient_factor") or 1.0  # the thresholds are for what it gives
    for name, result in results.arms[variant.name].items():
        if result.best is not None:
            best.append(_trace(result, result.best, result.best.runs[0], factor))
        lost = [(point, run) for point in result.points for run in point.runs if not run.get("succeeded", True)]
        if name != "projection" and lost:
            failed.append(_trace(result, *lost[0], factor, faint=True))
    runs = [run for run in (*failed[:FAILED], *best) if run is not None]
    bound = 2.0 if variant.config["model"].get("cell") == "gru" else 1.0
    return {"block": runs[0]["block"], "bound": bound, "runs": runs} if runs else None


def _trace(result: ArmResult, point: Point, run: Record, factor: float, faint: bool = False) -> dict[str, Any] | None:
    monitor = run["monitor"] or {}
    keys = [key for key in monitor if key.startswith("spectral_radius.")]
    key = next((k for k in keys if k.endswith((".n", ".h"))), keys[0] if keys else None)
    if key is None:
        return None
    return {
        "title": _titled(result, point) + (", failed" if faint else ""),
        "look": result.arm.name,
        "faint": faint,
        "block": key.partition(".")[2].removeprefix("recurrent."),
        "gradient_step": run["curve"]["step"],
        "gradient_norm": [None if v is None else factor * v for v in run["curve"]["gradient_norm_max"]],
        "spectral_step": monitor["step"],
        "spectral_norm": monitor.get(key.replace("spectral_radius.", "spectral_norm."), []),
        "spectral_radius": monitor[key],
    }


def statistics(results: Results, variant: Variant) -> dict[str, Any] | None:
    """Return what `rnnlab.plots.experiments.weight_statistics` draws: the best points' first seeds; or None."""
    arms: dict[str, Any] = {}
    for name, run in _of_weights(results, variant).items():
        monitor = run["monitor"] or {}
        if any(key.startswith("weight_std.") for key in monitor) and len(monitor["step"]) > 1:
            found: dict[str, dict[str, list[float | None]]] = {}
            for key, values in monitor.items():
                kind, _, path = key.partition(".")
                if kind.startswith("weight_"):
                    found.setdefault(path, {})[kind.removeprefix("weight_")] = values
            arms[name] = {"title": _title_of_best(results, variant, name), "step": monitor["step"], "statistics": found}
    arrays = _arrays([path for arm in arms.values() for path in arm["statistics"]])
    return {"arrays": arrays, "arms": arms} if arms else None


def histograms(results: Results, variant: Variant) -> dict[str, Any] | None:
    """Return what `rnnlab.plots.experiments.weight_histograms` draws: the best points' first seeds; or None."""
    arms = {
        name: {"title": _title_of_best(results, variant, name), "weights": run["weights"]}
        for name, run in _of_weights(results, variant).items()
        if run.get("weights")
    }
    return (
        {"arrays": _arrays([path for arm in arms.values() for path in arm["weights"]]), "arms": arms} if arms else None
    )


def _of_weights(results: Results, variant: Variant) -> Mapping[str, Record]:
    """The run of the first seed at the best point of those arms whose weights are drawn."""
    arms = results.arms[variant.name]
    names = [name for name in arms if name in OF_WEIGHTS] or list(arms)[:4]
    bests = {name: arms[name].best for name in names}
    return {name: best.runs[0] for name, best in bests.items() if best is not None}


def _title_of_best(results: Results, variant: Variant, name: str) -> str:
    return _titled(results.arm(variant.name, name), results.best(variant.name, name))


def _titled(result: ArmResult, point: Point) -> str:
    value = f"{point.option:g}" if isinstance(point.option, float) else point.option
    option = "" if result.arm.option is None else f" at {value}"
    return f"{result.arm.name}{option}, rate {point.rate:g}"


def _arrays(paths: Sequence[str]) -> dict[str, str]:
    """Return path -> title of the matrices that are drawn: of several layers those of the last."""
    found = {}
    for end, title in COLUMNS.items():
        mine = sorted({path for path in paths if path.endswith(end)}, key=lambda path: (len(path), path))
        if mine:
            found[mine[-1]] = title + (", last layer" if len(mine) > 1 else "")
    return found
