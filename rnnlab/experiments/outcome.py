"""What became of a training: whether it diverged, and whether it found a solution.

Both are decided by mean losses, on validation and in training (the last tenth of the steps), against where the run
began and against the best constant answer: the one that does not look at the input, such as the frequencies of the
words or the mean of the series.

- A run **diverged** if a loss, a gradient or a parameter was no finite number; or if it ended, on validation and in
  training, above where it began; or if it had been well below the constant answer and ended above it. Worse on
  validation alone does not count: a network that learnt few sequences by heart did not diverge.
- A run **succeeded** if it did not diverge and ended, on validation or in training, well below the constant answer.

"Well below" is 5 % below. A run that learnt nothing neither diverged nor succeeded.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnlab import models
from rnnlab.backend import Tree, tree_map
from rnnlab.training import evaluate

__all__ = ["MARGIN", "Losses", "constant_answer", "diverged", "succeeded"]

MARGIN = 0.95  # of the loss of the constant answer: to be below it by accident or by a hair is no solution
BATCHES = 20  # of the training data, on which the constant answer is judged in the measure that is trained on


class Losses(NamedTuple):
    """Mean losses of a kind, on validation or in training."""

    start: float
    end: float
    lowest: float = math.inf  # on the way
    constant: float = -math.inf  # of the best constant answer


def diverged(*kinds: Losses) -> bool:
    """Return whether a run that had only finite numbers on its way diverged, by its losses of one or more kinds.

    Examples
    --------
    >>> diverged(Losses(start=2.3, end=2.4)), diverged(Losses(start=2.3, end=2.4), Losses(start=2.3, end=0.1))
    (True, False)
    >>> diverged(Losses(start=61.0, end=45.0, lowest=5.0, constant=9.0))
    True
    """
    if not all(math.isfinite(losses.end) for losses in kinds):
        return True
    lost = kinds[0].lowest < MARGIN * kinds[0].constant
    return all(losses.end > (min(losses.start, losses.constant) if lost else losses.start) for losses in kinds)


def succeeded(*kinds: Losses) -> bool:
    """Return whether a run found a solution, by its losses of one or more kinds.

    Examples
    --------
    >>> succeeded(Losses(start=61.0, end=45.0, lowest=45.0, constant=9.0))
    False
    >>> succeeded(Losses(start=61.0, end=4.0, lowest=4.0, constant=9.0))
    True
    """
    return not diverged(*kinds) and any(losses.end < MARGIN * losses.constant for losses in kinds)


def constant_answer(problem: Any) -> tuple[float, float]:
    """Return the mean losses of the best constant answer: on validation, and on some of the training data.

    It is what a network says whose weights are all 0, and whose output has the biases that fit the training data best:
    the logarithm of frequencies (each symbol, class or note counted once more than it occurs), or the mean of a series.

    Parameters
    ----------
    problem : rnnlab.experiments.problems.Problem

    Returns
    -------
    valid, training : float
        In training the measure may be another one, as that of a forecaster judged by its absolute error.

    Examples
    --------
    >>> from rnnlab.experiments.config import parse_config
    >>> from rnnlab.experiments.problems import make_problem
    >>> tables = {"data": {"name": "temporal-order", "length": 20}, "training": {"steps": 1}}
    >>> problem = make_problem(parse_config({**tables, "optimizer": {"learning_rate": 1.0}}))
    >>> [round(loss, 1) for loss in constant_answer(problem)]  # log(4)
    [1.4, 1.4]
    """
    zeros = tree_map(lambda a: a * 0, problem.model.init(np.random.default_rng(0), np.float64))
    bias = _best_bias(problem.model, problem.train)
    params: Tree = {**zeros, "output": {**zeros["output"], "bias": bias.astype(np.float64)}}
    epoch = problem.train.epoch(np.random.default_rng(0))
    chosen = np.unique(np.linspace(0, len(problem.train) - 1, BATCHES).astype(int)).tolist()
    batches = [epoch[k][0] for k in chosen]
    losses = [float(problem.model.loss_and_grads(params, _in_double(batch))[0]) for batch in batches]
    weights = [problem.train.weight(batch) for batch in batches]
    return evaluate(problem.model, params, problem.valid), float(np.average(losses, weights=weights))


def _in_double(batch: Any) -> Any:
    return tree_map(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, batch)


def _best_bias(model: Any, source: Any) -> np.ndarray[Any, Any]:
    """Return the biases of the output that fit all training data best where nothing else is known."""
    epoch = source.epoch(np.random.default_rng(0))
    batches = (epoch[k][0] for k in range(len(source)))
    total: Any = 0.0
    count = 0.0
    if isinstance(model, models.PianoRollModel):
        for roll, lengths in batches:  # what is behind the end of a piece is 0
            total, count = total + roll[1:].sum((0, 1)), count + float((np.asarray(lengths) - 1).sum())
        share = (total + 1) / (count + 2)
        return np.asarray(np.log(share / (1 - share)))
    if isinstance(model, models.Forecaster):
        for _, target in batches:
            total, count = total + target.sum(1), count + target.shape[1]
        return np.asarray(total / count).reshape(-1)
    for batch in batches:
        total = total + np.bincount(np.asarray(batch[1]).ravel(), minlength=model.output.output_size)
    return np.asarray(np.log((total + 1) / np.sum(total + 1)))
