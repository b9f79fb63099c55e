"""`rnnlab reproduce` and `rnnlab sweep`: what they print and write, that they go on, one line for bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_experiment import TOY

from rnnlab import cli
from rnnlab.experiments import papers

CONFIG = """
[data]
name = "adding"
length = 6
batch_size = 4
batches = 5
[model]
cell = "gru"
hidden = 4
[optimizer]
learning_rate = 0.5
[training]
steps = 20
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command inside an empty folder, with the toy for a paper: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNLAB_BACKEND", raising=False)
    monkeypatch.setattr(papers, "EXPERIMENTS", {"toy": TOY})
    (tmp_path / "a.toml").write_text(CONFIG)

    def run(*argv):
        try:
            status = cli.main([str(word) for word in argv])
        except SystemExit as end:
            status = end.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def records(folder):
    """The runs of a folder, without what the clock says, by what they are."""
    lines = [line for path in Path(folder, "runs").glob("*.jsonl") for line in path.read_text().splitlines()]
    found = {}
    for line in lines:
        record = json.loads(line)
        del record["seconds"]
        key = tuple(record[name] for name in ("variant", "arm", "rate", "option", "seed"))
        assert key not in found
        found[key] = record
    return found


def test_the_list_has_a_line_for_each_experiment_its_name_first(call):
    assert call("reproduce", "--list") == (0, "toy  A toy\n", "")


def test_a_reproduction_prints_tables_and_verdicts_and_writes_its_folder(call):
    status, out, err = call("reproduce", "toy", "--jobs", 1)
    assert status == 0, err
    assert "| arm | best rate | validation mean squared error |" in out
    assert "none: a seed diverged at every rate" in out and "holds: Clipping is no worse." in out
    assert "not decided: What was not run is better. there is no run of absent on short." in out
    assert "14 of 14 runs are done; report: rnnlab-toy/report.md" in out
    assert len(records("rnnlab-toy")) == 14
    results = json.loads(Path("rnnlab-toy/results.json").read_text())
    assert results["command"] == "rnnlab reproduce toy" and results["done_runs"] == 14
    assert not list(Path("rnnlab-toy").rglob("*.partial"))


def test_quick_and_variants_and_seeds_choose_what_is_run(call):
    status, out, _ = call("reproduce", "toy", "--quick", "--jobs", 1)
    assert status == 0 and "3 of 3 runs are done; report: rnnlab-toy-quick/report.md" in out
    status, out, err = call("reproduce", "toy", "--variant", "long, ragged", "--seeds", 1, "--jobs", 1, "--out", "x")
    assert status == 0 and err.count("left") == 0 and "2 of 7 runs are done" in out
    status, out, _ = call("reproduce", "toy", "--jobs", 1, "--out", "x")
    assert status == 0 and "14 of 14 runs are done" in out and len(records("x")) == 14


def test_other_settings_and_rates_are_run_and_said(call):
    words = ["--variant", "short", "--arm", "sgd", "--arm", "clip", "--seeds", 1, "--jobs", 1]
    words += ["--set", "training.steps=7", "--set", "model.hidden=5", "--set", "training.dtype=float64"]
    status, out, err = call("reproduce", "toy", *words, "--rates", "0.2,0.1")
    assert status == 0 and "6 of 9 runs are done" in out, err  # wild and the other variant are planned, and not done
    found = records("rnnlab-toy")
    assert {key[:3] for key in found} == {("short", arm, rate) for arm in ("sgd", "clip") for rate in (0.1, 0.2)}
    assert {record["steps"] for record in found.values()} == {7}
    results = json.loads(Path("rnnlab-toy/results.json").read_text())
    assert results["changed"] == [
        "training.steps is 7 here, 20 in the declaration",
        "model.hidden is 5 here, 4 in the declaration",
        "training.dtype is float64 here, float32 in the declaration",
        "the rates of sgd are 0.2, 0.1 here, 0.01, 0.1 in the declaration",
        "the rates of clip are 0.2, 0.1 here, 0.1 in the declaration",
        "there is 1 seed here, 2 in the declaration",
    ]
    settings = "--set training.steps=7 --set model.hidden=5 --set training.dtype=float64"
    assert results["command"] == (
        f"rnnlab reproduce toy --variant short --arm sgd --arm clip {settings} --seeds 1 --rates 0.2,0.1"
    )
    report = Path("rnnlab-toy/report.md").read_text()
    assert "**Not as declared:** training.steps is 7 here, 20 in the declaration; model.hidden" in report
    (beside,) = (line for line in report.splitlines() if line.startswith("The paper's figures"))
    assert beside == (
        "The paper's figures are those of the declared settings, ours are not: training.steps is 7 here, 20 in the "
        "declaration; model.hidden is 5 here, 4 in the declaration; training.dtype is float64 here, float32 in the "
        "declaration."
    )
    status, out, _ = call("reproduce", "toy", "--jobs", 1)
    report = Path("rnnlab-toy/report.md").read_text()
    assert status == 0 and "14 of 14 runs are done" in out and "declaration" not in report
    assert "The folder holds 6 runs with other settings" in report
    lines = [path.read_text().count("\n") for path in Path("rnnlab-toy/runs").iterdir()]
    assert sum(lines) == 20


def test_epochs_take_the_place_of_steps_and_a_value_as_declared_is_no_change(call):
    words = ["--arm", "sgd", "--seeds", 1, "--jobs", 1, "--rates", "0.1"]
    status, _, err = call("reproduce", "toy", *words, "--set", "training.epochs=1", "--set", "model.hidden=4")
    assert status == 0, err
    assert {record["steps"] for record in records("rnnlab-toy").values()} == {5}
    assert json.loads(Path("rnnlab-toy/results.json").read_text())["changed"][:2] == [
        "training.epochs is 1 here, not set in the declaration",
        "training.steps is not set here, 20 in the declaration",
    ]


def test_a_setting_is_put_over_what_an_arm_changes(call):
    status, _, err = call(
        "reproduce", "toy", "--arm", "wild", "--set", "optimizer.momentum=0.5", "--jobs", 1, "--seeds", 1
    )
    assert status == 0, err
    made = json.loads(Path("rnnlab-toy/results.json").read_text())["variants"]["short"]["arms"]["wild"]["changes"]
    assert made == {"optimizer": {"momentum": 0.5}}


def test_a_report_can_be_written_anew_without_a_run(call):
    assert call("reproduce", "toy", "--jobs", 1, "--variant", "short", "--seeds", 1)[0] == 0
    Path("rnnlab-toy/report.md").unlink()
    status, out, err = call("reproduce", "toy", "--report")
    assert status == 0 and "5 of 14 runs are done" in out and "9 of 14 runs are left" in err
    assert Path("rnnlab-toy/report.md").is_file() and len(records("rnnlab-toy")) == 5


def test_minutes_leave_runs_for_the_next_time(call):
    status, out, err = call("reproduce", "toy", "--jobs", 1, "--minutes", 1e-9)
    assert status == 0 and "0 of 14 runs are done" in out
    assert err.endswith("rnnlab reproduce: 14 of 14 runs are left; the same command goes on\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["reproduce"], "NAME must be one of toy; see --list"),
        (["reproduce", "tow"], "NAME must be one of toy; got 'tow'"),
        (["reproduce", "toy", "--variant", "x"], "--variant must be one of short, long, ragged; got 'x'"),
        (["reproduce", "toy", "--arm", "x"], "--arm must be one of sgd, clip, wild; got 'x'"),
        (["reproduce", "toy", "--variant", "long, ragged", "--arm", "clip"], "--arm must be one of sgd; got 'clip'"),
        (["reproduce", "toy", "--rates", "0.1,-1"], "--rates must be positive numbers; got '-1'"),
        (["reproduce", "toy", "--set", "training.epochs"], "--set must be TABLE.KEY=VALUE, such as training.epochs=5"),
        (["reproduce", "toy", "--set", "training.epoch=5"], "there is no key 'training.epoch'; did you mean 'training"),
        (["reproduce", "toy", "--set", "training.epochs=-5"], "epochs must be a positive integer; got -5 (variant sho"),
        (["reproduce", "toy", "--set", "training.epochs=a"], "epochs must be a positive integer; got 'a'"),
        (["reproduce", "toy", "--set", "training.seed=5"], "training.seed is set by --seeds"),
        (["reproduce", "toy", "--set", "optimizer.learning_rate=5"], "optimizer.learning_rate is set by --rates"),
        (["reproduce", "toy", "--set", "optimizer.clip_global_norm=5"], "cannot be set, for clip has a grid of it"),
        (["reproduce", "toy", "--report"], "--report: there are no runs in 'rnnlab-toy'"),
        (["reproduce", "toy", "--seeds", "0"], "--seeds must be positive; got 0"),
        (["reproduce", "toy", "--jobs", "-1"], "--jobs must be positive; got -1"),
        (["reproduce", "toy", "--minutes", "nan"], "--minutes must be positive; got nan"),
        (["reproduce", "toy", "--out", "a.toml"], "a.toml: is no folder"),
        (["reproduce", "toy", "--out", "."], "nor does it hold an experiment"),
        (["reproduce", "toy", "--jobs", "many"], "invalid int value: 'many'"),
        (["sweep", "b.toml", "--rates", "1"], "b.toml: cannot be read"),
        (["sweep", "a.toml"], "required: --rates"),
        (["sweep", "a.toml", "--rates", "0.1,x"], "--rates must be positive numbers; got 'x'"),
        (["sweep", "a.toml", "--rates", "1", "--set", "clip=5"], "--set must be TABLE.KEY=VALUES"),
        (["sweep", "a.toml", "--rates", "1", "--set", "optimizer.clip_globl_norm=5"], "'optimizer.clip_global_norm'?"),
        (["sweep", "a.toml", "--rates", "1", "--set", "training.seed=5"], "training.seed is set by --seeds"),
        (["sweep", "a.toml", "--rates", "1", "--set", "optimizer.clip_global_norm=a"], "must be a positive number"),
        (["sweep", "a.toml", "--rates", "1", "--set", "optimizer.alpha=0.5"], "alpha does not go with update = 'sgd'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(call, argv, words):
    status, out, err = call(*argv)
    assert (status, out) == (2, "") and words in err and err.count("\n") == 1, err
    assert not Path("rnnlab-toy").exists() and not Path("rnnlab-sweep-a").exists()


def test_a_missing_data_set_is_one_line_that_says_how_to_get_it(call, tmp_path):
    text = CONFIG.replace('"adding"\nlength = 6', f'"ucr:Coffee"\nvalid_share = 0.2\nroot = "{tmp_path}"')
    Path("a.toml").write_text(text.replace("batches = 5\n", ""))
    status, out, err = call("sweep", "a.toml", "--rates", 1)
    assert (status, out) == (2, "") and err.count("\n") == 1 and "RNNLAB_DATA" in err


def test_a_folder_in_use_or_of_another_experiment_is_one_line(call):
    from rnnlab.checkpoint import lock

    assert call("reproduce", "toy", "--quick", "--jobs", 1, "--out", "x")[0] == 0
    status, _, err = call("sweep", "a.toml", "--rates", 1, "--out", "x")
    assert status == 2 and "x holds runs of toy, not of sweep of a" in err
    with lock("x"):
        status, _, err = call("reproduce", "toy", "--out", "x")
    assert status == 2 and "x is in use by process" in err and err.count("\n") == 1


def test_a_sweep_of_a_users_configuration_can_be_added_to(call):
    status, out, err = call("sweep", "a.toml", "--rates", "0.1,0.01", "--seeds", 2, "--jobs", 1)
    assert status == 0 and "4 of 4 runs are done; report: rnnlab-sweep-a/report.md" in out, err
    status, out, _ = call("sweep", "a.toml", "--rates", "0.1,0.3", "--seeds", 1, "--jobs", 1)
    assert status == 0 and "2 of 2 runs are done" in out
    found = records("rnnlab-sweep-a")
    assert {(key[2], key[4]) for key in found} == {(0.1, 0), (0.1, 1), (0.01, 0), (0.01, 1), (0.3, 0)}
    points = json.loads(Path("rnnlab-sweep-a/results.json").read_text())["variants"]["adding"]["arms"]["a"]["points"]
    assert [(p["rate"], p["seeds"]) for p in points] == [(0.01, [0, 1]), (0.1, [0, 1]), (0.3, [0])]


def test_a_second_grid(call):
    words = ["--rates", "0.1", "--set", "optimizer.clip_global_norm=5,0.5", "--seeds", 1, "--jobs", 1]
    status, out, _ = call("sweep", "a.toml", *words)
    assert status == 0 and "| a | 0.1, clip_global_norm = " in out
    assert {key[3] for key in records("rnnlab-sweep-a")} == {5, 0.5}
    results = json.loads(Path("rnnlab-sweep-a/results.json").read_text())
    assert results["command"].endswith("--rates 0.1 --set optimizer.clip_global_norm=5,0.5 --seeds 1")
    status, out, _ = call(
        "sweep", "a.toml", "--rates", "0.1", "--set", "model.cell=rnn,lstm", "--seeds", 1, "--out", "x"
    )
    assert status == 0 and {key[3] for key in records("x")} == {"rnn", "lstm"}


def test_a_worker_that_dies_is_one_line_and_the_runs_before_it_are_kept(call, monkeypatch):
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from rnnlab.experiments import sweep

    original = sweep.train

    def dying(task):
        if task.run.seed == 1:
            raise TerminatedWorkerError("A worker\nwas killed")
        return original(task)

    monkeypatch.setattr(sweep, "train", dying)
    status, out, err = call("reproduce", "toy", "--jobs", 1)
    assert status == 1 and "7 of 14 runs are done; report:" in out
    assert "a worker process died, perhaps for want of memory; 7 of 14 runs are left" in err and "Traceback" not in err
    monkeypatch.undo()


# --------------------------------------------------------------------------------- stopped and killed


def start(folder, *argv):
    """The sweep of a.toml as a process of its own."""
    words = [sys.executable, "-m", "rnnlab", "sweep", "a.toml", "--rates", "0.1,0.2,0.3", "--seeds", "3"]
    return subprocess.Popen(
        [*words, "--out", folder, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_for_a_run(process, folder):
    """Return when the first run is done."""
    while not any(Path(folder, "runs").glob("*.jsonl")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_stopped_by_ctrl_c_then_killed_then_finished_it_is_the_same(call):
    Path("a.toml").write_text(CONFIG.replace("steps = 20", "steps = 300"))
    process = start("x", "--jobs", "2")
    wait_for_a_run(process, "x")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stopped; " in err and b"Traceback" not in err, err.decode()
    first = records("x")
    assert 0 < len(first) < 9 and b"runs are done; report: x/report.md" in out
    process = start("x", "--jobs", "2")
    while len(Path("x/runs/adding.jsonl").read_bytes().splitlines()) <= len(first):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    for jobs, folder in (("1", "x"), ("2", "y")):
        process = start(folder, "--jobs", jobs)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    assert records("x") == records("y") and len(records("x")) == 9
    assert first.items() <= records("x").items()
