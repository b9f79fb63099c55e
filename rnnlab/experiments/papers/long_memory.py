"""How long a memory can be learnt: four tasks at growing length, for cell x initializer x optimizer."""

from __future__ import annotations

from typing import Any

from rnnlab.experiments.analysis import Missing, Results
from rnnlab.experiments.experiment import FAILS, HOLDS, UNDECIDED, Arm, Claim, Experiment, Quick, Variant

__all__ = ["EXPERIMENT", "horizons", "survival"]

CELLS: dict[str, dict[str, Any]] = {
    "rnn-glorot": {"cell": "rnn", "recurrent_init": "glorot"},
    "rnn-orthogonal": {"cell": "rnn", "recurrent_init": "orthogonal"},
    "irnn": {"cell": "rnn", "activation": "relu", "recurrent_init": "identity"},
    "lstm": {"cell": "lstm"},
    "lstm-remembers": {"cell": "lstm", "forget_bias": 3.0},
    "gru": {"cell": "gru"},
}
OPTIMIZERS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "clip": ({"clip_global_norm": 1.0}, (0.1, 0.3, 1.0)),
    "adam": ({"update": "adam", "clip_global_norm": 1.0}, (0.001, 0.003, 0.01)),
    "wgn": ({"wgn": True}, (0.0003, 0.001, 0.003)),
    "projection": ({"project_spectral_norm": 1.0, "project_only": "weight_hh"}, (0.1, 0.3, 1.0)),
}
ARMS = tuple(
    Arm(f"{cell} {name}", {"model": model, "optimizer": table}, rates)
    for cell, model in CELLS.items()
    for name, (table, rates) in OPTIMIZERS.items()
    if name != "projection" or cell.startswith("rnn")
)
LENGTHS = {
    "adding": (25, 50, 100, 200, 400),
    "copying": (10, 30, 100, 300),
    "temporal-order": (25, 50, 100, 200),
    "mnist-permuted": (49, 196, 784),
}
SOLVED = {  # what the test figure must reach: a share of what is known without memory, or well above it
    "adding": lambda T, value: value < 0.25 / 6,  # always answering 1 has 1/6, remembering one mark 1/12
    "copying": lambda T, value: value < 0.5 * 10 * 2.0794 / (T + 20),  # half of 10 log(8) / (T + 20), a guess
    "temporal-order": lambda T, value: value > 0.9,  # a guess has 1/4
    "mnist-permuted": lambda T, value: value > 0.85,
}


def _variant(task: str, T: int) -> Variant:
    digits = task == "mnist-permuted"
    data: dict[str, Any] = {"name": task, "length": T, "batch_size": 100 if digits else 50}
    data |= {"valid_share": 1 / 6} if digits else {"batches": 200}
    config = {"data": data, "model": {"hidden": 100}, "training": {"steps": 6000}}
    return Variant(f"{task}-{T}", config, ARMS)


def horizons(results: Results, task: str) -> dict[str, int | None]:
    """Return to which T each arm solves a task: the longest such that it and all shorter ones that were run are solved.

    Parameters
    ----------
    results : Results
    task : str
        A key of ``LENGTHS``.

    Returns
    -------
    dict
        Arm -> T, 0 where the shortest is not solved; None where nothing was run.
    """
    found: dict[str, int | None] = {}
    for arm in (arm.name for arm in ARMS):
        horizon: int | None = None
        for T in LENGTHS[task]:
            result = results.arms.get(f"{task}-{T}", {}).get(arm)
            if result is None or not result.runs:
                continue
            best = result.best
            test = None if best is None else best.of("test")
            if test is None or not SOLVED[task](T, test.mean):
                horizon = horizon or 0
                break
            horizon = T
        found[arm] = horizon
    return found


def survival(results: Results) -> dict[str, Any]:
    """Return what the picture of horizons draws: of each task the lengths that are run, and how far each pair got."""
    tasks: dict[str, dict[str, Any]] = {}
    for task, lengths in LENGTHS.items():
        run = [T for T in lengths if any(arm.runs for arm in results.arms.get(f"{task}-{T}", {}).values())]
        reached = {tuple(arm.split()): T for arm, T in horizons(results, task).items()}
        if run:
            tasks[task] = {"lengths": run, "reached": reached}
    done = {pair for task in tasks.values() for pair, T in task["reached"].items() if T is not None}
    rows, bars = ([name for name in names if any(name in pair for pair in done)] for names in (CELLS, OPTIMIZERS))
    return {"rows": rows, "bars": bars, "tasks": tasks}


def _farthest(results: Results, task: str, cells: tuple[str, ...]) -> tuple[int, str]:
    """The best horizon of any optimizer, and the arm that has it."""
    reached = [(T, arm) for arm, T in horizons(results, task).items() if T is not None and arm.split()[0] in cells]
    if not reached:
        raise Missing(f"none of {', '.join(cells)} was run on {task}")
    return max(reached)


def _farther(task: str, cells: tuple[str, ...], others: tuple[str, ...]) -> Any:
    """Return a check that of the first cells one survives to a larger T than any of the others."""

    def check(results: Results) -> tuple[str, str]:
        (T, arm), (T_other, other) = (_farthest(results, task, group) for group in (cells, others))
        longest = max(t for t in LENGTHS[task] if f"{task}-{t}" in results.arms)
        words = (
            f"on {task} {arm} solves T = {T}, {other} T = {T_other} (0: none; the longest that was run is {longest})."
        )
        return (HOLDS if T > T_other else UNDECIDED if T == T_other == longest else FAILS), words

    return check


GATED, PLAIN = ("lstm", "lstm-remembers", "gru"), ("rnn-glorot", "rnn-orthogonal")

EXPERIMENT = Experiment(
    name="long-memory",
    title="To which length cells, initializers and optimizers remember",
    about=(
        "The adding problem, copying, temporal order and permuted MNIST at growing T (digits of 7, 14 and 28 pixels a "
        "side), 100 units, 6000 steps. Solved means: adding, a mean squared error below 1/24, a quarter of what is had "
        "without memory; copying, a loss below half of that; temporal order, an accuracy above 0.9; permuted MNIST, "
        "above 0.85. The horizon of an arm is the longest T such that it and all shorter ones are solved at the best "
        "rate. clip: SGD, norm clipped at 1, as with adam; projection: SGD with a spectral norm of at most 1; "
        "lstm-remembers: a forget bias of 3. With --quick: 32 units, 1500 steps, one seed, few arms and lengths."
    ),
    source="Hochreiter and Schmidhuber 1997; Le, Jaitly and Hinton 2015; Arjovsky, Shah and Bengio 2016",
    claims=(
        Claim(
            "gates remember longer: adding",
            "On adding a gated cell survives to a larger T than the tanh RNN.",
            _farther("adding", GATED, PLAIN),
        ),
        Claim(
            "gates remember longer: temporal order",
            "On temporal order a gated cell survives to a larger T than the tanh RNN.",
            _farther("temporal-order", GATED, PLAIN),
        ),
        Claim(
            "an orthogonal start helps",
            "On adding the tanh RNN that starts orthogonal survives to a larger T than the one "
            "that starts with Glorot's draws.",
            _farther("adding", ("rnn-orthogonal",), ("rnn-glorot",)),
        ),
    ),
    survival=survival,
    variants=tuple(_variant(task, T) for task, lengths in LENGTHS.items() for T in lengths),
    seeds=(0, 1, 2),
    quick=Quick(
        variants=("adding-25", "adding-50", "adding-100", "temporal-order-25"),
        arms=(
            *("rnn-glorot adam", "rnn-orthogonal adam", "irnn adam", "lstm adam", "gru adam"),
            *("gru clip", "gru wgn", "rnn-orthogonal clip", "rnn-orthogonal wgn"),
        ),
        rates={arm.name: arm.rates[1:] for arm in ARMS},
        changes={"model": {"hidden": 32}, "training": {"steps": 1500}},
    ),
)
