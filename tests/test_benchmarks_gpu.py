"""The GPU benchmark as far as it goes without one: its refusal, its arithmetic, its sides on NumPy, its tables."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types

import fake_gpu
import numpy as np
import pytest
from compiled import COMPILER

import rnnlab as rl
from benchmarks import cells, gpu, harness, projection
from rnnlab.backend import BackendError
from rnnlab.kernels import Kernel

SHAPE = (2, 3, 4, 5)


def test_without_a_gpu_it_ends_with_one_line_and_status_2(monkeypatch, capsys):
    def refuse(tree, backend):
        raise BackendError("backend 'cupy' needs a CUDA GPU with its driver")

    monkeypatch.setattr(rl, "to_backend", refuse)
    assert harness.run(gpu.main, []) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "needs a CUDA GPU" in err


def test_the_command_itself_does_so_too():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--cells", "lstm,x"], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "must be of rnn, gru, lstm; got 'x'" in result.stderr


@pytest.mark.parametrize("cell", list(cells.LAYERS))
def test_operations_are_those_of_the_products(cell, monkeypatch):
    """Counted through the products of a step, on matrices (m, k) @ (k, n)."""
    counted = []

    def dot(a, b):
        counted.append(2 * a.shape[-2] * a.shape[-1] * b.shape[-1] * (len(b) if b.ndim == 3 else 1))

    step, arrays = gpu.layer_step(lambda tree: tree, cell, *SHAPE)
    N, T, D, H = SHAPE
    params, x, _ = arrays
    W_ih, W_hh = params["weight_ih"], params["weight_hh"]
    GH = len(W_hh)
    dot(W_ih, x.transpose(0, 2, 1))
    for _ in range(T):
        dot(W_hh, np.empty((H, N)))
        dot(W_hh.T, np.empty((GH, N)))
    das = np.empty((GH, T * N))
    for b in (x.reshape(T * N, D), np.empty((T * N, H))):
        dot(das, b)
    dot(das.T, W_ih)
    assert sum(counted) == gpu.operations(cell, *SHAPE)
    assert {"y", "dx", *params} == set(step(*arrays))


def test_a_training_step_of_ours_lowers_the_loss_and_is_the_same_captured():
    plain, captured = (gpu.our_training(lambda tree: tree, flag, "gru", *SHAPE) for flag in (False, True))
    losses = [[float(step()) for _ in range(20)] for step in (plain, captured)]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


@pytest.fixture
def machine(monkeypatch):
    """CuPy, PyTorch and the driver, all fake."""
    monkeypatch.setenv("CUPY_TF32", "1")
    for module in ("rnn", "lstm", "gru"):
        for value in vars(importlib.import_module(f"rnnlab.cells.{module}")).values():
            for kernel in value if isinstance(value, tuple) else (value,):
                if isinstance(kernel, Kernel):  # what a kernel was compiled to by another library must not stay
                    monkeypatch.setattr(kernel, "_launch", None)
    return fake_gpu.install(monkeypatch)


WORDS = ["--shapes", "2,3,4,5", "--rounds", "1", "--seconds", "0.001"]


@pytest.mark.skipif(not COMPILER, reason="no cc")
def test_the_whole_benchmark_on_a_machine_that_is_fake(machine, tmp_path, capsys, monkeypatch):
    path, real, set_to = tmp_path / "gpu.json", gpu.set_tf32, []
    monkeypatch.setattr(gpu, "set_tf32", lambda torch, on: set_to.append(on) or real(torch, on))
    assert harness.run(gpu.main, [*WORDS, "--json", str(path)]) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("No GPU, CuPy 14") and "PyTorch 0 with cuDNN 0" in out
    records = json.loads(path.read_text())
    layers, training = ([r for r in records if r["what"] == what] for what in ("layer", "training"))
    assert [(r["cell"], r["tf32"]) for r in layers] == [(c, on) for c in cells.LAYERS for on in (False, True)]
    assert [r["cell"] for r in training] == list(cells.LAYERS)
    for r in layers:
        assert (r["launches"], r["cudnn_launches"]) == (140, 3)
        flop = gpu.operations(r["cell"], *SHAPE) / 1e9
        for side, rate in (("graph", "tflops"), ("cudnn", "cudnn_tflops")):
            assert r[rate] == pytest.approx(flop / r[f"{side}_ms"])
        assert r["products_tflops"] > 0 and r["on_device"] > 0
        assert (r["kernels_ms"] is None) == (r["numpy_ms"] is None) == r["tf32"]
    for r in training:
        assert all(r[f"{side}_ms"] > 0 for side in ("numpy", "kernels", "graph", "cudnn"))
    assert set_to == [False, False, True] * 3, "of each cell: the layer, the training step, the layer once more"
    backends = sys.modules["torch"].backends
    assert backends.cuda.matmul.allow_tf32 is backends.cudnn.allow_tf32 is True and os.environ["CUPY_TF32"] == "1"


@pytest.mark.skipif(not COMPILER, reason="no cc")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda torch: setattr(torch.cuda, "is_available", lambda: False), "PyTorch finds no GPU"),
        (lambda torch: setattr(torch, "tanh", None), "cuGraphGetNodes failed with status 3"),
        (lambda torch: setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: None), "losses of kernels are"),
        (lambda torch: setattr(torch.autograd, "grad", _negative), "of kernels and cuDNN differ by"),
    ],
)
def test_what_goes_wrong_on_the_machine_is_one_line(machine, capsys, spoil, words):
    machine.status = 3 if "status 3" in words else 0
    spoil(sys.modules["torch"])
    assert harness.run(gpu.main, [*WORDS, "--cells", "gru"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err


def _negative(y, inputs, dy):
    return y.back(-dy.a)


@pytest.mark.skipif(not COMPILER, reason="no cc")
def test_the_projections_share_of_a_step_on_a_machine_that_is_fake(machine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(projection, "WARM_UP", 6)
    words = ["--backend", "cupy", "--sizes", "70", "--texts", "characters", "--steps", "3"]
    assert harness.run(projection.main, [*words, "--json", str(tmp_path / "p.json")]) == 0, capsys.readouterr().err
    records = {r["case"]: r for r in json.loads((tmp_path / "p.json").read_text())}
    assert [r["bound_in"] for r in records.values()] == ["0/3", "3/3", "3/3"]
    assert all(r["share"] > 0 for r in records.values())


def test_the_projection_without_a_gpu_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert harness.run(projection.main, ["--backend", "cupy"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Clock:
    """Events and a step that take known times."""

    def __init__(self):
        self.now, self.per_step = 0.0, 2.0
        self.__name__ = "cupy"
        self.cuda = types.SimpleNamespace(Event=lambda: Event(self), get_elapsed_time=lambda a, b: b.at - a.at)

    def step(self):
        self.now += self.per_step


class Event:
    def __init__(self, clock):
        self.clock = clock

    def record(self):
        self.at = self.clock.now

    def synchronize(self):
        pass


def test_times_are_the_devices_for_one_step_and_medians_over_rounds(monkeypatch):
    clock = Clock()
    times = iter([1.0, 50.0, 2.0])
    original = gpu.time_steps

    def noisy(module, step, seconds):
        clock.per_step = next(times)
        return original(module, step, seconds)

    monkeypatch.setattr(gpu, "time_steps", noisy)
    device, host = gpu.time_sides({"ours": (clock, clock.step)}, 3, 1e-4)["ours"]
    assert device == pytest.approx(2.0)
    assert host > 0
    captured = types.SimpleNamespace(graph=types.SimpleNamespace(launch=clock.step))
    assert gpu.graph_time(clock, captured) == pytest.approx(clock.per_step)


def test_gradients_that_differ_end_the_benchmark():
    a = {"y": np.array([1.0, 2.0])}
    gpu.check(a, {"y": np.array([1.0, 2.0001])}, "graph", False)
    with pytest.raises(harness.BenchmarkError, match=r"y of graph and cuDNN differ by 9\.1e-01"):
        gpu.check(a, {"y": np.array([1.0, 2.1]) - 1}, "graph", False)


def test_the_tables_have_a_value_for_every_header():
    record = {"cell": "lstm", **dict(zip("NTDH", SHAPE, strict=True)), "tf32": True, "numpy_ms": None}
    record |= {"kernels_ms": None, "graph_ms": 3.0, "cudnn_ms": 2.0, "on_device": 0.95, "launches": 140}
    record |= {"cudnn_launches": 30, "tflops": 5.0, "cudnn_tflops": 7.5, "products_tflops": 9.0}
    header, _, row = gpu.layer_table([record]).splitlines()
    assert header.count("|") == row.count("|")
    assert " 1.50 " in row
    training = {"cell": "gru", **dict(zip("NTDH", SHAPE, strict=True)), "numpy_ms": 60.0}
    header, _, row = gpu.training_table([training | {"kernels_ms": 4.0, "graph_ms": 3.0, "cudnn_ms": 2.0}]).splitlines()
    assert header.count("|") == row.count("|")
    assert " 1.50 " in row
    assert " 20.0 " in row
