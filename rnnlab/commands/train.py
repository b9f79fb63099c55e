"""``rnnlab train``: one network, as a TOML file says; killed at any moment, it goes on with ``--resume``."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab import checkpoint
from rnnlab.backend import to_numpy
from rnnlab.commands import InputError, add_backend, usable_backend
from rnnlab.experiments.build import make_optimizer
from rnnlab.experiments.config import Config, ConfigError, differences, load_config
from rnnlab.experiments.problems import Problem, make_problem, score
from rnnlab.monitor import Monitor
from rnnlab.training import NonFiniteError, Result, fit

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "run"]

HELP = "train one network as a TOML file says"
DESCRIPTION = (
    "Train the network that a TOML file describes, and write a folder with a copy of the file, checkpoints, the best "
    "and the last parameters (best.npz, last.npz), history.csv, summary.json and, with a table [monitor], the record "
    "of what was monitored. A run that was stopped or killed goes on with --resume, to the same numbers. Where other "
    "programs are at work set OPENBLAS_NUM_THREADS=1: several threads then wait for each other most of the time."
)
MAY_CHANGE = tuple(f"[training] {key}" for key in ("epochs", "steps", "patience", "checkpoint_every", "keep"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("config", metavar="CONFIG.toml", help="tables [data], [model], [optimizer], [training] and [monitor]")
    add("--resume", action="store_true", help="go on with the run in the folder, if there is one")
    add("--out", metavar="DIR", help="the folder to write, new or empty without --resume (rnnlab-train-CONFIG)")
    add_backend(parser)


def run(arguments: Any) -> int:
    """Run the command; return the exit status."""
    backend = usable_backend(arguments.backend)
    begin = time.perf_counter()
    try:
        config, source = load_config(arguments.config)
        out = Path(arguments.out or f"rnnlab-train-{Path(arguments.config).stem}")
        _check_folder(out, arguments.resume, config, Path(arguments.config))
        problem = make_problem(config)
        optimizer = make_optimizer(config.optimizer, config.model["cell"])
        _check_together(config, problem, optimizer)
        _begin_folder(out, source)
        result = _fit(config, problem, optimizer, out, arguments.resume, backend)
        summary = _finish(config, problem, result, out, time.perf_counter() - begin)
    except NonFiniteError as error:
        print(f"{arguments.prog}: {error}", file=sys.stderr)
        return 1
    except (ConfigError, checkpoint.CheckpointError, MemoryError, OSError, ValueError) as error:
        raise InputError(str(error)) from None
    except KeyboardInterrupt:
        print(f"{arguments.prog}: stopped; go on with --resume", file=sys.stderr)
        return 130
    print(_told(summary, out))
    return 0


def _fit(config: Config, problem: Problem, optimizer: Any, out: Path, resume: bool, backend: str) -> Result:
    monitor = config.monitor
    callbacks = []
    if monitor is not None:
        file, share = out / f"monitor.{monitor['format']}", monitor["max_share"] or None
        callbacks.append(Monitor(monitor["quantities"], monitor["every"], file, share))
    return fit(
        problem.model,
        problem.train,
        optimizer,
        valid=problem.valid,
        callbacks=callbacks,
        progress=sys.stderr.isatty(),
        folder=out,
        resume=resume,
        backend=backend,
        **config.training,
    )


# ------------------------------------------------------------------------------- before the training


def _check_folder(out: Path, resume: bool, config: Config, path: Path) -> None:
    """Refuse a folder that is in the way, before anything is written."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is no folder")
    if not out.exists() or not any(out.iterdir()):
        return
    copy = out / "config.toml"
    if not copy.exists():
        raise InputError(f"--out {out}: exists and is not an empty folder, nor does it hold a run")
    if not resume:
        raise InputError(f"--out {out}: holds a run already; go on with it by --resume, or take another folder")
    before = load_config(copy, base=path.parent)[0]
    changed = [key for key in differences(before, config) if key not in MAY_CHANGE]
    if changed:
        raise InputError(f"--resume: {path} differs from the run in {out} in {', '.join(changed)}")


def _check_together(config: Config, problem: Problem, optimizer: Any) -> None:
    """Refuse what only data, model and optimizer together show to be wrong, before there is a folder."""
    for key in ("patience", "validate_every"):
        if problem.valid is None and config.training[key] is not None:
            raise ConfigError(f"[training] {key} needs validation data: give [data] valid_share")
    if problem.valid is None and (config.optimizer["schedule"] or {}).get("name") == "reduce_on_plateau":
        raise ConfigError("[optimizer.schedule] reduce_on_plateau needs validation data: give [data] valid_share")
    try:
        optimizer.init(problem.model.init(np.random.default_rng(0), np.float32))
    except ValueError as error:
        raise ConfigError(f"[optimizer] {error}") from None


def _begin_folder(out: Path, source: str) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / "config.toml", source)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror})") from None


# ------------------------------------------------------------------------------- after the training


def _finish(config: Config, problem: Problem, result: Result, out: Path, seconds: float) -> dict[str, Any]:
    """Write what came of the training; return the summary."""
    measure = problem.measure
    valid = None if problem.valid is None else score(problem, result.params, problem.valid)
    summary = {
        "data": config.data["name"],
        "model": repr(problem.model.recurrent),
        "steps": len(result.history),
        "stopped": result.stopped,
        "best_step": result.best_step,
        "skipped": result.skipped,
        "measure": measure.name,
        "unit": measure.unit,
        "valid": valid,
        "test": score(problem, result.params, problem.test),
        "seconds": round(seconds, 1),
    }
    checkpoint.write(out / "last.npz", {"params": to_numpy(result.last_params), "step": len(result.history)})
    if result.best_step is None:  # nothing was validated: the last are the best there are
        checkpoint.write(out / "best.npz", {"params": to_numpy(result.params), "step": len(result.history)})
    _write(out / "history.csv", _table(result.history))
    plain = {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in summary.items()}
    _write(out / "summary.json", json.dumps(plain, indent=1) + "\n")
    return summary


def _table(history: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in history for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return stream.getvalue()


def _write(path: Path, text: str) -> None:
    """Write a file, all of it or nothing."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    os.replace(partial, path)


def _told(summary: dict[str, Any], out: Path) -> str:
    unit = "" if summary["unit"] in ("", summary["measure"]) else f" {summary['unit']}"
    lines = [f"{summary['data']}: {summary['model']}, {summary['steps']} steps, ended by {summary['stopped']}"]
    if summary["skipped"]:
        lines.append(f"updates left out because something was not finite: {summary['skipped']}")
    if summary["valid"] is not None:
        lines.append(
            f"validation {summary['measure']}: {summary['valid']:.4f}{unit}, best at step {summary['best_step']}"
        )
    lines.append(f"test {summary['measure']}: {summary['test']:.4f}{unit}")
    lines.append(f"folder: {out}  ({summary['seconds']:.0f} s)")
    return "\n".join(lines)
