"""The report of an experiment: ``results.json``, ``report.md`` and the pictures."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rnnlab
from rnnlab.experiments.analysis import ArmResult, Interval, Point, Results, Verdict, successes, verdicts
from rnnlab.experiments.config import SCHEMA
from rnnlab.experiments.experiment import Arm, Experiment, Variant
from rnnlab.experiments.figures import Picture, last, save_pictures, with_runs
from rnnlab.experiments.summary import all_of, as_dict, machines

__all__ = ["best_table", "grid_table", "markdown", "write_report"]

BY_HAND = "verdict.md"


def write_report(folder: str | os.PathLike[str], results: Results, command: str) -> Path:
    """Write ``results.json``, ``report.md`` and its pictures into a folder.

    What stands in ``verdict.md`` in that folder, written by hand, goes to the top of the report; it is left as it is.

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
    drawn = save_pictures(folder, results)
    by_hand = folder / BY_HAND
    words = by_hand.read_text(encoding="utf-8").strip() if by_hand.is_file() else ""
    with plots.replacing(folder / "report.md") as partial:
        partial.write_text(markdown(results, found, command, drawn, words), encoding="utf-8", newline="\n")
    return folder / "report.md"


def markdown(
    results: Results, found: list[Verdict], command: str, drawn: Sequence[Picture] = (), by_hand: str = ""
) -> str:
    """Return the report.

    Parameters
    ----------
    results : Results
    found : list of Verdict
    command : str
        The one that made the runs.
    drawn : sequence of Picture
        What lies beside the report.
    by_hand : str
        Markdown for the top of the report.
    """
    experiment = results.experiment
    parts = [f"# {experiment.title}", by_hand, "## What was run" if by_hand else "", experiment.about]
    parts += [_changed(experiment), _source(experiment.source), _how(results, command)]
    if found:
        parts += ["## What must hold", "\n".join(_claim(verdict) for verdict in found)]
    parts += _shown(drawn, None)
    for variant in with_runs(results):
        parts += [f"## {variant.name}", _done(results, variant), best_table(results, variant)]
        parts += [_beside(results, variant), _compared(results, variant), *_shown(drawn, variant.name)]
        grid = grid_table(results, variant)
        parts += [grid] if variant.reported_grid else [
            "<details><summary>Every point of the grid</summary>", grid, "</details>"
        ]  # fmt: skip
    none = [v.name for v in experiment.variants if v not in with_runs(results)]
    if none:
        parts.append(f"Not run yet: {', '.join(none)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _shown(drawn: Sequence[Picture], variant: str | None) -> list[str]:
    return [f"![{picture.words}]({picture.name}.png)" for picture in drawn if picture.variant == variant]


def _done(results: Results, variant: Variant) -> str:
    done, planned = results.counts[variant.name]
    return "" if done == planned else f"**{done} of {planned} runs are done.**"


def _changed(experiment: Experiment) -> str:
    return f"**Not as declared:** {'; '.join(experiment.changed)}." if experiment.changed else ""


def _beside(results: Results, variant: Variant) -> str:
    """Say of the paper's figures what ours have not in common with them; rates and seeds do not count."""
    changed = [words for words in results.experiment.changed if words.partition(".")[0] in SCHEMA]
    figures = [*variant.reported.values(), *(v for grid in variant.reported_grid.values() for v in grid.values())]
    if not changed or all(value is None for value in figures):
        return ""
    return f"The paper's figures are those of the declared settings, ours are not: {'; '.join(changed)}."


def _source(source: str) -> str:
    return f"After: {source}" if source else ""


def _how(results: Results, command: str) -> str:
    runs = results.runs
    versions = ", ".join(all_of(runs, "version")) or rnnlab.__version__
    numpy = ", ".join(all_of(runs, "numpy")) or np.__version__
    state = "All" if results.complete else f"**Not complete:** {results.done}"
    other = f" The folder holds {results.other} runs with other settings, left out here." if results.other else ""
    return (
        f"{state} of {results.planned} runs are done, {sum(run['seconds'] for run in runs) / 3600:.2f} hours of "
        f"work in all, by `{command}` with rnnlab {versions}, NumPy {numpy}, on {' and '.join(machines(results))} "
        f"({os.cpu_count()} cores), {platform.platform()}.{other}\n\n"
        "Each rate is run with every seed. The best rate of an arm is the one with the best mean on validation; one at "
        "which any seed diverged cannot be it. The test figure is measured once a run, with the parameters that were "
        "best on validation. Figures are means over seeds with 95 % intervals (Student's t), which hold for one arm by "
        "itself. A run diverged if a number was not finite, or if its loss ended, in training and on validation, "
        "above where it began, or above that of the best constant answer after it had been below. Success is the "
        "share of runs that did not diverge and ended at least 5 % below the loss of the best constant answer (one "
        "that does not look at the input, such as the frequencies of the words), first at the best rate, then over "
        "the whole grid."
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
        reported = variant.reported_grid.get(name, {})
        for point in (p for p in arm.points if p.runs):
            figures = [_told(point.of(key)) for key in ("valid", "valid_end", "test")]
            row = [name, _where(arm.arm, point), *figures, str(len(point.runs)), _share(point.runs)]
            rows.append([*row, _figure(_at(reported, point))] if variant.reported_grid else row)
    head = ["arm", "rate", "validation, best", "validation, at the end", "test", "seeds", "success"]
    return _table([*head, "reported by the paper"] if variant.reported_grid else head, rows)


def _at(reported: Any, point: Point) -> float | None:
    """The paper's figure at a point."""
    close = (v for (rate, option), v in reported.items() if math.isclose(rate, point.rate) and option == point.option)
    return next(close, None)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _where(arm: Arm, point: Point) -> str:
    return f"{point.rate:g}" + ("" if arm.option is None else f", {last(arm.option[0])} = {point.option}")


def _share(runs: Any) -> str:
    """How many of the runs succeeded."""
    return f"{successes(runs)} of {len(runs)}" if runs else "–"


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
