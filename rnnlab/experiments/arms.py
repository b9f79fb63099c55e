"""The arms of a comparison: each an optimizer with its own range of learning rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rnnlab import optim

__all__ = ["ARMS", "DEFAULT_ARMS", "Arm", "half_decades", "projection"]


def half_decades(lowest: int, highest: int) -> tuple[float, ...]:
    """Return learning rates two to a decade, from ``10**lowest`` to ``10**highest``.

    Examples
    --------
    >>> half_decades(-2, -1)
    (0.01, 0.03, 0.1)
    """
    # Powers of ten by their decimal name, so that 0.1 is 0.1 and not 0.10000000000000002.
    rates = [float(f"{digit}e{power}") for power in range(lowest, highest) for digit in (1, 3)]
    return (*rates, float(f"1e{highest}"))


def projection(cell: str) -> tuple[str, float]:
    """Return what spectral projection constrains in a cell, and the bound of its spectral norm.

    For the GRU the candidate block, below 2 (Kanai et al. 2017; here 1.8). For the RNN all of ``weight_hh``, to 1,
    since a tanh RNN with a spectral norm below 1 forgets its state from everywhere (Miller & Hardt 2019). For
    the LSTM all of ``weight_hh`` to 1 too, for which there is no theorem.
    """
    return ("weight_hn", 1.8) if cell == "gru" else ("weight_hh", 1.0)


class Arm(NamedTuple):
    """A way to train: ``make(learning_rate, cell, clip_norm)`` returns the optimizer."""

    title: str
    make: Callable[[float, str, float], Any]
    learning_rates: tuple[float, ...]


def _projected(rate: float, cell: str, clip_norm: float) -> Any:
    only, max_norm = projection(cell)
    return optim.chain(optim.sgd(rate), optim.project_spectral_norm(max_norm, only=only))


# SGD moves a weight by rate * gradient, the others by about the rate itself: hence the two ranges.
SGD_RATES, STEP_RATES = half_decades(-2, 1), half_decades(-4, -1)

ARMS = {
    "sgd": Arm("plain SGD", lambda rate, cell, clip: optim.sgd(rate), SGD_RATES),
    "clip": Arm(
        "SGD with clipping",
        lambda rate, cell, clip: optim.chain(optim.clip_by_global_norm(clip), optim.sgd(rate)),
        SGD_RATES,
    ),
    "wgn": Arm(
        "weight gradient normalization",
        lambda rate, cell, clip: optim.chain(optim.normalize_weight_gradients(), optim.sgd(rate)),
        STEP_RATES,
    ),
    "projection": Arm("SGD with spectral projection", _projected, SGD_RATES),
    "adam": Arm("Adam", lambda rate, cell, clip: optim.adam(rate), STEP_RATES),
    "centralize": Arm(
        "SGD with centralized gradients",
        lambda rate, cell, clip: optim.chain(optim.centralize_gradients(), optim.sgd(rate)),
        SGD_RATES,
    ),
    "block": Arm(
        "block-normalized gradients",
        lambda rate, cell, clip: optim.chain(optim.block_normalize_gradients(), optim.sgd(rate)),
        half_decades(-3, 0),
    ),
}
DEFAULT_ARMS = ("sgd", "clip", "wgn", "projection")
