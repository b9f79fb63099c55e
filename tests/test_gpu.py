"""The contract of ``device_contract.py`` on a GPU: ``pytest -m gpu``. Without one these tests are skipped."""

import contextlib
import os

import device_contract as contract
import numpy as np
import pytest

import rnnlab as rl
from rnnlab.backend import tree_map
from rnnlab.capture import capture
from rnnlab.memory import check_step

pytestmark = pytest.mark.gpu

close = contract.closeness(1e-10, 1e-5)
DTYPES = {"float32": np.float32, "float64": np.float64}
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


@pytest.fixture(params=["kernels", "operations"])
def steps(request, monkeypatch):
    """A cell's step as kernels, and made of array operations as for dtypes that have no kernels."""
    if request.param == "operations":
        monkeypatch.setattr("rnnlab.recurrent.loop.has_kernels", lambda xp, dtype: False)


@pytest.fixture(autouse=True)
def full_precision():
    """No tf32: it keeps ten bits of a factor, and float32 would be a name only."""
    assert os.environ.get("CUPY_TF32", "0") in ("", "0"), "CUPY_TF32=1 makes float32 products too coarse to compare"


@contextlib.contextmanager
def no_waiting():
    """Let CuPy raise where the host waits for the device."""
    import cupyx

    with cupyx.allow_synchronize(False):
        yield


@pytest.mark.parametrize("name", contract.EVERY)
@pytest.mark.parametrize("given", contract.GIVEN)
@dtypes
def test_layers(steps, name, given, dtype):
    contract.layer_forward_and_backward(close, name, given, dtype)


@pytest.mark.parametrize("name", contract.EVERY)
@dtypes
def test_one_long_sequence_and_one_step(steps, name, dtype):
    contract.one_long_sequence_and_one_step(close, name, dtype)


@dtypes
def test_small_parts(dtype):
    contract.dropout_between_layers(close, dtype)
    contract.feed_forward(close, dtype)
    contract.activations_state_and_scatter(close, dtype)
    contract.losses(close, dtype)


@pytest.mark.parametrize("name", contract.models(np.float64))
@dtypes
def test_models(name, dtype):
    contract.model(close, name, dtype)


@pytest.mark.parametrize("name", contract.OPTIMIZERS)
@dtypes
def test_optimizers(name, dtype):
    contract.optimizer(close, name, dtype)


@pytest.mark.parametrize("H", [5, 100, 650])
@pytest.mark.parametrize("kind", ["few", "many", "none"])
@dtypes
def test_spectral_projection(H, kind, dtype):
    contract.spectral_projection(close, H, kind, dtype, factor=5.0)  # within 1e-5 in float32


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru-after", "gru-before"])
def test_instruments(name):
    contract.instruments(close, name)


@pytest.mark.parametrize("name", ["rnn-sigmoid", "lstm", "gru-after", "mix"])
def test_the_gradient_checker(name):
    contract.the_checker_passes(name)


@pytest.mark.parametrize("name", contract.TRAININGS)
@pytest.mark.parametrize("kind", DTYPES)
def test_training(name, kind, tmp_path):
    # Adam divides by the root of its second moment: an error of 1e-7 in a gradient near 0 is one of 1e-4 in a step.
    # Gradients of an embedding are summed in any order, so that not even a repetition is the same to the last bit.
    compare, again = (close, 1e-10) if kind == "float64" else (contract.closeness(1e-10, 1e-3), 1e-3)
    contract.training(compare, name, tmp_path, DTYPES[kind], again)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_command_compare(cell, tmp_path):
    contract.comparison(cell, tmp_path)


def test_the_command_train(tmp_path, monkeypatch):
    contract.train_command(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", contract.models(np.float32))
def test_nothing_inside_loss_and_grads_makes_the_host_wait(name):
    model, params, batch = contract.models(np.float32)[name]
    params, batch = contract.on_device(params), contract.on_device(batch)
    model.loss_and_grads(params, batch)  # compiles the kernels
    with no_waiting():
        model.loss_and_grads(params, batch)


@pytest.mark.parametrize("name", contract.models(np.float32))
@dtypes
def test_loss_and_grads_captured(name, dtype):
    model, params, batch = contract.models(dtype)[name]
    captured, device_params = capture(model.loss_and_grads), contract.on_device(params)
    for factor in (1, 2):
        given = tree_map(lambda a, factor=factor: a if a.dtype.kind in "iu" else a * a.dtype.type(factor), batch)
        got = captured(device_params, contract.on_device(given))
        close(got, contract.numbers(model.loss_and_grads(params, given)), name)
    assert captured.graph is not None


def test_a_step_that_cannot_fit_is_refused_before_it_begins():
    model = rl.models.SequenceClassifier(rl.LSTM(1, 10**5), 2)
    params = {"weight": contract.on_device(np.zeros(1, np.float32))}
    with pytest.raises(MemoryError, match="are free; "):
        check_step(model, params, (np.broadcast_to(np.zeros(1), (10**5, 10, 1)), None, None))


@pytest.mark.parametrize("name", [name for name in contract.OPTIMIZERS if name != "projected"])
def test_a_step_of_an_optimizer_never_makes_the_host_wait(name):
    params = contract.on_device(rl.GRU(3, 4).init(np.random.default_rng(0), np.float32))
    grads, optimizer = tree_map(lambda w: w + 1, params), contract.OPTIMIZERS[name]()
    opt_state = optimizer.init(params)
    params, opt_state = optimizer.step(params, grads, opt_state)
    with no_waiting():
        optimizer.step(params, grads, opt_state)
