"""The memory formula against what NumPy really takes, and the word before an allocation that cannot fit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import rnnlab as rl
from rnnlab.memory import check_memory, memory_needed

LAYERS = {
    "rnn": lambda D, H: rl.RNN(D, H),
    "relu": lambda D, H: rl.RNN(D, H, activation="relu"),
    "lstm": lambda D, H: rl.LSTM(D, H),
    "gru-after": lambda D, H: rl.GRU(D, H),
    "gru-before": lambda D, H: rl.GRU(D, H, reset="before"),
    "stacked": lambda D, H: rl.Stacked([rl.LSTM(D, H), rl.GRU(H, 2 * H), rl.RNN(2 * H, H)]),
    "bidirectional": lambda D, H: rl.Bidirectional(rl.GRU(D, H), rl.LSTM(D, H)),
    "both": lambda D, H: rl.Stacked([rl.Bidirectional(rl.GRU(D, H), rl.GRU(D, H)), rl.LSTM(2 * H, H)]),
}
# (T, N, D, H): medium, one long sequence, a wide input, few steps of many sequences
SHAPES = [(100, 20, 30, 64), (6000, 1, 20, 30), (60, 16, 300, 64), (30, 90, 10, 64), (784, 16, 1, 32)]


def peak(call):
    """The most bytes that a call's arrays took."""
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_takes_what_the_formula_says(name, shape, dtype):
    T, N, D, H = shape
    rng = np.random.default_rng(0)
    layer = LAYERS[name](D, H)
    params = layer.init(rng, dtype)
    x, dy = rng.random((T, N, D)).astype(dtype), rng.random((T, N, layer.hidden_size)).astype(dtype)

    def call():
        y, _, tape = layer.forward(params, x)
        return y, layer.backward(params, tape, dy)

    assert peak(call) == pytest.approx(memory_needed(layer, T, N, dtype), rel=0.1)


def _language(T, N, rng, dtype):
    model = rl.models.LanguageModel(300, 40, rl.LSTM(40, 50))
    return model, tuple(rng.integers(0, 300, (2, T, N)))


def _large_vocabulary(T, N, rng, dtype):
    model = rl.models.LanguageModel(2000, 20, rl.Stacked([rl.GRU(20, 30), rl.GRU(30, 30)]))
    return model, tuple(rng.integers(0, 2000, (2, T, N)))


def _characters(T, N, rng, dtype):
    return rl.models.LanguageModel(10, 64, rl.RNN(64, 32)), tuple(rng.integers(0, 10, (2, T, N)))


def _classifier(T, N, rng, dtype):
    model = rl.models.SequenceClassifier(rl.Bidirectional(rl.LSTM(5, 40), rl.LSTM(5, 40)), 7)
    return model, (rng.random((T, N, 5)).astype(dtype), rng.integers(0, 7, N), None)


def _forecaster(T, N, rng, dtype):
    model = rl.models.Forecaster(rl.GRU(7, 40), horizon=5, num_targets=7)
    return model, (rng.random((T, N, 7)).astype(dtype), rng.random((5, N, 7)).astype(dtype))


def _piano(T, N, rng, dtype):
    return rl.models.PianoRollModel(rl.GRU(88, 60), 88), ((rng.random((T, N, 88)) < 0.1).astype(dtype), None)


def _small_piano(T, N, rng, dtype):
    return rl.models.PianoRollModel(rl.RNN(88, 10), 88), ((rng.random((T, N, 88)) < 0.1).astype(dtype), None)


@pytest.mark.parametrize(
    "make", [_language, _large_vocabulary, _characters, _classifier, _forecaster, _piano, _small_piano]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_models_step_takes_what_the_formula_says(make, dtype):
    T, N = 60, 20
    rng = np.random.default_rng(0)
    model, batch = make(T, N, rng, dtype)
    params = model.init(rng, dtype)
    assert peak(lambda: model.loss_and_grads(params, batch)) == pytest.approx(
        memory_needed(model, T, N, dtype), rel=0.1
    )


def test_a_step_that_fits_is_let_pass_and_one_that_does_not_says_what_would():
    layer = rl.LSTM(30, 40)
    needed = memory_needed(layer, 500, 64, np.float32)
    check_memory(layer, 500, 64, np.float32, needed)
    with pytest.raises(MemoryError, match=r"with T = 500 and N = 64 in float32 needs 66\.\d MB, and") as error:
        check_memory(layer, 500, 64, np.float32, needed // 2)
    words = str(error.value)
    T, N = (int(words.split(f"{name} = ")[-1].split()[0]) for name in "TN")
    for fits, larger in (((T, 64), (T + 1, 64)), ((500, N), (500, N + 1))):
        assert memory_needed(layer, *fits, np.float32) <= needed // 2 < memory_needed(layer, *larger, np.float32)


def test_where_nothing_fits_no_size_is_named():
    with pytest.raises(MemoryError, match="are free; no smaller T or N alone would fit"):
        check_memory(rl.RNN(300, 400), 5, 2, np.float64, 1000)


def test_a_model_of_ones_own_is_refused():
    with pytest.raises(TypeError, match="model must be a layer or model of rnnlab; got object"):
        memory_needed(object(), 3, 2)
