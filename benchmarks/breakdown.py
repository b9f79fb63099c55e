"""What a layer's training step (forward and backward, float32) is made of, where rnnlab loses to its peers.

The parts, each timed on its own, in turns with the whole step and in the same process:

- *recurrent products*: those with ``weight_hh`` inside the time loop, forward and back;
- *products over steps*: all others, each over many steps at once;
- *calls*: the time loop with products that do nothing and a state of two numbers: as many calls, but next to no work
  (of one number NumPy takes longer);
- *elementwise*: the same at the real sizes, less the calls and the copy of ``da``;
- *copies*: ``y``, ``h`` and ``da``, each laid out anew once;
- *rest*: the whole step less all these, such as fresh memory, the biases' gradients, and numbers that a part finds in
  the cache and the whole step does not. It may come out below zero: the parts are disturbed on their own.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import cells, harness
from rnnlab.cells.blocks import as_columns
from rnnlab.recurrent import loop

LOSING = [*((cell, cells.SHAPES[0]) for cell in cells.LAYERS), *(("lstm", shape) for shape in cells.SHAPES[1:5])]
FEW = 2  # hidden units
PARTS = {"recurrent": "recurrent products", "over_steps": "products over steps"}
PARTS |= {name: name for name in ("elementwise", "calls", "copies", "rest")}


def stand_in(product: Callable[[str], Callable[..., Any]]) -> SimpleNamespace:
    """NumPy with other matrix products: ``product(name)`` instead of `numpy.dot` and `numpy.matmul`."""

    def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Zeros where it is room for a product, which will be read although nothing was written there."""
        return np.empty(shape, dtype) if len(shape) == 3 else np.zeros(shape, dtype)

    return SimpleNamespace(**{**vars(np), "empty": empty, "dot": product("dot"), "matmul": product("matmul")})


def no_product(name: str) -> Callable[..., Any]:
    """A product that leaves ``out`` as it is."""
    return lambda a, b, out: out


# ------------------------------------------------------------------------------------- parts


def together(cell: Any, N: int) -> int:
    """How many steps back share their slopes at a time."""
    rows: int = cell.da_blocks * cell.hidden_size
    return max(1, loop.CHUNK // (rows * N))


@contextmanager
def calls_as_with(cell: Any, N: int) -> Iterator[None]:
    """Let the loop make as many calls for one sequence and `FEW` hidden units as it makes for these."""
    kept = loop.CHUNK, loop.COLUMNS
    steps_at_once = 1 if 2 * N > loop.COLUMNS else -(-loop.COLUMNS // N)
    loop.CHUNK, loop.COLUMNS = together(cell, N) * cell.da_blocks * FEW, steps_at_once
    try:
        yield
    finally:
        loop.CHUNK, loop.COLUMNS = kept


def without_products(cell: str, N: int, T: int, D: int, H: int, xp: Any = None) -> Callable[[], Any]:
    """The time loop forward and back, and what becomes of the input product, with no product done."""
    params, x, dy = cells.problem(cell, N, T, D, H)
    layer, xp = cells.LAYERS[cell](D, H), xp or stand_in(no_product)
    tape = layer.forward(params, x)[2]

    def step() -> Any:
        loop.input_product(xp, params, x, tape.gates)
        loop.steps_forward(xp, layer.cell, tape)
        return loop.steps_back(xp, layer.cell, tape, dy, [np.zeros((H, N), dy.dtype) for _ in tape.states])

    return step


def products(cell: str, N: int, T: int, D: int, H: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The step's products: those in the loop, with the same operands at every step, and those over many steps."""
    params, x, dy = cells.problem(cell, N, T, D, H)
    layer, listed = cells.LAYERS[cell](D, H), []
    W_ih, W_hh = params["weight_ih"], params["weight_hh"]
    tape = layer.forward(params, x)[2]
    later = stand_in(lambda name: lambda a, b, out: listed.append((name, a, b, out)))
    loop.input_product(later, params, x, np.empty_like(tape.gates))
    d = [np.zeros((H, N), dy.dtype) for _ in tape.states]
    da = loop.steps_back(np, layer.cell, tape, dy, d)[: len(W_hh)]
    rows, h = x.reshape(T * N, D), as_columns(tape.states[0][:-1]).T
    dx, dW_ih, dW_hh = (np.empty_like(a) for a in (rows, W_ih, W_hh))
    h_t, a_t, dh_t = tape.states[0][1], np.ones((len(W_hh), N), dy.dtype), np.empty((H, N), dy.dtype)
    u_t = np.empty_like(a_t)

    def recurrent() -> None:
        for _ in range(T):
            np.dot(W_hh, h_t, u_t)
        for _ in range(T):
            np.dot(W_hh.T, a_t, dh_t)

    def over_steps() -> None:
        for name, *operands in listed:
            getattr(np, name)(*operands)
        np.matmul(da, h, out=dW_hh)
        np.matmul(da.T, W_ih, out=dx)
        np.matmul(da, rows, out=dW_ih)

    return recurrent, over_steps


def copies(cell: str, N: int, T: int, D: int, H: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The copies of y and h, and the one of da: both into fresh memory."""
    h, own = np.ones((T + 1, H, N), np.float32), cells.LAYERS[cell](D, H).cell
    rows, K = own.da_blocks * H, min(T, together(own, N))
    chunk = np.ones((K, rows, N), np.float32)

    def of_states() -> Any:
        return h[1:].transpose(0, 2, 1).copy(), as_columns(h[:-1])

    def of_da() -> Any:
        da = np.empty((T, rows, N), h.dtype).transpose(1, 0, 2) if N == 1 else np.empty((rows, T, N), h.dtype)
        for t in range(0, T, K):
            da[:, t : t + K] = chunk[: T - t].transpose(1, 0, 2)
        return da

    return of_states, of_da


def timed(cell: str, shape: Sequence[int]) -> dict[str, Callable[[], Any]]:
    """Everything that takes a turn."""
    N, T, _, H = shape
    own, tiny = cells.LAYERS[cell](1, H).cell, without_products(cell, 1, T, 1, FEW)

    def calls() -> None:
        with calls_as_with(own, N):
            tiny()

    turn = {"rnnlab": cells.rnnlab_side(cell, *shape)[0], "loop": without_products(cell, *shape), "calls": calls}
    turn["recurrent"], turn["over_steps"] = products(cell, *shape)
    turn["states"], turn["da"] = copies(cell, *shape)
    return turn


def side(cell: str, N: int, T: int, D: int, H: int, seconds: float, quantile: float) -> cells.Made:
    """A side whose step is a round: a turn for each part. Its result is the ms of each."""
    turn = timed(cell, (N, T, D, H))
    names = list(turn)

    def step() -> dict[str, float]:
        names.reverse()  # nobody is always first
        return {name: harness.time_round(turn[name], seconds, quantile) for name in names}

    return step, dict


# ------------------------------------------------------------------------------- command line


def parts(ms: dict[str, float]) -> dict[str, float]:
    """The record's figures, of what was timed; the parts add up to rnnlab's."""
    known = {name: ms[name] for name in ("recurrent", "over_steps", "calls")}
    known |= {"elementwise": ms["loop"] - ms["calls"] - ms["da"], "copies": ms["states"] + ms["da"]}
    known["rest"] = ms["rnnlab"] - sum(known.values())
    return {"rnnlab_ms": ms["rnnlab"], **{f"{name}_ms": known[name] for name in PARTS}}


def measure(sides: harness.Sides, cell: str, shape: Sequence[int], timing: Sequence[Any]) -> dict[str, Any]:
    """One record; ``timing`` is what `harness.timing` gives."""
    rounds, *turn = timing
    taken: dict[str, list[float]] = {}
    sides.ask("rnnlab", "load", cell, *shape, *turn)
    if "torch" in sides.makers:
        sides.ask("torch", "load", cell, *shape)
    for _ in range(rounds):
        ms = sides.ask("rnnlab", "result")
        if "torch" in sides.makers:
            ms["torch"] = sides.ask("torch", "time", *turn)
        for name, value in ms.items():
            taken.setdefault(name, []).append(value)
    ms = harness.medians(taken)
    return {"cell": cell, **dict(zip("NTDH", shape, strict=True)), **parts(ms), "torch_ms": ms.get("torch")}


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records, each part in ms and in percent of the whole."""
    headers = ["cell", *"NTDH", "rnnlab ms", *PARTS.values(), "PyTorch ms"]
    rows = [
        [r["cell"], *(r[key] for key in "NTDH"), r["rnnlab_ms"]]
        + [f"{r[f'{name}_ms']:.3g} ({100 * r[f'{name}_ms'] / r['rnnlab_ms']:.0f} %)" for name in PARTS]
        + [r["torch_ms"]]
        for r in records
    ]
    return harness.format_table(headers, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write."""
    parser = harness.argument_parser("breakdown", __doc__)
    parser.add_argument("--shapes", type=cells.shape_argument, nargs="+", metavar="N,T,D,H", help="of all three cells")
    parser.add_argument("--all", action="store_true", help="the 18 pairs, and not only those where rnnlab loses")
    parser.add_argument("--without-torch", action="store_true", help="leave PyTorch's whole step out")
    options = parser.parse_args(argv)
    makers: dict[str, Any] = {"rnnlab": side}
    if not options.without_torch and importlib.util.find_spec("torch"):
        makers["torch"] = cells.torch_side
    shapes = options.shapes or (cells.SHAPES if options.all else [])
    pairs = [(cell, shape) for cell in cells.LAYERS for shape in shapes] or LOSING
    with harness.Sides(makers, options.threads) as sides:
        records = [measure(sides, *pair, harness.timing(options)) for pair in pairs]
    print(table(records))
    harness.write_json(options.json, records)


if __name__ == "__main__":
    sys.exit(harness.run(main))
