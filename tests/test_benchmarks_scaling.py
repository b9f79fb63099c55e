"""The benchmark of scaling, its rnnlab side at tiny sizes: fields, sane numbers, bad arguments."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnnlab as rl

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is not installed

from benchmarks import scaling
from benchmarks.scaling import Shape

FIELDS = {"sweep", "cell", "N", "T", "D", "H", "threads"}
FIELDS |= {"rnnlab_ms", "us_per_step", "relative_to_median", "rnnlab_mib", "tape_mib", "torch_mib"}
RESOLUTION = scaling.RESOLUTION * scaling.MIB
CELLS = ["RNN", "GRU", "LSTM"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("scaling") / "rows.json"
    assert scaling.main(["--quick", "--rounds", "1", "--threads", "1", "--without-torch", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_json_is_a_row_for_each_shape_of_each_sweep(rows):
    expected = [(sweep, *shape) for sweep, shapes in scaling.plan(quick=True).items() for shape in shapes]
    assert [(row["sweep"], row["N"], row["T"], row["D"], row["H"]) for row in rows] == expected
    for row in rows:
        assert row.keys() == FIELDS
        assert row["cell"] == "LSTM" and row["threads"] == 1 and row["torch_mib"] is None


def test_numbers_are_sane(rows):
    for row in rows:
        assert 1e-3 < row["rnnlab_ms"] < 1e4
        assert row["us_per_step"] == pytest.approx(1e3 * row["rnnlab_ms"] / row["T"])
        assert row["rnnlab_mib"] + scaling.RESOLUTION >= row["tape_mib"] > 0
    by_sweep = {sweep: [r["relative_to_median"] for r in rows if r["sweep"] == sweep] for sweep in ("T", "N", "H")}
    assert all(np.median(ratios) == pytest.approx(1) for ratios in by_sweep.values())


@pytest.mark.parametrize("cell", CELLS)
def test_memory_is_at_least_what_must_be_kept_and_not_twice_what_the_formula_counts(cell):
    N, T, D, H = shape = Shape(16, 400, 8, 64)
    measured = scaling.in_fresh_process(1, "memory", "rnnlab", cell, shape, 1)
    y_and_tape = T * N * H + getattr(rl, cell)(D, H).tape_size(T, N)
    backward = {"RNN": 2, "GRU": 5, "LSTM": 5}[cell] * T * N * H
    assert measured > 4 * y_and_tape - RESOLUTION
    # and what BLAS and the slopes take
    assert measured < 4 * (y_and_tape + backward) * 1.2 + 4 * scaling.MIB


def test_memory_sees_a_step_that_is_smaller_than_what_the_process_once_held(monkeypatch):
    def fake(cell, shape, threads):
        return lambda: np.ones(3 * 2**17)  # 3 MiB

    monkeypatch.setitem(scaling.STEPS, "fake", fake)
    held = np.ones(2**22)  # 32 MiB
    del held
    assert abs(scaling.memory("fake", "LSTM", Shape(1, 1, 1, 1), 1) - 3 * 2**20) <= 2 * RESOLUTION


def test_times_grow_with_T():
    short, long = scaling.times("RNN", [Shape(2, 20, 4, 8), Shape(2, 400, 4, 8)], 1, 3)
    assert 5 < long / short < 40


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_gives_everything(cell):
    y, state, (dx, dstate, grads) = scaling.rnnlab_step(cell, Shape(2, 5, 3, 4), 1)()
    assert y.shape == (5, 2, 4) and dx.shape == (5, 2, 3)
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype("float32")}


def test_shapes_are_the_six_and_T_reaches_10000():
    assert len(scaling.plan(quick=False)["shapes"]) == len(set(scaling.SHAPES)) == 6
    assert {shape.T for shape in scaling.plan(quick=False)["T"]} >= {100, 10_000}


def test_the_table_shows_the_ratio_to_torch(rows):
    row = {**rows[-1], "torch_mib": 30.0, "rnnlab_mib": 20.0}
    assert scaling.table([row]).split()[-1] == "1.50"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "argument --threads: must be a positive integer; got '0'"),
        (["--rounds", "x"], "argument --rounds: must be a positive integer; got 'x'"),
        (["--cell", "SRN"], "argument --cell: invalid choice"),
        (["--json", "no/such/folder/x.json"], "argument --json: cannot write"),
        (["--jso", "x.json"], "unrecognized arguments: --jso"),
    ],
)
def test_bad_arguments_give_one_line_and_status_2(arguments, message, capsys):
    assert scaling.main(["--quick", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_a_missing_torch_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(scaling.importlib.util, "find_spec", lambda name: None)
    assert scaling.main(["--quick"]) == 2
    assert "rnnlab[bench]" in capsys.readouterr().err


def test_a_failing_process_gives_its_last_line(capsys):
    with pytest.raises(scaling.BenchmarkError, match="hidden_size must be a positive integer; got 0"):
        scaling.in_fresh_process(1, "memory", "rnnlab", "LSTM", Shape(1, 1, 1, 0), 1)


def test_without_resource_and_psutil_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(scaling.importlib.util, "find_spec", lambda name: None)
    assert scaling.main(["--quick", "--without-torch"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "psutil" in err


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "benchmarks.scaling", "--threads", "-1"]
    done = subprocess.run(command, cwd=scaling.ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
