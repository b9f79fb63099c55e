"""Training: `fit`, what it returns, and what its callbacks see."""

from rnnlab.training.loop import evaluate, fit
from rnnlab.training.run import NonFiniteError, Result, Run

__all__ = ["NonFiniteError", "Result", "Run", "evaluate", "fit"]
