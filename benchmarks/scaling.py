"""Time and peak memory of one training step (forward + backward, float32) against T, N and H, and against PyTorch.

Memory is the peak of the resident set (RSS) above what the process holds once the libraries are loaded, a tiny layer
has run a step, and the inputs and parameters exist. Each figure comes from a fresh process, because the peak of a
process never falls. Linux counts in portions: differences below a quarter of a MiB (2**20 bytes) mean nothing.

Times are taken with the C library told to keep what is freed: sizes that take turns in one process would otherwise pay
for fresh pages at every turn, up to twice the step itself at 500 MiB on a virtual machine, which a training loop with
its one size does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import KERNELS

__all__ = ["BenchmarkError", "Shape", "main", "measure", "memory", "peak_bytes", "plan", "times"]

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CHUNK = 2**16  # bytes
MIB = 2**20
RESOLUTION = 0.25  # MiB
KEEP_FREED = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**40))  # of glibc


class BenchmarkError(Exception):
    """The benchmark cannot be run; the message is one line."""


class Shape(NamedTuple):
    """Sequences, steps, inputs and hidden units."""

    N: int
    T: int
    D: int
    H: int


SHAPES = [
    Shape(1, 25, 64, 100),
    Shape(20, 35, 200, 200),
    Shape(20, 35, 650, 650),
    Shape(64, 100, 32, 128),
    Shape(128, 50, 128, 256),
    Shape(32, 784, 1, 128),
]
LENGTHS = (100, 200, 500, 1000, 2000, 5000, 10_000)


def plan(quick: bool) -> dict[str, list[Shape]]:
    """Return name -> shapes of each sweep; those of "shapes" are also run in PyTorch.

    Examples
    --------
    >>> plan(quick=False)["T"][-1]
    Shape(N=20, T=10000, D=100, H=100)
    """
    if quick:
        return {
            "T": [Shape(2, T, 4, 8) for T in (10, 20, 40)],
            "N": [Shape(N, 10, 4, 8) for N in (1, 4)],
            "H": [Shape(2, 10, 4, H) for H in (4, 16)],
            "shapes": [Shape(1, 25, 64, 100), Shape(20, 35, 200, 200)],
        }
    return {
        "T": [Shape(20, T, 100, 100) for T in LENGTHS],
        "N": [Shape(N, 100, 100, 100) for N in (1, 4, 16, 64, 256)],
        "H": [Shape(20, 100, 100, H) for H in (32, 64, 128, 256, 512, 1024)],
        "shapes": SHAPES,
    }


# ------------------------------------------------------------------------------------- one step


def rnnlab_step(cell: str, shape: Shape, threads: int) -> Callable[[], Any]:
    """Return a function that runs one training step in rnnlab and returns all that it gives."""
    import numpy as np

    import rnnlab as rl

    N, T, D, H = shape
    rng = np.random.default_rng(0)
    layer = getattr(rl, cell)(D, H)
    params = layer.init(rng, dtype=np.float32)
    x = rng.standard_normal((T, N, D), dtype=np.float32)
    dy = rng.standard_normal((T, N, H), dtype=np.float32)

    def step() -> Any:
        y, state, tape = layer.forward(params, x)
        return y, state, layer.backward(params, tape, dy)

    return step


def torch_step(cell: str, shape: Shape, threads: int) -> Callable[[], Any]:
    """Return the same for PyTorch, which keeps the gradients in the parameters and in x."""
    import torch

    torch.set_num_threads(threads)
    N, T, D, H = shape
    layer = getattr(torch.nn, cell)(D, H)
    x = torch.randn(T, N, D, requires_grad=True)
    dy = torch.randn(T, N, H)

    def step() -> Any:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        y, state = layer(x)
        y.backward(dy)
        return y, state

    return step


STEPS = {"rnnlab": rnnlab_step, "torch": torch_step}


# --------------------------------------------------------- what runs in a process of its own


def peak_bytes() -> int:
    """Return the largest resident set this process has had so far.

    Raises
    ------
    BenchmarkError
        Neither the module resource (Linux, macOS) nor psutil (Windows) tells.
    """
    if importlib.util.find_spec("resource"):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    if importlib.util.find_spec("psutil"):
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    raise BenchmarkError("peak memory needs Linux, macOS, or Windows with psutil (pip install psutil)")


def fill_to_peak() -> list[bytes]:
    """Take memory until the resident set reaches its peak so far, from where on the peak shows every byte.

    Importing and preparing inputs need more than they leave, and on Linux a process starts with its parent's peak.
    Without this, a step could hide in that gap.
    """
    before, ballast = peak_bytes(), []
    while peak_bytes() == before:
        ballast.append(b"\1" * CHUNK)
        if len(ballast) * CHUNK > 2**32:
            raise BenchmarkError("peak memory cannot be measured: it does not grow with what is in use")
    return ballast


def memory(side: str, cell: str, shape: Shape, threads: int) -> int:
    """Return the bytes that one training step needs at its peak; call it once in a process.

    Parameters
    ----------
    side : {"rnnlab", "torch"}
    cell : {"RNN", "GRU", "LSTM"}
    shape : Shape
    threads : int
        PyTorch's; NumPy's come from the environment.
    """
    STEPS[side](cell, Shape(2, 3, 4, 4), threads)()  # what a library sets up at its first step is not the step's
    step = STEPS[side](cell, shape, threads)
    ballast = fill_to_peak()
    before = peak_bytes()
    result = step()
    needed = peak_bytes() - before
    del ballast, result
    return needed


def times(cell: str, shapes: list[Shape], threads: int, rounds: int) -> list[float]:
    """Return the seconds of rnnlab's step at each shape: medians over rounds that take the shapes in turn."""
    steps = [rnnlab_step(cell, shape, threads) for shape in shapes]
    repeats = [max(1, round(0.1 / _seconds(step, 1))) for step in steps]
    taken = [[_seconds(*pair) for pair in zip(steps, repeats, strict=True)] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def _seconds(step: Callable[[], Any], repeats: int) -> float:
    """Return the mean seconds of a step, one more having run before."""
    step()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def child(task: str) -> None:
    """Do the task, a function's name and its arguments as JSON, and print its result as JSON."""
    name, *arguments = json.loads(task)
    if name == "memory":
        side, cell, shape, threads = arguments
        print(json.dumps(memory(side, cell, Shape(*shape), threads)))
    else:
        cell, shapes, threads, rounds = arguments
        print(json.dumps(times(cell, [Shape(*shape) for shape in shapes], threads, rounds)))


def in_fresh_process(threads: int, name: str, *arguments: Any) -> Any:
    """Return what ``name(*arguments)`` gives in a process of its own, with so many threads.

    Raises
    ------
    BenchmarkError
        The process failed; the message is the last line it wrote.
    """
    code = "import sys; from benchmarks import scaling; scaling.child(sys.argv[1])"
    inherited = {name: value for name, value in os.environ.items() if name not in KERNELS}
    environment = {**inherited, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    environment |= KEEP_FREED if name == "times" else {}
    command = [sys.executable, "-c", code, json.dumps([name, *arguments])]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"ended with status {done.returncode}").splitlines()[-1]
        raise BenchmarkError(f"{name}{tuple(arguments)}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------- the rows


def memory_mib(sides: list[str], cell: str, shape: Shape, threads: int) -> dict[str, float | None]:
    """Return the MiB of a step of each side, and of rnnlab's tape by its own formula."""
    import rnnlab as rl

    mib = {side: in_fresh_process(threads, "memory", side, cell, shape, threads) / MIB for side in sides}
    tape = 4 * getattr(rl, cell)(shape.D, shape.H).tape_size(shape.T, shape.N) / MIB
    return {"rnnlab_mib": mib["rnnlab"], "tape_mib": tape, "torch_mib": mib.get("torch")}


def measure(
    cells: list[str], threads: int, rounds: int, quick: bool, with_torch: bool
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one sweep after the other.

    Parameters
    ----------
    cells : list of str
    threads, rounds : int
    quick : bool
        Tiny shapes, to see that it runs.
    with_torch : bool
        Whether PyTorch's memory is measured at the shapes of the sweep "shapes".

    Yields
    ------
    list of dict
        ``sweep, cell, N, T, D, H, threads, rnnlab_ms, rnnlab_mib, tape_mib, torch_mib``; and ``us_per_step``, of time
        steps, with ``relative_to_median``, its ratio to the sweep's median. What was not measured is None.
    """
    for cell in cells:
        for sweep, shapes in plan(quick).items():
            seconds = in_fresh_process(threads, "times", cell, shapes, threads, rounds)
            middle = statistics.median(s / shape.T for s, shape in zip(seconds, shapes, strict=True))
            sides = ["rnnlab", "torch"] if with_torch and sweep == "shapes" else ["rnnlab"]
            rows = []
            for shape, s in zip(shapes, seconds, strict=True):
                row = {"sweep": sweep, "cell": cell, **shape._asdict(), "threads": threads}
                row |= {"rnnlab_ms": 1e3 * s, "us_per_step": 1e6 * s / shape.T}
                row |= {"relative_to_median": s / shape.T / middle, **memory_mib(sides, cell, shape, threads)}
                rows.append(row)
            yield rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return one sweep as text."""
    heads = ["N", "T", "D", "H", "ms", "us per t", "MiB", "of it tape"]
    linear, against = rows[0]["sweep"] == "T", rows[0]["torch_mib"] is not None
    heads += ["us per t / median"] * linear + ["torch MiB", "torch / rnnlab"] * against
    lines = [f"{rows[0]['cell']} against {rows[0]['sweep']}", "  ".join(f"{head:>10}" for head in heads)]
    for row in rows:
        cells = [str(row[key]) for key in "NTDH"]
        cells += [f"{row['rnnlab_ms']:.2f}", f"{row['us_per_step']:.1f}"]
        cells += [f"{row['rnnlab_mib']:.2f}", f"{row['tape_mib']:.2f}"]
        cells += [f"{row['relative_to_median']:.3f}"] * linear
        if against:
            cells += [f"{row['torch_mib']:.2f}", f"{row['torch_mib'] / max(row['rnnlab_mib'], RESOLUTION):.2f}"]
        lines.append("  ".join(f"{c:>{max(10, len(head))}}" for c, head in zip(cells, heads, strict=True)))
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------- command line


def positive(text: str) -> int:
    """Return a positive integer from the command line."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer; got {text!r}")
    return number


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise BenchmarkError(message)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the arguments.

    Raises
    ------
    BenchmarkError
        One of them cannot be used, or PyTorch is missing.
    """
    parser = _Parser(prog="python -m benchmarks.scaling", description=__doc__, allow_abbrev=False)
    parser.add_argument("--cell", choices=("RNN", "GRU", "LSTM", "all"), default="LSTM")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--threads", type=positive, default=2, help="of the products (default 2)")
    parser.add_argument("--rounds", type=positive, default=7, help="a time is the median over them (default 7)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--without-torch", action="store_true", help="measure rnnlab alone")
    args = parser.parse_args(arguments)
    if args.json and (args.json.is_dir() or not args.json.resolve().parent.is_dir()):
        raise BenchmarkError(f"argument --json: cannot write {args.json}")
    if not args.without_torch and importlib.util.find_spec("torch") is None:
        raise BenchmarkError("PyTorch is missing: pip install 'rnnlab[bench]', or give --without-torch")
    return args


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 0, or 2 after a line on stderr."""
    try:
        args = parse(arguments)
        peak_bytes()
        cells = ["RNN", "GRU", "LSTM"] if args.cell == "all" else [args.cell]
        rows = []
        for part in measure(cells, args.threads, args.rounds, args.quick, not args.without_torch):
            print(table(part), flush=True)
            rows += part
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
    except (BenchmarkError, OSError) as error:
        print(f"benchmarks.scaling: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
