"""fit: the same as the loop written out, the best on validation, what is not finite, and resuming at every step."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import checkpoint
from rnnlab.backend import tree_items, tree_map
from rnnlab.checkpoint import CheckpointError
from rnnlab.data.batches import Drawn, Rolls, Sequences, Streams, Windows
from rnnlab.training import NonFiniteError, evaluate, fit


def language_model(dropout=0.0):
    return rl.models.LanguageModel(9, 4, rl.LSTM(4, 5), dropout=dropout)


def tokens(count=200, seed=0):
    return np.random.default_rng(seed).integers(0, 9, count)


def problems():
    rng = np.random.default_rng(8)
    yield language_model(0.3), Streams(tokens(90), 3, 6), Streams(tokens(50, 1), 2, 9)
    x, y, lengths = rng.normal(size=(6, 11, 2)), rng.integers(0, 3, 11), rng.integers(1, 7, 11)
    layer = rl.Stacked([rl.Bidirectional(rl.GRU(2, 3), rl.RNN(2, 3)), rl.LSTM(6, 4)], dropout=0.5)
    yield rl.models.SequenceClassifier(layer, 3), Sequences(x, y, 4, lengths), Sequences(x, y, 5, lengths)
    values = rng.normal(size=(40, 3))
    yield rl.models.Forecaster(rl.GRU(3, 4), 2, 1), Windows(values, 5, 2, 8, 1), Windows(values, 5, 2, 50, 1)
    rolls = [(rng.random((T, 6)) < 0.3).astype(np.uint8) for T in rng.integers(2, 9, 10)]
    yield rl.models.PianoRollModel(rl.GRU(6, 4, reset="before"), 6), Rolls(rolls, 3), Rolls(rolls, 4)
    adding = Drawn(lambda rng: rl.data.adding(rng, 4, 6), 5)
    yield rl.models.Forecaster(rl.RNN(2, 4), 1, 1), adding, adding


PROBLEMS = list(problems())
IDS = [type(model).__name__ + "-" + type(train).__name__ for model, train, _ in PROBLEMS]


def assert_same(a, b):
    left, right = list(tree_items(a)), list(tree_items(b))
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, v), (_, w) in zip(left, right, strict=True):
        assert np.asarray(v).dtype == np.asarray(w).dtype and np.array_equal(v, w, equal_nan=True), path


def assert_same_result(one, two):
    assert_same(
        one._replace(stopped=None, history=None, best_step=None),
        two._replace(stopped=None, history=None, best_step=None),
    )
    assert repr(one.history) == repr(two.history)  # repr: NaN, and every bit of a float
    assert (one.stopped, one.best_step, one.skipped) == (two.stopped, two.best_step, two.skipped)


# --------------------------------------------------------------------------- the loop written out


@pytest.mark.parametrize("model, train, valid", PROBLEMS, ids=IDS)
def test_fit_is_the_loop_written_out(model, train, valid):
    optimizer = rl.optim.adam(0.01)
    weights, batches, dropout = np.random.default_rng(4).spawn(3)
    params, opt_state, state, losses = model.init(weights, np.float64), None, None, []
    opt_state = optimizer.init(params)
    for rng in batches.spawn(3):
        epoch = train.epoch(rng)
        for k in range(len(train)):
            batch, anew = epoch[k]
            assert anew == (k == 0 or not train.carries_state)
            state = None if anew else rl.carry_state(state)
            loss, grads, state = model.loss_and_grads(params, batch, state, dropout)
            params, opt_state = optimizer.step(params, grads, opt_state)
            losses.append(float(loss))
    result = fit(model, train, optimizer, epochs=3, seed=4, dtype=np.float64)
    assert [row["training_loss"] for row in result.history] == losses
    assert_same(result.params, params)
    assert result.stopped == "epochs" and result.best_step is None and result.skipped == 0
    assert [row["step"] for row in result.history] == list(range(3 * len(train)))
    assert [row["epoch"] for row in result.history] == [e for e in range(3) for _ in range(len(train))]


@pytest.mark.parametrize("model, train, valid", PROBLEMS, ids=IDS)
def test_training_is_in_float32_by_default_and_decided_by_the_seed(model, train, valid):
    one, two, other = (fit(model, train, rl.optim.sgd(0.1), steps=7, seed=seed) for seed in (1, 1, 2))
    assert_same_result(one, two)
    assert {w.dtype for _, w in tree_items(one.params)} == {np.dtype(np.float32)}
    assert one.history[0]["training_loss"] != other.history[0]["training_loss"]
    wide = fit(model, train, rl.optim.sgd(0.1), steps=7, seed=1, dtype=np.float64)
    assert np.isclose(one.history[-1]["training_loss"], wide.history[-1]["training_loss"], rtol=1e-3)


def test_batches_are_brought_to_the_dtype_of_the_parameters():
    seen = []

    class Look:
        def before_step(self, run):
            seen.append((run.batch[0].dtype, run.batch[1].dtype, run.grads["output"]["weight"].dtype))

    for model, train, _ in PROBLEMS[1:3]:
        fit(model, train, rl.optim.sgd(0.1), steps=1, callbacks=[Look()])
    single = np.dtype(np.float32)
    assert seen == [(single, np.dtype(np.int64), single), (single, single, single)]


def test_parameters_that_are_given_are_begun_with_and_left_as_they_are():
    model, train = language_model(), Streams(tokens(), 2, 5)
    params = model.init(np.random.default_rng(7))
    before = tree_map(np.copy, params)

    class InPlace:
        def init(self, params):
            return None

        def step(self, params, grads, opt_state):
            for (_, w), (_, g) in zip(tree_items(params), tree_items(grads), strict=True):
                w -= 0.1 * g
            return params, None

    result = fit(model, train, InPlace(), steps=4, params=params, dtype=np.float64, valid=train, validate_every=1)
    assert_same(params, before)
    same = fit(model, train, rl.optim.sgd(0.1), steps=4, params=params, dtype=np.float64, valid=train, validate_every=1)
    assert_same(result.params, same.params)
    assert all(math.isnan(row["learning_rate"]) for row in result.history)


def test_the_gradient_norm_and_the_learning_rate_of_the_history():
    model, train = language_model(), Streams(tokens(), 2, 5)
    rate = rl.optim.schedules.exponential(0.5, 0.9)
    norms = []

    class Look:
        def before_step(self, run):
            norms.append(math.sqrt(sum(float((g.astype(float) ** 2).sum()) for _, g in tree_items(run.grads))))

    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1e-3), rl.optim.sgd(rate))
    result = fit(model, train, optimizer, steps=5, callbacks=[Look()])
    np.testing.assert_allclose(result.curve("gradient_norm")[1], norms, rtol=1e-5)
    assert result.curve("learning_rate")[1].tolist() == [rate(k) for k in range(5)]


# ------------------------------------------------------------------------------------- validation


@given(st.integers(2, 60), st.integers(1, 3), st.integers(1, 70), st.integers(0, 9))
def test_evaluating_does_not_depend_on_how_the_data_is_cut(count, N, length, seed):
    model = language_model(0.5)
    params = model.init(np.random.default_rng(seed))
    text = tokens(count * N, seed)
    whole = model.loss(params, Streams(text, N, count).epoch(None)[0][0])[0]
    assert np.isclose(evaluate(model, params, Streams(text, N, length)), whole, rtol=1e-12)


@pytest.mark.parametrize("problem", [1, 2, 3], ids=IDS[1:4])
def test_evaluating_weighs_batches_by_what_is_in_them(problem):
    model, train, valid = PROBLEMS[problem]
    params = model.init(np.random.default_rng(0))
    one, two = evaluate(model, params, train), evaluate(model, params, valid)
    assert np.isclose(one, two, rtol=1e-12) and one == evaluate(model, params, train)


class Scripted:
    """A metric that says what it was told to."""

    def __init__(self, *values):
        self.values, self.seen = list(values), []

    def __call__(self, model, params, valid):
        self.seen.append(tree_map(np.copy, params))
        return self.values[len(self.seen) - 1]


def test_the_best_on_validation_is_returned_and_patience_ends_the_training():
    model, train = language_model(), Streams(tokens(), 2, 5)
    metric = Scripted(5.0, 3.0, math.nan, 3.0, 2.5, 2.5, 2.7, 2.8, 0.1)  # as good is not better
    result = fit(
        model, train, rl.optim.sgd(0.1), steps=99, valid=train, metric=metric, validate_every=2, patience=3
    )  # fmt: skip
    assert result.stopped == "patience" and len(result.history) == 16
    assert result.best_step == 9
    assert_same(result.params, metric.seen[4])
    assert_same(result.last_params, metric.seen[7])
    steps, values = result.curve("validation_metric")
    assert steps.tolist() == [1, 3, 5, 7, 9, 11, 13, 15] and values[4] == 2.5
    last = evaluate(model, result.last_params, train)
    assert result.history[-1]["validation_loss"] == last


def test_validation_is_at_the_end_of_epochs_and_at_the_end():
    model, train = language_model(), Streams(tokens(42), 2, 5)  # 4 batches an epoch
    assert len(train) == 4
    for options, expected in (({"steps": 9}, [3, 7, 8]), ({"epochs": 2}, [3, 7]), ({"epochs": 2, "steps": 6}, [3, 5])):
        result = fit(model, train, rl.optim.sgd(0.1), valid=train, **options)
        assert result.curve("validation_loss")[0].tolist() == expected
        assert result.stopped == ("steps" if "steps" in options else "epochs")
        assert result.best_step in expected


def test_a_schedule_that_listens_is_told_the_validation_loss():
    model, train = language_model(), Streams(tokens(42), 2, 5)
    told = []

    class Listening(rl.optim.schedules.reduce_on_plateau):
        def observe(self, state, metric):
            told.append(metric)
            return super().observe(state, metric)

    optimizer = rl.optim.sgd(Listening(50.0, factor=0.5))  # far too large: the loss does not fall
    result = fit(model, train, optimizer, epochs=6, valid=train, metric=lambda *_: 0.0)
    assert told == result.curve("validation_loss")[1].tolist() and len(told) == 6
    assert result.history[-1]["learning_rate"] < 50


def test_nothing_finite_on_validation_gives_the_last_parameters():
    model, train = language_model(), Streams(tokens(42), 2, 5)
    result = fit(model, train, rl.optim.sgd(0.1), epochs=2, valid=train, metric=lambda *_: math.nan)
    assert result.best_step is None and result.params is result.last_params


# -------------------------------------------------------------------------------------- callbacks


class Diary:
    def __init__(self, stop=None):
        self.entries, self.stop = [], stop

    def __getattr__(self, moment):
        if moment not in ("start", "before_step", "after_step", "after_validation", "end"):
            raise AttributeError(moment)

        def write(run):
            self.entries.append((moment, run.step))
            if (moment, run.step) == self.stop:
                run.stop("enough")

        return write


def test_callbacks_are_told_in_order():
    model, train = language_model(), Streams(tokens(32), 2, 5)
    assert len(train) == 3
    diary = Diary()
    fit(model, train, rl.optim.sgd(0.1), steps=4, valid=train, callbacks=[diary])
    pair = [[("before_step", k), ("after_step", k)] for k in range(4)]
    validations = [("after_validation", 2)], [("after_validation", 3)]
    assert diary.entries == [("start", 0), *sum(pair[:3], []), *validations[0], *pair[3], *validations[1], ("end", 4)]


def test_callbacks_see_the_step_from_both_sides():
    model, train = language_model(), Streams(tokens(32), 2, 5)

    class Look:
        def before_step(self, run):
            assert run.model is model and run.folder is None and run.history[-1]["step"] == run.step
            self.before, self.grads = run.params, tree_map(np.copy, run.grads)
            self.loss, self.step = run.loss, run.step
            assert run.loss == run.history[-1]["training_loss"] == model.loss(run.params, run.batch, self.state)[0]

        def after_step(self, run):
            assert_same(run.grads, self.grads)
            assert (run.loss, run.step, run.learning_rate) == (self.loss, self.step, 0.1)
            for (_, w), (_, old), (_, g) in zip(*map(tree_items, (run.params, self.before, run.grads)), strict=True):
                np.testing.assert_array_equal(w, old - np.float32(0.1) * g)
            self.state = run.state if run.position < 2 else None

        state = None

    fit(model, train, rl.optim.sgd(0.1), steps=7, callbacks=[Look()])


@pytest.mark.parametrize("moment", ["before_step", "after_step", "after_validation"])
def test_a_callback_may_end_the_training(moment, tmp_path):
    model, train = language_model(), Streams(tokens(32), 2, 5)
    options = {"epochs": 9, "valid": train, "validate_every": 2, "folder": tmp_path}
    result = fit(model, train, rl.optim.sgd(0.1), callbacks=[Diary((moment, 3))], **options)
    assert result.stopped == "enough" and len(result.history) == 4 and "validation_loss" in result.history[-1]
    assert_same_result(fit(model, train, rl.optim.sgd(0.1), resume=True, **options), result)


def test_the_progress_bar_is_on_stderr():
    code = (
        "import numpy as np, rnnlab as rl, sys; from rnnlab.training import fit\n"
        "from rnnlab.data.batches import Streams\n"
        "assert 'tqdm' not in sys.modules\n"
        "model = rl.models.LanguageModel(3, 2, rl.RNN(2, 2))\n"
        "fit(model, Streams(np.zeros(42, int), 2, 5), rl.optim.sgd(0.1), epochs=3, steps=10, progress=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and "10/10" in done.stderr and "loss" in done.stderr


# ------------------------------------------------------------------------------- what is not finite


class Poisoned:
    """A model of which the loss, or a gradient, is not finite at some steps."""

    def __init__(self, what, steps):
        self.model, self.what, self.steps, self.calls = language_model(), what, steps, 0
        self.init, self.loss = self.model.init, self.model.loss

    def loss_and_grads(self, params, batch, state=None, rng=None):
        loss, grads, state = self.model.loss_and_grads(params, batch, state, rng)
        if self.calls in self.steps:
            if self.what == "gradient":
                grads["recurrent"]["weight_hh"][2, 1] = np.nan
            elif self.what == "loss":
                loss = np.inf
            elif self.what == "update":
                grads["output"]["bias"][1] = 3e38
        self.calls += 1
        return loss, grads, state


TROUBLES = [
    ("gradient", "the gradient of recurrent.weight_hh is not finite .the loss is [0-9.]+.;", "recurrent.weight_hh"),
    ("loss", "the loss is inf, all gradients are finite", None),
    ("update", "the update makes output.bias not finite", "output.bias"),
]


@pytest.mark.parametrize("what, message, parameter", TROUBLES, ids=[t[0] for t in TROUBLES])
def test_what_is_not_finite_is_raised_with_step_parameter_and_checkpoint(tmp_path, what, message, parameter):
    train = Streams(tokens(), 2, 5)
    with pytest.raises(NonFiniteError, match=f"^step 5: {message}.*the last good checkpoint is none$") as error:
        fit(Poisoned(what, [5]), train, rl.optim.sgd(100.0), steps=9)
    assert (error.value.step, error.value.parameter, error.value.checkpoint) == (5, parameter, None)
    with pytest.raises(NonFiniteError, match="checkpoint-0000000004.npz$") as error:
        fit(Poisoned(what, [5]), train, rl.optim.sgd(100.0), steps=9, folder=tmp_path, checkpoint_every=2)
    assert error.value.checkpoint == tmp_path / "checkpoint-0000000004.npz"
    assert checkpoint.load(tmp_path)["step"] == 4


def test_an_optimizer_that_refuses_is_a_non_finite_update():
    class Refusing:
        def init(self, params):
            return None

        def step(self, params, grads, opt_state):
            raise FloatingPointError("too large")

    with pytest.raises(NonFiniteError, match="^step 0: the optimizer says: too large; the last"):
        fit(language_model(), Streams(tokens(), 2, 5), Refusing(), steps=3)


@pytest.mark.parametrize("what", ["gradient", "loss", "update"])
def test_skipping_leaves_the_update_out_and_counts_it(what):
    train, optimizer = Streams(tokens(), 2, 5), rl.optim.sgd(100.0 if what == "update" else 0.1)
    params = []

    class Look:
        def after_validation(self, run):
            params.append(run.params)

    options = {"valid": train, "validate_every": 1, "callbacks": [Look()], "on_nonfinite": "skip"}
    result = fit(Poisoned(what, [2, 3, 6]), train, optimizer, steps=8, **options)
    assert result.skipped == 3 and result.stopped == "steps"
    assert [k for k, row in enumerate(result.history) if "skipped" in row] == [2, 3, 6]
    same = [one is two for one, two in zip(params, params[1:], strict=False)]
    assert same == [False, True, True, False, False, True, False]
    assert all(np.isfinite(w).all() for _, w in tree_items(result.last_params))


def test_after_a_skip_the_state_begins_at_zero():
    states = []

    class Looking(Poisoned):
        def loss_and_grads(self, params, batch, state=None, rng=None):
            states.append(state)
            return super().loss_and_grads(params, batch, state, rng)

    fit(Looking("loss", [2]), Streams(tokens(), 2, 5), rl.optim.sgd(0.1), steps=5, on_nonfinite="skip")
    assert [state is None for state in states] == [True, False, False, True, False]


def test_stopping_keeps_the_parameters_before(tmp_path):
    train = Streams(tokens(), 2, 5)
    options = {"steps": 8, "on_nonfinite": "stop", "folder": tmp_path, "valid": train}
    result = fit(Poisoned("gradient", [4]), train, rl.optim.sgd(0.1), **options)
    assert result.stopped == "nonfinite" and result.skipped == 1 and len(result.history) == 5
    assert_same(result.last_params, fit(language_model(), train, rl.optim.sgd(0.1), steps=4).params)
    again = fit(Poisoned("gradient", []), train, rl.optim.sgd(0.1), resume=True, **options)
    assert_same_result(again, result)


def test_a_diverging_run_gives_no_warnings_but_ends():
    train = Streams(tokens(), 2, 5)
    model = rl.models.LanguageModel(9, 4, rl.RNN(4, 5, activation="relu"))
    with pytest.raises(NonFiniteError, match="not finite"):
        fit(model, train, rl.optim.sgd(1e6), steps=200)


# ---------------------------------------------------------------------------------------- resuming


class Cut(Exception):
    pass


class Scissors:
    """A callback that counts, is part of checkpoints, and cuts the run off."""

    def __init__(self, at=None):
        self.at, self.count = at, 0

    def after_step(self, run):
        self.count += 1
        if run.step == self.at:
            raise Cut

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]


def optimizers():
    schedule = rl.optim.schedules.reduce_on_plateau(0.05, factor=0.5)
    yield rl.optim.chain(rl.optim.clip_by_global_norm(0.5), rl.optim.sgd(schedule, momentum=0.9))
    yield rl.optim.chain(rl.optim.adam(0.01), rl.optim.project_spectral_norm(0.9, only="weight_hh"))
    yield rl.optim.rmsprop(rl.optim.schedules.cosine(0.01, 20))


OPTIMIZERS = list(optimizers())


@settings(max_examples=15)
@given(
    st.integers(0, len(PROBLEMS) - 1), st.integers(0, len(OPTIMIZERS) - 1), st.integers(0, 13), st.integers(1, 6),
    st.integers(1, 6), st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_a_run_cut_off_and_resumed_is_the_same_to_the_last_bit(
    tmp_path_factory, problem, optimizer, at, checkpoint_every, validate_every, dtype
):
    model, train, valid = PROBLEMS[problem]
    options = {"steps": 14, "seed": 5, "valid": valid, "validate_every": validate_every, "dtype": dtype}
    counting = Scissors()
    whole = fit(model, train, OPTIMIZERS[optimizer], callbacks=[counting], **options)
    options |= {"folder": tmp_path_factory.mktemp("run"), "checkpoint_every": checkpoint_every, "keep": 1}
    with pytest.raises(Cut):
        fit(model, train, OPTIMIZERS[optimizer], callbacks=[Scissors(at)], **options)
    counting.count = 0
    resumed = fit(model, train, OPTIMIZERS[optimizer], callbacks=[counting], resume=True, **options)
    assert_same_result(resumed, whole)
    assert counting.count == 14
    again = fit(model, train, OPTIMIZERS[optimizer], callbacks=[Scissors()], resume=True, **options)
    assert_same_result(again, whole)
    best = checkpoint.read(options["folder"] / "best.npz")
    assert_same(best["params"], whole.params)
    assert best["step"] == whole.best_step


def test_more_steps_may_be_asked_for(tmp_path):
    model, train, _ = PROBLEMS[0]
    whole = fit(model, train, rl.optim.adam(0.01), epochs=3)
    fit(model, train, rl.optim.adam(0.01), epochs=1, folder=tmp_path)
    assert_same_result(fit(model, train, rl.optim.adam(0.01), epochs=3, folder=tmp_path, resume=True), whole)


def test_a_damaged_checkpoint_costs_only_the_way_from_the_one_before(tmp_path):
    model, train, _ = PROBLEMS[0]
    options = {"folder": tmp_path, "checkpoint_every": 2}
    whole = fit(model, train, rl.optim.adam(0.01), steps=8, **options)
    newest = tmp_path / "checkpoint-0000000008.npz"
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="0000000008.npz is damaged"):
        again = fit(model, train, rl.optim.adam(0.01), steps=8, resume=True, **options)
    assert_same_result(again, whole)
    assert checkpoint.load(tmp_path)["step"] == 8


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, "seed 0; it cannot go on with 1"),
        ({"optimizer": rl.optim.sgd(0.1)}, "optimizer chain.Adam.*; it cannot go on with chain.SGD"),
        ({"optimizer": rl.optim.adam(0.02)}, "learning rate 0.01; it cannot go on with 0.02"),
        ({"dtype": np.float64}, "params.embedding.weight float32 .9, 4.; it cannot go on with float64"),
        ({"train": Streams(tokens(100), 2, 3)}, r"len\(train\) "),
        ({"model": rl.models.LanguageModel(9, 4, rl.GRU(4, 5))}, r"params.recurrent.weight_ih float32 \(20, 4\)"),
        ({"callbacks": [Scissors()]}, r"callbacks \[\]; it cannot go on with \['Scissors'\]"),
        ({"resume": False}, "holds the checkpoints of a run; resume=True goes on from them"),
    ],
)
def test_another_run_is_not_gone_on_with(tmp_path, change, message):
    model, train, _ = PROBLEMS[0]
    options = {"model": model, "train": train, "optimizer": rl.optim.adam(0.01), "steps": 3, "folder": tmp_path}
    fit(**options)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.npz")}
    with pytest.raises(CheckpointError, match=message):
        fit(**(options | {"resume": True, "steps": 6} | change))
    assert before == {path: path.read_bytes() for path in tmp_path.glob("*.npz")}


def test_a_folder_in_use_is_refused(tmp_path):
    model, train, _ = PROBLEMS[0]

    class Second:
        def before_step(self, run):
            with pytest.raises(CheckpointError, match="is in use by process"):
                fit(model, train, rl.optim.sgd(0.1), steps=1, folder=tmp_path, resume=True)

    fit(model, train, rl.optim.sgd(0.1), steps=2, folder=tmp_path, callbacks=[Second()])


def test_a_full_disk_ends_the_training_and_the_last_good_checkpoint_is_gone_on_from(tmp_path, monkeypatch):
    model, train, _ = PROBLEMS[0]
    options = {"steps": 8, "folder": tmp_path, "checkpoint_every": 2}
    real = checkpoint._write_members

    def full(stream, head, arrays):
        if arrays["history.step.1"][-1] >= 5:
            stream.write(b"half")
            raise OSError(28, "No space left on device")
        real(stream, head, arrays)

    monkeypatch.setattr(checkpoint, "_write_members", full)
    with pytest.raises(CheckpointError, match="0006.npz: No space left on device; the last good .*0004.npz$"):
        fit(model, train, rl.optim.adam(0.01), **options)
    monkeypatch.undo()
    again = fit(model, train, rl.optim.adam(0.01), resume=True, **options)
    assert_same_result(again, fit(model, train, rl.optim.adam(0.01), steps=8))


# ---------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "one of epochs and steps must be given; got neither"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"steps": 1, "validate_every": 0}, "validate_every must be at least 1"),
        ({"steps": 1, "on_nonfinite": "ignore"}, "on_nonfinite must be one of raise, skip, stop; got 'ignore'"),
        ({"steps": 1, "patience": 2}, "patience needs valid; got patience=2 and valid=None"),
        ({"steps": 1, "resume": True}, "resume needs folder; got resume=True and folder=None"),
        ({"steps": 1, "checkpoint_every": 5}, "checkpoint_every needs folder"),
        ({"steps": 1, "backend": "torch"}, "backend must be one of numpy, cupy; got 'torch'"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        fit(language_model(), Streams(tokens(), 2, 5), rl.optim.sgd(0.1), **options)
