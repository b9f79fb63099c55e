"""What all benchmarks share: sides that take turns, medians, equal thread counts, tables and JSON.

A *side* is one of the programs compared. It is a function ``make(*problem) -> (step, collect)`` in a module: ``step()``
does the work and returns when it is done, ``collect(step())`` is its result as a dict of NumPy arrays. Every side lives
in a process of its own, so that thread pools and memory allocators do not meet; the sides take turns, and a side that
is not on its turn waits at a pipe.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import KERNELS

__all__ = [
    "BenchmarkError",
    "Sides",
    "argument_parser",
    "differences",
    "format_table",
    "geometric_mean",
    "medians",
    "require",
    "run",
    "time_round",
    "timing",
    "turns",
    "write_json",
]

PAUSE = 0.05  # seconds between turns: thread pools spin for a while after their last work
MODULES = {"torch": "PyTorch", "jax": "JAX", "autograd": "autograd", "mygrad": "MyGrad", "numpy_ml": "numpy-ml"}


class BenchmarkError(Exception):
    """Ends a benchmark with one line on stderr and status 2: bad arguments, a missing peer, sides that disagree."""


def require(modules: Iterable[str]) -> None:
    """Raise `BenchmarkError` if a module cannot be found, naming the extra to install."""
    missing = [MODULES.get(name, name) for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchmarkError(f"not installed: {', '.join(missing)}; install with: pip install 'rnnlab[bench]'")


# ---------------------------------------------------------------------------------- pure functions


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """The order of the sides in each round: every other round runs backwards, so that nobody is always first.

    Examples
    --------
    >>> turns(["a", "b", "c"], 2)
    [['a', 'b', 'c'], ['c', 'b', 'a']]
    """
    return [list(names) if k % 2 == 0 else list(reversed(names)) for k in range(rounds)]


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """The median over the rounds, of each side.

    Examples
    --------
    >>> medians({"a": [1.0, 9.0, 2.0]})
    {'a': 2.0}
    """
    return {name: statistics.median(values) for name, values in times.items()}


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean that treats a ratio and its inverse alike.

    Examples
    --------
    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


def format_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, columns aligned to the right; numbers with three digits, None as a dash.

    Examples
    --------
    >>> print(format_table(["cell", "ms"], [["rnn", 1.23456], ["lstm", None]]))
    | cell |   ms |
    |-----:|-----:|
    |  rnn | 1.23 |
    | lstm |    - |
    """
    cells = [list(headers), *([_entry(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(headers))]
    lines = ["| " + " | ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _entry(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        digits = 2 - math.floor(math.log10(abs(value))) if value else 0
        return f"{value:.{min(max(digits, 0), 6)}f}"
    return str(value)


def differences(reference: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each array, relative to the largest entry of the reference's.

    Raises
    ------
    BenchmarkError
        The two do not have the same arrays of the same shapes.

    Examples
    --------
    >>> differences({"y": np.array([1.0, 2.0])}, {"y": np.array([1.0, 2.5])})
    {'y': 0.25}
    """
    shapes, others = ({name: np.shape(a) for name, a in arrays.items()} for arrays in (reference, other))
    if shapes != others:
        raise BenchmarkError(f"the sides do not return the same arrays: {shapes} and {others}")
    scales = {name: float(np.max(np.abs(a))) or 1.0 for name, a in reference.items()}
    return {name: float(np.max(np.abs(other[name] - a))) / scales[name] for name, a in reference.items()}


def time_round(step: Callable[[], Any], seconds: float, quantile: float = 0.5) -> float:
    """Run ``step`` once to warm up, then for ``seconds`` and at least twice; return a quantile of its times in ms.

    A step's result is held until the next one is there, as a training loop holds its gradients.
    """
    result = step()
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < stop:
        start = time.perf_counter()
        result = step()  # noqa: F841
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.quantile(times, quantile))


# --------------------------------------------------------------------------- sides in processes


@contextmanager
def _environment(threads: int) -> Any:
    """Set what thread pools read when they are loaded, for the processes started inside."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")
    new = dict.fromkeys(names, str(threads))
    new["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    new["JAX_PLATFORMS"] = "cpu"
    old = {name: os.environ.get(name) for name in (*new, *KERNELS)}
    if kept := [name for name in KERNELS if os.environ.pop(name, None) is not None]:
        print(f"not handed on, so that every library chooses its own kernels: {', '.join(kept)}", file=sys.stderr)
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _limit_threads(threads: int) -> None:
    """Hold this process to so many cores and so many threads, whatever its libraries read of the environment."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if importlib.util.find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _serve(connection: Any, make: Callable[..., Any], threads: int) -> None:
    """The life of a side: answer requests until the pipe is closed."""
    step: Any = None
    collect: Any = None
    while True:
        try:
            request, *arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = None
            if request == "load":
                step = collect = None  # free the last problem before the next
                _limit_threads(threads)
                step, collect = make(*arguments)
                _limit_threads(threads)
            elif request == "result":
                answer = collect(step())
            else:
                answer = time_round(step, *arguments)
            connection.send((answer, None))
        except Exception as error:
            connection.send((None, f"{type(error).__name__}: {error}".splitlines()[0]))


class Sides:
    """Sides by name, each in its own process, as a context manager.

    Parameters
    ----------
    makers : dict
        Name -> ``make``, a function at the top level of a module.
    threads : int
        Of each side.
    """

    def __init__(self, makers: dict[str, Callable[..., Any]], threads: int) -> None:
        self.makers = makers
        self.threads = threads

    def __enter__(self) -> Sides:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = {}, []
        with _environment(self.threads):
            for name, make in self.makers.items():
                self.pipes[name], theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, make, self.threads), daemon=True)
                process.start()
                theirs.close()
                self.processes.append(process)
        return self

    def __exit__(self, *_: Any) -> None:
        for pipe in self.pipes.values():
            pipe.close()
        for process in self.processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def ask(self, name: str, *request: Any) -> Any:
        """Send one side a request and wait for the answer."""
        try:
            self.pipes[name].send(request)
            answer, error = self.pipes[name].recv()
        except (EOFError, BrokenPipeError):
            raise BenchmarkError(f"the process of {name} ended while it was asked to {request[0]}") from None
        if error:
            raise BenchmarkError(f"{name} failed in {request[0]}: {error}")
        return answer

    def load(self, *problem: Any) -> None:
        """Give every side the problem."""
        for name in self.makers:
            self.ask(name, "load", *problem)

    def check(self, names: Sequence[str], tolerance: float) -> float:
        """Compare the results of ``names`` with the first's; return the largest relative difference."""
        reference = self.ask(names[0], "result")
        worst = 0.0
        for name in names[1:]:
            for array, difference in differences(reference, self.ask(name, "result")).items():
                if not difference <= tolerance:
                    raise BenchmarkError(f"{array} of {name} and {names[0]} differ by {difference:.1e} of its largest")
                worst = max(worst, difference)
        return worst

    def time(self, rounds: int, seconds: float, quantile: float = 0.5) -> dict[str, float]:
        """Let the sides take turns; return the median over the rounds of each, in ms. See `time_round`."""
        times: dict[str, list[float]] = {name: [] for name in self.makers}
        for order in turns(list(self.makers), rounds):
            for name in order:
                time.sleep(PAUSE)
                times[name].append(self.ask(name, "time", seconds, quantile))
        return medians(times)


# ------------------------------------------------------------------------------ command lines


def positive(text: str) -> int:
    """A positive integer, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be positive; got {value}")
    return value


def output_path(text: str) -> str:
    """A path in a folder that exists, for argparse: better known before the figures are measured."""
    if not Path(text).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return text


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> Any:
        """Raise `BenchmarkError`."""
        raise BenchmarkError(message)


def argument_parser(name: str, description: str | None, rounds: int = 7) -> Parser:
    """A parser with the arguments that all benchmarks take."""
    parser = Parser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", type=output_path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--threads", type=positive, default=2, help="of every side (default 2)")
    parser.add_argument("--rounds", type=positive, default=rounds, help=f"each side's turns (default {rounds})")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a turn (default 0.2)")
    help = "which quantile of the times in a turn stands for it (default 0.5; less where other programs run too)"
    parser.add_argument("--quantile", type=float, default=0.5, help=help)
    return parser


def timing(options: argparse.Namespace) -> tuple[int, float, float]:
    """What `Sides.time` wants of the parsed arguments."""
    return options.rounds, options.seconds, options.quantile


def write_json(path: str | None, records: list[dict[str, Any]]) -> None:
    """Write a list of records, if there is a path."""
    if path:
        try:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(records, file, indent=1)
                file.write("\n")
        except OSError as error:
            raise BenchmarkError(f"cannot write {path}: {error.strerror}") from None


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Call ``main(argv)``; return the exit status, 2 with one line on stderr for a `BenchmarkError`."""
    try:
        main(argv)
    except BenchmarkError as error:
        spec = sys.modules[main.__module__].__spec__  # knows the name of a module that runs as __main__
        print(f"{spec.name.rpartition('.')[2] if spec else main.__module__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
