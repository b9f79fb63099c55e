"""Whether a run diverged and whether it succeeded, and the constant answer that success is measured against."""

import numpy as np
import pytest

import rnnlab as rl
from rnnlab.backend import tree_map
from rnnlab.data.batches import Rolls
from rnnlab.experiments.config import parse_config
from rnnlab.experiments.outcome import Losses, constant_answer, diverged, succeeded
from rnnlab.experiments.problems import NATS, Problem, make_problem
from rnnlab.training import evaluate


@pytest.mark.parametrize(
    ("valid", "training", "expected"),
    [  # validation: end, lowest; training: end; both began at 1, and the constant answer has 0.8
        ((0.5, 0.5), 0.5, "succeeded"),
        ((0.9, 0.9), 0.9, "neither"),  # too few steps to get anywhere
        ((0.79, 0.78), 0.78, "neither"),  # the frequencies alone
        ((1.1, 0.9), 1.2, "diverged"),
        ((1.1, 0.9), 0.2, "succeeded"),  # learnt by heart
        ((1.1, 0.9), 0.9, "neither"),
        ((0.9, 0.9), 9.0, "neither"),  # one bad batch
        ((0.9, 0.3), 0.9, "diverged"),  # had found a solution, and lost it
        ((0.9, 0.3), 0.1, "succeeded"),
        ((0.81, 0.79), 0.81, "neither"),  # hovers about the constant answer
        ((np.nan, 0.3), 0.1, "diverged"),
        ((0.3, 0.3), np.inf, "diverged"),
    ],
)
def test_divergence_is_told_from_overfitting_and_success_from_not_having_learnt(valid, training, expected):
    kinds = Losses(1.0, *valid, constant=0.8), Losses(1.0, training, constant=0.8)
    outcome = "diverged" if diverged(*kinds) else "succeeded" if succeeded(*kinds) else "neither"
    assert outcome == expected
    assert not (diverged(*kinds) and succeeded(*kinds))


def test_without_a_constant_answer_a_run_diverged_if_it_ended_above_where_it_began():
    assert diverged(Losses(1.0, 1.1), Losses(1.0, 1.1))
    assert not diverged(Losses(1.0, 1.1), Losses(1.0, 0.9)) and not diverged(Losses(1.0, 0.9), Losses(1.0, 1.1))


CONFIGS = {
    "shakespeare": {"data": {"name": "shakespeare", "batch_size": 8, "limit": 20_000, "held_out_limit": 2000}},
    "adding": {"data": {"name": "adding", "length": 8}},
    "copying": {"data": {"name": "copying", "length": 8}},
    "temporal-order": {"data": {"name": "temporal-order", "length": 10}, "model": {"cell": "rnn"}},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_no_other_constant_answer_is_better(name):
    tables = {**CONFIGS[name], "optimizer": {"learning_rate": 1.0}, "training": {"steps": 1}}
    problem = make_problem(parse_config(tables))
    valid, training = constant_answer(problem)
    params = problem.model.init(np.random.default_rng(0))
    params = tree_map(np.zeros_like, params)
    for shift in (-0.5, 0.5):  # what the training data say is about the best on validation too
        others = []
        for k in range(min(5, len(params["output"]["bias"]))):
            moved = np.zeros_like(params["output"]["bias"])
            moved[k] = shift
            params["output"]["bias"][:] = moved
            others.append(evaluate(problem.model, params, problem.valid))
        assert valid < 1.02 * min(others)
    assert training == pytest.approx(valid, rel=0.1)


def test_the_constant_answer_of_a_piano_roll_is_each_notes_frequency():
    rng = np.random.default_rng(0)
    share = np.linspace(0.05, 0.6, 6)
    rolls = [(rng.random((length, 6)) < share).astype(np.float64) for length in (30, 70, 45, 300, 12)]
    source = Rolls(rolls, 2)
    model = rl.models.PianoRollModel(rl.GRU(6, 3), 6)
    frames = np.concatenate([roll[1:] for roll in rolls])
    found, training = constant_answer(Problem(model, NATS, source, Rolls(rolls, 3, shuffle=False), None))
    p = (frames.sum(0) + 1) / (len(frames) + 2)
    expected = -(frames * np.log(p) + (1 - frames) * np.log(1 - p)).sum(1).mean()
    assert found == pytest.approx(expected) and training == pytest.approx(expected)


def test_the_constant_answer_of_a_forecast_is_the_mean_and_is_judged_as_the_forecast_is(data_root):
    tables = {
        "data": {"name": "ettm1", "split": "70/15/15", "context": 4, "horizon": 3, "measure": "absolute",
                 "limit": 500, "held_out_limit": 300, "root": str(data_root)},
        "optimizer": {"learning_rate": 1.0}, "training": {"steps": 1},
    }  # fmt: skip
    problem = make_problem(parse_config(tables))
    valid, training = constant_answer(problem)
    targets = np.concatenate(
        [problem.train.epoch(np.random.default_rng(0))[k][0][1] for k in range(len(problem.train))], 1
    )
    assert training == pytest.approx(float(((targets - targets.mean(1, keepdims=True)) ** 2).mean()), rel=0.05)
    held = np.concatenate(
        [problem.valid.epoch(np.random.default_rng(0))[k][0][1] for k in range(len(problem.valid))], 1
    )
    assert valid == pytest.approx(float(np.abs(held - targets.mean(1, keepdims=True)).mean()), rel=1e-4)
