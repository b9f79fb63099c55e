"""The report of an experiment: ``results.json``, ``report.md`` and a picture of each variant's sensitivity."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rnnlab
from rnnlab.experiments.analysis import ArmResult, Interval, Point, Results, Verdict, verdicts
from rnnlab.experiments.experiment import Arm, Variant

__all__ = ["as_dict", "best_table", "markdown", "sensitivity", "write_report"]


def write_report(folder: str | os.PathLike[str], results: Results, command: str) -> Path:
    """Write ``results.json``, ``report.md`` and ``sensitivity-VARIANT.png`` and ``.svg`` into a folder.

    Parameters
    ----------
    folder : path
    results : Results
    command : str
        The one that made the runs.

    Returns
    -------
    Path
        Of ``report.md``.
    """
    from rnnlab import plots  # imported here because matplotlib takes long

    found, folder = verdicts(results), Path(folder)
    with plots.replacing(folder / "results.json") as partial:
        text = json.dumps(as_dict(results, found, command), indent=1, allow_nan=False, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8", newline="\n")
    for variant in _with_runs(results):
        picture = plots.learning_rate_sensitivity(sensitivity(results, variant))
        plots.save(picture, folder, f"sensitivity-{file_name(variant.name)}")
    with plots.replacing(folder / "report.md") as partial:
        partial.write_text(markdown(results, found, command), encoding="utf-8", newline="\n")
    return folder / "report.md"


def file_name(variant: str) -> str:
    """Return a variant's name as a part of a file's name.

    Examples
    --------
    >>> file_name("RNN, 1 layer")
    'RNN__1_layer'
    """
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in variant)


def processor() -> str:
    """Return the name of this machine's processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _with_runs(results: Results) -> list[Variant]:
    return [v for v in results.experiment.variants if any(arm.runs for arm in results.arms[v.name].values())]


# -------------------------------------------------------------------------------------------- JSON


def as_dict(results: Results, found: list[Verdict], command: str) -> dict[str, Any]:
    """Return the results in plain dicts and numbers, as they go into ``results.json``."""
    experiment = results.experiment
    runs = [run for arms in results.arms.values() for arm in arms.values() for run in arm.runs]
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "command": command,
        "machine": {"processor": processor(), "cores": os.cpu_count(), "platform": platform.platform()},
        "backends": _all(runs, "backend"),
        "versions": {key: _all(runs, key) for key in ("version", "numpy")} | {"python": platform.python_version()},
        "planned_runs": results.planned,
        "done_runs": results.done,
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "seeds": _all(runs, "seed"),
        "claims": [_decided(verdict) for verdict in found],
        "variants": {variant.name: _variant(results, variant) for variant in experiment.variants},
    }


def _decided(found: Verdict) -> dict[str, str]:
    return {"name": found.claim.name, "claim": found.claim.sentence, "verdict": found.verdict, "why": found.why}


def _all(runs: list[Mapping[str, Any]], key: str) -> list[Any]:
    return sorted({run[key] for run in runs})


def _variant(results: Results, variant: Variant) -> dict[str, Any]:
    arms = results.arms[variant.name]
    return {
        "measure": results.measures[variant.name],
        "config": {name: dict(table) for name, table in variant.config.items()},
        "reported": dict(variant.reported),
        "arms": {name: _arm(arm) for name, arm in arms.items()},
    }


def _arm(result: ArmResult) -> dict[str, Any]:
    best = result.best
    return {
        "changes": {name: dict(table) for name, table in result.arm.changes.items()},
        "option": None if result.arm.option is None else result.arm.option[0],
        "success": result.success,
        "best": None if best is None else _point(best),
        "best_at_edge": result.at_edge,
        "points": [_point(point) for point in result.points],
    }


def _point(point: Point) -> dict[str, Any]:
    keys = ("valid", "test", "valid_end", "valid_loss")
    return {
        "rate": point.rate,
        "option": point.option,
        "seeds": [run["seed"] for run in point.runs],
        "diverged": point.diverged,
        "success": point.success,
        **{key: _interval(point.of(key)) for key in keys},
        "runs": {key: [run[key] for run in point.runs] for key in (*keys, "diverged", "steps", "best_step", "seconds")},
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else {"mean": found.mean, "half_width_95": found.half, "seeds": found.seeds}


# ---------------------------------------------------------------------------------------- Markdown


def markdown(results: Results, found: list[Verdict], command: str) -> str:
    """Return the report."""
    experiment = results.experiment
    parts = [f"# {experiment.title}", experiment.about, _source(experiment.source), _how(results, command)]
    if found:
        parts += ["## What must hold", *(_claim(verdict) for verdict in found)]
    for variant in _with_runs(results):
        parts += [f"## {variant.name}", best_table(results, variant)]
        parts += [sentence for sentence in (_compared(results, variant),) if sentence]
        parts += [f"![Validation against the learning rate](sensitivity-{file_name(variant.name)}.png)"]
        parts += ["<details><summary>Every point of the grid</summary>", grid_table(results, variant), "</details>"]
    none = [v.name for v in experiment.variants if v not in _with_runs(results)]
    if none:
        parts.append(f"Not run yet: {', '.join(none)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _source(source: str) -> str:
    return f"After: {source}" if source else ""


def _how(results: Results, command: str) -> str:
    runs = [run for arms in results.arms.values() for arm in arms.values() for run in arm.runs]
    versions = ", ".join(_all(runs, "version")) or rnnlab.__version__
    state = "All" if results.complete else f"**Not complete:** {results.done}"
    other = f" The folder holds {results.other} runs with other settings, left out here." if results.other else ""
    return (
        f"{state} of {results.planned} runs are done, {sum(run['seconds'] for run in runs) / 3600:.2f} hours of "
        f"work in all, by `{command}` with rnnlab {versions}, NumPy {np.__version__}, on {processor()} "
        f"({os.cpu_count()} cores), {platform.platform()}.{other}\n\n"
        "Each rate is run with every seed. The best rate of an arm is the one with the best mean on validation; one at "
        "which any seed diverged (a number that is not finite, or a loss that ends, in training and on validation, "
        "above where it began) cannot be it. The test figure is measured once a run, with the parameters that were "
        "best on validation. Figures are means over seeds with 95 % intervals (Student's t), which hold for one arm by "
        "itself. Success is the share of runs that did not diverge, first at the best rate, then over the whole grid."
    )


def _claim(verdict: Verdict) -> str:
    return f"- **{verdict.verdict}**: {verdict.claim.sentence} {verdict.why}"


def best_table(results: Results, variant: Variant) -> str:
    """Return the table of a variant: each arm at its best point.

    Parameters
    ----------
    results : Results
    variant : Variant

    Returns
    -------
    str
        In Markdown.
    """
    reported = {arm: value for arm, value in variant.reported.items() if value is not None}
    measure = results.measures[variant.name] or "figure"
    head = ["arm", "best rate", f"validation {measure}", f"test {measure}", "seeds", "success", "success, whole grid"]
    rows = []
    for name, arm in results.arms[variant.name].items():
        row = [name, *_best_cells(arm)]
        rows.append([*row, _figure(reported.get(name))] if reported else row)
    return _table([*head, "reported by the paper"] if reported else head, rows)


def _best_cells(arm: ArmResult) -> list[str]:
    best = arm.best
    if best is None:
        words = "no run done" if not arm.runs else "none: a seed diverged at every rate"
        return [words, "–", "–", "–", "–", _share(arm.runs)]
    where = _where(arm.arm, best) + (" (edge of the grid)" if arm.at_edge else "")
    valid, test = _told(best.of("valid")), _told(best.of("test"))
    return [where, valid, test, str(len(best.runs)), _share(best.runs), _share(arm.runs)]


def grid_table(results: Results, variant: Variant) -> str:
    """Return the table of every point of a variant's grid, in Markdown."""
    rows = []
    for name, arm in results.arms[variant.name].items():
        for point in arm.points:
            if point.runs:
                figures = [_told(point.of("valid")), _told(point.of("test"))]
                rows.append([name, _where(arm.arm, point), *figures, str(len(point.runs)), _share(point.runs)])
    return _table(["arm", "rate", "validation", "test", "seeds", "success"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _where(arm: Arm, point: Point) -> str:
    return f"{point.rate:g}" + ("" if arm.option is None else f", {arm.option[0].rpartition('.')[2]} = {point.option}")


def _share(runs: Any) -> str:
    """How many of the runs did not diverge."""
    return f"{sum(not run['diverged'] for run in runs)} of {len(runs)}" if runs else "–"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _told(found: Interval | None) -> str:
    if found is None:
        return "not finite"
    return f"{found.mean:.4g}" + ("" if found.half is None else f" ± {found.half:.2g}")


def _compared(results: Results, variant: Variant) -> str:
    """Say which arm is ahead on test, and whether the intervals settle it."""
    arms = results.arms[variant.name].values()
    tests = {arm.arm.name: arm.best.of("test") for arm in arms if arm.best is not None}
    known = {name: test for name, test in tests.items() if test is not None}
    sign = -1 if any(arm.higher_is_better for arm in arms) else 1
    order = sorted(known, key=lambda name: sign * known[name].mean)
    if len(order) < 2:
        return ""
    ahead, rest = order[0], order[1:]
    if all(known[name].mean == known[ahead].mean for name in rest):
        return "On test all arms are level."
    if any(test.seeds < 2 for test in known.values()):
        return f"{ahead} is ahead on test, with too few seeds for an interval: the order is not settled."
    level = [name for name in rest if known[name].overlaps(known[ahead])]
    if not level:
        return f"{ahead} is ahead on test; its interval overlaps that of no other arm."
    return f"{ahead} is ahead on test, but its interval overlaps that of {', '.join(level)}: that order is not settled."


# ------------------------------------------------------------------------------------- the picture


def sensitivity(results: Results, variant: Variant) -> dict[str, Any]:
    """Return what `rnnlab.plots.learning_rate_sensitivity` draws of a variant.

    An arm with a second grid is drawn at the value of its best point; where it has none, at that with the most runs
    that did not diverge.
    """
    measure = results.measures[variant.name]
    arms = {name: _drawn(arm) for name, arm in results.arms[variant.name].items()}
    return {"metric": {"key": "valid", "name": f"validation {measure}", "guess": None}, "arms": arms}


def _drawn(result: ArmResult) -> dict[str, Any]:
    best, title = result.best, result.arm.name
    values = list(dict.fromkeys(point.option for point in result.points))
    value = max(values, key=lambda v: _sound(result, v), default=None) if best is None else best.option
    if result.arm.option is not None:
        title += f", {result.arm.option[0].rpartition('.')[2]} {value}"
    runs = [
        {"learning_rate": point.rate, "valid": run["valid"], "diverged": run["diverged"], "seed": run["seed"]}
        for point in result.points
        if point.option == value
        for run in point.runs
    ]
    return {"title": title, "runs": runs, "best_learning_rate": None if best is None else best.rate}


def _sound(result: ArmResult, value: Any) -> int:
    return sum(len(point.runs) - point.diverged for point in result.points if point.option == value)
