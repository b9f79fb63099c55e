"""rnnlab: recurrent neural networks with backpropagation through time written out by hand."""

import importlib
from typing import TYPE_CHECKING, Any

from rnnlab import activations, dynamics, initializers, losses, models, optim
from rnnlab.backend import BackendError, to_backend, to_numpy
from rnnlab.combinators import Bidirectional, Stacked
from rnnlab.layers import Dropout, Embedding, Linear
from rnnlab.recurrent import GRU, LSTM, RNN, Recurrent, carry_state

if TYPE_CHECKING:
    from rnnlab import capture, checkpoint, data, gradcheck, memory, monitor, training
    from rnnlab.gradcheck import GradientCheckError, GradientReport, check_gradients, check_layer
    from rnnlab.monitor import Monitor
    from rnnlab.training import NonFiniteError, evaluate, fit

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
    "Monitor",
    "NonFiniteError",
    "Recurrent",
    "Stacked",
    "activations",
    "capture",
    "carry_state",
    "check_gradients",
    "check_layer",
    "checkpoint",
    "data",
    "dynamics",
    "evaluate",
    "fit",
    "gradcheck",
    "initializers",
    "losses",
    "memory",
    "models",
    "monitor",
    "optim",
    "to_backend",
    "to_numpy",
    "training",
]


# Loaded at their first use: together they take as long as everything else.
_LAZY = {
    **dict.fromkeys(("GradientCheckError", "GradientReport", "check_gradients", "check_layer"), "rnnlab.gradcheck"),
    **dict.fromkeys(("NonFiniteError", "evaluate", "fit"), "rnnlab.training"),
    "Monitor": "rnnlab.monitor",
}
_LAZY_MODULES = ("capture", "checkpoint", "data", "gradcheck", "memory", "monitor", "training")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(f"rnnlab.{name}")
    raise AttributeError(f"module 'rnnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
