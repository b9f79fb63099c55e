"""Wu et al. 2024 on the UCR archive: Coffee and ECG5000, and ten sets more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnlab.experiments.analysis import Results
from rnnlab.experiments.arms import half_decades
from rnnlab.experiments.experiment import FAILS, HOLDS, Claim, Experiment, Quick, Variant
from rnnlab.experiments.papers.parts import WU, present, wgn_arms

__all__ = ["EXPERIMENT"]

SETS = (
    *("Coffee", "ECG5000", "ArrowHead", "Beef", "CBF", "Chinatown", "ECG200", "GunPoint", "ItalyPowerDemand"),
    *("SmoothSubspace", "SyntheticControl", "Trace"),
)
RAW = "Chinatown"  # counts of hundreds, at which every unit is saturated; the other sets are of the order of 1
FEW = ("Coffee", "ItalyPowerDemand", "SmoothSubspace", "SyntheticControl")  # of --quick
REPORTED = {  # accuracies of one layer, Table 6
    "Coffee-rnn": {"sgd": 0.964, "wgn": 0.964},
    "Coffee-lstm": {"sgd": 1.0, "wgn": 1.0},
    "ECG5000-rnn": {"sgd": 0.935, "wgn": 0.939},
    "ECG5000-lstm": {"sgd": 0.935, "wgn": 0.930},
}
ARMS = tuple(arm for arm in wgn_arms(half_decades(-3, 0), half_decades(-4, -2), clip=1.0) if arm.name != "uncentred")


def _variant(name: str, cell: str) -> Variant:
    scaled = {"standardize": True} if name == RAW else {}
    config: dict[str, dict[str, Any]] = {
        "data": {"name": f"ucr:{name}", "batch_size": 32, "valid_share": 0.25, **scaled},
        "model": {"cell": cell, "hidden": 64},
        "training": {"epochs": 500},
    }
    return Variant(f"{name}-{cell}", config, ARMS, REPORTED.get(f"{name}-{cell}", {}))


VARIANTS = tuple(_variant(name, cell) for name in SETS for cell in ("rnn", "lstm"))


def _wins(cell: str, least: float) -> Callable[[Results], tuple[str, str]]:
    """Return a check that WGN is as good as SGD or better on a share of the sets."""

    def check(results: Results) -> tuple[str, str]:
        sets = [v for v in present(results, [v.name for v in VARIANTS]) if v.endswith(cell)]
        pairs = [(v, results.test(v, "wgn").mean, results.test(v, "sgd").mean) for v in sets]
        won = sum(wgn >= sgd for _, wgn, sgd in pairs)
        words = ", ".join(f"{v} {wgn:.3f} to {sgd:.3f}" for v, wgn, sgd in pairs)
        verdict = HOLDS if won >= least * len(pairs) else FAILS
        return verdict, f"WGN is as good or better on {won} of {len(pairs)} sets (accuracy of WGN to SGD: {words})."

    return check


EXPERIMENT = Experiment(
    name="wu2024-ucr",
    title="Weight gradient normalization on twelve sets of the UCR archive",
    about=(
        "One layer of 64 units (the paper does not state its size), 500 epochs as for Coffee and ECG5000 in the paper, "
        "batches of 32. A quarter of the training series chooses rate and epoch; the archive's test set is used once. "
        "Chinatown, which the archive leaves as counts of hundreds, is scaled by mean and standard deviation of its "
        "training series. The paper's third set, Computers, is not among ours; its rate of SGD was 0.05 alone. With "
        "--quick: four sets, 32 units, 150 epochs, two seeds."
    ),
    source=WU,
    claims=(
        Claim(
            "WGN and the LSTM",
            "With both rates swept, WGN is as good as SGD or better for the LSTM on half of the sets or more.",
            _wins("lstm", 0.5),
        ),
        Claim(
            "WGN and the RNN",
            "With both rates swept, WGN is as good as SGD or better for the RNN on half of the sets or more.",
            _wins("rnn", 0.5),
        ),
    ),
    variants=VARIANTS,
    seeds=(0, 1, 2, 3, 4),
    quick=Quick(
        variants=tuple(f"{name}-{cell}" for name in FEW for cell in ("rnn", "lstm")),
        arms=("sgd", "wgn"),
        rates={"sgd": (0.03, 0.1, 0.3), "wgn": (0.0003, 0.001, 0.003)},
        seeds=(0, 1),
        changes={"model": {"hidden": 32}, "training": {"epochs": 150}},
    ),
)
