"""The monitor: what it records, when, what it costs, and that its file survives a kill."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import dynamics
from rnnlab.backend import tree_items
from rnnlab.monitor import QUANTITIES, Monitor, read_record

ALL = tuple(QUANTITIES)


def language_model(seed=0, recurrent=None):
    rng = np.random.default_rng(seed)
    model = rl.models.LanguageModel(7, 3, recurrent or rl.GRU(3, 4))
    batches = [(rng.integers(0, 7, (5, 2)), rng.integers(0, 7, (5, 2))) for _ in range(40)]
    return model, model.init(rng), batches


class Loop:
    """A training loop that keeps the contract of callbacks."""

    def __init__(self, monitor, model=None, params=None, batches=None, learning_rate=0.5):
        if model is None:
            model, params, batches = language_model()
        self.monitor, self.batches, self.optimizer = monitor, batches, rl.optim.sgd(learning_rate)
        self.opt_state = self.optimizer.init(params)
        self.run = SimpleNamespace(model=model, params=params, grads=None, loss=None, batch=None, state=None)
        self.run.step, self.run.epoch, self.run.learning_rate = 0, 0, learning_rate

    def go(self, stop, start=True):
        run = self.run
        if start:
            self.monitor.start(run)
        while run.step < stop:
            run.batch = self.batches[run.step]
            run.epoch = run.step // 10
            run.loss, run.grads, run.state = run.model.loss_and_grads(run.params, run.batch)
            self.monitor.before_step(run)
            run.params, self.opt_state = self.optimizer.step(run.params, run.grads, self.opt_state)
            self.monitor.after_step(run)
            run.step += 1
        return self.monitor

    def copy(self, monitor):
        """A loop that goes on from here with another monitor, as a process that was resumed."""
        other = Loop(monitor, self.run.model, self.run.params, self.batches)
        other.opt_state = self.opt_state
        other.run.step = self.run.step
        return other


# ------------------------------------------------------------------------------- what is recorded


def test_every_quantity_is_what_dynamics_says_of_the_step():
    model, params, batches = language_model()
    monitor = Loop(Monitor(ALL, every=1, max_share=None), model, params, batches).go(3)
    assert len(monitor.rows) == 3 and [list(row) for row in monitor.rows] == [monitor.columns] * 3
    optimizer = rl.optim.sgd(0.5)
    opt_state = optimizer.init(params)
    for k, row in enumerate(monitor.rows):
        loss, grads, _ = model.loss_and_grads(params, batches[k])
        after, opt_state = optimizer.step(params, grads, opt_state)
        assert row["step"] == k and row["epoch"] == 0 and row["learning_rate"] == 0.5
        assert row["loss"] == float(loss)
        flat = dict(tree_items(grads))
        whole = np.sqrt(sum((g**2).sum() for g in flat.values()))
        np.testing.assert_allclose(row["gradient_norm"], whole, rtol=1e-12)
        for path, w in tree_items(params):
            g = flat[path]
            np.testing.assert_allclose(row[f"gradient_norm.{path}"], np.linalg.norm(g), rtol=1e-12)
            ratio = np.linalg.norm(0.5 * g) / np.linalg.norm(w) if w.any() else np.inf
            np.testing.assert_allclose(row[f"update_ratio.{path}"], ratio, rtol=1e-9)
            for kind, array in (("weight", w), ("gradient", g)):
                found = [row[f"{kind}_{name}.{path}"] for name in ("mean", "std", "skewness", "kurtosis")]
                np.testing.assert_array_equal(found, dynamics.weight_statistics(array))
        W = params["recurrent"]["weight_hh"]
        for k, gate in enumerate("rzn"):
            block, path = W[4 * k : 4 * k + 4], f"recurrent.weight_hh.{gate}"
            assert row[f"spectral_norm.{path}"] == dynamics.spectral_norm(block)
            assert row[f"spectral_radius.{path}"] == dynamics.spectral_radius(block)
        x = params["embedding"]["weight"][batches[int(row["step"])][0]]
        for gate, shares in dynamics.gate_saturation(model.recurrent, params["recurrent"], x).items():
            assert (row[f"saturation_low.{gate}"], row[f"saturation_high.{gate}"]) == shares
        params = after


def test_the_update_ratio_is_right_where_the_optimizer_works_in_place():
    class InPlace:
        def init(self, params):
            return None

        def step(self, params, grads, state):
            for path, w in tree_items(params):
                w -= 0.5 * dict(tree_items(grads))[path]
            return params, state

    runs = []
    for optimizer in (rl.optim.sgd(0.5), InPlace()):
        loop = Loop(Monitor(["update_ratio"], every=1, max_share=None))
        loop.optimizer, loop.opt_state = optimizer, optimizer.init(loop.run.params)
        runs.append(loop.go(3))
    assert runs[0].rows == runs[1].rows
    assert min(runs[1].column("update_ratio.output.weight")) > 0


def models_and_batches():
    rng = np.random.default_rng(3)
    lengths = np.array([6, 2])
    x, roll = rng.normal(size=(6, 2, 3)), (rng.random((6, 2, 5)) < 0.3).astype(float)
    classifier = rl.models.SequenceClassifier(rl.Stacked([rl.GRU(3, 4), rl.LSTM(4, 2)]), 2)
    yield classifier, (x, np.array([0, 1]), lengths), x, lengths
    yield rl.models.SequenceClassifier(rl.RNN(3, 4), 2), (x, np.array([0, 1]), None), x, None
    yield rl.models.Forecaster(rl.LSTM(3, 4), 1, 2), (x, rng.normal(size=(1, 2, 2))), x, None
    yield rl.models.PianoRollModel(rl.GRU(5, 4), 5), (roll, lengths), roll[:-1], lengths - 1
    yield rl.models.PianoRollModel(rl.GRU(5, 4), 5), (roll, None), roll[:-1], None


@pytest.mark.parametrize("case", list(models_and_batches()), ids=lambda case: type(case[0]).__name__)
def test_saturation_is_that_of_what_the_recurrent_layer_of_each_model_sees(case):
    model, batch, x, lengths = case
    params = model.init(np.random.default_rng(0))
    params = {**params, "recurrent": rl.to_numpy(_scaled(params["recurrent"]))}
    row = Loop(Monitor(["saturation"], every=1), model, params, [batch]).go(1).rows[0]
    expected = dynamics.gate_saturation(model.recurrent, params["recurrent"], x, lengths=lengths)
    assert sum(sum(shares) for shares in expected.values()) > 0
    for gate, shares in expected.items():
        assert (row[f"saturation_low.{gate}"], row[f"saturation_high.{gate}"]) == shares


def _scaled(tree):
    return {k: _scaled(v) for k, v in tree.items()} if isinstance(tree, dict) else 4 * tree


def test_saturation_of_a_model_of_ones_own_is_refused():
    loop = Loop(Monitor(["saturation"]))
    loop.run.model = SimpleNamespace(loss_and_grads=loop.run.model.loss_and_grads)
    with pytest.raises(ValueError, match="'saturation' needs one of rnnlab.models; got a SimpleNamespace"):
        loop.go(1)


def test_a_function_of_ones_own_is_recorded():
    def bias(run):
        return {"largest_bias": np.abs(run.params["output"]["bias"]).max()}

    monitor = Loop(Monitor([bias], every=1, max_share=None)).go(3)
    assert monitor.columns == ["step", "epoch", "loss", "learning_rate", "largest_bias"]
    column = monitor.column("largest_bias")
    assert column[0] == 0 < column[1]


def test_columns_that_change_are_refused():
    monitor = Monitor([lambda run: {f"at_{run.step}": 1.0}], every=1, max_share=None)
    with pytest.raises(ValueError, match="must have the columns of the first one; this one differs in at_0, at_1"):
        Loop(monitor).go(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantities": "gradient_norm"}, "quantities must be a sequence of names; got the string 'gradient_norm'"),
        ({"quantities": ["norm"]}, r"quantities must be of gradient_norm, update_ratio, .*; got 'norm'"),
        ({"every": 0}, "every must be a positive integer; got 0"),
        ({"every": 2.0}, "every must be a positive integer; got 2.0"),
        ({"every": True}, "every must be a positive integer; got True"),
        ({"max_share": 0}, "max_share must be above 0 and at most 1, or None; got 0"),
        ({"max_share": 1.5}, "max_share must be above 0 and at most 1, or None; got 1.5"),
        ({"overrun": "stop"}, "overrun must be 'space' or 'raise'; got 'stop'"),
        ({"file": "run.txt"}, "file must end in .csv or .jsonl; got 'run.txt'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Monitor(**arguments)


def test_a_column_that_there_is_not_gets_a_suggestion():
    monitor = Loop(Monitor(["gradient_norm"])).go(1)
    with pytest.raises(ValueError, match=r"no column 'gradient_norm.output.weigth' .* 'gradient_norm.output.weight'"):
        monitor.column("gradient_norm.output.weigth")
    with pytest.raises(ValueError, match="no rows yet"):
        Monitor().column("loss")


# ------------------------------------------------------------------------------- when


@given(st.integers(1, 7), st.integers(1, 12))
def test_with_a_fixed_spacing_the_steps_are_the_multiples_of_every(every, stop):
    monitor = Loop(Monitor([], every=every, max_share=None)).go(stop)
    assert [row["step"] for row in monitor.rows] == list(range(0, stop, every))


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def timed(monitor, cost, step_time, steps, validation_every=None, optimizer_share=0.3, pause_every=None):
    """Run a monitor whose quantity takes ``cost(step)`` seconds in steps of ``step_time`` seconds."""
    clock = Clock()
    monitor._clock = clock
    spent = []

    def slow(run):
        spent.append(cost(run.step))
        clock.now += spent[-1]
        return {"slow": float(run.step)}

    monitor.quantities = (slow,)
    run = SimpleNamespace(params={"w": np.ones(1)}, grads={"w": np.ones(1)}, loss=0.0, epoch=0, learning_rate=0.1)
    monitor.start(run)
    for run.step in range(steps):
        clock.now += (1 - optimizer_share) * step_time
        monitor.before_step(run)
        clock.now += optimizer_share * step_time
        monitor.after_step(run)
        if validation_every and run.step % validation_every == 0:
            clock.now += 100 * step_time
            monitor.after_validation(run)
        if pause_every and run.step % pause_every == 0:
            clock.now += 100 * step_time  # a checkpoint, say, of which no callback is told
    return [row["step"] for row in monitor.rows], sum(spent)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("cost", [0.001, 0.3, 7.0])
@pytest.mark.parametrize("validation_every", [None, 1, 3])
def test_recording_takes_at_most_its_share_of_the_steps_time(share, cost, validation_every):
    monitor = Monitor(every=10, max_share=share)
    steps, spent = timed(monitor, lambda step: cost, step_time=1.0, steps=3000, validation_every=validation_every)
    assert spent <= max(share * 3000, cost)  # the first row is made before it is earned
    # the second row comes once two are earned, every further one after another's worth, at a multiple of every
    expected = [0, *(max(10, 2 * cost / share) + k * max(10, cost / share) for k in range(300))]
    assert len(steps) >= len([step for step in expected if step < 2980])
    assert all(step % 10 == 0 and step <= latest + 20 for step, latest in zip(steps, expected, strict=False))


def test_a_row_that_was_dear_once_is_followed_by_a_longer_wait_only_once():
    monitor = Monitor(every=10, max_share=0.1)
    steps, _ = timed(monitor, lambda step: 20.0 if step == 0 else 0.5, step_time=1.0, steps=500)
    assert steps[:2] in ([0, 400], [0, 410]) and set(np.diff(steps[1:])) == {10}


def test_what_makes_a_single_step_long_earns_nothing():
    _, spent = timed(Monitor(every=1, max_share=0.1), lambda step: 2.0, step_time=1.0, steps=1000, pause_every=10)
    assert 90 < spent <= 100


def test_without_a_share_cost_does_not_matter():
    assert timed(Monitor(every=10, max_share=None), lambda step: 50.0, 1.0, 100)[0] == list(range(0, 100, 10))


def test_told_not_to_space_itself_out_it_says_which_spacing_it_needs():
    with pytest.raises(RuntimeError, match=r"takes 50% of the steps' time with every=4; .* every of at least 20"):
        timed(Monitor(every=4, max_share=0.1, overrun="raise"), lambda step: 2.0, 1.0, 100)
    steps, _ = timed(Monitor(every=20, max_share=0.1, overrun="raise"), lambda step: 2.0, 1.0, 100)
    assert steps == [0, 20, 40, 60, 80]
    steps, _ = timed(Monitor(every=20, overrun="raise"), lambda step: 50.0 if step == 40 else 1.0, 1.0, 100)
    assert steps == [0, 20, 40, 60, 80]  # a single disturbance stops nothing


def test_values_do_not_depend_on_what_else_is_recorded():
    rare = Loop(Monitor(ALL, every=6, max_share=None)).go(20)
    often = Loop(Monitor(ALL, every=2, max_share=None)).go(20)
    assert rare.rows == [row for row in often.rows if row["step"] % 6 == 0]


# ------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_file_reads_back_as_the_same_numbers(tmp_path, ending):
    file = tmp_path / f"run.{ending}"
    monitor = Loop(Monitor(ALL, every=1, file=file, max_share=None)).go(5)
    columns = read_record(file)
    assert list(columns) == monitor.columns
    for name, values in columns.items():
        np.testing.assert_array_equal(values, monitor.column(name))
    assert np.isinf(columns["update_ratio.output.bias"][0])  # the biases begin at zero


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_numbers_that_are_not_finite_read_back_and_json_stays_json(tmp_path, ending):
    file = tmp_path / f"run.{ending}"
    odd = [np.nan, np.inf, -np.inf, 1e-320, 0.1, -0.0]
    Loop(Monitor([lambda run: {"odd": odd[run.step]}], every=1, file=file, max_share=None)).go(len(odd))
    found = read_record(file)["odd"]
    np.testing.assert_array_equal(found, odd)
    assert np.signbit(found[-1])
    if ending == "jsonl":

        def refuse(word):
            raise AssertionError(word)

        for line in file.read_text().splitlines():
            json.loads(line, parse_constant=refuse)


def test_the_header_of_the_csv_is_the_columns_and_a_diverged_run_warns_of_nothing(tmp_path):
    file = tmp_path / "run.csv"
    loop = Loop(Monitor(ALL, every=1, file=file, max_share=None))
    monitor, run = loop.go(1), loop.run
    run.params["recurrent"]["weight_hh"][0, :2] = np.inf, -np.inf
    run.params["output"]["weight"][0, 0] = np.nan
    run.grads["output"]["weight"][:] = 1e200
    monitor.before_step(run)  # a warning here is an error
    monitor.after_step(run)
    assert len(monitor.rows) == 2
    assert file.read_text().splitlines()[0].split(",") == monitor.columns
    assert np.isnan(monitor.column("spectral_norm.recurrent.weight_hh.r")[1:]).all()
    assert np.isfinite(monitor.column("spectral_norm.recurrent.weight_hh.z")[1])


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_killed_run_keeps_its_record(tmp_path, ending):
    file = tmp_path / f"run.{ending}"
    code = f"""
import sys; sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from test_monitor import Loop, Monitor
loop = Loop(Monitor(["gradient_norm"], every=1, file={str(file)!r}, max_share=None))
loop.batches *= 1000
loop.go(7); print("seven", flush=True); loop.go(40000, start=False)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "seven\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    steps = read_record(file)["step"]
    assert len(steps) >= 7
    np.testing.assert_array_equal(steps, np.arange(len(steps)))


@pytest.mark.parametrize("ending", ["csv", "jsonl", None])
@pytest.mark.parametrize("start_first", [False, True])
@pytest.mark.parametrize("torn", [False, True])
def test_a_resumed_record_is_that_of_a_run_never_stopped(tmp_path, ending, start_first, torn):
    def monitor(name):
        file = None if ending is None else tmp_path / f"{name}.{ending}"
        return Monitor(ALL, every=2, file=file, max_share=None)

    whole = Loop(monitor("whole")).go(20)
    loop = Loop(monitor("part"))
    loop.go(9)
    state, resumed = loop.monitor.state(), loop.copy(monitor("part"))
    loop.go(15, start=False)  # rows behind the checkpoint, lost with the process
    if ending is not None and torn:
        with open(tmp_path / f"part.{ending}", "ab") as file:
            file.write(b"16,1,0.12")
    resumed.run.step = 9
    if start_first:
        resumed.monitor.start(resumed.run)
    resumed.monitor.restore(state)
    assert [row["step"] for row in resumed.monitor.rows] == [0, 2, 4, 6, 8]
    resumed.go(20, start=not start_first)
    assert repr(resumed.monitor.rows) == repr(whole.rows)
    if ending is not None:
        assert (tmp_path / f"part.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()


def test_a_resume_from_before_the_first_row_begins_the_file_anew(tmp_path):
    file = tmp_path / "run.csv"
    state = Monitor(file=file).state()
    Loop(Monitor([], every=1, file=file)).go(3)
    monitor = Monitor([], every=1, file=file, max_share=None)
    monitor.restore(state)
    Loop(monitor).go(2)
    np.testing.assert_array_equal(read_record(file)["step"], [0, 1])


def test_a_new_run_replaces_the_record_of_an_old_one(tmp_path):
    file = tmp_path / "run.csv"
    loop = Loop(Monitor([], every=1, file=file, max_share=None))
    loop.go(3)
    Loop(loop.monitor).go(2)
    np.testing.assert_array_equal(read_record(file)["step"], [0, 1])
    assert len(loop.monitor.rows) == 2


@pytest.mark.parametrize("damage", ["removed", "short", "edited"])
def test_a_record_that_is_not_the_checkpoints_is_refused_and_left_alone(tmp_path, damage):
    file = tmp_path / "run.csv"
    loop = Loop(Monitor([], every=1, file=file, max_share=None))
    loop.go(4)
    state = loop.monitor.state()
    data = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(data[:-30] if damage == "short" else data.replace(b"\n2,0,", b"\nx,0,"))
    before = file.read_bytes() if file.exists() else None
    with pytest.raises(ValueError, match=r"run.csv must begin with the 4 rows of \d+ bytes that it held"):
        Monitor([], every=1, file=file).restore(state)
    assert (file.read_bytes() if file.exists() else None) == before


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.csv", "step,loss\n0,1.0\n1\n", 3),
        ("a.csv", "step,loss\n0,1.0\n1,one\n", 3),
        ("a.jsonl", '{"step": 0}\n{"step"\n', 2),
        ("a.jsonl", '{"step": 0}\n{"loss": 1}\n', 2),
        ("a.jsonl", "[1, 2]\n", 1),
        ("a.jsonl", '{"step": null}\n', 1),
    ],
)
def test_a_malformed_record_is_one_error_that_names_the_line(tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}, line {line}: "):
        read_record(tmp_path / name)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="the record cannot be written .*nowhere"):
        Loop(Monitor([], file=tmp_path / "nowhere" / "run.csv")).go(1)


@pytest.mark.parametrize(("ending", "torn"), [("csv", "2,0,0.5"), ("jsonl", '{"step": 2')])
def test_a_last_row_that_a_kill_cut_short_is_left_out(tmp_path, ending, torn):
    file = tmp_path / f"run.{ending}"
    Loop(Monitor([], every=1, file=file, max_share=None)).go(2)
    with open(file, "a") as stream:
        stream.write(torn)
    np.testing.assert_array_equal(read_record(file)["step"], [0, 1])


def test_a_monitor_that_was_restored_once_begins_anew_in_the_next_run():
    loop = Loop(Monitor([], every=1, max_share=None))
    state = loop.go(4).state()
    loop.monitor.restore(state)
    loop.go(6)
    assert len(loop.monitor.rows) == 6
    assert len(Loop(loop.monitor).go(2).rows) == 2


def test_an_empty_record_has_no_columns(tmp_path):
    (tmp_path / "run.csv").write_text("")
    assert read_record(tmp_path / "run.csv") == {}
