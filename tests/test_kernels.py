"""The kernels of a step, compiled as C, against the array operations of the same step."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from compiled import compiled, launch, parameters  # noqa: F401  (compiled is a fixture)
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.backend import tree_items, tree_map
from rnnlab.kernels import Kernel

LAYERS = {
    "rnn": lambda: rl.RNN(3, 4),
    "lstm": lambda: rl.LSTM(3, 4),
    "gru-after": lambda: rl.GRU(3, 4),
    "gru-after-no-bias": lambda: rl.GRU(3, 4, bias=False),
    "gru-before": lambda: rl.GRU(3, 4, reset="before"),
}
LAUNCHES = {"rnn": 1, "lstm": 1, "gru-after": 1, "gru-after-no-bias": 1, "gru-before": 2}  # a step, each way
TOLERANCE = {"f": 2e-5, "d": 1e-12}


def random_call(layer, seed, T, N, dtype, ended):
    """Parameters, x, a state, lengths, dy and dstate, all random."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    params = tree_map(lambda p: p + 0.5 * draw(*p.shape), layer.init(rng, dtype))
    state = tuple(draw(N, 4) for _ in layer.cell.states)
    dstate = tuple(draw(N, 4) for _ in layer.cell.states)
    if len(state) == 1:
        state, dstate = state[0], dstate[0]
    lengths = rng.integers(0, T + 1, N) if ended else None
    return params, draw(T, N, 3), state, lengths, draw(T, N, 4), dstate


def forward_and_backward(layer, params, x, state, lengths, dy, dstate):
    y, final, tape = layer.forward(params, x, state, lengths)
    dx, dinitial, grads = layer.backward(params, tape, dy, dstate)
    return {"y": y, "state": final, "dx": dx, "dstate": dinitial, "grads": grads, "tape": (tape.gates, tape.states)}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("ended", [False, True])
def test_kernels_compute_what_the_array_operations_compute(compiled, monkeypatch, name, dtype, ended):  # noqa: F811
    layer = LAYERS[name]()
    for T, N in ((6, 3), (1, 1), (5, 1), (2, 7), (0, 2)):
        call = random_call(layer, T, T, N, dtype, ended)
        compiled.clear()
        got = forward_and_backward(layer, *call)
        assert len(compiled) == 2 * T * LAUNCHES[name]
        with monkeypatch.context() as plain:
            plain.setattr("rnnlab.recurrent.loop.has_kernels", lambda xp, dtype: False)
            expected = forward_and_backward(layer, *call)
        assert len(compiled) == 2 * T * LAUNCHES[name], "the array operations launched a kernel"
        for (path, a), (_, b) in zip(tree_items(got), tree_items(expected), strict=True):
            assert a.dtype == b.dtype == np.dtype(dtype)
            np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=path)


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_contract_holds_with_kernels(compiled, name):  # noqa: F811
    rl.check_layer(LAYERS[name]()).raise_if_failed()
    assert compiled


@pytest.mark.parametrize("name", LAYERS)
def test_steps_back_in_several_chunks_are_those_in_one(compiled, monkeypatch, name):  # noqa: F811
    layer = LAYERS[name]()
    call = random_call(layer, 1, 7, 3, "d", True)
    whole = forward_and_backward(layer, *call)
    monkeypatch.setattr("rnnlab.recurrent.loop.DEVICE_CHUNK", 2 * 4 * 3 * layer.cell.da_blocks)
    for (path, a), (_, b) in zip(tree_items(forward_and_backward(layer, *call)), tree_items(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13, err_msg=path)


def test_complex_numbers_and_other_activations_take_the_array_operations(compiled):  # noqa: F811
    for layer, dtype in ((rl.LSTM(3, 4), "D"), (rl.RNN(3, 4, activation="relu"), "d"), (rl.GRU(3, 4), "e")):
        forward_and_backward(layer, *random_call(layer, 0, 4, 3, dtype, False))
    assert compiled == []


KERNELS = {
    kernel.name: kernel
    for module in ("rnn", "lstm", "gru")
    for value in vars(importlib.import_module(f"rnnlab.cells.{module}")).values()
    for kernel in (value if isinstance(value, tuple) else (value,))
    if isinstance(kernel, Kernel)
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_float_kernel_computes_nothing_in_double(name):
    """A literal such as 0.5 would make it so, at a fraction of a GPU's speed."""
    assert not [c for c in ("0.", ".5", "1.", "2.", "double") if c in KERNELS[name].source]


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1.0, 30.0, 1e4]))
def test_a_kernel_overflows_nowhere(name, seed, scale):
    rng = np.random.default_rng(seed)
    shape = 3, 2
    arrays = [
        rng.random(shape) < 0.5 if kind == "bool" else scale * rng.standard_normal((15, 2) if raw else shape)
        for raw, kind, _, _ in parameters(KERNELS[name])
    ]
    with np.errstate(all="raise"):
        launch(KERNELS[name], *arrays)
    assert all(np.isfinite(a).all() for a in arrays)


class FakeLibrary:
    """What of CuPy a kernel uses."""

    made: list = []

    def ElementwiseKernel(self, *arguments, **options):
        self.made.append((arguments, options))
        return lambda *arrays: self.made.append(arrays)


def test_a_kernel_is_made_once_by_cupy_and_at_its_first_call(monkeypatch):
    library = FakeLibrary()
    monkeypatch.setitem(__import__("sys").modules, "cupy", library)
    kernel = Kernel("axpy", "T a, T x", "T y", "y += a * x;")
    assert library.made == []
    kernel(1, 2, 3)
    kernel(4, 5, 6)
    (arguments, options), *calls = library.made
    assert arguments == ("T a, T x", "T y", "y += a * x;", "rnnlab_axpy")
    assert "GATE" in options["preamble"]
    assert calls == [(1, 2, 3), (4, 5, 6)]
