"""check_layer: every promise of the layer interface is checked, and what a student reads is plain."""

import numpy as np
import pytest

import rnnlab as rl
from rnnlab.backend import tree_map
from rnnlab.gradcheck import check_all_cells

METHODS = ("central", "five-point", "complex")


class Student:
    """A vanilla RNN written without rnnlab, with a place for every mistake: ``mistakes`` names those it makes."""

    def __init__(self, *mistakes):
        self.input_size, self.hidden_size, self.mistakes = 3, 4, set(mistakes)
        self.total, self.last = None, None

    def init(self, rng, dtype=np.float64):
        dtype = np.float32 if "init in float32" in self.mistakes else dtype
        shapes = {"Wx": (4, 3), "Wh": (4, 4), "b": (4,)}
        return {name: (0.3 * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}

    def forward(self, params, x, state=None, lengths=None):
        if "forward is missing" in self.mistakes:
            raise NotImplementedError("write me")
        default = np.ones if "state starts at one" in self.mistakes else np.zeros
        h = default((x.shape[1], 4)) if state is None or "state is ignored" in self.mistakes else state
        hs, y = [h], []
        valid = np.full(x.shape[:2], True) if lengths is None else np.arange(len(x))[:, None] < np.asarray(lengths)
        for t in range(len(x)):
            new = np.tanh(x[t] @ params["Wx"].T + h @ params["Wh"].T + params["b"])
            if "noise" in self.mistakes:
                new = new + 1e-3 * np.random.default_rng().standard_normal(new.shape)
            h = new if "lengths are ignored" in self.mistakes else np.where(valid[t][:, None], new, h)
            hs.append(h)
            y.append(h if "padding is not zero" in self.mistakes else h * valid[t][:, None])
        y = np.stack(y)
        if "y batch first" in self.mistakes:
            y = y.transpose(1, 0, 2)
        if "x is changed" in self.mistakes:
            x *= 2
        if "one value too few" in self.mistakes:
            return y, h
        self.last = hs
        return y, h, (x, hs, valid)

    def backward(self, params, tape, dy, dstate=None):
        x, hs, valid = tape
        hs = self.last if "tape in the layer" in self.mistakes else hs
        dh = np.zeros_like(hs[0]) if dstate is None or "dstate is ignored" in self.mistakes else dstate
        dx, grads = np.zeros_like(x), {name: np.zeros_like(p) for name, p in params.items()}
        for t in reversed(range(len(x))):
            now = np.full_like(valid[t], True) if "padding gets a gradient" in self.mistakes else valid[t]
            through, dh = dh * ~now[:, None], (dh + dy[t]) * now[:, None]
            da = dh * (1 - hs[t + 1] ** 2)
            dx[t] = da @ params["Wx"]
            grads["Wx"] += da.T @ x[t]
            grads["Wh"] += da.T @ hs[t]
            grads["b"] += da.sum(axis=0)
            dh = through + da @ params["Wh"]
        return self._spoil(params, dy, dx, dh, grads)

    def _spoil(self, params, dy, dx, dh, grads):
        if "weight decay in backward" in self.mistakes:
            grads["Wx"] += 0.1 * params["Wx"]
        if "gradients pile up" in self.mistakes:
            self.total = grads if self.total is None else tree_map(np.add, self.total, grads)
            grads = self.total
        if "dy is changed" in self.mistakes:
            dy *= 0.5
        if "a gradient is missing" in self.mistakes:
            del grads["b"]
        if "dx is transposed" in self.mistakes:
            dx = dx.transpose(1, 0, 2)
        return dx, (None if "no dstate" in self.mistakes else dh), grads


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_a_students_right_layer_passes(method, seed):
    report = rl.check_layer(Student(), method, rng=np.random.default_rng(seed))
    assert report.passed and report, str(report)
    assert report.max_relative_error < {"central": 1e-7, "five-point": 1e-8, "complex": 1e-12}[method]
    report.raise_if_failed()
    assert len(report.checks) == 15 and all(check.status == "ok" for check in report.checks)


FOUND_BY = {
    "init in float32": "parameters",
    "forward is missing": "shapes after forward",
    "y batch first": "shapes after forward",
    "one value too few": "shapes after forward",
    "noise": "forward twice gives the same",
    "state is ignored": "gradients",
    "state starts at one": "state=None means zeros",
    "lengths are ignored": "forward with lengths",
    "padding is not zero": "forward with lengths",
    "padding gets a gradient": "padding has no influence",
    "x is changed": "arguments are left alone",
    "dy is changed": "arguments are left alone",
    "tape in the layer": "two tapes do not disturb each other",
    "dstate is ignored": "gradients",
    "weight decay in backward": "a zero gradient stays zero",
    "gradients pile up": "backward twice on one tape gives the same",
    "a gradient is missing": "shapes after backward",
    "dx is transposed": "shapes after backward",
    "no dstate": "shapes after backward",
}


@pytest.mark.parametrize("mistake", FOUND_BY)
def test_every_mistake_is_found_by_the_check_for_it(mistake):
    report = rl.check_layer(Student(mistake))
    assert not report.passed and not report
    assert FOUND_BY[mistake] in [check.name for check in report.failed], str(report)
    with pytest.raises(rl.GradientCheckError) as caught:
        report.raise_if_failed()
    assert str(caught.value) == str(report) and FOUND_BY[mistake] in str(report)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("forward is missing", r"layer.forward(params, x) raised NotImplementedError: write me ("),
        ("y batch first", "y must have shape (T, N, hidden_size) = "),
        ("one value too few", "layer.forward(params, x) must return (y, state, tape); got 2 values"),
        ("init in float32", "gave params.Wx in float32"),
        ("a gradient is missing", "grads b is missing"),
        ("dx is transposed", "dx must have shape"),
        ("no dstate", "dstate (the gradient of the initial state) is None"),
        ("x is changed", "changes its argument x"),
        ("dy is changed", "changes its argument dy"),
        ("padding is not zero", "y must be 0 beyond the length of a sequence"),
        ("gradients pile up", "adds to old gradients"),
        ("tape in the layer", "must be on the tape, not in the layer"),
        ("state is ignored", "the loss does not depend on it at all"),
    ],
)
def test_the_message_says_what_is_wrong(mistake, words):
    text = str(rl.check_layer(Student(mistake)))
    assert words in text, text


def test_an_exception_names_file_and_line():
    text = str(rl.check_layer(Student("forward is missing")))
    line = Student.forward.__code__.co_firstlineno + 2
    assert f"test_check_layer.py, line {line})" in text
    assert "skipped  gradients: needs 'shapes after backward'" in text
    assert rl.check_layer(Student("forward is missing")).max_relative_error == np.inf


def test_an_exception_in_backward_leaves_the_checks_of_forward():
    class Unfinished(Student):
        def backward(self, params, tape, dy, dstate=None):
            return None

    report = rl.check_layer(Unfinished())
    assert [check.name for check in report.failed] == ["shapes after backward"]
    assert "must return (dx, dstate, grads); got NoneType" in str(report)
    statuses = {check.name: check.status for check in report.checks}
    assert statuses["forward with lengths"] == "ok" and statuses["gradients"] == "skipped"


def test_a_layer_without_lengths():
    class Plain(Student):
        def forward(self, params, x, state=None):
            return super().forward(params, x, state)

    report = rl.check_layer(Plain())
    assert [check.name for check in report.failed] == ["forward with lengths"]
    assert "does not take lengths" in str(report) and "lengths=False" in str(report)
    report = rl.check_layer(Plain(), lengths=False)
    assert report.passed
    assert [check.name for check in report.checks if check.status == "skipped"] == [
        "forward with lengths",
        "padding has no influence",
        "gradients with lengths",
    ]


def test_a_layer_that_forgets_its_state_is_not_cut_into_chunks_unnoticed():
    class Forgetful(Student):
        def forward(self, params, x, state=None, lengths=None):
            y, final, tape = super().forward(params, x, state, lengths)
            return y, 0.5 * final, tape

        def backward(self, params, tape, dy, dstate=None):
            return super().backward(params, tape, dy, None if dstate is None else 0.5 * dstate)

    # its gradients are right; what it computes is not a recurrent layer
    names = [check.name for check in rl.check_layer(Forgetful()).failed]
    assert "two chunks are the whole" in names and "gradients" not in names


def test_the_worst_parameter_and_gate_are_named():
    class Wrong(rl.LSTM):
        def backward(self, params, tape, dy, dstate=None):
            dx, dstate, grads = super().backward(params, tape, dy, dstate)
            grads["weight_hh"][5, 2] *= 2
            return dx, dstate, grads

    report = rl.check_layer(Wrong(3, 4))
    assert report.worst == ("weight_hh", (5, 2)) and report.worst_gate == "f"
    assert "weight_hh[5, 2] (gate f): analytic" in str(report)


def test_feed_forward_layers():
    for layer in (rl.Linear(3, 4), rl.Dropout(0.5)):
        x = np.random.default_rng(1).standard_normal((5, 2, 3))
        report = rl.check_layer(layer, x=x)
        assert report.passed, str(report)
        assert "gradients" in [check.name for check in report.checks]
    report = rl.check_layer(rl.Embedding(6, 3), x=np.random.default_rng(1).integers(0, 6, (5, 2)))
    assert report.passed, str(report)

    class Wrong(rl.Linear):
        def backward(self, params, tape, dy):
            dx, grads = super().backward(params, tape, dy)
            return dx, {**grads, "bias": grads["bias"] / 2}

    report = rl.check_layer(Wrong(3, 4), x=np.ones((5, 2, 3)))
    assert report.worst.parameter == "bias" and "0.5 times the numeric one" in str(report)


def test_a_layer_of_unknown_input_asks_for_x():
    class Nameless:
        def init(self, rng, dtype):
            return {}

        def forward(self, params, x, rng=None):
            return 2 * x, None

        def backward(self, params, tape, dy):
            return 2 * dy, {}

    assert "pass an input with x=" in str(rl.check_layer(Nameless()))
    report = rl.check_layer(Nameless(), x=np.ones((3, 2)))
    assert report.passed and "check of Nameless: passed" in str(report)


@pytest.mark.parametrize("method", METHODS)
def test_every_cell_passes(method):
    reports = check_all_cells(method=method)
    assert len(reports) == 10 and len(dict(reports)) == 10
    for name, report in reports:
        assert report.passed, f"{name}\n{report}"
