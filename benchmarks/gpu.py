"""One layer's forward and backward, and a whole training step, on a GPU: against PyTorch's cuDNN and our own NumPy.

float32 in full precision on both sides (no TF32), and one line a cell with TF32 on both sides. What both compute is
compared before anything is timed. Times are medians over rounds of a device's own events, after a warm-up, the sides
taking turns; a round is as many steps as fit into ``--seconds``. ``--threads`` does nothing here.

- "kernels": this package as it runs by itself, launched from Python; "graph": the same captured by `rnnlab.capture`.
- "launches": of our step the nodes of its CUDA graph, of PyTorch's the kernels and copies that its profiler sees.
- "on device": the device's time for one graph on its own, over a step's time by the host's clock, which also counts
  the copies of the arguments and Python.
- "TFLOP/s": 6 T N G H (D + H) floating-point operations, those of the matrix products, over the time of the step;
  "products": the same for a graph of the matrix products alone, which no implementation with this cuBLAS can beat.
- The training step is a classifier of 10 classes: loss, gradients, clipping by global norm, stochastic gradient
  descent. Loss and gradients are captured, the optimizer is not.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rnnlab as rl
from benchmarks import cells, harness
from rnnlab.backend import BackendError
from rnnlab.capture import capture
from rnnlab.kernels import product

SHAPES = [(20, 35, 650, 650), (64, 100, 256, 512), (128, 50, 512, 1024), (64, 784, 1, 256)]
CLASSES, LEARNING_RATE, MAX_NORM = 10, 0.1, 0.25
TOLERANCE, WARM_UP = 5e-4, 3

Step = Callable[[], Any]


def device() -> Any:
    """CuPy and PyTorch on a GPU, or `BenchmarkError`."""
    os.environ["CUPY_TF32"] = "0"  # CuPy reads it once
    try:
        rl.to_backend(np.zeros(1), "cupy")
    except BackendError as error:
        raise harness.BenchmarkError(str(error)) from None
    harness.require(["torch"])
    import cupy
    import torch

    if not torch.cuda.is_available():
        raise harness.BenchmarkError("PyTorch finds no GPU; install its CUDA version")
    return cupy, torch


def to_gpu(tree: Any) -> Any:
    """The tree on the GPU."""
    return rl.to_backend(tree, "cupy")


def operations(cell: str, N: int, T: int, D: int, H: int) -> int:
    """Floating-point operations of a step's matrix products: 2 forward and 4 backward for each weight.

    Examples
    --------
    >>> operations("lstm", 1, 1, 1, 1)
    48
    """
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    return 6 * T * N * gates * H * (D + H)


# ---------------------------------------------------------------------------------- our side


def layer_step(move: Callable[[Any], Any], cell: str, N: int, T: int, D: int, H: int) -> tuple[Any, Any]:
    """The layer's forward and backward as a function of arrays, and the arrays."""
    layer, arrays = cells.LAYERS[cell](D, H), tuple(move(cells.problem(cell, N, T, D, H)))

    def step(params: Any, x: Any, dy: Any) -> Any:
        y, _, tape = layer.forward(params, x)
        dx, _, grads = layer.backward(params, tape, dy)
        return {"y": y, "dx": dx, **grads}

    return step, arrays


def products_step(cupy: Any, cell: str, N: int, T: int, D: int, H: int) -> tuple[Any, Any]:
    """The step's matrix products and nothing else."""
    params, x, dy = rl.to_backend(cells.problem(cell, N, T, D, H), "cupy")
    GH = len(params["weight_hh"])
    da, a = cupy.ones((GH, N), "f"), cupy.empty((T, GH, N), "f")
    das, dh, room = cupy.ones((GH, T * N), "f"), cupy.empty((H, N), "f"), cupy.empty((GH, N), "f")

    def step(W_ih: Any, W_hh: Any, x: Any, h: Any) -> Any:
        product(cupy, W_ih, x.transpose(0, 2, 1), a)
        for _ in range(T):
            product(cupy, W_hh, dh, room)
            product(cupy, W_hh.T, da, dh)
        rows = x.reshape(T * N, D)
        return product(cupy, das, rows), product(cupy, das, h.reshape(T * N, H)), product(cupy, das.T, W_ih)

    return step, (params["weight_ih"], params["weight_hh"], x, dy)


def training_problem(cell: str, N: int, T: int, D: int, H: int) -> tuple[Any, Any, Any]:
    """The classifier, its parameters, and a batch."""
    rng = np.random.default_rng([H, D])
    arrays, x, _ = cells.problem(cell, N, T, D, H)
    model = rl.models.SequenceClassifier(cells.LAYERS[cell](D, H), CLASSES)
    params = {**model.init(rng, np.float32), "recurrent": arrays}
    return model, params, (x, rng.integers(0, CLASSES, N), None)


def our_training(move: Callable[[Any], Any], captured: bool, *spec: Any) -> Step:
    """A training step of ours; returns the loss."""
    model, params, batch = training_problem(*spec)
    params, batch = move(params), move(batch)
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(MAX_NORM), rl.optim.sgd(LEARNING_RATE))
    opt_state = optimizer.init(params)
    gradients = capture(model.loss_and_grads) if captured else model.loss_and_grads

    def step() -> Any:
        nonlocal params, opt_state
        loss, grads, _ = gradients(params, batch)
        params, opt_state = optimizer.step(params, grads, opt_state)
        return loss

    return step


# --------------------------------------------------------------------------------- PyTorch's


def torch_step(torch: Any, *spec: Any) -> Step:
    """cuDNN's layer forward and backward."""
    arrays, *data = cells.problem(*spec)
    x, dy = (torch.from_numpy(a).cuda() for a in data)
    x.requires_grad_()
    net = cells.torch_layer(torch, spec[0], arrays).cuda()
    params = list(net.parameters())

    def step() -> Any:
        y, _ = net(x)
        return y, *torch.autograd.grad(y, [x, *params], dy)

    return step


def torch_arrays(result: Any, cell: str, H: int) -> dict[str, np.ndarray]:
    """Its result under our names."""
    y, dx, weight_ih, weight_hh, bias, bias_hh = (a.detach().cpu().numpy() for a in result)
    named = {"y": y, "dx": dx, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias}
    return {**named, "bias_hn": bias_hh[2 * H :]} if cell == "gru" else named


def torch_training(torch: Any, *spec: Any) -> Step:
    """The same training step in PyTorch."""
    _, params, (x, labels, _) = training_problem(*spec)
    net = cells.torch_layer(torch, spec[0], params["recurrent"]).cuda()
    output = torch.nn.Linear(spec[-1], CLASSES).cuda()
    with torch.no_grad():
        output.weight.copy_(torch.from_numpy(params["output"]["weight"]))
        output.bias.copy_(torch.from_numpy(params["output"]["bias"]))
    x, labels = torch.from_numpy(x).cuda(), torch.from_numpy(labels).cuda()
    cell, H = spec[0], spec[-1]
    net.bias_hh_l0.requires_grad_(cell == "gru")  # the one bias too many: learnt, it would count twice
    if cell == "gru":
        net.bias_hh_l0.register_hook(lambda g: torch.cat([torch.zeros_like(g[: 2 * H]), g[2 * H :]]))
    weights = [p for part in (net, output) for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=LEARNING_RATE)

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(output(net(x)[0][-1]), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, MAX_NORM)
        optimizer.step()
        return loss.detach()

    return step


# ------------------------------------------------------------------------------------- timing


def events_of(module: Any) -> tuple[Callable[[], Any], Callable[[Any, Any], float]]:
    """How CuPy or PyTorch makes an event now, and how many ms lie between two."""
    if module.__name__ == "cupy":
        make, between = module.cuda.Event, module.cuda.get_elapsed_time
    else:
        make, between = lambda: module.cuda.Event(enable_timing=True), lambda start, stop: start.elapsed_time(stop)

    def record() -> Any:
        event = make()
        event.record()
        return event

    return record, between


def time_steps(module: Any, step: Step, seconds: float) -> tuple[float, float]:
    """One round: the mean ms of a step by device events, and by the host's clock."""
    record, between = events_of(module)
    for _ in range(WARM_UP):
        step()
    record().synchronize()
    start = time.perf_counter()
    step()
    record().synchronize()
    count = max(1, int(seconds / (time.perf_counter() - start)))
    begin, first = time.perf_counter(), record()
    for _ in range(count):
        step()
    last = record()
    last.synchronize()
    return between(first, last) / count, 1e3 * (time.perf_counter() - begin) / count


def time_sides(sides: dict[str, tuple[Any, Step]], rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Let the sides take turns; the median over the rounds of each, by device and by clock."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for order in harness.turns(list(sides), rounds):
        for name in order:
            times[name].append(time_steps(*sides[name], seconds))
    return {name: tuple(float(np.median([t[k] for t in ts])) for k in (0, 1)) for name, ts in times.items()}  # type: ignore[misc]


def graph_time(cupy: Any, captured: Any, repeats: int = 21) -> float:
    """How many ms the device takes for the graph alone: the median of single launches on an idle device."""
    record, between = events_of(cupy)
    times = []
    for _ in range(repeats):
        record().synchronize()
        start = record()
        captured.graph.launch()
        stop = record()
        stop.synchronize()
        times.append(between(start, stop))
    return float(np.median(times))


def graph_launches(captured: Any) -> int:
    """How many nodes the graph of a captured step has."""
    count = ctypes.c_size_t()
    status = ctypes.CDLL("libcuda.so.1").cuGraphGetNodes(
        ctypes.c_void_p(captured.graph.graph), None, ctypes.byref(count)
    )
    if status:
        raise harness.BenchmarkError(f"cuGraphGetNodes failed with status {status}")
    return count.value


def torch_launches(torch: Any, step: Step) -> int:
    """How many kernels, copies and fills PyTorch's profiler sees in a step."""
    step()
    torch.cuda.synchronize()
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


# -------------------------------------------------------------------------------- measurements


def set_tf32(torch: Any, on: bool) -> None:
    """TF32 on both sides: PyTorch's switches, and what `rnnlab.capture` reads."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    os.environ["CUPY_TF32"] = str(int(on))


def measure(modules: Any, cell: str, shape: Sequence[int], tf32: bool, options: Any) -> dict[str, Any]:
    """Check and time one cell at one shape; return its record."""
    cupy, torch = modules
    set_tf32(torch, tf32)
    spec: tuple[Any, ...] = (cell, *shape)
    ours, arrays = layer_step(to_gpu, *spec)
    graph, theirs = capture(ours), torch_step(torch, *spec)
    check(ours(*arrays), torch_arrays(theirs(), cell, shape[-1]), "kernels", tf32)
    check(graph(*arrays), torch_arrays(theirs(), cell, shape[-1]), "graph", tf32)
    step, parts = products_step(cupy, *spec)
    limit = capture(step)
    sides: dict[str, tuple[Any, Step]] = {
        "graph": (cupy, lambda: graph(*arrays)),
        "cudnn": (torch, theirs),
        "products": (cupy, lambda: limit(*parts)),
    }
    if not tf32:  # CuPy reads its switch once, so that only what is captured follows it
        sides["kernels"] = cupy, lambda: ours(*arrays)
    times = time_sides(sides, options.rounds, options.seconds)
    flop = operations(*spec) / 1e9  # over ms: TFLOP/s
    return {
        "cell": cell,
        **dict(zip("NTDH", shape, strict=True)),
        "tf32": tf32,
        "numpy_ms": None if tf32 else numpy_time(spec, options.seconds),
        "kernels_ms": times["kernels"][0] if "kernels" in times else None,
        "graph_ms": times["graph"][0],
        "cudnn_ms": times["cudnn"][0],
        "on_device": graph_time(cupy, graph) / times["graph"][1],
        "launches": graph_launches(graph),
        "cudnn_launches": torch_launches(torch, theirs),
        "tflops": flop / times["graph"][0],
        "cudnn_tflops": flop / times["cudnn"][0],
        "products_tflops": flop / times["products"][0],
    }


def numpy_time(spec: Sequence[Any], seconds: float) -> float:
    """The same layer on the CPU, in ms."""
    step, arrays = layer_step(lambda tree: tree, *spec)
    return harness.time_round(lambda: step(*arrays), seconds)


def check(ours: dict[str, Any], theirs: dict[str, np.ndarray], side: str, tf32: bool) -> None:
    """Compare the gradients, to what a 10-bit mantissa allows with TF32."""
    for name, difference in harness.differences(theirs, rl.to_backend(ours, "numpy")).items():
        if not difference <= (3e-2 if tf32 else TOLERANCE):
            raise harness.BenchmarkError(f"{name} of {side} and cuDNN differ by {difference:.1e} of its largest")


def measure_training(modules: Any, cell: str, shape: Sequence[int], options: Any) -> dict[str, Any]:
    """Check and time a training step; return its record."""
    cupy, torch = modules
    set_tf32(torch, False)
    spec: tuple[Any, ...] = (cell, *shape)
    sides: dict[str, tuple[Any, Step]] = {
        "kernels": (cupy, our_training(to_gpu, False, *spec)),
        "graph": (cupy, our_training(to_gpu, True, *spec)),
        "cudnn": (torch, torch_training(torch, *spec)),
    }
    losses = {name: [float(step()) for _ in range(5)] for name, (_, step) in sides.items()}
    for name in ("kernels", "graph"):
        if not np.allclose(losses[name], losses["cudnn"], rtol=1e-3):
            raise harness.BenchmarkError(f"losses of {name} are {losses[name]}, those of cuDNN {losses['cudnn']}")
    times = time_sides(sides, options.rounds, options.seconds)
    return {
        "cell": cell,
        **dict(zip("NTDH", shape, strict=True)),
        "numpy_ms": harness.time_round(our_training(lambda tree: tree, False, *spec), options.seconds),
        **{f"{name}_ms": pair[0] for name, pair in times.items()},
    }


# ------------------------------------------------------------------------------- command line

LAYER_HEADERS = ["cell", *"NTDH", "TF32", "NumPy ms", "kernels ms", "graph ms", "cuDNN ms", "graph / cuDNN"]
LAYER_HEADERS += ["NumPy / graph", "on device", "launches", "cuDNN's", "TFLOP/s", "cuDNN's", "products'"]


def ratio(record: dict[str, Any], above: str, below: str) -> float | None:
    """One time over another; None where one was not measured."""
    a, b = record[f"{above}_ms"], record[f"{below}_ms"]
    return None if a is None or b is None else a / b


def layer_table(records: Sequence[dict[str, Any]]) -> str:
    """Forward and backward."""
    rows = []
    for r in records:
        values = list(r.values())
        tf32 = "on" if r["tf32"] else "off"
        ratios = [ratio(r, "graph", "cudnn"), ratio(r, "numpy", "graph")]
        rows.append([*values[:5], tf32, *values[6:10], *ratios, *values[10:]])
    return harness.format_table(LAYER_HEADERS, rows)


def training_table(records: Sequence[dict[str, Any]]) -> str:
    """Whole training steps."""
    headers = ["cell", *"NTDH", "NumPy ms", "kernels ms", "graph ms", "cuDNN ms", "graph / cuDNN", "NumPy / graph"]
    rows = [[*r.values(), ratio(r, "graph", "cudnn"), ratio(r, "numpy", "graph")] for r in records]
    return harness.format_table(headers, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write."""
    parser = harness.argument_parser("gpu", __doc__)
    names = cells.names_argument(list(cells.LAYERS))
    parser.add_argument("--cells", type=names, default=list(cells.LAYERS), help="default rnn,gru,lstm")
    parser.add_argument("--shapes", type=cells.shape_argument, nargs="+", default=SHAPES, metavar="N,T,D,H")
    options = parser.parse_args(argv)
    modules = cupy, torch = device()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    layers, training = [], []
    for cell in options.cells:
        for shape in options.shapes:
            layers.append(measure(modules, cell, shape, False, options))
            training.append(measure_training(modules, cell, shape, options))
        layers.append(measure(modules, cell, options.shapes[0], True, options))
    print(f"{name}, CuPy {cupy.__version__}, PyTorch {torch.__version__} with cuDNN {torch.backends.cudnn.version()}")
    print(f"\nForward and backward:\n\n{layer_table(layers)}\n\nTraining step:\n\n{training_table(training)}")
    records = [{"device": name, "what": "layer", **r} for r in layers]
    harness.write_json(options.json, records + [{"device": name, "what": "training", **r} for r in training])


if __name__ == "__main__":
    sys.exit(harness.run(main))
