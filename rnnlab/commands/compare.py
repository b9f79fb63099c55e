"""``rnnlab compare``: the same network under several optimizers, the learning rate swept for each of them."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rnnlab
from rnnlab import data
from rnnlab.commands import InputError, add_backend, usable_backend
from rnnlab.experiments.arms import ARMS, DEFAULT_ARMS
from rnnlab.experiments.compare import Comparison, compare, summarize
from rnnlab.experiments.runner import Run, Setup
from rnnlab.experiments.tasks import TASKS, AddingTask, CopyingTask, Task, TextTask
from rnnlab.memory import check_step

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "run"]

HELP = "train one network under several optimizers, with the learning rate swept for each"
DESCRIPTION = (
    "Train the same recurrent network under several optimizers, each with its own range of learning rates, several "
    "seeds and equally many steps, and write a folder with report.html, results.json, history.csv and the pictures. "
    "Without options: a character-level RNN on Shakespeare, in about two minutes on two cores."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--cell", choices=("rnn", "lstm", "gru"), default="rnn", help="the recurrent cell (rnn)")
    add("--task", choices=TASKS, default="text", help="what to learn: the next character, or a test of memory (text)")
    add("--text", metavar="FILE", help="a UTF-8 text to learn instead of Shakespeare")
    add("--arms", metavar="a,b,c", help=f"of {', '.join(ARMS)} ({','.join(DEFAULT_ARMS)})")
    add("--learning-rates", metavar="RATES", nargs="+", action="extend", default=[],
        help="0.1,1 for every arm, or wgn=1e-4,1e-3 for one (seven rates over three decades)")  # fmt: skip
    add("--seeds", nargs="+", default=["2"], help="how many, or which, as 0,1,2 (2)")
    add("--steps", type=int, default=300, help="updates of every run (300)")
    add("--hidden", type=int, default=128, help="hidden units (128)")
    add("--jobs", type=int, help="runs side by side (the number of cores; 1 on a GPU)")
    add_backend(parser)
    add("--out", metavar="DIR", help="the folder to write, new or empty (rnnlab-compare-DATE-TIME)")


def run(arguments: Any) -> int:
    """Run the command; return the exit status."""
    backend = usable_backend(arguments.backend)
    comparison = _comparison(arguments, backend)
    _check_memory(comparison.setup)
    default_jobs = _cores() if backend == "numpy" else 1
    jobs = default_jobs if arguments.jobs is None else _positive("--jobs", arguments.jobs)
    out = _new_folder(arguments.out or time.strftime("rnnlab-compare-%Y%m%d-%H%M%S"))
    stopped = False
    try:
        compare(comparison, jobs, lambda runs: _progress(runs, len(comparison.plan())))
    except KeyboardInterrupt:
        stopped = True
    results = _write(comparison, out, arguments)
    print(_summary(results, out))
    if stopped:
        done, planned = len(comparison.runs), len(comparison.plan())
        print(f"rnnlab compare: stopped; {out} holds the {done} of {planned} runs that were done", file=sys.stderr)
    return 130 if stopped else 0


def _write(comparison: Comparison, out: Path, arguments: Any) -> dict[str, Any]:
    # matplotlib is imported with the report, once the runs are done.
    from rnnlab import report

    text = None if arguments.task != "text" else arguments.text or "Shakespeare (embedded)"
    results = summarize(comparison, {"text": text})
    results["command"] = _command(arguments)
    traces = [_trace(run) for run in comparison.runs]
    report.write_results(out, results)
    report.write_history(out, traces)
    report.write_report(out, results, traces)
    return results


def _trace(run: Run) -> dict[str, Any]:
    series = ("training_loss", "gradient_norm", "spectral_norm", "spectral_radius")
    trace: dict[str, Any] = {name: np.array(getattr(run, name), float) for name in series}
    trace |= {name: np.array(getattr(run, name), float) for name in ("through_time_start", "through_time_end")}
    trace |= {name: np.array(getattr(run, name), int) for name in ("explosions", "spectrum_steps")}
    return {"arm": run.arm, "learning_rate": run.learning_rate, "seed": run.seed, **trace}


def _command(arguments: Any) -> str:
    """Return the command that repeats the comparison."""
    parts = ["rnnlab", "compare"]
    for name in ("cell", "task", "text", "arms", "learning_rates", "seeds", "steps", "hidden", "backend"):
        value = getattr(arguments, name)
        if value:
            parts += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [str(value)])]
    return shlex.join(parts)


def _progress(runs: Iterator[Run], total: int) -> Iterator[Run]:
    from tqdm import tqdm  # the progress bar that Python users know; on stderr, so stdout stays clean

    return iter(tqdm(runs, total=total, desc="training", unit="run"))


def _summary(results: dict[str, Any], out: Path) -> str:
    key, name = results["metric"]["key"], results["metric"]["name"]
    width = max(len(arm["title"]) for arm in results["arms"].values())
    lines = [f"{'':<{width}}  best rate  {name} (mean +- spread over seeds)  diverged"]
    for arm in results["arms"].values():
        rate, mean, spread = arm["best_learning_rate"], arm[f"{key}_mean"], arm[f"{key}_std"]
        none = "every run diverged" if arm["runs"] else "no run done"
        score = none if mean is None else f"{mean:.3f} +- {spread:.3f}"
        share = "" if arm["diverged_fraction"] is None else f"{arm['diverged_fraction']:.0%}"
        lines.append(f"{arm['title']:<{width}}  {'' if rate is None else f'{rate:g}':>9}  {score:<24}  {share}")
    lines.append(f"report: {out / 'report.html'}  ({results['seconds']:.0f} s)")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------- reading the input


def _comparison(arguments: Any, backend: str) -> Comparison:
    arms = _arms(arguments.arms)
    rates = _learning_rates(arguments.learning_rates, arms)
    seeds = _seeds(arguments.seeds)
    steps, hidden = _positive("--steps", arguments.steps), _positive("--hidden", arguments.hidden)
    setup = Setup(_task(arguments), arguments.cell, hidden, steps, backend=backend)
    return Comparison(setup, arms, rates, seeds)


def _check_memory(setup: Setup) -> None:
    """Refuse what a GPU has not the memory for, before there is a folder."""
    layer, rng = getattr(rnnlab, setup.cell.upper()), np.random.default_rng(0)
    model = setup.task.model(layer(setup.task.input_size, setup.hidden))
    batch, _ = next(setup.task.training(rng, setup.dtype))
    one = {"bias": rnnlab.to_backend(np.zeros(1, setup.dtype), setup.backend)}  # the parameters' library and dtype
    try:
        check_step(model, one, batch)
    except MemoryError as error:
        raise InputError(str(error)) from None


def _task(arguments: Any) -> Task:
    if arguments.task != "text":
        if arguments.text is not None:
            raise InputError(f"--text goes with --task text; got --task {arguments.task}")
        return AddingTask() if arguments.task == "adding" else CopyingTask()
    if arguments.text is None:
        return TextTask(data.shakespeare())
    try:
        return TextTask(_read(arguments.text))
    except ValueError as error:
        raise InputError(f"--text {arguments.text}: {error}") from None


def _read(name: str) -> str:
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--text {name}: must be UTF-8; byte {error.start} is not ({error.reason})") from None
    except OSError as error:
        raise InputError(f"--text {name}: cannot be read ({error.strerror})") from None
    if not text:
        raise InputError(f"--text {name}: is empty")
    return text


def _arms(given: str | None) -> tuple[str, ...]:
    arms = DEFAULT_ARMS if given is None else tuple(part.strip() for part in given.split(","))
    for arm in arms:
        if arm not in ARMS:
            raise InputError(f"--arms must be of {', '.join(ARMS)}; got {arm!r}")
    return tuple(dict.fromkeys(arms))


def _learning_rates(given: list[str], arms: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    rates: dict[str, list[float]] = {}
    for words in given:
        arm, equals, numbers = words.rpartition("=")
        if equals and arm not in arms:
            raise InputError(f"--learning-rates must be for one of the arms {', '.join(arms)}; got {arm!r}")
        for name in [arm] if equals else arms:
            rates.setdefault(name, []).extend(_rate(word) for word in numbers.split(","))
    return {arm: tuple(dict.fromkeys(numbers)) for arm, numbers in rates.items()}


def _rate(word: str) -> float:
    try:
        rate = float(word)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise InputError(f"--learning-rates must be positive numbers; got {word!r}")
    return rate


def _seeds(given: list[str]) -> tuple[int, ...]:
    words = ",".join(given).split(",")
    try:
        numbers = [int(word) for word in words if word.strip() or len(words) == 1]
    except ValueError:
        raise InputError(f"--seeds must be whole numbers; got {' '.join(given)!r}") from None
    if len(words) == 1:
        return tuple(range(_positive("--seeds", numbers[0])))
    if min(numbers, default=-1) < 0:
        raise InputError(f"--seeds must be at least 0; got {' '.join(given)!r}")
    return tuple(dict.fromkeys(numbers))


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{name} must be positive; got {value}")
    return value


def _cores() -> int:
    count = getattr(os, "process_cpu_count", os.cpu_count)()  # only since Python 3.13 does it know of affinities
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else count or 1


def _new_folder(name: str) -> Path:
    out = Path(name)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {name}: exists and is not an empty folder")
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise InputError(f"--out {name}: is not writable")
    except OSError as error:
        raise InputError(f"--out {name}: cannot be made ({error.strerror})") from None
    return out
