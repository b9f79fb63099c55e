"""What can be recorded of a training run: functions of the run that return a part of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rnnlab import dynamics, models
from rnnlab.backend import Array, namespace, tree_items

__all__ = ["QUANTITIES", "update_ratio"]

Row = dict[str, float]


def gradient_norm(run: Any) -> Row:
    """``gradient_norm`` of all gradients together, and ``gradient_norm.PARAMETER`` of each."""
    norms = {path: _norm(g) for path, g in tree_items(run.grads)}
    return {"gradient_norm": math.hypot(*norms.values())} | {f"gradient_norm.{path}": n for path, n in norms.items()}


def _norm(g: Array) -> float:
    xp = namespace(g=g)
    return float(xp.linalg.norm(g.astype(xp.float64).ravel()))


def weight_statistics(run: Any) -> Row:
    """``weight_mean``, ``_std``, ``_skewness`` and ``_kurtosis`` of each parameter."""
    return _moments("weight", run.params)


def gradient_statistics(run: Any) -> Row:
    """``gradient_mean``, ``_std``, ``_skewness`` and ``_kurtosis`` of each parameter's gradient."""
    return _moments("gradient", run.grads)


def _moments(kind: str, tree: Any) -> Row:
    row = {}
    for path, array in tree_items(tree):
        for name, value in dynamics.weight_statistics(array)._asdict().items():
            row[f"{kind}_{name}.{path}"] = value
    return row


def spectral_norm(run: Any) -> Row:
    """``spectral_norm.PARAMETER.GATE`` of each gate's block of the recurrent matrices."""
    return {f"spectral_norm.{path}": dynamics.spectral_norm(block) for path, block in _blocks(run.params)}


def spectral_radius(run: Any) -> Row:
    """``spectral_radius.PARAMETER.GATE`` of each gate's block of the recurrent matrices."""
    return {f"spectral_radius.{path}": dynamics.spectral_radius(block) for path, block in _blocks(run.params)}


def _blocks(params: Any) -> list[tuple[str, Array]]:
    matrices = [(path, array) for path, array in tree_items(params) if path.rpartition(".")[2] == "weight_hh"]
    return [(f"{path}.{gate}", b) for path, W in matrices for gate, b in dynamics.recurrent_blocks(W).items()]


def saturation(run: Any) -> Row:
    """``saturation_low.GATE`` and ``saturation_high.GATE``: the shares of `rnnlab.dynamics.gate_saturation`.

    The batch is run forward again for it, from a state of zeros.
    """
    x, lengths = _recurrent_input(run.model, run.params, run.batch)
    found = dynamics.gate_saturation(run.model.recurrent, run.params["recurrent"], x, lengths=lengths)
    return {f"saturation_{end}.{gate}": share for gate, s in found.items() for end, share in s._asdict().items()}


def _recurrent_input(model: Any, params: Any, batch: Any) -> tuple[Array, Any]:
    """What the recurrent layer of a model sees of a batch, and the lengths."""
    if isinstance(model, models.LanguageModel):
        return model.embedding.forward(params["embedding"], batch[0])[0], None
    if isinstance(model, models.SequenceClassifier):
        return batch[0], batch[2]
    if isinstance(model, models.Forecaster):
        return batch[0], None
    if isinstance(model, models.PianoRollModel):
        roll, lengths = batch
        return roll[:-1], None if lengths is None else namespace(lengths=lengths).maximum(lengths - 1, 0)
    raise ValueError(f"the quantity 'saturation' needs one of rnnlab.models; got a {type(model).__name__}")


def update_ratio(before: Mapping[str, Array], run: Any) -> Row:
    """``update_ratio.PARAMETER``: how far the step moved it, in relation to its size."""
    return {f"update_ratio.{path}": dynamics.update_ratio(before[path], w) for path, w in tree_items(run.params)}


QUANTITIES: dict[str, Callable[[Any], Row] | None] = {
    "gradient_norm": gradient_norm,
    "update_ratio": None,  # the only one that needs the parameters before and after the step
    "weight_statistics": weight_statistics,
    "gradient_statistics": gradient_statistics,
    "spectral_norm": spectral_norm,
    "spectral_radius": spectral_radius,
    "saturation": saturation,
}
