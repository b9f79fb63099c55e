"""Forward and backward of one layer in float32, against PyTorch and JAX.

The shapes are a classroom's, two language models', two medium ones and the pixels of an MNIST picture. All sides
compute ``y``, and the gradients of ``sum(y * dy)`` with respect to ``x`` and to every parameter; that they agree is
checked before anything is timed. JAX runs a jitted `lax.scan` whose input product is hoisted. "gemm" is the time of
the matrix products alone, with every output allocated beforehand: what no implementation with this BLAS can beat.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import rnnlab as rl
from benchmarks import harness

SHAPES = [
    (1, 25, 64, 100),
    (20, 35, 200, 200),
    (20, 35, 650, 650),
    (64, 100, 32, 128),
    (128, 50, 128, 256),
    (32, 784, 1, 128),
]
LAYERS = {"rnn": rl.RNN, "gru": rl.GRU, "lstm": rl.LSTM}
TOLERANCE = 2e-4  # of the largest entry: float32, sums over up to 25,088 rows in another order

Made = tuple[Any, Any]


def problem(cell: str, N: int, T: int, D: int, H: int) -> tuple[Any, Any, Any]:
    """The parameters, all non-zero, ``x (T, N, D)`` and ``dy (T, N, H)``: the same at every call."""
    rng = np.random.default_rng([N, T, D, H])
    scale = H**-0.5
    params = {
        name: rng.uniform(-scale, scale, shape).astype(np.float32)
        for name, shape in LAYERS[cell](D, H).parameter_shapes().items()
    }
    x, dy = (rng.normal(size=(T, N, K)).astype(np.float32) for K in (D, H))
    return params, x, dy


# ------------------------------------------------------------------------------------- sides


def rnnlab_side(cell: str, N: int, T: int, D: int, H: int) -> Made:
    """The layer's own forward and backward."""
    params, x, dy = problem(cell, N, T, D, H)
    layer = LAYERS[cell](D, H)

    def step() -> Any:
        y, _, tape = layer.forward(params, x)
        dx, _, grads = layer.backward(params, tape, dy)
        return y, dx, grads

    return step, lambda result: {"y": result[0], "dx": result[1], **result[2]}


def torch_side(cell: str, N: int, T: int, D: int, H: int) -> Made:
    """PyTorch's fused layer."""
    import torch

    arrays, *data = problem(cell, N, T, D, H)
    x, dy = map(torch.from_numpy, data)
    x.requires_grad_()
    net = torch_layer(torch, cell, arrays)
    params = list(net.parameters())

    def step() -> Any:
        y, _ = net(x)
        return y, *torch.autograd.grad(y, [x, *params], dy)

    def collect(result: Any) -> dict[str, np.ndarray]:
        y, dx, weight_ih, weight_hh, bias, bias_hh = (a.detach().numpy() for a in result)
        named = {"y": y, "dx": dx, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias}
        return {**named, "bias_hn": bias_hh[2 * H :]} if cell == "gru" else named

    return step, collect


def torch_layer(torch: Any, cell: str, arrays: dict[str, np.ndarray]) -> Any:
    """The layer with these parameters; of its two biases ``bias_hh`` is zero but for the GRU's candidate."""
    (GH, H), D = arrays["weight_hh"].shape, arrays["weight_ih"].shape[1]
    net = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](D, H)
    bias_hh = np.zeros(GH, np.float32)
    bias_hh[2 * H : 3 * H] = arrays.get("bias_hn", 0)
    ordered = arrays["weight_ih"], arrays["weight_hh"], arrays["bias"], bias_hh
    with torch.no_grad():
        for p, a in zip(net.parameters(), ordered, strict=True):
            p.copy_(torch.from_numpy(a))
    return net


def jax_side(cell: str, N: int, T: int, D: int, H: int) -> Made:
    """A jitted scan, its value and its vector-Jacobian product with respect to the parameters and x."""
    import jax

    params, x, dy = jax.tree.map(jax.numpy.asarray, problem(cell, N, T, D, H))

    def layer(params: Any, x: Any) -> Any:
        a = x @ params["weight_ih"].T + params["bias"]
        h = jax.numpy.zeros((N, H), x.dtype)
        state = (h, h) if cell == "lstm" else h
        return jax.lax.scan(lambda state, a: jax_step(jax, cell, params, state, a), state, a)[1]

    def both(params: Any, x: Any, dy: Any) -> Any:
        y, vjp = jax.vjp(layer, params, x)
        return y, *vjp(dy)

    jitted = jax.jit(both)

    def collect(result: Any) -> dict[str, np.ndarray]:
        y, grads, dx = jax.tree.map(np.asarray, result)
        return {"y": y, "dx": dx, **grads}

    return lambda: jax.block_until_ready(jitted(params, x, dy)), collect


def jax_step(jax: Any, cell: str, params: Any, state: Any, a: Any) -> Any:
    """One step of a cell for `lax.scan`: ``(state, a) -> (new state, h)``."""
    tanh, sigmoid = jax.numpy.tanh, jax.nn.sigmoid
    h = state[0] if cell == "lstm" else state
    u = h @ params["weight_hh"].T
    if cell == "rnn":
        h = tanh(a + u)
        return h, h
    if cell == "gru":
        (a_r, a_z, a_n), (u_r, u_z, u_n) = (jax.numpy.split(v, 3, axis=1) for v in (a, u))
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = tanh(a_n + r * (u_n + params["bias_hn"]))
        h = (1 - z) * n + z * h
        return h, h
    i, f, g, o = jax.numpy.split(a + u, 4, axis=1)
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (h, c), h


def gemm_side(cell: str, N: int, T: int, D: int, H: int) -> Made:
    """The step's matrix products and nothing else; its numbers mean nothing."""
    params, x, dy = problem(cell, N, T, D, H)
    W_ih, W_hh = params["weight_ih"], params["weight_hh"]
    GH = len(W_hh)
    x, h_rows = x.reshape(T * N, D), dy.reshape(T * N, H)
    h, dh = np.ones((H, N), np.float32), np.empty((H, N), np.float32)
    da = np.ones((GH, N), np.float32)
    rows, dx = np.ones((T * N, GH), np.float32), np.empty_like(x)
    a, u, dW_ih, dW_hh = np.empty_like(rows), np.empty_like(da), np.empty_like(W_ih), np.empty_like(W_hh)

    def step() -> None:
        np.dot(x, W_ih.T, out=a)
        for _ in range(T):
            np.dot(W_hh, h, out=u)
        for _ in range(T):
            np.dot(W_hh.T, da, out=dh)
        np.dot(rows.T, h_rows, out=dW_hh)
        np.dot(rows.T, x, out=dW_ih)
        np.dot(rows, W_ih, out=dx)

    return step, lambda result: {}


# ------------------------------------------------------------------------------- command line

PEERS = {"torch": torch_side, "jax": jax_side}


def measure(sides: harness.Sides, cell: str, shape: Sequence[int], *timing: Any) -> dict[str, Any]:
    """Check and time one cell at one shape; return its record. ``timing`` goes to `harness.Sides.time`."""
    sides.load(cell, *shape)
    sides.check([name for name in sides.makers if name != "gemm"], TOLERANCE)
    times = sides.time(*timing)
    return {
        "cell": cell,
        **dict(zip("NTDH", shape, strict=True)),
        **{f"{name}_ms": times.get(name) for name in ("rnnlab", *PEERS)},
        "gemm_limit_ms": times["gemm"],
    }


def ratio(record: dict[str, Any]) -> float | None:
    """The best peer's time over rnnlab's; None without peers."""
    peers = [record[f"{name}_ms"] for name in PEERS if record[f"{name}_ms"] is not None]
    return min(peers) / record["rnnlab_ms"] if peers else None


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a table, and the geometric mean of the ratios."""
    headers = ["cell", *"NTDH", "rnnlab ms", "PyTorch ms", "JAX ms", "best peer / rnnlab", "gemm ms"]
    rows = [[*list(r.values())[:-1], ratio(r), r["gemm_limit_ms"]] for r in records]
    ratios = [value for value in map(ratio, records) if value is not None]
    text = harness.format_table(headers, rows)
    if ratios:
        lowest = f"lowest {min(ratios):.2f}, below 1.0 in {sum(value < 1 for value in ratios)} of {len(ratios)}"
        text += f"\n\ngeometric mean of best peer / rnnlab: {harness.geometric_mean(ratios):.2f} ({lowest})"
    return text


def shape_argument(text: str) -> tuple[int, ...]:
    """``N,T,D,H`` as four positive integers, for argparse."""
    shape = tuple(map(harness.positive, text.split(",")))
    if len(shape) != 4:
        raise argparse.ArgumentTypeError(f"must be N,T,D,H; got {text!r}")
    return shape


def names_argument(allowed: Sequence[str]) -> Any:
    """A list of names between commas, for argparse; empty for none."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"must be of {', '.join(allowed)}; got {name!r}")
        return names

    return parse


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write."""
    parser = harness.argument_parser("cells", __doc__)
    parser.add_argument("--cells", type=names_argument(list(LAYERS)), default=list(LAYERS), help="default rnn,gru,lstm")
    parser.add_argument("--shapes", type=shape_argument, nargs="+", default=SHAPES, metavar="N,T,D,H")
    parser.add_argument("--peers", type=names_argument(list(PEERS)), default=list(PEERS), help="default torch,jax")
    options = parser.parse_args(argv)
    harness.require(options.peers)
    makers = {"rnnlab": rnnlab_side, **{name: PEERS[name] for name in options.peers}, "gemm": gemm_side}
    records = []
    with harness.Sides(makers, options.threads) as sides:
        for cell in options.cells:
            for shape in options.shapes:
                records.append(measure(sides, cell, shape, *harness.timing(options)))
                print(*(f"{key}={value}" for key, value in records[-1].items()), file=sys.stderr)
    print(table(records))
    harness.write_json(options.json, records)


if __name__ == "__main__":
    sys.exit(harness.run(main))
