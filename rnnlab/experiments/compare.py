"""The comparison: every arm with every one of its learning rates and every seed, for equally many steps."""

from __future__ import annotations

import contextlib
import itertools
import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import rnnlab
from rnnlab.experiments.arms import ARMS, DEFAULT_ARMS, projection
from rnnlab.experiments.runner import Run, Setup, spectrum_name, train

__all__ = ["Comparison", "compare", "summarize"]


@dataclass
class Comparison:
    """What to run, and what has been run so far.

    Attributes
    ----------
    setup : Setup
    arms : sequence of str
        Keys of ``ARMS``.
    learning_rates : mapping, optional
        Arm -> rates; an arm that is not in it gets its own range.
    seeds : sequence of int
    runs : list of Run
        Those that are done, in the order in which they ended.
    """

    setup: Setup
    arms: Sequence[str] = DEFAULT_ARMS
    learning_rates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1)
    runs: list[Run] = field(default_factory=list)
    seconds: float = 0.0

    def rates(self, arm: str) -> tuple[float, ...]:
        """Return the learning rates of an arm, in ascending order."""
        return tuple(sorted(self.learning_rates.get(arm, ARMS[arm].learning_rates)))

    def plan(self) -> list[tuple[str, float, int]]:
        """Return ``(arm, learning rate, seed)`` of every run.

        One seed of everything first: what there is after an interruption is then a whole, if a coarse one. Within a
        seed the rates take turns among the arms.
        """
        rows = [[(arm, rate) for rate in self.rates(arm)] for arm in self.arms]
        turns = [run for column in itertools.zip_longest(*rows) for run in column if run is not None]
        return [(arm, rate, seed) for seed in self.seeds for arm, rate in turns]

    @property
    def complete(self) -> bool:
        """Whether every run is done."""
        return len(self.runs) == len(self.plan())


def compare(comparison: Comparison, jobs: int = 1, progress: Callable[[Iterator[Run]], Iterator[Run]] = iter) -> None:
    """Do the runs of a comparison, and put each into ``comparison.runs`` as it ends.

    Parameters
    ----------
    comparison : Comparison
    jobs : int
        How many processes work side by side; the numbers do not depend on it.
    progress : callable, optional
        Wraps the iterator over the finished runs, as ``tqdm.tqdm`` does.

    Raises
    ------
    KeyboardInterrupt
        Of the user; ``comparison`` holds the runs that were done.
    """
    # joblib: parallel processes that work alike on Linux, macOS and Windows, and a cluster through its Dask engine.
    import joblib

    begin = time.perf_counter()
    task = train if jobs == 1 else _train_in_a_worker
    calls = (joblib.delayed(task)(comparison.setup, *planned) for planned in comparison.plan())
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    try:
        with _workers_born_deaf_to_ctrl_c():
            runs = parallel(calls)
        for run in progress(runs):
            comparison.runs.append(run)
    finally:
        comparison.seconds = time.perf_counter() - begin


# Ctrl-C reaches every process of a terminal. The workers must leave it to us: each would print a traceback.


@contextlib.contextmanager
def _workers_born_deaf_to_ctrl_c() -> Iterator[None]:
    """On POSIX a process inherits that a signal is ignored; only a main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train_in_a_worker(*planned: Any) -> Run:
    """On Windows nothing is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return train(*planned)


# ------------------------------------------------------------------------------------ what comes of it


def summarize(comparison: Comparison, settings: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Return the results in plain dicts and numbers, as they go into ``results.json``.

    Parameters
    ----------
    comparison : Comparison
    settings : mapping, optional
        What else to note among the settings.

    Returns
    -------
    dict
        ``settings``, ``seeds``, ``versions``, ``seconds``, ``complete``, ``metric``, and
        ``arms -> name -> {title, best_learning_rate, best_at_edge, validation_loss_mean, validation_loss_std,
        validation_bpc_mean, validation_bpc_std, diverged_fraction, runs}``. What is not a finite number is None.
    """
    setup, metric = comparison.setup, comparison.setup.task.metric
    only, max_norm = projection(setup.cell)
    return {
        "settings": {
            "task": setup.task.name,
            "cell": setup.cell,
            "hidden": setup.hidden,
            "steps": setup.steps,
            "learning_rates": {arm: list(comparison.rates(arm)) for arm in comparison.arms},
            "clip_norm": setup.clip_norm,
            "projection_of": only,
            "projection_max_norm": max_norm,
            "spectrum_of": spectrum_name(setup.cell),
            "explosion_factor": setup.explosion_factor,
            "backend": setup.backend,
            "dtype": setup.dtype,
            **settings,
        },
        "seeds": list(comparison.seeds),
        "versions": {
            "rnnlab": rnnlab.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "seconds": round(comparison.seconds, 3),
        "complete": comparison.complete,
        "planned_runs": len(comparison.plan()),
        "metric": metric._asdict(),
        "arms": {arm: _arm(comparison, arm) for arm in comparison.arms},
    }


def _arm(comparison: Comparison, arm: str) -> dict[str, Any]:
    runs = sorted((_run(comparison, r) for r in comparison.runs if r.arm == arm), key=_by_rate_and_seed)
    best = _best_rate(comparison, runs)
    at_best = [run for run in runs if run["learning_rate"] == best]
    rates = comparison.rates(arm)
    return {
        "title": ARMS[arm].title,
        "best_learning_rate": best,
        "best_at_edge": best is not None and len(rates) > 1 and best in (rates[0], rates[-1]),
        **_mean_and_spread(at_best, "validation_loss"),
        **_mean_and_spread(at_best, "validation_bpc"),
        "diverged_fraction": sum(run["diverged"] for run in runs) / len(runs) if runs else None,
        "runs": runs,
    }


def _by_rate_and_seed(run: dict[str, Any]) -> tuple[float, int]:
    return run["learning_rate"], run["seed"]


def _run(comparison: Comparison, run: Run) -> dict[str, Any]:
    metric = comparison.setup.task.metric
    in_bits = run.validation_loss / math.log(2) if metric.key == "validation_bpc" else math.nan
    last_tenth = run.training_loss[-max(1, comparison.setup.steps // 10) :]
    return {
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "validation_loss_at_start": _finite(run.validation_loss_at_start),
        "validation_loss": _finite(run.validation_loss),
        "validation_bpc": _finite(in_bits),
        "training_loss": _finite(float(np.mean(last_tenth))) if run.finite else None,
        "diverged": run.diverged,
        "diverged_at": None if run.finite else run.steps - 1,
        "steps": run.steps,
        "explosions": len(run.explosions),
        "seconds": round(run.seconds, 3),
    }


def _best_rate(comparison: Comparison, runs: list[dict[str, Any]]) -> float | None:
    """Return the rate with the lowest mean over the seeds; a rate at which a seed diverged cannot win.

    After an interruption a rate has fewer seeds than another: those with the most seeds are compared.
    """
    by_rate: dict[float, list[dict[str, Any]]] = {}
    for run in runs:
        by_rate.setdefault(run["learning_rate"], []).append(run)
    good = {rate: group for rate, group in by_rate.items() if not any(run["diverged"] for run in group)}
    most = max(map(len, good.values()), default=0)
    means = {r: np.mean([run["validation_loss"] for run in g]) for r, g in good.items() if len(g) == most}
    return min(means, key=lambda rate: means[rate], default=None)


def _mean_and_spread(runs: list[dict[str, Any]], key: str) -> dict[str, float | None]:
    values = [run[key] for run in runs if run[key] is not None]
    mean = float(np.mean(values)) if values else None
    spread = float(np.std(values, ddof=min(1, len(values) - 1))) if values else None  # of one seed it is 0
    return {f"{key}_mean": mean, f"{key}_std": spread}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
