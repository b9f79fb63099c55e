"""The checker run over every cell of rnnlab: the table of ``rnnlab gradcheck``."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.gradcheck.layers import LayerReport, check_layer

__all__ = ["check_all_cells"]

ACTIVATIONS = ("tanh", "sigmoid", "relu", "leaky_relu", "elu")


def _layers() -> dict[str, Any]:
    # The recurrent layers are imported when they are asked for: the checker itself needs none of them.
    from rnnlab.combinators import Bidirectional, Stacked
    from rnnlab.recurrent import GRU, LSTM, RNN

    layers: dict[str, Any] = {f"RNN, {name}": RNN(3, 4, activation=name) for name in ACTIVATIONS}
    layers |= {
        "LSTM": LSTM(3, 4),
        "GRU, reset after": GRU(3, 4, reset="after"),
        "GRU, reset before": GRU(3, 4, reset="before"),
        "Bidirectional LSTM": Bidirectional(LSTM(3, 4), LSTM(3, 4)),
        "Stacked GRU, LSTM, RNN": Stacked([GRU(3, 4), LSTM(4, 5), RNN(5, 2)]),
    }
    return layers


def check_all_cells(
    rng_seed: int = 0, method: str = "central", backend: str = "numpy"
) -> list[tuple[str, LayerReport]]:
    """Run `check_layer` on every cell, and on a bidirectional and a stacked layer.

    Parameters
    ----------
    rng_seed : int
        Of the random numbers; every layer gets a generator of its own.
    method : {"central", "five-point", "complex"}
    backend : {"numpy", "cupy"}

    Returns
    -------
    list of (str, LayerReport)

    Examples
    --------
    >>> from rnnlab.gradcheck import check_all_cells
    >>> all(report.passed for name, report in check_all_cells())
    True
    """
    return [
        (name, check_layer(layer, method, rng=np.random.default_rng(rng_seed), backend=backend))
        for name, layer in _layers().items()
    ]
