"""A whole training step of a language model in float32, against the same model in PyTorch.

Embedding, recurrent layer, softmax over 10,000 words, backward, clipping by global norm, stochastic gradient descent;
the state is carried from batch to batch and its gradient dropped. That both sides have the same losses, step after
step, is checked before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import rnnlab as rl
from benchmarks import cells, harness

SIZES = [200, 650]
VOCABULARY, N, T = 10_000, 20, 35
BATCHES = 4
CHECKED = 6  # steps whose losses must agree
LEARNING_RATE, MAX_NORM = 1.0, 0.25  # a norm that clips from the first step on
TOLERANCE = 1e-4

Made = tuple[Any, Any]


def problem(cell: str, H: int, V: int, T: int, N: int) -> tuple[Any, Any, list[tuple[np.ndarray, np.ndarray]]]:
    """The model, its parameters, and batches of random words: the same at every call."""
    rng = np.random.default_rng(H)
    model = rl.models.LanguageModel(V, H, cells.LAYERS[cell](H, H))
    params = model.init(rng, np.float32)
    for name, p in params["recurrent"].items():
        if name.startswith("bias"):
            p += rng.uniform(-0.1, 0.1, p.shape).astype(p.dtype)
    return model, params, [(rng.integers(0, V, (T, N)), rng.integers(0, V, (T, N))) for _ in range(BATCHES)]


def losses_of(step: Any, batches: int = CHECKED) -> dict[str, np.ndarray]:
    """The losses of the first steps: what the sides must agree in."""
    return {"losses": np.array([step() for _ in range(batches)])}


def rnnlab_side(*spec: Any) -> Made:
    """`rnnlab.models.LanguageModel` with `rnnlab.optim`."""
    model, params, batches = problem(*spec)
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(MAX_NORM), rl.optim.sgd(LEARNING_RATE))
    opt_state, state, count = optimizer.init(params), None, 0

    def step() -> float:
        nonlocal params, opt_state, state, count
        loss, grads, state = model.loss_and_grads(params, batches[count % BATCHES], state)
        params, opt_state = optimizer.step(params, grads, opt_state)
        count += 1
        return float(loss)

    first = losses_of(step)
    return step, lambda _: first


def torch_side(cell: str, H: int, V: int, T: int, N: int) -> Made:
    """The same model of PyTorch's own layers, clipping and optimizer."""
    import torch

    _, params, batches = problem(cell, H, V, T, N)
    words = [tuple(map(torch.from_numpy, batch)) for batch in batches]
    embedding, output = torch.nn.Embedding(V, H), torch.nn.Linear(H, V)
    recurrent = cells.torch_layer(torch, cell, params["recurrent"])
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(params["embedding"]["weight"]))
        output.weight.copy_(torch.from_numpy(params["output"]["weight"]))
        output.bias.copy_(torch.from_numpy(params["output"]["bias"]))
    recurrent.bias_hh_l0.requires_grad_(cell == "gru")  # the one bias too many: learnt, it would count twice
    if cell == "gru":
        recurrent.bias_hh_l0.register_hook(lambda g: torch.cat([torch.zeros(2 * H), g[2 * H :]]))
    learnt = [p for part in (embedding, recurrent, output) for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learnt, LEARNING_RATE)
    state, count = None, 0

    def step() -> float:
        nonlocal state, count
        inputs, targets = words[count % BATCHES]
        y, state = recurrent(embedding(inputs), state)
        state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
        loss = torch.nn.functional.cross_entropy(output(y).reshape(T * N, V), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, MAX_NORM)
        optimizer.step()
        count += 1
        return float(loss.detach())

    first = losses_of(step)
    return step, lambda _: first


# ------------------------------------------------------------------------------- command line


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a table."""
    headers = ["cell", "H", "rnnlab ms", "PyTorch ms", "rnnlab words/s", "PyTorch words/s", "PyTorch / rnnlab"]
    rows = [
        [r["cell"], r["H"], r["rnnlab_ms"], r["torch_ms"], *words_per_second(r), r["torch_ms"] / r["rnnlab_ms"]]
        for r in records
    ]
    return harness.format_table(headers, rows)


def words_per_second(record: dict[str, Any]) -> list[int]:
    """Of rnnlab and of PyTorch."""
    return [round(1e3 * record["N"] * record["T"] / record[f"{name}_ms"]) for name in ("rnnlab", "torch")]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write."""
    parser = harness.argument_parser("training", __doc__)
    parser.add_argument("--cell", choices=list(cells.LAYERS), default="lstm")
    parser.add_argument("--sizes", type=harness.positive, nargs="+", default=SIZES, metavar="H")
    options = parser.parse_args(argv)
    harness.require(["torch"])
    records = []
    with harness.Sides({"rnnlab": rnnlab_side, "torch": torch_side}, options.threads) as sides:
        for H in options.sizes:
            sides.load(options.cell, H, VOCABULARY, T, N)
            sides.check(["rnnlab", "torch"], TOLERANCE)
            times = sides.time(*harness.timing(options))
            record = {"cell": options.cell, "N": N, "T": T, "H": H, "vocabulary": VOCABULARY}
            record |= {f"{name}_ms": value for name, value in times.items()}
            records.append(record)
    for record in records:
        record["rnnlab_words_per_second"], record["torch_words_per_second"] = words_per_second(record)
    print(table(records))
    harness.write_json(options.json, records)


if __name__ == "__main__":
    sys.exit(harness.run(main))
