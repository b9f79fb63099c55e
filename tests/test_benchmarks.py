"""The benchmarks' own code, without any peer: order, medians, tables, records, processes and errors."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import KERNELS, breakdown, cells, harness, peers, training  # noqa: E402
from rnnlab.recurrent import loop  # noqa: E402

TINY = (2, 3, 4, 5)


@pytest.fixture(autouse=True)
def no_chosen_kernels(monkeypatch):
    """What is printed about these variables where they are set has a test of its own."""
    for name in KERNELS:
        monkeypatch.delenv(name, raising=False)


def failing_side(*problem):
    """A side that cannot be made."""
    raise ValueError("no such\nproblem")


def other_side(*problem):
    """rnnlab's side with one number changed."""
    step, collect = cells.rnnlab_side(*problem)

    def changed(result):
        arrays = collect(result)
        arrays["weight_hh"] = arrays["weight_hh"] + np.abs(arrays["weight_hh"]).max() * 1e-3
        return arrays

    return step, changed


def environment_side():
    """What a side sees of its thread settings."""
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XLA_FLAGS"]
    kernels = [name for name in KERNELS if name in os.environ]
    seen = [os.environ[name] for name in names]
    return lambda: None, lambda _: {"threads": np.array(seen), "kernels": np.array(kernels)}


# ---------------------------------------------------------------------------- pure functions


def test_every_side_takes_one_turn_a_round_and_the_first_changes():
    order = harness.turns(["a", "b", "c"], 5)
    assert len(order) == 5
    assert all(sorted(one) == ["a", "b", "c"] for one in order)
    assert [one[0] for one in order] == ["a", "c", "a", "c", "a"]


def test_the_median_over_rounds_ignores_one_disturbed_round():
    assert harness.medians({"a": [1.0, 100.0, 2.0], "b": [3.0, 5.0]}) == {"a": 2.0, "b": 4.0}


def test_the_geometric_mean_treats_twice_and_half_alike():
    assert harness.geometric_mean([4.0, 0.25, 8.0]) == pytest.approx(2.0)


def test_a_round_warms_up_and_takes_the_asked_quantile(monkeypatch):
    durations = iter([50.0, 1.0, 9.0])  # seconds: the first is the warm-up
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def step():
        clock[0] += next(durations)

    assert harness.time_round(step, seconds=0, quantile=0.0) == pytest.approx(1000.0)


def test_a_round_lasts_as_long_as_asked(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    calls = []

    def step():
        clock[0] += 0.25
        calls.append(1)

    assert harness.time_round(step, seconds=1.0) == pytest.approx(250.0)
    assert len(calls) == 1 + 4


def test_tables_align_and_round():
    table = harness.format_table(["cell", "ms"], [["rnn", 0.012345], ["lstm", 1234.5], ["gru", None], ["x", 0.0]])
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["0.0123", "1234", "-", "0"]


def test_differences_are_relative_to_the_largest_entry():
    a = {"y": np.array([[0.0, -4.0]]), "dx": np.zeros(2)}
    b = {"y": np.array([[1.0, -4.0]]), "dx": np.array([0.0, 0.5])}
    assert harness.differences(a, b) == {"y": 0.25, "dx": 0.5}
    with pytest.raises(harness.BenchmarkError, match="same arrays"):
        harness.differences(a, {"y": a["y"]})


def test_json_is_a_list_of_records(tmp_path):
    path = tmp_path / "out.json"
    harness.write_json(str(path), [{"cell": "rnn", "torch_ms": None}])
    assert json.loads(path.read_text()) == [{"cell": "rnn", "torch_ms": None}]
    harness.write_json(None, [])
    with pytest.raises(harness.BenchmarkError, match="cannot write"):
        harness.write_json(str(tmp_path / "missing" / "out.json"), [])


def test_the_ratio_is_of_the_best_peer():
    record = {"cell": "rnn", **dict(zip("NTDH", TINY, strict=True))}
    record |= {"rnnlab_ms": 2.0, "torch_ms": 3.0, "jax_ms": 8.0, "gemm_limit_ms": 1.0}
    assert cells.ratio(record) == 1.5
    assert cells.ratio({**record, "torch_ms": None}) == 4.0
    assert cells.ratio({**record, "torch_ms": None, "jax_ms": None}) is None
    slower = {**record, "rnnlab_ms": 4.5}
    assert "0.67, below 1.0 in 1 of 2" in cells.table([record, slower])
    assert "geometric mean of best peer / rnnlab: 1.00" in cells.table([record, slower])


def test_words_per_second():
    record = {"cell": "lstm", "N": 20, "T": 35, "H": 8, "rnnlab_ms": 70.0, "torch_ms": 140.0}
    assert training.words_per_second(record) == [10_000, 5_000]
    assert training.table([record]).splitlines()[-1].endswith("2.00 |")


# ----------------------------------------------------------------------------- rnnlab's sides


@pytest.mark.parametrize("cell", cells.LAYERS)
def test_the_problem_is_the_same_at_every_call_and_float32_throughout(cell):
    step, collect = cells.rnnlab_side(cell, *TINY)
    first, second = collect(step()), collect(cells.rnnlab_side(cell, *TINY)[0]())
    assert {"y", "dx", "weight_ih", "weight_hh", "bias"} <= first.keys()
    for name, a in first.items():
        assert a.dtype == np.float32
        assert np.any(a)
        np.testing.assert_array_equal(a, second[name])


@pytest.mark.parametrize("cell", cells.LAYERS)
def test_the_limit_runs_at_every_shape(cell):
    step, collect = cells.gemm_side(cell, 3, 4, 1, 5)
    assert collect(step()) == {}


def test_training_lowers_the_loss_and_reports_the_first_steps():
    step, collect = training.rnnlab_side("lstm", 6, 11, 4, 3)
    losses = collect(step())["losses"]
    assert losses.shape == (training.CHECKED,)
    assert losses[0] == pytest.approx(np.log(11), abs=0.7)
    for _ in range(100):
        last = step()
    assert last < losses[0]


@pytest.mark.parametrize(("layer", "dtype"), [("gru before", "float32"), ("lstm", "float64")])
def test_peers_problem_has_the_layers_parameters(layer, dtype):
    step, collect = peers.rnnlab_side(layer, dtype, *TINY)
    arrays = collect(step())
    assert "bias_hn" not in arrays
    assert all(a.dtype == dtype for a in arrays.values())


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_numpy_ml_names_there_and_back(name):
    params, _, _ = peers.problem(name, "float64", *TINY)
    back = peers.numpy_ml_gradients(name, named := peers.numpy_ml_parameters(name, params), TINY[3])
    if name == "rnn":
        back["bias"] = named["ba"][:, 0]  # both biases have the same gradient; one holds the value
    for key, value in params.items():
        np.testing.assert_array_equal(back[key], value)


# ------------------------------------------------------------------------------ the breakdown


class Counting:
    """The stand-in for NumPy; writes down what is asked of it."""

    def __init__(self):
        self.names, self.numpy = [], breakdown.stand_in(breakdown.no_product)

    def __getattr__(self, name):
        self.names.append(name)
        return getattr(self.numpy, name)


@pytest.fixture
def small_limits(monkeypatch):
    """Several chunks of slopes and both ways of the input product at shapes small enough for a test."""
    monkeypatch.setattr(loop, "CHUNK", 300)
    monkeypatch.setattr(loop, "COLUMNS", 8)


@pytest.mark.parametrize("cell", cells.LAYERS)
def test_without_products_the_loop_sees_no_recurrent_weights(cell, monkeypatch):
    problem = cells.problem

    def da(xp, factor):
        def changed(*spec):
            params, x, dy = problem(*spec)
            return {**params, "weight_hh": factor * params["weight_hh"]}, x, dy

        monkeypatch.setattr(cells, "problem", changed)
        return breakdown.without_products(cell, 3, 4, 5, 6, xp)()

    first, second = da(None, 1.0), da(None, -0.5)
    np.testing.assert_array_equal(first, second)
    assert np.any(first)
    assert np.abs(da(np, 1.0) - da(np, -0.5)).max() > 0.1  # with products it does


@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize("cell", cells.LAYERS)
def test_the_loop_of_two_numbers_makes_as_many_calls(cell, N, small_limits):
    T, D, H = 9, 3, 5
    counts = []
    for shape, own in [((N, T, D, H), None), ((1, T, 1, breakdown.FEW), cells.LAYERS[cell](D, H).cell)]:
        step = breakdown.without_products(cell, *shape, counting := Counting())
        counting.names.clear()
        if own is None:
            step()
        else:
            with breakdown.calls_as_with(own, N):
                step()
        counts.append(counting.names)
    assert counts[0] == counts[1]
    assert counts[0].count("dot") >= 2 * T
    assert (loop.CHUNK, loop.COLUMNS) == (300, 8)


@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize("cell", cells.LAYERS)
def test_the_products_timed_are_all_that_the_step_asks_for(cell, N, small_limits, monkeypatch):
    T, D, H = 9, 3, 5
    flops = []

    class Spy:
        def __getattr__(self, name):
            def product(a, b, out):
                steps = a.shape[0] if a.ndim == 3 else b.shape[0] if b.ndim == 3 else 1
                flops.append(steps * a.shape[-2] * a.shape[-1] * b.shape[-1])
                return getattr(np, name)(a, b, out)

            return product if name in ("dot", "matmul") else getattr(np, name)

    recurrent, over_steps = breakdown.products(cell, N, T, D, H)
    monkeypatch.setattr(breakdown, "np", Spy())
    GH = len(cells.LAYERS[cell](D, H).cell.gates) * H
    recurrent()
    assert flops == 2 * T * [GH * H * N]
    flops.clear()
    over_steps()
    assert sum(flops) == GH * T * N * (H + 3 * D)


@pytest.mark.parametrize(("N", "K"), [(1, 25), (4, 2)])
def test_the_copies_timed_are_the_loops(N, K, monkeypatch):
    T, H = 7, 5
    monkeypatch.setattr(loop, "CHUNK", K * 5 * H * N)
    of_states, of_da = breakdown.copies("lstm", N, T, 3, H)
    da = of_da()
    assert da.shape == (4 * H, T, N) and np.all(da == 1)
    assert [a.shape for a in of_states()] == [(T, N, H), (H, T * N)]


def test_the_parts_add_up():
    ms = {"rnnlab": 10.0, "loop": 4.0, "calls": 1.0, "recurrent": 2.0, "over_steps": 3.0, "states": 0.25, "da": 0.5}
    figures = breakdown.parts(ms)
    assert figures == {
        "rnnlab_ms": 10.0,
        "recurrent_ms": 2.0,
        "over_steps_ms": 3.0,
        "elementwise_ms": 2.5,
        "calls_ms": 1.0,
        "copies_ms": 0.75,
        "rest_ms": 0.75,
    }


def test_the_breakdown_prints_a_table_and_writes_records(tmp_path, capsys):
    path = tmp_path / "parts.json"
    arguments = (
        "--without-torch --shapes 16,20,24,32 --rounds 3 --seconds 0.02 --threads 1 --quantile 0.1 --json".split()
    )
    assert harness.run(breakdown.main, [*arguments, str(path)]) == 0
    records = json.loads(path.read_text())
    assert [r["cell"] for r in records] == list(cells.LAYERS)
    for r in records:
        times = [r[f"{name}_ms"] for name in breakdown.PARTS]
        assert list(r)[5:] == ["rnnlab_ms", *(f"{name}_ms" for name in breakdown.PARTS), "torch_ms"]
        assert sum(times) == pytest.approx(r["rnnlab_ms"]) and r["torch_ms"] is None
        assert all(ms > 0 for ms in (r["recurrent_ms"], r["over_steps_ms"], r["calls_ms"], r["copies_ms"]))
        assert min(r["elementwise_ms"], r["rest_ms"]) > -0.5 * r["rnnlab_ms"]  # other programs may run too
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.count("%") == len(breakdown.PARTS) for line in lines[2:])


# --------------------------------------------------------------------- processes, command line


def test_cells_without_peers_prints_the_limit_and_writes_records(tmp_path, capsys):
    path = tmp_path / "cells.json"
    arguments = "--peers= --cells rnn,gru --shapes 2,3,4,5 --rounds 2 --seconds 0 --threads 1 --json".split()
    assert harness.run(cells.main, [*arguments, str(path)]) == 0
    records = json.loads(path.read_text())
    wanted = ["cell", "N", "T", "D", "H", "rnnlab_ms", "torch_ms", "jax_ms", "gemm_limit_ms"]
    assert [list(r) for r in records] == [wanted, wanted]
    assert [r["cell"] for r in records] == ["rnn", "gru"]
    assert all(r["torch_ms"] is None and r["rnnlab_ms"] > 0 and r["gemm_limit_ms"] > 0 for r in records)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_sides_that_disagree_or_fail_end_with_one_line(capsys):
    def main(argv):
        with harness.Sides({"rnnlab": cells.rnnlab_side, "other": other_side}, 1) as sides:
            sides.load("rnn", *TINY)
            assert sides.check(["rnnlab", "rnnlab"], 0.0) == 0.0
            sides.check(["rnnlab", "other"], 2e-4)

    assert harness.run(main) == 2
    error = capsys.readouterr().err
    assert "weight_hh of other and rnnlab differ by 1.0e-03" in error and error.count("\n") == 1

    with harness.Sides({"failing": failing_side}, 1) as sides:
        with pytest.raises(harness.BenchmarkError, match="^failing failed in load: ValueError: no such$"):
            sides.load()


def test_the_thread_count_reaches_the_sides_and_leaves_this_process_alone():
    before = dict(os.environ)
    with harness.Sides({"a": environment_side}, 1) as sides:
        sides.load()
        seen = sides.ask("a", "result")["threads"]
    assert list(seen[:2]) == ["1", "1"] and "intra_op_parallelism_threads=1" in seen[2]
    assert dict(os.environ) == before


def test_chosen_kernels_are_not_handed_on_and_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setenv(KERNELS[0], "Haswell")
    monkeypatch.setenv(KERNELS[1], "512")
    before = dict(os.environ)
    with harness.Sides({"a": environment_side, "b": environment_side}, 1) as sides:
        sides.load()
        assert [sides.ask(name, "result")["kernels"].size for name in "ab"] == [0, 0]
    assert dict(os.environ) == before
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert f": {KERNELS[0]}, {KERNELS[1]}\n" in error and not any(name in error for name in KERNELS[2:])


@pytest.mark.parametrize("name", ["cells", "training"])
def test_a_missing_peer_is_one_line_with_status_2(name, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "torch" else find(module))
    argv = ["--peers", "torch"] if name == "cells" else []
    assert harness.run({"cells": cells, "training": training}[name].main, argv) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error == f"{name}: not installed: PyTorch; install with: pip install 'rnnlab[bench]'\n"


def test_peers_leaves_out_what_is_missing_and_needs_at_least_one(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "mygrad" else object())
    assert {peer.name for peer in peers.installed(peers.PEERS)} == {"autograd", "numpy-ml"}
    assert capsys.readouterr().err.startswith("peers: MyGrad is left out: not installed: MyGrad; install with")
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    assert harness.run(peers.main, []) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--shapes", "1,2,3"], ["--shapes", "1,2,3,0"], ["--cells", "elman"], ["--rounds", "0"]]
)
def test_bad_arguments_are_one_line_with_status_2(arguments, capsys):
    assert harness.run(cells.main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"cells: argument {arguments[0]}: ") and error.count("\n") == 1


def test_the_modules_run_as_programs():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python -m benchmarks.training" in done.stdout and "--json FILE" in done.stdout
    command = [sys.executable, "-m", "benchmarks.cells", "--json", "no/such/folder.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "cells: argument --json: there is no folder no/such\n"
