"""Wu et al. 2024 on MNIST, row by row: Tables 1 to 3, with the rate of every method swept."""

from __future__ import annotations

from typing import Any

from rnnlab.experiments.analysis import Results
from rnnlab.experiments.arms import half_decades
from rnnlab.experiments.experiment import FAILS, HOLDS, Arm, Claim, Experiment, Quick, Variant
from rnnlab.experiments.papers.parts import WU, better, counted, wgn_arms

__all__ = ["EXPERIMENT"]

CONFIG: dict[str, dict[str, Any]] = {
    # 60,000 images, of which a sixth chooses rates and epochs: 50,000 to train on. The test set is the usual one.
    "data": {"name": "mnist", "batch_size": 1000, "valid_share": 1 / 6},
    "training": {"epochs": 200},
    "monitor": {"quantities": ["weight_statistics"], "every": 200},
}
RATES = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05)  # those of Table 2
ARMS = wgn_arms(half_decades(-2, 1), RATES, clip=1.0)
REPORTED = {  # Table 3, with clipping from Table A1
    "rnn-1": {"sgd": 0.9807, "clip": 0.9809, "wgn": 0.9791},
    "rnn-2": {"sgd": 0.9821, "clip": 0.9830, "wgn": 0.9804},
    "lstm-1": {"sgd": 0.9794, "clip": 0.9807, "wgn": 0.9880},
    "lstm-2": {"sgd": 0.9842, "clip": 0.9842, "wgn": 0.9911},
}
IH, HH, FC = "weight_ih", "weight_hh", "output.weight"
PARTS: dict[str, tuple[list[str], float, float]] = {  # Table 1: what is normalized, and the accuracies of RNN and LSTM
    "ih": ([IH], 0.9805, 0.9844),
    "hh": ([HH], 0.9766, 0.9859),
    "fc": ([FC], 0.9701, 0.9816),
    "ih+hh": ([IH, HH], 0.9807, 0.9856),
    "hh+fc": ([HH, FC], 0.9784, 0.9860),
    "ih+fc": ([IH, FC], 0.9801, 0.9812),
    "all": ([IH, HH, FC], 0.9804, 0.9880),
}
DELTAS = (1e-7, 1e-6, 1e-5, 1e-4)
TABLE_2: dict[str, dict[float, tuple[float, ...]]] = {  # cell -> rate -> an accuracy for each of DELTAS
    "rnn": {
        0.0001: (0.9509, 0.9535, 0.9481, 0.9545),
        0.0005: (0.9783, 0.9780, 0.9774, 0.9793),
        0.001: (0.9796, 0.9802, 0.9804, 0.9794),
        0.005: (0.5844, 0.6685, 0.6475, 0.4838),
        0.01: (0.1135, 0.2891, 0.3106, 0.1028),
        0.05: (0.0974, 0.1032, 0.0982, 0.1010),
    },
    "lstm": {
        0.0001: (0.9675, 0.9729, 0.9718, 0.9686),
        0.0005: (0.9828, 0.9836, 0.9848, 0.9798),
        0.001: (0.9860, 0.9860, 0.9864, 0.9863),
        0.005: (0.9888, 0.9876, 0.9881, 0.9891),
        0.01: (0.7829, 0.9703, 0.9764, 0.9890),
        0.05: (0.3195, 0.2887, 0.4942, 0.5106),
    },
}


def _config(cell: str, layers: int) -> dict[str, dict[str, Any]]:
    return {**CONFIG, "model": {"cell": cell, "hidden": 128, "layers": layers}}


def _rows(cell: str) -> list[Variant]:
    """Table 3, Table 1 and Table 2 of one cell."""
    arms = [Arm(name, {"optimizer": {"wgn": True, "wgn_only": only}}, (0.001,)) for name, (only, _, _) in PARTS.items()]
    figures = {name: row[1] if cell == "rnn" else row[2] for name, row in PARTS.items()}
    deltas = Arm("wgn", {"optimizer": {"wgn": True}}, RATES, ("optimizer.wgn_eps", DELTAS))
    grid = {
        (rate, delta): value for rate, row in TABLE_2[cell].items() for delta, value in zip(DELTAS, row, strict=True)
    }
    return [
        *(Variant(f"{cell}-{n}", _config(cell, n), ARMS, REPORTED[f"{cell}-{n}"]) for n in (1, 2)),
        Variant(f"{cell}-1-parts", _config(cell, 1), tuple(arms), figures),
        Variant(f"{cell}-1-deltas", _config(cell, 1), (deltas,), reported_grid={"wgn": grid}),
    ]


def _breaks(results: Results) -> tuple[str, str]:
    """The accuracy of the last parameters, and not of the best epoch: a network that broke was better before."""
    parts = []
    for variant in ("rnn-1", "lstm-1"):
        ends = {rate: results.arm(variant, "wgn").at(rate).of("valid_end") for rate in (0.005, 0.01)}
        means = {rate: 0.0 if end is None else end.mean for rate, end in ends.items()}
        held = [(mean < 0.9) == (variant == "rnn-1") for mean in means.values()]
        words = " and ".join(f"{mean:.3f} at {rate:g}" for rate, mean in means.items())
        parts.append((HOLDS if all(held) else FAILS, f"{variant} ends with an accuracy of {words}"))
    return counted(parts)


EXPERIMENT = Experiment(
    name="wu2024-mnist",
    title="Weight gradient normalization on MNIST, a row a step",
    about=(
        "Images as 28 rows of 28 pixels, 128 units, batches of 1000, 200 epochs, as in the paper. Its SGD had one "
        "rate, 0.05, where its WGN had six; here every arm has a grid. Variants 1 and 2 layers: Table 3 (clipping: "
        "Table A1, whose threshold is not stated; here 1). Variants 'parts': Table 1; what is not normalized, biases "
        "among it, takes plain gradients at the same rate, for the paper does not say. Variants 'deltas': Table 2. "
        "Elsewhere WGN normalizes every array. 'uncentred' divides by the standard deviation without subtracting the "
        "mean. The paper's figures seem to be the best epoch on the data that they are reported on; ours are chosen on "
        "validation data. With --quick: half of the images, batches of 100, 7 epochs, one seed."
    ),
    source=WU,
    claims=(
        Claim(
            "eta breaks the RNN",
            "At rates of 5e-3 and 1e-2 WGN breaks the tanh RNN (accuracy below 0.9 at the end) and not the LSTM "
            "(Table 2).",
            _breaks,
        ),
        Claim(
            "WGN helps the LSTM",
            "With the rate of both swept, the LSTM is better with WGN than with plain SGD (Table 3).",
            better(("lstm-1", "lstm-2"), "wgn", "sgd"),
        ),
        Claim(
            "SGD is better for the RNN",
            "With the rate of both swept, the tanh RNN is better with plain SGD than with WGN (Table 3).",
            better(("rnn-1", "rnn-2"), "sgd", "wgn"),
        ),
    ),
    variants=tuple(variant for cell in ("rnn", "lstm") for variant in _rows(cell)),
    seeds=(0, 1, 2),
    quick=Quick(
        variants=("rnn-1", "lstm-1"),
        arms=("sgd", "wgn"),
        rates={"sgd": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), "wgn": (0.001, 0.005, 0.01)},
        changes={
            "data": {"batch_size": 100, "limit": 30_000},
            "training": {"epochs": 7},
        },
    ),
)
