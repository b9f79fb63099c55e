"""``rnnlab reproduce``: an experiment of a paper, with the learning rate swept for every arm."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnlab.commands import InputError, add_backend, usable_backend
from rnnlab.experiments.experiment import Experiment, Run

__all__ = ["DESCRIPTION", "HELP", "add_arguments", "add_running", "positive", "reported", "run"]

HELP = "run an experiment of a paper, with the learning rate swept"
DESCRIPTION = (
    "Run an experiment: every variant and arm over its grid of learning rates and several seeds. Its folder gets a "
    "line of JSON for every run that is done, report.md, results.json and the pictures. The same command goes on where "
    "a run was stopped or killed; more seeds and variants add to what is there."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="the experiment, see --list")
    add("--list", action="store_true", help="one experiment a line")
    add("--quick", action="store_true", help="a small version, within about five minutes on two cores")
    add("--variant", metavar="V", action="append", default=[], help="run only this one (may be repeated)")
    add("--seeds", type=int, metavar="K", help="how many seeds (the experiment's own number)")
    add_running(parser, "the folder (rnnlab-NAME, with --quick rnnlab-NAME-quick)")


def add_running(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the arguments that say where and how to run."""
    add = parser.add_argument
    add("--out", metavar="DIR", help=folder)
    add("--jobs", type=int, metavar="N", help="runs side by side (the number of cores; 1 on a GPU)")
    add("--dask", metavar="ADDRESS", help="run on the Dask cluster of this scheduler, such as tcp://127.0.0.1:8786")
    add("--minutes", type=float, metavar="M", help="start no run after so many minutes")
    add_backend(parser)


def run(arguments: Any) -> int:
    """Run the command; return the exit status."""
    from rnnlab.experiments.papers import EXPERIMENTS  # imported here because no other command needs them

    if arguments.list:
        width = max(map(len, EXPERIMENTS), default=0)
        for name, found in EXPERIMENTS.items():
            print(f"{name:<{width}}  {found.title}")
        return 0
    experiment = _experiment(arguments, EXPERIMENTS)
    variants = _variants(arguments.variant, experiment)
    out = Path(arguments.out or f"rnnlab-{experiment.name}{'-quick' if arguments.quick else ''}")
    words = [experiment.name, *(["--quick"] if arguments.quick else [])]
    words += [word for variant in arguments.variant for word in ("--variant", variant)]
    words += [] if arguments.seeds is None else ["--seeds", str(arguments.seeds)]
    plan = [planned for planned in experiment.plan() if planned.variant in variants]
    return reported(experiment, plan, out, arguments, shlex.join(["rnnlab", "reproduce", *words]))


def reported(experiment: Experiment, plan: list[Run], out: Path, arguments: Any, command: str) -> int:
    """Do the runs that are missing, write the report of all there are, say what came of it; return the exit status."""
    from rnnlab.experiments.store import StoreError, open_store
    from rnnlab.experiments.sweep import WorkerError, check, missing, sweep

    backend = usable_backend(arguments.backend)
    jobs = (_cores() if backend == "numpy" else 1) if arguments.jobs is None else positive("--jobs", arguments.jobs)
    minutes = None if arguments.minutes is None else positive("--minutes", arguments.minutes)
    why, status = "", 0
    try:
        check(plan)
        with open_store(out, experiment.name) as store:
            begin = time.perf_counter()
            try:
                sweep(experiment.name, plan, store, jobs=jobs, backend=backend, dask=arguments.dask, minutes=minutes,
                      progress=_progress)  # fmt: skip
            except KeyboardInterrupt:
                why, status = "stopped; ", 130
            except WorkerError as error:
                why, status = f"{error}; ", 1
            left = len(missing(plan, store))
            _finish(experiment, store.records, out, command, time.perf_counter() - begin)
    except (StoreError, ValueError, RuntimeError, OSError) as error:
        raise InputError(str(error)) from None
    if left:
        words = f"{why}{left} of {len(plan)} runs are left; the same command goes on"
        print(f"{arguments.prog}: {words}", file=sys.stderr)
    return status


def _finish(experiment: Experiment, records: list[dict[str, Any]], out: Path, command: str, seconds: float) -> None:
    from rnnlab.experiments.analysis import gather, verdicts
    from rnnlab.experiments.tables import best_table, write_report

    results = gather(experiment, records)
    path = write_report(out, results, command)
    for variant in experiment.variants:
        if any(arm.runs for arm in results.arms[variant.name].values()):
            print(f"{variant.name}\n{best_table(results, variant)}\n")
    for verdict in verdicts(results):
        print(f"{verdict.verdict}: {verdict.claim.sentence} {verdict.why}")
    print(f"{results.done} of {results.planned} runs are done; report: {path}  ({seconds:.0f} s)")


def _progress(records: Iterator[Any], total: int) -> Iterator[Any]:
    from tqdm import tqdm  # on stderr, so that stdout stays clean

    return iter(tqdm(records, total=total, desc="training", unit="run", disable=not total))


# ---------------------------------------------------------------------------------- reading the input


def _experiment(arguments: Any, experiments: Mapping[str, Experiment]) -> Experiment:
    names = ", ".join(experiments)
    if arguments.name is None:
        raise InputError(f"NAME must be one of {names}; see --list")
    if arguments.name not in experiments:
        raise InputError(f"NAME must be one of {names}; got {arguments.name!r}")
    found = experiments[arguments.name]
    found = found.quickened() if arguments.quick else found
    if arguments.seeds is not None:
        found = replace(found, seeds=tuple(range(positive("--seeds", arguments.seeds))))
    return found


def _variants(given: list[str], experiment: Experiment) -> list[str]:
    names = [variant.name for variant in experiment.variants]
    for name in given:
        if name not in names:
            raise InputError(f"--variant must be one of {', '.join(names)}; got {name!r}")
    return given or names


def positive(name: str, value: Any) -> Any:
    """Return a number that the user gave, if it is above 0 and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{name} must be positive; got {value:g}")
    return value


def _cores() -> int:
    count = getattr(os, "process_cpu_count", os.cpu_count)()  # only since Python 3.13 does it know of affinities
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else count or 1
