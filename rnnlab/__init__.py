"""rnnlab: recurrent neural networks with backpropagation through time written out by hand."""

from rnnlab.backend import BackendError, to_backend, to_numpy

__version__ = "0.1.0"
__all__ = ["BackendError", "to_backend", "to_numpy"]
