"""rnnlab: recurrent neural networks with backpropagation through time written out by hand."""

from rnnlab import activations, data, dynamics, initializers, losses, models, optim
from rnnlab.backend import BackendError, to_backend, to_numpy
from rnnlab.combinators import Bidirectional, Stacked
from rnnlab.gradcheck import GradientCheckError, GradientReport, check_gradients, check_layer
from rnnlab.layers import Dropout, Embedding, Linear
from rnnlab.recurrent import GRU, LSTM, RNN, Recurrent, carry_state

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
