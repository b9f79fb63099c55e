"""The runs of an experiment that are not done yet, side by side in processes or on a Dask cluster."""

from __future__ import annotations

import contextlib
import importlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from rnnlab.experiments.build import make_optimizer
from rnnlab.experiments.compare import _workers_born_deaf_to_ctrl_c
from rnnlab.experiments.config import ConfigError
from rnnlab.experiments.experiment import Run, identity
from rnnlab.experiments.problems import make_problem
from rnnlab.experiments.store import Store
from rnnlab.experiments.worker import LONG, Task, train

__all__ = ["WorkerError", "check", "missing", "sweep"]


class WorkerError(RuntimeError):
    """A worker process died; the store holds the runs that were done."""


def missing(runs: Sequence[Run], store: Store) -> list[Run]:
    """Return the runs that the store does not hold."""
    done = {(r["variant"], r["arm"], r["config"]) for r in store.records}
    return [run for run in runs if (run.variant, run.arm, identity(run.tables)) not in done]


def check(runs: Sequence[Run]) -> None:
    """Build what each variant and arm needs once, so that what is wrong shows before anything is run.

    Raises
    ------
    ConfigError, DataError, OSError
        A configuration cannot be used, or its data is malformed or not there.
    """
    seen: set[tuple[str, ...]] = set()
    for run in runs:
        where, config = f"{run.variant}, {run.arm}", run.config
        try:
            if (run.variant,) not in seen:
                if make_problem(config).valid is None:
                    raise ConfigError("[data] valid_share is missing: rates are chosen on validation data")
            if (run.variant, run.arm) not in seen:
                make_optimizer(config.optimizer, config.model["cell"])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        seen |= {(run.variant,), (run.variant, run.arm)}


def sweep(
    name: str,
    runs: Sequence[Run],
    store: Store,
    *,
    jobs: int = 1,
    backend: str = "numpy",
    dask: str | None = None,
    minutes: float | None = None,
    progress: Callable[[Iterator[Any], int], Iterator[Any]] = lambda records, total: records,
    long: float = LONG,
) -> int:
    """Do those runs that the store does not hold, and put each there as it ends.

    Parameters
    ----------
    name : str
        Of the experiment.
    runs : sequence of Run
    store : Store
    jobs : int
        How many processes work side by side; the numbers do not depend on it.
    backend : {"numpy", "cupy"}
    dask : str, optional
        The address of a Dask scheduler, such as ``"tcp://127.0.0.1:8786"``; its workers then do the runs. They need
        rnnlab and the data, and must see the store's folder under the same path, where long runs keep checkpoints.
    minutes : float, optional
        After so many minutes no run is started, and those that keep checkpoints are left for the next time.
    progress : callable, optional
        ``progress(records, total)`` wraps the iterator over the finished runs, as ``tqdm.tqdm`` does.
    long : float
        Seconds: a run that will take longer keeps checkpoints, and about as far apart.

    Returns
    -------
    int
        How many runs were done.

    Raises
    ------
    KeyboardInterrupt
        Of the user; the store holds the runs that were done.
    WorkerError
        A worker process died, such as for want of memory; the store holds the runs that were done.
    StoreError
        A run cannot be written.
    """
    import joblib  # imported here because it takes long

    left = missing(runs, store)
    deadline = None if minutes is None else time.time() + 60 * minutes
    tasks = (_task(name, run, store, backend, deadline, long) for run in left)
    in_time = (task for task in tasks if deadline is None or time.time() < deadline)
    work = train if jobs == 1 or dask is not None else _train_in_a_worker
    done = 0
    with _cluster(dask), _deaths_told():
        parallel = joblib.Parallel(
            n_jobs=-1 if dask else jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs"
        )
        with _workers_born_deaf_to_ctrl_c() if dask is None else contextlib.nullcontext():
            records = parallel(joblib.delayed(work)(task) for task in in_time)
        for record in progress(records, len(left)):
            if record is not None:
                store.append(record)
                store.forget(_folder_name(record["config"], backend))
                done += 1
    return done


def _task(name: str, run: Run, store: Store, backend: str, deadline: float | None, long: float) -> Task:
    folder = store.running(_folder_name(identity(run.tables), backend)).resolve()
    return Task(name, run, backend, str(folder), deadline, long)


def _folder_name(config: str, backend: str) -> str:
    return f"{config}-{backend}"


def _train_in_a_worker(task: Task) -> dict[str, Any] | None:
    """On Windows it is not inherited that Ctrl-C is left to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return train(task)


@contextlib.contextmanager
def _deaths_told() -> Iterator[None]:
    """Say in a line what joblib says in many."""
    try:
        yield
    except BrokenExecutor as error:
        raise WorkerError("a worker process died, perhaps for want of memory") from error


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Send what joblib does to a Dask cluster."""
    if address is None:
        yield
        return
    import joblib

    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ConfigError("--dask needs the package distributed: pip install 'rnnlab[dask]'") from None
    try:
        client = distributed.Client(address, timeout="5s")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"--dask {address}: no Dask scheduler answers there ({type(error).__name__})") from None
    with client, joblib.parallel_config(backend="dask"):
        yield
