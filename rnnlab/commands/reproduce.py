"""``rnnlab reproduce``: an experiment of a paper, with the learning rate swept for every arm."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnlab.commands import InputError, add_backend, usable_backend
from rnnlab.experiments.adjust import adjusted, read_rates, read_setting
from rnnlab.experiments.config import ConfigError
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
    add("--arm", metavar="A", action="append", default=[], help="run only this one (may be repeated)")
    add("--seeds", type=int, metavar="K", help="how many seeds (the experiment's own number)")
    add("--rates", metavar="a,b,c", help="the learning rates of the arms that are run (each arm's own grid)")
    setting = "another setting for all runs, such as training.epochs=5 (may be repeated); the report says so"
    add("--set", metavar="TABLE.KEY=VALUE", action="append", default=[], help=setting)
    add_running(parser, "the folder (rnnlab-NAME, with --quick rnnlab-NAME-quick)")


def add_running(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the arguments that say where and how to run."""
    add = parser.add_argument
    add("--out", metavar="DIR", help=folder)
    add("--jobs", type=int, metavar="N", help="runs side by side (the number of cores; 1 on a GPU)")
    add("--dask", metavar="ADDRESS", help="run on the Dask cluster of this scheduler, such as tcp://127.0.0.1:8786")
    add("--report", action="store_true", help="start no run; write the report of what is done anew")
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
    variants = _chosen("--variant", arguments.variant, [variant.name for variant in experiment.variants])
    arms = [arm.name for variant in experiment.variants if variant.name in variants for arm in variant.arms]
    arms = _chosen("--arm", arguments.arm, list(dict.fromkeys(arms)))
    experiment = _adjusted(arguments, experiment, arms)
    out = Path(arguments.out or f"rnnlab-{experiment.name}{'-quick' if arguments.quick else ''}")
    plan = [planned for planned in experiment.plan() if planned.variant in variants and planned.arm in arms]
    return reported(experiment, plan, out, arguments, _command(arguments))


def _command(arguments: Any) -> str:
    """The command line, without what says where and how long it runs."""
    words = ["rnnlab", "reproduce", arguments.name, *(["--quick"] if arguments.quick else [])]
    for name in ("variant", "arm", "set"):
        words += [word for value in getattr(arguments, name) for word in (f"--{name}", value)]
    for name in ("seeds", "rates"):
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)


def reported(experiment: Experiment, plan: list[Run], out: Path, arguments: Any, command: str) -> int:
    """Do the runs that are missing, write the report of all there are, say what came of it; return the exit status."""
    # All that is needed at the end too: rnnlab may be upgraded while a sweep of days goes on.
    import rnnlab.experiments.tables
    import rnnlab.plots.experiments  # noqa: F401
    from rnnlab.experiments.store import StoreError, open_store
    from rnnlab.experiments.sweep import WorkerError, check, missing, sweep

    backend = usable_backend(arguments.backend)
    jobs = (_cores() if backend == "numpy" else 1) if arguments.jobs is None else positive("--jobs", arguments.jobs)
    minutes = None if arguments.minutes is None else positive("--minutes", arguments.minutes)
    why, status, anew = "", 0, not (out / "runs").is_dir()
    if arguments.report and anew:
        raise InputError(f"--report: there are no runs in {str(out)!r}")
    try:
        if anew:
            check(plan)  # before anything is written
        with open_store(out, experiment.name) as store:
            begin = time.perf_counter()
            wanted = [] if arguments.report else missing(plan, store)
            if not anew:
                check(wanted)  # the data of what is done need not be there
            try:
                sweep(experiment.name, wanted, store, jobs=jobs, backend=backend, dask=arguments.dask, minutes=minutes,
                      progress=_progress)  # fmt: skip
            except KeyboardInterrupt:
                why, status = "stopped; ", 130
            except WorkerError as error:
                why, status = f"{error}; ", 1
            left = len(missing(plan, store))
            _finish(experiment, store.records, out, command, time.perf_counter() - begin)
    except (StoreError, ValueError, RuntimeError, MemoryError, OSError) as error:
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
    return found.quickened() if arguments.quick else found


def _adjusted(arguments: Any, experiment: Experiment, arms: list[str]) -> Experiment:
    seeds = None if arguments.seeds is None else range(positive("--seeds", arguments.seeds))
    try:
        settings = dict(read_setting(given) for given in arguments.set)
        rates = None if arguments.rates is None else read_rates(arguments.rates)
        return adjusted(experiment, settings, rates, arms, seeds)
    except ConfigError as error:
        raise InputError(str(error)) from None


def _chosen(argument: str, given: list[str], names: list[str]) -> list[str]:
    for name in given:
        if name not in names:
            raise InputError(f"{argument} must be one of {', '.join(names)}; got {name!r}")
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
