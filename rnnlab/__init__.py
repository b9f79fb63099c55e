"""rnnlab: recurrent neural networks with backpropagation through time written out by hand."""

import importlib
from typing import TYPE_CHECKING, Any

from rnnlab import activations, data, dynamics, initializers, losses, models, optim
from rnnlab.backend import BackendError, to_backend, to_numpy
from rnnlab.combinators import Bidirectional, Stacked
from rnnlab.layers import Dropout, Embedding, Linear
from rnnlab.recurrent import GRU, LSTM, RNN, Recurrent, carry_state

if TYPE_CHECKING:
    from rnnlab.gradcheck import GradientCheckError, GradientReport, check_gradients, check_layer

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BackendError",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "GradientCheckError",
    "GradientReport",
    "Linear",
    "Recurrent",
    "Stacked",
    "activations",
    "carry_state",
    "check_gradients",
    "check_layer",
    "data",
    "dynamics",
    "initializers",
    "losses",
    "models",
    "optim",
    "to_backend",
    "to_numpy",
]


def __getattr__(name: str) -> Any:
    # The checker is loaded at its first use: it takes a fifth of the time of `import rnnlab`.
    if name in ("GradientCheckError", "GradientReport", "check_gradients", "check_layer"):
        return getattr(importlib.import_module("rnnlab.gradcheck"), name)
    if name == "gradcheck":
        return importlib.import_module("rnnlab.gradcheck")
    raise AttributeError(f"module 'rnnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__", "gradcheck"]
