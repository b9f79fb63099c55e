"""One run of an experiment, as a worker does it: from its tables to the record of what came of it."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rnnlab
from rnnlab.backend import to_numpy, tree_items, tree_map
from rnnlab.experiments.build import make_optimizer
from rnnlab.experiments.config import Config
from rnnlab.experiments.experiment import Run, identity
from rnnlab.experiments.machine import machine
from rnnlab.experiments.outcome import Losses, constant_answer, diverged, succeeded
from rnnlab.experiments.problems import Problem, make_problem, score
from rnnlab.monitor import Monitor
from rnnlab.training import Result, evaluate, fit

__all__ = ["LONG", "Task", "train"]

POINTS = 100  # entries of a curve in the record of a run
BINS = 60  # of a histogram of weights
LONG = 60.0  # seconds: a run that takes longer keeps checkpoints, and about as far apart


class Task(NamedTuple):
    """What a worker is given; ``folder`` is for checkpoints, ``deadline`` a time of `time.time`."""

    experiment: str
    run: Run
    backend: str = "numpy"
    folder: str | None = None
    deadline: float | None = None
    long: float = LONG


class _OutOfTime(Exception):
    """The deadline has passed; the checkpoints hold what was done."""


def train(task: Task) -> dict[str, Any] | None:
    """Do one run with one BLAS thread.

    Parameters
    ----------
    task : Task

    Returns
    -------
    dict or None
        The record of the run: strict JSON. None where the deadline passed and checkpoints hold what was done.
    """
    from threadpoolctl import threadpool_limits  # imported here because only a run needs it

    config = task.run.config
    with threadpool_limits(1):
        problem = make_problem(config)
        watch = _Watch(problem.valid, task.deadline)
        monitor = _monitor(config)
        callbacks = [watch] if monitor is None else [watch, monitor]
        try:
            result = _fit(task, config, problem, callbacks)
        except _OutOfTime:
            return None
        measured = _measured(problem, result, watch)
    return {
        "experiment": task.experiment,
        "variant": task.run.variant,
        "arm": task.run.arm,
        "rate": task.run.rate,
        "option": task.run.option,
        "seed": task.run.seed,
        "config": identity(task.run.tables),
        **measured,
        "curve": _curve(result),
        "monitor": None if monitor is None else _thinned(monitor.rows),
        "weights": _histograms(config, result),
        "seconds": round(watch.seconds(), 3),
        "backend": task.backend,
        "version": rnnlab.__version__,
        "numpy": np.__version__,
        "machine": machine(task.backend),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _fit(task: Task, config: Config, problem: Problem, callbacks: Sequence[Any]) -> Result:
    every = _checkpoint_every(task, config, problem)
    return fit(
        problem.model,
        problem.train,
        make_optimizer(config.optimizer, config.model["cell"]),
        valid=problem.valid,
        callbacks=callbacks,
        folder=None if every is None else task.folder,
        resume=every is not None,
        backend=task.backend,
        **{**config.training, "checkpoint_every": every},
    )


def _checkpoint_every(task: Task, config: Config, problem: Problem) -> int | None:
    """Return after how many steps to write a checkpoint: None for a run so short that it had better start again."""
    if task.folder is None:
        return None
    seconds, training = _seconds_a_step(problem, config, task.backend), config.training
    limits = (training["steps"], training["epochs"] and training["epochs"] * len(problem.train))
    if min(limit for limit in limits if limit) * seconds < task.long and not Path(task.folder).exists():
        return None
    return int(training["checkpoint_every"] or max(1, round(task.long / seconds)))


def _seconds_a_step(problem: Problem, config: Config, backend: str) -> float:
    """Time forward and back on the first batch, without changing anything that the run will use."""
    params = rnnlab.to_backend(problem.model.init(np.random.default_rng(0), config.training["dtype"]), backend)
    batch, _ = problem.train.epoch(np.random.default_rng(0))[0]
    dtype = np.dtype(config.training["dtype"])
    batch = rnnlab.to_backend(tree_map(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, batch), backend)
    times = []
    for _ in range(2):  # the first one warms up
        begin = time.perf_counter()
        with np.errstate(all="ignore"):
            float(problem.model.loss_and_grads(params, batch, None, np.random.default_rng(0))[0])
        times.append(time.perf_counter() - begin)
    return max(times[-1], 1e-6)


class _Watch:
    """A callback: the validation loss before the first step, the time over all sittings, and the deadline."""

    def __init__(self, valid: Any, deadline: float | None) -> None:
        self.valid, self.deadline = valid, deadline
        self.at_start: float | None = None
        self.before, self.begin = 0.0, time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.begin

    def start(self, run: Any) -> None:
        if self.at_start is None:
            self.at_start = evaluate(run.model, run.params, self.valid)

    def after_step(self, run: Any) -> None:
        if self.deadline is not None and run.folder is not None and time.time() > self.deadline:
            raise _OutOfTime

    def state(self) -> dict[str, Any]:
        return {"at_start": self.at_start, "seconds": self.seconds()}

    def restore(self, state: dict[str, Any]) -> None:
        self.at_start, self.before, self.begin = state["at_start"], state["seconds"], time.perf_counter()


def _monitor(config: Config) -> Monitor | None:
    if config.monitor is None:
        return None
    return Monitor(config.monitor["quantities"], config.monitor["every"], None, config.monitor["max_share"] or None)


def _measured(problem: Problem, result: Result, watch: _Watch) -> dict[str, Any]:
    """Return how good the parameters are that were best on validation, once on the test data; and how it went."""
    losses = [row["validation_loss"] for row in result.history if "validation_loss" in row]
    assert watch.at_start is not None
    constant = constant_answer(problem)
    best = None if result.best_step is None else result.history[result.best_step]["validation_loss"]
    held_out = Losses(watch.at_start, losses[-1], math.inf if best is None else best, constant[0])
    training = Losses(result.history[0]["training_loss"], _last_tenth(result), constant=constant[1])
    lost = result.stopped == "nonfinite" or diverged(held_out, training)
    of_loss = problem.measure.of_loss
    if of_loss is None or best is None:
        valid, valid_end = (score(problem, p, problem.valid) for p in (result.params, result.last_params))
    else:
        valid, valid_end = of_loss(best), of_loss(held_out.end)
    return {
        "measure": problem.measure.name,
        "unit": problem.measure.unit,
        "higher_is_better": of_loss is None,
        "valid": _number(valid),
        "test": _number(score(problem, result.params, problem.test)),
        "valid_end": _number(valid_end),
        "valid_loss": _number(best),
        "valid_loss_start": _number(held_out.start),
        "valid_loss_end": _number(held_out.end),
        "valid_loss_constant": _number(held_out.constant),
        "training_loss_end": _number(training.end),
        "training_loss_constant": _number(training.constant),
        "diverged": lost,
        "succeeded": not lost and succeeded(held_out, training),
        "stopped": result.stopped,
        "steps": len(result.history),
        "best_step": result.best_step,
    }


def _last_tenth(result: Result) -> float:
    """The mean training loss of the last tenth of the steps."""
    with np.errstate(all="ignore"):
        rows = result.history[-max(1, len(result.history) // 10) :]
        return float(np.mean([row["training_loss"] for row in rows]))


def _histograms(config: Config, result: Result) -> dict[str, Any] | None:
    """Return of every matrix how its last entries are distributed, where the statistics of weights are asked for."""
    if config.monitor is None or "weight_statistics" not in config.monitor["quantities"]:
        return None
    arrays = {path: to_numpy(a).astype(np.float64) for path, a in tree_items(result.last_params) if a.ndim > 1}
    found = {}
    for path, array in arrays.items():
        if np.isfinite(array).all():
            counts, edges = np.histogram(array, bins=BINS)
            found[path] = {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}
    return found


def _number(value: float | None) -> float | None:
    """A number as JSON can hold it."""
    return float(value) if value is not None and math.isfinite(value) else None


def _curve(result: Result) -> dict[str, list[Any]]:
    """Return the course of a run: of every stretch of steps the mean loss and the largest gradient norm."""
    parts = [part for part in np.array_split(np.arange(len(result.history)), POINTS) if part.size]
    rows = result.history
    curve: dict[str, list[Any]] = {"step": [int(part[-1]) for part in parts]}
    with np.errstate(all="ignore"):
        losses = [float(np.mean([rows[k]["training_loss"] for k in part])) for part in parts]
        norms = [float(np.max([rows[k]["gradient_norm"] for k in part])) for part in parts]
    curve["training_loss"] = [_number(value) for value in losses]
    curve["gradient_norm_max"] = [_number(value) for value in norms]
    validated = [row for row in rows if "validation_loss" in row]
    chosen = [validated[k] for k in _spread(len(validated))]
    curve["validation_step"] = [row["step"] for row in chosen]
    curve["validation_loss"] = [_number(row["validation_loss"]) for row in chosen]
    return curve


def _thinned(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    chosen = [rows[k] for k in _spread(len(rows))]
    return {name: [_number(row[name]) for row in chosen] for name in (rows[0] if rows else ())}


def _spread(count: int) -> list[int]:
    """Return at most `POINTS` places of so many, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int)).tolist() if count else []
