"""What `rnnlab.optim.project_spectral_norm` adds to a training step, against a full SVD at every step.

A GRU language model (N=20, T=35, D=H, float32) reads Shakespeare and learns by stochastic gradient descent: by words,
with a softmax over 10,000 of them, and by characters, which makes a training step two to eight times cheaper and so
the projection's share of it larger. Three cases:

free     the limit is half as much again as the norm of the candidate block after some steps: nothing to clip
binding  the limit is its fifth singular value after some steps: a few values are clipped at every step
crowded  every singular value starts at the limit, and most stay within a percent of it: the hardest case

Projection and training step are timed in the same steps, and both times are means: what is rare must count. With
``--backend cupy`` the step is captured as a graph, which makes it cheaper and the projection's share larger.
Threads are as the environment says: ``OPENBLAS_NUM_THREADS=2 python -m benchmarks.projection``.
"""

from __future__ import annotations

import itertools
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import rnnlab as rl
import rnnlab.data
from benchmarks import harness
from rnnlab.capture import capture
from rnnlab.kernels import on_device
from rnnlab.optim.spectral import clip_singular_values

SIZES = [200, 650, 1500]
TEXTS = ["words", "characters"]
WORDS = 10_000  # the most frequent; the rarest of them stands for all others
N, T, LEARNING_RATE = 20, 35, 1.0
MAX_GRADIENT = 1.0  # norm; larger ones, as with H = 1500, are clipped
WARM_UP = 30  # steps before the limit is set, so that the spectrum is that of a training
SETTLE = 3  # steps not timed after it: the first has to decompose, nothing being known yet
FULL = 3  # of the steps that are timed also with a full SVD
ROOM, BOUND = 1.5, 5  # times the norm in the free case; which singular value is the limit in the binding one


class Training(NamedTuple):
    """A model, its parameters, and the batches to come."""

    model: Any
    params: Any
    batches: Iterator[Any]
    gradients: Any  # of the model, captured on a GPU


def tokens(kind: str) -> tuple[np.ndarray, int]:
    """Return the text as numbers, by words or by characters, and how many different ones there are."""
    text = rnnlab.data.shakespeare()
    if kind == "characters":
        vocabulary = rnnlab.data.Vocabulary(text)
        return vocabulary.encode(text), len(vocabulary)
    words = np.array(re.findall(r"\w+|[^\w\s]|\n", text))
    _, which, counts = np.unique(words, return_inverse=True, return_counts=True)
    ranks = np.argsort(np.argsort(-counts, kind="stable"))
    return np.minimum(ranks[which], WORDS - 1), WORDS


def training(kind: str, H: int, backend: str = "numpy") -> Training:
    """Return a training that has not begun: ``weight_hh`` is orthogonal, block by block."""
    numbers, V = tokens(kind)
    streams = rnnlab.data.streams(numbers, N)
    model = rl.models.LanguageModel(V, H, rl.GRU(H, H))
    params = model.init(np.random.default_rng(0), np.float32)
    windows = itertools.chain.from_iterable(rnnlab.data.windows(streams, T) for _ in range(99))
    batches = (rl.to_backend(window, backend) for window in windows if len(window[0]) == T)
    return Training(model, rl.to_backend(params, backend), batches, capture(model.loss_and_grads))


def descend(training: Training) -> Training:
    """One training step, without projection."""
    _, grads, _ = training.gradients(training.params, next(training.batches))
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(MAX_GRADIENT), rl.optim.sgd(LEARNING_RATE))
    params, _ = optimizer.step(training.params, grads, optimizer.init(training.params))
    return training._replace(params=params)


def wait(tree: Any) -> None:
    """Let the GPU come to the end of what it has to do, if there is one of its arrays in a tree."""
    arrays = [leaf for _, leaf in rl.backend.tree_items(tree) if hasattr(leaf, "dtype")]
    libraries = [rl.backend.library_of(a, "array") for a in arrays]
    for xp in libraries:
        if on_device(xp):
            xp.cuda.get_current_stream().synchronize()
            return


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return milliseconds and the result, when a GPU has it."""
    wait(arguments)
    start = time.perf_counter()
    result = function(*arguments)
    wait(result)
    return 1e3 * (time.perf_counter() - start), result


def measure(now: Training, max_norm: float, steps: int) -> dict[str, Any]:
    """Train on with the projection; return the times, in how many steps it clipped, and how many values at the end."""
    H = now.model.recurrent.hidden_size
    projection = rl.optim.project_spectral_norm(max_norm, only="weight_hn")
    flat = {"weight_hh": now.params["recurrent"]["weight_hh"]}
    state, times, trains, full, clipped, bound = projection.init(flat), [], [], [], [], 0
    for k in range(SETTLE + steps):
        train, now = timed(descend, now)
        recurrent = now.params["recurrent"]
        before = rl.to_numpy(recurrent["weight_hh"][2 * H :].copy())
        cost, (flat, state) = timed(projection.project, {"weight_hh": recurrent["weight_hh"]}, state)
        recurrent["weight_hh"] = flat["weight_hh"]
        after = rl.to_numpy(flat["weight_hh"])[2 * H :]
        if k >= SETTLE:
            trains.append(train)
            times.append(cost)
            bound += not np.array_equal(before, after)
        if k >= SETTLE + steps - FULL:
            cost, (expected, _) = timed(clip_singular_values, before, max_norm)
            full.append(cost)
            clipped.append(int((np.linalg.svd(before, compute_uv=False) > max_norm).sum()))
            error = np.linalg.norm(after - expected) / np.linalg.norm(expected)
            if not error <= 1e-6:
                raise harness.BenchmarkError(f"the projection and the full SVD differ by {error:.1e} at H={H}")
    step, projected = statistics.fmean(trains), statistics.fmean(times)
    return {
        "H": H,
        "max_norm": max_norm,
        "bound_in": f"{bound}/{steps}",
        "clipped": statistics.median(clipped),
        "step_ms": step,
        "projection_ms": projected,
        "full_svd_ms": statistics.median(full),
        "share": projected / step,
    }


def cases(kind: str, H: int, steps: int, backend: str = "numpy") -> Iterator[dict[str, Any]]:
    """Measure the three cases at one size."""
    start = training(kind, H, backend)
    warm = start
    for _ in range(WARM_UP):
        warm = descend(warm)
    values = np.linalg.svd(rl.to_numpy(warm.params["recurrent"]["weight_hh"])[2 * H :], compute_uv=False)
    yield {"text": kind, "case": "free", **measure(warm, ROOM * float(values[0]), steps)}
    yield {"text": kind, "case": "binding", **measure(warm, float(values[BOUND - 1]), steps)}
    yield {"text": kind, "case": "crowded", **measure(start, 1.0, steps)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the figures."""
    parser = harness.Parser(prog="python -m benchmarks.projection", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=harness.output_path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--sizes", type=harness.positive, nargs="+", default=SIZES, metavar="H")
    parser.add_argument("--texts", choices=TEXTS, nargs="+", default=TEXTS)
    parser.add_argument("--steps", type=harness.positive, default=20, help="timed in each case (default 20)")
    parser.add_argument("--backend", choices=rl.backend.BACKENDS, default="numpy", help="default numpy")
    options = parser.parse_args(argv)
    try:
        rl.to_backend((), options.backend)
    except rl.BackendError as error:
        raise harness.BenchmarkError(str(error)) from None
    steps = max(options.steps, FULL)
    records = [
        record for kind in options.texts for H in options.sizes for record in cases(kind, H, steps, options.backend)
    ]
    rows = [[*(r[key] for key in HEADERS), f"{r['share']:.1%}"] for r in records]
    print(harness.format_table([*HEADERS, "share of the step"], rows))
    harness.write_json(options.json, records)


HEADERS = ["text", "case", "H", "bound_in", "clipped", "step_ms", "projection_ms", "full_svd_ms"]

if __name__ == "__main__":
    sys.exit(harness.run(main))
