"""The results of an experiment in plain dicts and numbers: what ``results.json`` holds."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.experiments.analysis import ArmResult, Interval, Point, Results, Verdict
from rnnlab.experiments.experiment import Variant
from rnnlab.experiments.machine import processor

__all__ = ["all_of", "as_dict", "machines"]

STORED = ("diverged", "succeeded", "steps", "best_step", "seconds")


def as_dict(results: Results, found: Sequence[Verdict], command: str) -> dict[str, Any]:
    """Return the results as they go into ``results.json``."""
    experiment = results.experiment
    runs = results.runs
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "command": command,
        "changed": list(experiment.changed),
        "machine": {"names": machines(results), "cores": os.cpu_count(), "platform": platform.platform()},
        "backends": all_of(runs, "backend"),
        "versions": {key: all_of(runs, key) for key in ("version", "numpy")} | {"python": platform.python_version()},
        "planned_runs": results.planned,
        "done_runs": results.done,
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "seeds": all_of(runs, "seed"),
        "claims": [_decided(verdict) for verdict in found],
        "variants": {variant.name: _variant(results, variant) for variant in experiment.variants},
    }


def machines(results: Results) -> list[str]:
    """Return the names of what the runs were done on."""
    return sorted({run["machine"] for run in results.runs if "machine" in run}) or [processor()]


def all_of(runs: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """Return the different values of a key, sorted."""
    return sorted({run[key] for run in runs})


def _decided(found: Verdict) -> dict[str, str]:
    return {"name": found.claim.name, "claim": found.claim.sentence, "verdict": found.verdict, "why": found.why}


def _variant(results: Results, variant: Variant) -> dict[str, Any]:
    done, planned = results.counts[variant.name]
    return {
        "measure": results.measures[variant.name],
        "planned_runs": planned,
        "done_runs": done,
        "config": {name: dict(table) for name, table in variant.config.items()},
        "reported": dict(variant.reported),
        "reported_grid": [
            {"arm": arm, "rate": rate, "option": option, "figure": figure}
            for arm, grid in variant.reported_grid.items()
            for (rate, option), figure in grid.items()
        ],
        "arms": {name: _arm(arm) for name, arm in results.arms[variant.name].items()},
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
        "runs": {key: [run.get(key) for run in point.runs] for key in (*keys, *STORED)},
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else {"mean": found.mean, "half_width_95": found.half, "seeds": found.seeds}
