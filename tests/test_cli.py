"""The command line: what it prints, what it writes, and one line for every bad input."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnlab import cli

ROOT = Path(__file__).parents[1]
SMALL = ["--steps", "6", "--hidden", "8", "--jobs", "1"]
PICTURES = ("learning_rate", "training_loss", "gradient_norm", "spectrum", "gradient_through_time")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command line inside an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNLAB_BACKEND", raising=False)

    def run(*argv):
        try:
            status = cli.main([str(a) for a in argv])
        except SystemExit as end:  # argparse ends the program itself
            status = end.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def refused(result, words, folder):
    status, out, err = result
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and words in err and "Traceback" not in err, err
    assert not [path for path in folder.iterdir() if path.is_dir()]


def results_in(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


# ----------------------------------------------------------------------------------------- compare


def test_compare_writes_a_report_the_results_the_history_and_the_pictures(call, tmp_path):
    rates = ["--learning-rates", "0.1,1", "wgn=1e-3,1e-2"]
    status, out, err = call("compare", *SMALL, "--arms", "sgd,clip,wgn,projection", *rates, "--out", "new/run")
    folder = tmp_path / "new" / "run"
    assert status == 0, err
    assert str(Path("new/run/report.html")) in out and "SGD with clipping" in out
    names = {path.name for path in folder.iterdir()}
    pictures = {f"{name}.{ending}" for name in PICTURES for ending in ("png", "svg")}
    assert names == {"report.html", "results.json", "history.csv"} | pictures

    results = results_in(folder)
    assert results["complete"] and results["seeds"] == [0, 1]
    assert list(results["arms"]) == ["sgd", "clip", "wgn", "projection"]
    for name, arm in results["arms"].items():
        wanted = {0.1, 1.0} | ({1e-3, 1e-2} if name == "wgn" else set())
        assert {(run["learning_rate"], run["seed"]) for run in arm["runs"]} == {(r, s) for r in wanted for s in (0, 1)}
        assert all(run["steps"] == 6 for run in arm["runs"] if not run["diverged"])
        at_best = [run["validation_bpc"] for run in arm["runs"] if run["learning_rate"] == arm["best_learning_rate"]]
        assert arm["validation_bpc_mean"] == pytest.approx(sum(at_best) / 2)
        assert arm["validation_bpc_std"] == pytest.approx(abs(at_best[0] - at_best[1]) / 2**0.5)
        assert arm["diverged_fraction"] == sum(run["diverged"] for run in arm["runs"]) / len(arm["runs"])
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(run["steps"] for arm in results["arms"].values() for run in arm["runs"])
    assert {"arm", "learning_rate", "seed", "step", "training_loss", "gradient_norm"} <= set(rows[0])


@pytest.mark.parametrize("task", ["text", "adding", "copying"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_compare_every_cell_on_every_task(call, tmp_path, cell, task):
    few = ["--arms", "clip,projection", "--learning-rates", "0.1", "--seeds", "3,5"]
    status, _, err = call("compare", *SMALL, "--cell", cell, "--task", task, *few, "--out", "run")
    assert status == 0, err
    results = results_in(tmp_path / "run")
    assert results["seeds"] == [3, 5]
    for arm in results["arms"].values():
        assert arm["best_learning_rate"] == 0.1 and not arm["best_at_edge"]
        assert (arm["validation_bpc_mean"] is None) == (task != "text")
        assert arm["validation_loss_mean"] > 0


def test_compare_gives_the_same_numbers_again_whatever_the_number_of_jobs(call, tmp_path):
    few = ["--arms", "clip", "--learning-rates", "0.3"]
    for out, jobs in (("one", "1"), ("two", "2")):
        assert call("compare", *SMALL, *few, "--jobs", jobs, "--out", out)[0] == 0
    one, two = (results_in(tmp_path / out)["arms"]["clip"]["runs"] for out in ("one", "two"))
    for left, right in zip(one, two, strict=True):
        assert {**left, "seconds": 0} == {**right, "seconds": 0}


def test_compare_reads_a_text_of_ones_own(call, tmp_path):
    (tmp_path / "words.txt").write_bytes("\ufeffÄpfel und Birnen.\r\n".encode() * 200)
    few = ["--arms", "clip", "--learning-rates", "0.3", "--seeds", "1"]
    status, _, err = call("compare", *SMALL, *few, "--text", "words.txt", "--out", "run")
    assert status == 0, err
    results = results_in(tmp_path / "run")
    assert results["settings"]["text"] == "words.txt" and results["arms"]["clip"]["validation_bpc_std"] == 0


def test_a_run_that_blows_up_is_counted_as_diverged_and_cannot_be_the_best(call, tmp_path):
    few = ["--arms", "sgd", "--learning-rates", "1e4,0.1", "--seeds", "1"]
    assert call("compare", *SMALL, *few, "--out", "run")[0] == 0
    arm = results_in(tmp_path / "run")["arms"]["sgd"]
    assert arm["best_learning_rate"] == 0.1 and arm["diverged_fraction"] == 0.5
    assert call("compare", *SMALL, "--arms", "sgd", "--learning-rates", "1e30", "--seeds", "1", "--out", "all")[0] == 0
    arm = results_in(tmp_path / "all")["arms"]["sgd"]
    assert arm["best_learning_rate"] is None and arm["validation_bpc_mean"] is None and arm["diverged_fraction"] == 1


BAD = {
    "--steps 0": "--steps must be positive; got 0",
    "--hidden -3": "--hidden must be positive; got -3",
    "--jobs 0": "--jobs must be positive; got 0",
    "--seeds 0": "--seeds must be positive; got 0",
    "--seeds 1,-1": "--seeds must be at least 0",
    "--seeds x": "--seeds must be whole numbers; got 'x'",
    "--steps many": "--steps: invalid int value: 'many'",
    "--arms sgd,magic": "--arms must be of sgd, clip, wgn, projection, adam, centralize, block; got 'magic'",
    "--learning-rates 0": "--learning-rates must be positive numbers; got '0'",
    "--learning-rates -1": "--learning-rates must be positive numbers; got '-1'",
    "--learning-rates 1,x": "--learning-rates must be positive numbers; got 'x'",
    "--learning-rates nan": "--learning-rates must be positive numbers; got 'nan'",
    "--learning-rates adam=1": "--learning-rates must be for one of the arms sgd, clip, wgn, projection; got 'adam'",
    "--cell tree": "--cell: invalid choice: 'tree'",
    "--text missing.txt": "--text missing.txt: cannot be read (No such file or directory)",
    "--text empty.txt": "--text empty.txt: is empty",
    "--text latin.txt": "--text latin.txt: must be UTF-8; byte 3 is not",
    "--text short.txt": "--text short.txt: text must have at least",
    "--text same.txt": "--text same.txt: text must have at least two distinct characters",
    "--text short.txt --task adding": "--text goes with --task text",
    "--out same.txt": "--out same.txt: exists and is not an empty folder",
    "--out same.txt/below": "--out same.txt/below: cannot be made",
    "--backend abacus": "--backend: invalid choice: 'abacus'",
    "--nonsense": "unrecognized arguments: --nonsense",
}


@pytest.mark.parametrize("options", BAD)
def test_compare_refuses_bad_input_in_one_line(call, tmp_path, options):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9" * 5000)
    (tmp_path / "short.txt").write_text("To be, or not to be")
    (tmp_path / "same.txt").write_text("a" * 5000)
    refused(call("compare", *options.split()), BAD[options], tmp_path)


def test_an_output_folder_that_is_not_empty_is_left_alone(call, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.txt").write_text("precious")
    status, _, err = call("compare", *SMALL, "--out", "kept")
    assert status == 2 and "kept: exists and is not an empty folder" in err
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C reaches a child by other means on Windows")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_what_is_done(tmp_path, jobs):
    # A test run in the background ignores SIGINT, and its children inherit that: set it right first.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from rnnlab.cli import main"
    )
    options = ["compare", "--hidden", "16", "--steps", "100", "--jobs", jobs, "--out", "run"]
    command = [sys.executable, "-c", f"{program}; sys.exit(main(sys.argv[1:]))", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    seen = ""
    while not re.search(r"\b([2-9]|\d\d)/56", seen) and process.poll() is None:  # the progress bar counts runs
        seen += process.stderr.read(1)
    os.killpg(process.pid, signal.SIGINT)
    out, rest = process.communicate(timeout=120)
    assert process.returncode == 130, rest
    assert "of 56 runs that were done" in rest and "Traceback" not in rest, rest
    assert "SGD" in out and "every run diverged" not in out
    results = results_in(tmp_path / "run")
    done = sum(len(arm["runs"]) for arm in results["arms"].values())
    assert not results["complete"] and 2 <= done < 56
    assert "Stopped before the end" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------- gradcheck

LAYERS = """
import rnnlab as rl

class Right(rl.GRU):
    pass

class Wrong(rl.LSTM):
    def backward(self, params, tape, dy, dstate=None):
        dx, dstate, grads = super().backward(params, tape, dy, dstate)
        grads["weight_hh"][5, 2] *= 2
        return dx, dstate, grads

class Late(rl.RNN):
    def backward(self, params, tape, dy, dstate=None):
        raise NotImplementedError("to be written")

class Nothing:
    pass

class Choosy:
    def __init__(self, a, b, c):
        pass

class Failing:
    def __init__(self):
        raise RuntimeError("no way")

def made():
    return rl.RNN(2, 3)

layer = rl.RNN(2, 3)
"""


def test_gradcheck_prints_a_table_of_every_cell(call):
    status, out, err = call("gradcheck")
    assert status == 0 and err == ""
    assert len(out.splitlines()) == 11 and out.count("  ok\n") == 10
    assert "GRU, reset before" in out and "central differences" in out
    assert "complex step" in call("gradcheck", "--method", "complex")[1]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("Right", 0, "passed, 15 of 15"),
        ("made", 0, "passed, 15 of 15"),
        ("layer", 0, "passed, 15 of 15"),
        ("Wrong", 1, "weight_hh[5, 2] (gate f): analytic"),
        ("Late", 1, "raised NotImplementedError: to be written"),
    ],
)
@pytest.mark.parametrize("where", ["layers_{}", "layers_{}.py"])
def test_gradcheck_checks_a_layer_of_the_users(call, tmp_path, request, name, status, words, where):
    where = where.format(abs(hash(request.node.name)))  # a module of its own for every test
    (tmp_path / f"{where.removesuffix('.py')}.py").write_text(LAYERS)
    got, out, err = call("gradcheck", f"{where}:{name}")
    assert (got, err) == (status, "") and words in out, out


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module:Layer", "cannot import 'no_such_module'"),
        ("no_such_file.py:Layer", "there is no file 'no_such_file.py'"),
        ("bad_layers:Missing", "bad_layers has no 'Missing'"),
        ("bad_layers:Nothing", "Nothing must have methods forward and backward"),
        ("bad_layers:Choosy", "Choosy needs the arguments a, b, c"),
        ("bad_layers:Failing", "Failing() raised RuntimeError: no way"),
        ("unreadable:Layer", "cannot import 'unreadable': SyntaxError"),
        ("bad_layers", "must be named module:Name; got 'bad_layers'"),
        ("--method guess", "--method: invalid choice: 'guess'"),
        ("--seed -1", "--seed must be at least 0; got -1"),
    ],
)
def test_gradcheck_refuses_what_is_no_layer_in_one_line(call, tmp_path, spec, words):
    (tmp_path / "bad_layers.py").write_text(LAYERS)
    (tmp_path / "unreadable.py").write_text("def forward(:\n")
    sys.modules.pop("bad_layers", None)
    status, out, err = call("gradcheck", *spec.split())
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and words in err, err


# ------------------------------------------------------------------------------------- all commands


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["compare", "--help"], ["gradcheck", "--help"]])
def test_help_is_there(call, argv):
    status, out, err = call(*argv)
    assert status == 0 and out and not err


def test_no_command_is_bad_input(call):
    status, _, err = call()
    assert status == 2 and err.count("\n") == 1


def test_the_environment_chooses_the_backend(call, monkeypatch):
    monkeypatch.setenv("RNNLAB_BACKEND", "abacus")
    status, _, err = call("gradcheck")
    assert status == 2 and "RNNLAB_BACKEND must be one of numpy, cupy; got 'abacus'" in err
    assert call("gradcheck", "--backend", "numpy")[0] == 0


def test_a_missing_gpu_is_one_line(call):
    pytest.importorskip("numpy")
    try:
        import cupy  # noqa: F401

        pytest.skip("CuPy is here")
    except ImportError:
        pass
    status, _, err = call("compare", "--backend", "cupy")
    assert status == 2 and err.count("\n") == 1 and "rnnlab[cupy13]" in err


def test_the_program_starts_fast():
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rnnlab", "--version"], cwd=ROOT, check=True, capture_output=True)
    assert time.perf_counter() - begin < 5
