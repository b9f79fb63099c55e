"""Wu et al. 2024 on the words of the Penn Treebank: Table 4 and Table A2, with the rate of every method swept."""

from __future__ import annotations

from typing import Any

from rnnlab.experiments.analysis import Results
from rnnlab.experiments.arms import half_decades
from rnnlab.experiments.experiment import FAILS, HOLDS, Claim, Experiment, Quick, Variant
from rnnlab.experiments.papers.parts import WU, better, counted, present, shown, wgn_arms

__all__ = ["EXPERIMENT"]

PLATEAU = {"name": "reduce_on_plateau", "factor": 0.25}  # after every epoch without a better validation loss
CONFIG: dict[str, dict[str, Any]] = {
    "data": {"name": "ptb", "batch_size": 20, "length": 35},
    "training": {"epochs": 55},
    "monitor": {"quantities": ["weight_statistics"], "every": 1328},  # once an epoch
}
ARMS = wgn_arms((0.3, 1.0, 3.0, 10.0, 20.0), half_decades(-5, -2), clip=0.25, schedule=PLATEAU)
REPORTED = {  # test perplexities, Table 4; clipping from Table A2, which has the LSTM alone
    "rnn-1": {"sgd": 383.20, "wgn": 144.97},
    "rnn-2": {"sgd": 972.38, "wgn": 141.02},
    "lstm-1": {"sgd": 125.27, "clip": 110.76, "wgn": 118.58},
    "lstm-2": {"sgd": 293.15, "clip": 109.49, "wgn": 110.89},
}


def _variant(cell: str, layers: int) -> Variant:
    # Uniform draws of the width 1/sqrt(200), the usual ones of this network.
    drawn = {"recurrent_init": "uniform", "recurrent_scale": 0.0707, "input_init": "uniform", "input_scale": 0.0707}
    model = {"cell": cell, "hidden": 200, "layers": layers, "embedding": 200, "dropout": 0.2, **drawn}
    name = f"{cell}-{layers}"
    return Variant(name, {**CONFIG, "model": model}, ARMS, REPORTED[name])


VARIANTS = tuple(_variant(cell, layers) for cell in ("rnn", "lstm") for layers in (1, 2))


def _against_clipping(results: Results) -> tuple[str, str]:
    """Whether clipping is at least as good, within 3 %: the paper's own Table A2 says so for the LSTM."""
    parts = []
    for variant in present(results, ("lstm-1", "lstm-2")):
        clip, wgn = results.test(variant, "clip"), results.test(variant, "wgn")
        words = f"{variant}: clip {shown(clip)}, wgn {shown(wgn)}"
        parts.append((HOLDS if clip.mean <= 1.03 * wgn.mean else FAILS, words))
    return counted(parts)


EXPERIMENT = Experiment(
    name="wu2024-ptb",
    title="Weight gradient normalization on Penn Treebank words",
    about=(
        "200 units, 1 and 2 layers, 55 epochs; the rate of SGD is divided by 4 when the validation loss does not fall, "
        "that of WGN is fixed, all as in the paper. The paper does not state the batch (here 20), the steps of "
        "truncated backpropagation (35), the size of the embedding (200) and dropout (0.2): these are the values of "
        "the common program whose other settings the paper has. 'clip' has the paper's threshold of 0.25. The arms "
        "from 'block' on are rivals that the paper left out; they have the schedule of SGD, and 'wgn-decay' is WGN "
        "with it. 'uncentred' divides by the standard deviation without subtracting the mean. With --quick: the 2000 "
        "most frequent words, a fifth of the text, 64 units, 7 epochs, one seed."
    ),
    source=WU,
    claims=(
        Claim(
            "WGN beats plain SGD",
            "With the rate of both swept, WGN reaches a lower test perplexity than SGD without clipping (Table 4).",
            better(tuple(v.name for v in VARIANTS), "wgn", "sgd"),
        ),
        Claim(
            "clipping is as good",
            "SGD with clipping is as good as WGN or better for the LSTM, within 3 % (the paper's own Table A2).",
            _against_clipping,
        ),
        Claim(
            "a rate that falls helps WGN",
            "WGN is better with the schedule of SGD than with the paper's fixed rate: its steps do not shrink by "
            "themselves.",
            better(tuple(v.name for v in VARIANTS), "wgn-decay", "wgn"),
        ),
    ),
    variants=VARIANTS,
    seeds=(0, 1, 2),
    quick=Quick(
        variants=("lstm-1",),
        arms=("sgd", "clip", "wgn", "wgn-decay"),
        rates={"sgd": (3.0, 10.0, 20.0), "clip": (10.0, 20.0), "wgn": (0.001, 0.003), "wgn-decay": (0.001, 0.003)},
        changes={
            "data": {"vocabulary": 2000, "limit": 180_000, "held_out_limit": 20_000},
            "model": {"hidden": 64, "embedding": 64},
            "training": {"epochs": 7},
            "monitor": {"every": 150},
        },
    ),
)
