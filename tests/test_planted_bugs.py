"""The checker is checked: it finds every planted bug, and blames nothing that is right."""

import numpy as np
import pytest
from planted_bugs import BUGS, MODULES, SUBJECTS, load, mutant, names

import rnnlab as rl

ACTIVATIONS = ("tanh", "sigmoid", "relu", "leaky_relu", "elu")


@pytest.mark.parametrize("bug", BUGS, ids=names(BUGS))
def test_every_bug_is_found(bug):
    report = SUBJECTS[bug.subject](mutant(bug))
    assert not report.passed
    assert " raised " not in str(report)  # the numbers tell, not a crash
    with pytest.raises(rl.GradientCheckError):
        report.raise_if_failed()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_same_source_without_a_bug_passes(subject):
    report = SUBJECTS[subject](load(MODULES[subject]))
    assert report.passed, str(report)


def test_the_catalogue_is_large_and_without_doubles():
    assert len(BUGS) >= 36
    assert len({(bug.module, bug.right, bug.wrong, bug.subject) for bug in BUGS}) == len(BUGS)
    assert {bug.subject for bug in BUGS} == set(SUBJECTS) == set(MODULES)


ALL = {
    **{f"rnn-{name}": lambda D, H, name=name: rl.RNN(D, H, activation=name) for name in ACTIVATIONS},
    "lstm": rl.LSTM,
    "lstm-nobias": lambda D, H: rl.LSTM(D, H, bias=False),
    "gru-after": rl.GRU,
    "gru-before": lambda D, H: rl.GRU(D, H, reset="before"),
    "bidirectional": lambda D, H: rl.Bidirectional(rl.GRU(D, H), rl.RNN(D, 2)),
    "stacked": lambda D, H: rl.Stacked([rl.LSTM(D, H), rl.RNN(H, 3, activation="relu")]),
}


@pytest.mark.parametrize("name", ALL)
def test_no_correct_layer_fails_in_a_thousand_random_cases(name):
    for seed in range(1 + 1000 // len(ALL)):
        rng = np.random.default_rng([seed, *name.encode()])
        D, H = (int(size) for size in rng.integers(1, 7, 2))
        report = rl.check_layer(ALL[name](D, H), rng=rng)
        assert report.passed, f"seed {seed}\n{report}"
        assert report.max_relative_error < 1e-7
