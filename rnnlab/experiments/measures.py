"""How a problem is measured, and what a problem is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "ABSOLUTE_ERROR",
    "ACCURACY",
    "BITS",
    "BITS_A_BYTE",
    "CROSS_ENTROPY",
    "NATS",
    "PERPLEXITY",
    "SQUARED_ERROR",
    "Measure",
    "Problem",
]


class Measure(NamedTuple):
    """How results are told: a name, a unit, and the value of a mean loss; ``of_loss`` is None for the accuracy."""

    name: str
    unit: str
    of_loss: Callable[[float], float] | None


PERPLEXITY = Measure("perplexity", "", lambda loss: math.exp(min(loss, 700.0)))
BITS = Measure("bits per character", "bits per character", lambda loss: loss / math.log(2))
BITS_A_BYTE = Measure("bits per byte", "bits per byte", lambda loss: loss / math.log(2))
ACCURACY = Measure("accuracy", "", None)
SQUARED_ERROR = Measure("mean squared error", "", lambda loss: loss)
ABSOLUTE_ERROR = Measure("mean absolute error", "", lambda loss: loss)
NATS = Measure("negative log-likelihood", "nats per frame", lambda loss: loss)
CROSS_ENTROPY = Measure("cross entropy", "nats per step", lambda loss: loss)


class Problem(NamedTuple):
    """A model with the data for it; ``valid`` is None where nothing was held out."""

    model: Any
    measure: Measure
    train: Any
    valid: Any
    test: Any
