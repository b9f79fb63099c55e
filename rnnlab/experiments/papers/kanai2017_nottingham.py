"""Kanai et al. 2017 on folk tunes: spectral projection against clipping, each over a grid of rates."""

from __future__ import annotations

from typing import Any

from rnnlab.experiments.experiment import Experiment, Quick, Variant
from rnnlab.experiments.papers.parts import KANAI
from rnnlab.experiments.papers.projection import arms, claims

__all__ = ["EXPERIMENT"]


def _variant(name: str, data: str, hidden: int, epochs: int) -> Variant:
    config: dict[str, dict[str, Any]] = {
        "data": {"name": data, "batch_size": 20, "length": 100},
        "model": {
            **{"cell": "gru", "reset": "before", "bias": False, "hidden": hidden},
            **{"recurrent_init": "orthogonal", "input_init": "normal", "input_scale": 0.05},
        },
        "optimizer": {"gradient_factor": 10.0},
        "training": {"epochs": epochs},
        "monitor": {"quantities": ["spectral_norm", "spectral_radius"], "every": 50, "max_share": 0.1},
    }
    return Variant(name, config, arms((0.03, 0.1, 0.3, 1.0)))


VARIANTS = (
    _variant("nottingham-400", "nottingham", 400, 60),
    _variant("nottingham-100", "nottingham", 100, 30),
    _variant("jsb-100", "jsb", 100, 60),
)
NAMES = tuple(variant.name for variant in VARIANTS)

EXPERIMENT = Experiment(
    name="kanai2017-nottingham",
    title="Spectral projection against clipping on folk tunes and chorales",
    about=(
        "A GRU without biases, reset before the product, predicts the notes of the next frame; pieces of 100 frames, "
        "batches of 20. The size, the rate and the epochs of the paper's network for this task were not available to "
        "us: 400 units, and 100 for a laptop. The loss is summed over the notes and ten times the mean over frames, so "
        "that the gradients are of the order of the thresholds 5 to 20. Clipping and projection both have a grid of "
        "rates. The figures of the paper's tables were not available to us, so none stands beside ours. JSB chorales "
        "are an addition. With --quick: 100 units, 5 epochs, one seed."
    ),
    source=KANAI,
    claims=claims(NAMES, 0.1, "loss"),
    variants=VARIANTS,
    seeds=tuple(range(10)),
    quick=Quick(
        variants=("nottingham-100",),
        arms=("projection", "clip"),
        rates=(0.03, 0.1, 0.3, 1.0),
        options={"projection": (1.8, 0.6), "clip": (5.0, 20.0)},
        changes={"training": {"epochs": 5}},
    ),
)
