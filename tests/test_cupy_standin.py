"""The package on a strict stand-in for CuPy (see ``strict.py``): the numbers of NumPy, and where the host waits."""

import importlib
import re
import sys
from collections import Counter
from functools import partial

import device_contract as contract
import fake_gpu
import numpy as np
import pytest
import strict
from compiled import COMPILER
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import cli
from rnnlab.backend import tree_map
from rnnlab.capture import capture
from rnnlab.kernels import Kernel

close = contract.closeness(1e-12, 2e-6)
DTYPES = {"float32": np.float32, "float64": np.float64}
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


@pytest.fixture(params=["operations", pytest.param("kernels", marks=pytest.mark.skipif(not COMPILER, reason="no cc"))])
def steps(request, monkeypatch):
    """A cell's step made of array operations, or as the kernels for a GPU, compiled as C."""
    for module in ("rnn", "lstm", "gru"):
        for value in vars(importlib.import_module(f"rnnlab.cells.{module}")).values():
            for kernel in value if isinstance(value, tuple) else (value,):
                if isinstance(kernel, Kernel):  # what a kernel was compiled to by another library must not stay
                    monkeypatch.setattr(kernel, "_launch", None)
    if request.param == "operations":
        monkeypatch.setattr("rnnlab.recurrent.loop.has_kernels", lambda xp, dtype: False)
    return request.param


@pytest.fixture
def device(monkeypatch, steps):
    """The stand-in in the place of CuPy; yields what it notes."""
    with strict.installed(monkeypatch) as notes:
        yield notes


# ---------------------------------------------------------------------------- the stand-in itself


def refusals():
    a, host = strict.MODULE.asarray(np.arange(6.0).reshape(2, 3)), np.ones((2, 3))
    cupy, index = strict.MODULE, strict.MODULE.asarray(np.array([1, 0]))
    yield from (partial(np.asarray, a), partial(np.array, a), partial(np.tanh, a), partial(np.sum, a))
    yield from (lambda: a + host, lambda: host + a, lambda: a @ host.T, lambda: host @ a.T, lambda: host < a)
    yield from (lambda: a + [1, 2, 3], lambda: a.__iadd__(host), lambda: host.__iadd__(a), lambda: a.dot(host.T))
    yield from (lambda: a[np.array([0])], lambda: a[[0]], lambda: a.__setitem__(0, host[0]), lambda: a.take([0]))
    yield from (lambda: host[index], lambda: a.__setitem__(np.array([0]), 1), lambda: host.__setitem__(0, a[0]))
    yield from (lambda: cupy.where(host > 0, a, a), lambda: cupy.concatenate([[[1.0] * 3], a]))
    yield from (lambda: cupy.concatenate([host, a]), lambda: cupy.sum([1.0, 2.0]), lambda: cupy.tanh(host))
    yield from (lambda: cupy.add(a, a, where=a > 0), lambda: cupy.errstate(), lambda: cupy.einsum_path("ij->j", a))
    yield from (lambda: a.astype(float, subok=True, order="C", other=1), lambda: a.sum(1, None, None, False, 1))
    yield from (lambda: range(index[0]), lambda: {a: 1}, lambda: iter(a.sum()), lambda: cupy.random.normal())
    yield from (lambda: cupy.zeros(2, like=a), lambda: a.setfield(a, float), lambda: cupy.linalg.multi_dot([a, a.T]))


@pytest.mark.parametrize("k", range(len(list(refusals()))))
def test_the_stand_in_refuses_what_cupy_refuses(k):
    call = list(refusals())[k]
    with pytest.raises((TypeError, IndexError, AttributeError)):
        call()


OPERATIONS = {
    "arithmetic": lambda xp, a, b: (a + b, a - 1, 2 * a, a / (2 + b * b), -a, a**2, a @ b.T, np.float64(3) * a, 1 - a),
    "comparisons": lambda xp, a, b: (a < b, a == b, (a != 0) & (b > 0), ~(a > b)),
    "reductions": lambda xp, a, b: (a.sum(), a.mean(axis=0), a.max(axis=1, keepdims=True), xp.abs(a).sum(), a.argmin()),
    "functions": lambda xp, a, b: (xp.tanh(a), xp.where(a > 0, a, 0), xp.concatenate([a, b], axis=1), xp.clip(a, 0, 1)),
    "shapes": lambda xp, a, b: (a.T, a.reshape(-1), a[None], a[:, ::-1], xp.split(a, 2), a.transpose(1, 0).copy()),
    "indices": lambda xp, a, b: (a[a > 0], a[xp.arange(2), xp.arange(2)], a[..., 0], [row for row in a]),
    "linalg": lambda xp, a, b: (xp.linalg.norm(a), xp.linalg.qr(a @ a.T)[1], xp.linalg.eigvalsh(a @ a.T)),
    "made": lambda xp, a, b: (xp.zeros((2, 1), a.dtype), xp.ones_like(a), xp.eye(3, dtype=a.dtype), xp.arange(4)),
}


def in_place(xp, a, b):
    a, c = a.copy(), xp.empty_like(a)
    view = a[0]
    view += b[1]
    xp.multiply(a, b, out=c)
    c[1:] = 7
    xp.copyto(c, b, where=a > 0)
    a[a > 1] = 0
    a *= c
    return a, c, view


OPERATIONS["in place"] = in_place


@pytest.mark.parametrize("name", OPERATIONS)
@given(st.integers(0, 2**32 - 1))
def test_the_stand_in_computes_what_numpy_computes_and_returns_arrays_only(name, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 2, 4))
    expected = OPERATIONS[name](np, a, b)
    got = OPERATIONS[name](strict.MODULE, strict.MODULE.asarray(a), strict.MODULE.asarray(b))

    def same(one, other):
        assert isinstance(one, strict.ndarray)
        np.testing.assert_array_equal(one.get(), other)

    tree_map(same, got, tree_map(lambda x: x, expected))


def test_the_stand_in_notes_each_wait_and_each_upload():
    a = strict.MODULE.asarray(np.arange(3.0))
    number = a.sum()
    waits = [
        lambda: float(number), lambda: int(number), lambda: bool(number), number.item, number.get, a.tolist,
        lambda: repr(a), lambda: f"{number:.2f}", lambda: a[a > 1], lambda: strict.MODULE.nonzero(a), a.nonzero,
        lambda: strict.MODULE.where(a > 1), lambda: 1 if number else 0, lambda: max(number, number + 1),
    ]  # fmt: skip
    for wait in waits:
        with strict.noted() as notes:
            wait()
        assert len(notes.waits) == 1 and notes.uploads == []
    with strict.noted() as notes:
        a[a > 1] = 0
        a += a.sum() * number
        strict.MODULE.asarray(a)
        assert a.shape == (3,) and len(a) == 3 and a.dtype == float
    assert notes.waits == notes.uploads == []
    with strict.noted() as notes:
        strict.MODULE.asarray(np.ones(2))
    assert notes.uploads == ["the test"]


# ----------------------------------------------------------------------------- the numbers of NumPy


@pytest.mark.parametrize("name", contract.EVERY)
@pytest.mark.parametrize("given", contract.GIVEN)
@dtypes
def test_layers(device, name, given, dtype):
    contract.layer_forward_and_backward(close, name, given, dtype)


@pytest.mark.parametrize("name", contract.EVERY)
@dtypes
def test_one_long_sequence_and_one_step(device, name, dtype):
    contract.one_long_sequence_and_one_step(close, name, dtype)


@dtypes
def test_small_parts(device, dtype):
    contract.dropout_between_layers(close, dtype)
    contract.feed_forward(close, dtype)
    contract.activations_state_and_scatter(close, dtype)
    contract.losses(close, dtype)


@pytest.mark.parametrize("name", contract.models(np.float64))
@dtypes
def test_models(device, name, dtype):
    contract.model(close, name, dtype)


@pytest.mark.parametrize("name", contract.OPTIMIZERS)
@dtypes
def test_optimizers(device, name, dtype):
    contract.optimizer(close, name, dtype)


@pytest.mark.parametrize("H", [5, 100])
@pytest.mark.parametrize("kind", ["few", "many", "none"])
@dtypes
def test_spectral_projection(device, H, kind, dtype):
    contract.spectral_projection(close, H, kind, dtype)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru-after", "gru-before"])
def test_instruments(device, name):
    contract.instruments(close, name)


@pytest.mark.parametrize("name", ["rnn-sigmoid", "lstm", "gru-after", "mix"])
def test_the_gradient_checker(device, name):
    contract.the_checker_passes(name)


@pytest.mark.parametrize("name", contract.TRAININGS)
def test_training(device, name, tmp_path):
    contract.training(close, name, tmp_path)


@pytest.mark.parametrize("cell", ["gru"])
def test_the_command_compare(device, cell, tmp_path):
    contract.comparison(cell, tmp_path)


def test_the_command_train(device, tmp_path, monkeypatch):
    contract.train_command(tmp_path, monkeypatch)


# ------------------------------------------------------------------------------ where the host waits


@pytest.mark.parametrize("name", contract.models(np.float32))
def test_nothing_inside_loss_and_grads_makes_the_host_wait(device, name):
    model, params, batch = contract.models(np.float32)[name]
    params, inputs = contract.on_device(params), contract.on_device(batch)
    state = None
    for lengths in (batch[-1], inputs[-1]) if name.startswith("ragged") else inputs[-1:]:  # on the host, on the device
        with strict.noted() as notes:
            loss, grads, state = model.loss_and_grads(params, (*inputs[:-1], lengths), state)
        assert notes.waits == [], notes.lines
        assert notes.uploads == [] or isinstance(lengths, np.ndarray), notes.lines
    with strict.noted() as notes:
        model.loss_and_grads(params, inputs, state, np.random.default_rng(0))
    assert notes.waits == [] and set(notes.uploads) <= {"rnnlab/layers.py:Dropout.forward"}, notes.lines


@pytest.mark.parametrize("name", contract.models(np.float32))
def test_loss_and_grads_can_be_captured(device, steps, name, monkeypatch):
    """So it makes the host wait nowhere, sends nothing, and asks CuPy for no product."""
    if steps == "operations":
        pytest.skip("without kernels a cell asks CuPy for its products")
    fake_gpu.install(monkeypatch)
    model, params, batch = contract.models(np.float32)[name]
    captured, device_params = capture(model.loss_and_grads), contract.on_device(params)
    for factor in (1, 2):
        given = tree_map(lambda a, factor=factor: a if a.dtype.kind in "iu" else a * a.dtype.type(factor), batch)
        got = captured(device_params, contract.on_device(given))
        close(got, contract.numbers(model.loss_and_grads(params, given)), name)
    assert captured.graph is not None


def test_a_product_of_cupys_own_cannot_be_captured(device, monkeypatch):
    fake_gpu.install(monkeypatch)
    x = contract.on_device(np.ones((2, 2)))
    for step in (lambda x: x @ x, lambda x: sys.modules["cupy"].dot(x, x), lambda x: x.dot(x)):
        with pytest.raises(NotImplementedError, match="calling cuBLAS API during stream capture"):
            capture(step)(x)
    for step in (lambda x: x * float(x.sum()), lambda x: x + sys.modules["cupy"].asarray(np.ones((2, 2)))):
        with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureUnsupported"):
            capture(step)(x)


# A small matrix is brought to the host, once it is not known to be within the limit.
PROJECTED = Counter({"rnnlab/optim/projection.py:_within": 1, "rnnlab/backend.py:to_numpy.<locals>.<lambda>": 1})


@pytest.mark.parametrize("name", contract.OPTIMIZERS)
def test_a_step_of_an_optimizer_never_makes_the_host_wait_unless_it_projects(device, name):
    rng = np.random.default_rng(0)
    params = contract.on_device(rl.GRU(3, 4).init(rng, np.float32))
    grads = tree_map(lambda w: w + 1, params)
    optimizer = contract.OPTIMIZERS[name]()
    opt_state = optimizer.init(params)
    for _ in range(2):
        with strict.noted() as notes:
            params, opt_state = optimizer.step(params, grads, opt_state)
    assert Counter(notes.waits) == (PROJECTED if name == "projected" else Counter()), notes.lines
    assert notes.uploads == (["rnnlab/optim/spectral.py:_by_svd"] if name == "projected" else [])


@pytest.mark.parametrize(("limit", "waits"), [(1.5, 1), (0.98, 12)], ids=["free", "clipping"])
def test_a_projection_waits_once_where_nothing_is_to_be_clipped(device, limit, waits):
    rng, H = np.random.default_rng(0), 120
    left, right = (np.linalg.qr(rng.normal(size=(H, H)))[0] for _ in range(2))
    params = contract.on_device({"w": ((left * np.linspace(0.1, 1.0, H)) @ right).astype(np.float32)})
    optimizer = rl.optim.chain(rl.optim.sgd(1.0), rl.optim.project_spectral_norm(limit, "w"))
    opt_state = optimizer.init(params)
    for step in range(4):
        grads = contract.on_device({"w": (-1e-3 * (left * np.linspace(0, 1, H)) @ right).astype(np.float32)})
        with strict.noted() as notes:
            params, opt_state = optimizer.step(params, grads, opt_state)
        assert step == 0 or len(notes.waits) <= waits, notes.lines


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["clip_by_norm", "clip_by_global_norm", "block normalized", "wgn", "centralized"])
def test_what_is_not_finite_and_not_looked_at_is_not_lost(device, name, bad):
    grads = rl.GRU(3, 4).init(np.random.default_rng(0))
    params = contract.on_device(tree_map(np.zeros_like, grads))
    grads["weight_hh"][2, 1] = bad
    optimizer = contract.OPTIMIZERS[name]()
    with np.errstate(invalid="ignore"):  # CuPy warns of nothing
        params, _ = optimizer.step(params, contract.on_device(grads), optimizer.init(params))
    assert not np.isfinite(params["weight_hh"].get()).all()


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-160, 1.0, 1e160, 1e300])
@pytest.mark.parametrize("name", ["clip_by_norm", "clip_by_global_norm", "block normalized"])
def test_norms_neither_overflow_nor_vanish_on_the_way(device, name, scale):
    results = []
    for move in (contract.on_device, lambda tree: tree):
        w, optimizer = {"w": np.zeros(3), "b": np.zeros(2)}, contract.OPTIMIZERS[name]()
        grads = move({"w": scale * np.array([3.0, 0.0, 4.0]), "b": scale * np.ones(2)})
        results.append(optimizer.step(move(w), grads, optimizer.init(move(w)))[0])
    for path, a in results[0].items():
        np.testing.assert_allclose(a.get(), results[1][path], rtol=1e-12, err_msg=path)


@pytest.mark.parametrize("name", contract.TRAININGS)
@pytest.mark.parametrize("bound", [1.0, 1e9])
def test_a_step_of_fit_makes_the_host_wait_twice(device, name, bound):
    """For the loss and the norm of the gradients, which decide about the update, and for that of the new parameters."""
    model, source = contract.TRAININGS[name](np.random.default_rng(0))
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(bound), rl.optim.adam(0.1))
    counts, sent = [], []
    for steps in (1, 2):
        with strict.noted() as notes:
            rl.fit(model, source, optimizer, steps=steps, backend="cupy")
        counts.append(Counter(notes.waits))
        sent.append(Counter(notes.uploads))
    assert list((counts[1] - counts[0]).elements()) == ["rnnlab/backend.py:to_numpy.<locals>.<lambda>"] * 2, notes.lines
    assert set(sent[1] - sent[0]) <= {  # the next batch, and what dropout has drawn
        "rnnlab/training/loop.py:_brought.<locals>.<lambda>",
        "rnnlab/layers.py:Dropout.forward",
        "rnnlab/recurrent/base.py:valid_steps",
        "rnnlab/models.py:PianoRollModel._frames",
    }, notes.lines


def test_a_validation_makes_the_host_wait_once(device):
    model, source = contract.TRAININGS["language"](np.random.default_rng(0))
    params = model.init(np.random.default_rng(0))
    host = rl.training.evaluate(model, params, source)
    with strict.noted() as notes:
        assert rl.training.evaluate(model, contract.on_device(params), source) == pytest.approx(host, rel=1e-12)
    assert len(source) > 1 and len(notes.waits) == 1, notes.lines


@pytest.mark.parametrize("where", ["gradient", "parameter", "loss"])
def test_fit_finds_on_a_device_what_is_not_finite(device, where):
    model, source = contract.TRAININGS["language"](np.random.default_rng(0))

    class Poisoned:
        init, loss = model.init, model.loss

        def loss_and_grads(self, *arguments):
            loss, grads, state = model.loss_and_grads(*arguments)
            if where == "loss":
                loss = loss * np.inf
            else:
                grads["output"]["bias"][1] = np.nan if where == "gradient" else 3e38
            return loss, grads, state

    words = {
        "gradient": "gradient of output.bias is not",
        "parameter": "update makes output.bias not",
        "loss": "loss is inf",
    }
    with pytest.raises(rl.training.NonFiniteError, match=f"^step 0: the {words[where]}"):
        rl.fit(Poisoned(), source, rl.optim.sgd(100.0), steps=3, backend="cupy")


# ------------------------------------------------------------------------------- memory that is not there


@pytest.fixture
def little_memory(device, monkeypatch):
    monkeypatch.setitem(strict.MEMORY, "free", 3000)
    monkeypatch.setitem(strict.MEMORY, "pool", 1000)


LITTLE = r"a step of \w+ with [A-Z].*\) with T = \d+ and N = \d+ in float32 needs .* (kB|MB), and 4 kB are free; "
FITS = "T = \\d+ or N = \\d+ would fit"


def test_fit_says_before_the_first_step_what_would_fit(little_memory):
    model, source = contract.TRAININGS["language"](np.random.default_rng(0))
    with pytest.raises(MemoryError, match=LITTLE + FITS):
        rl.fit(model, source, rl.optim.sgd(0.1), steps=1, backend="cupy")
    rl.fit(model, source, rl.optim.sgd(0.1), steps=1)  # of the host's memory nothing is said


@pytest.mark.parametrize(
    "words", [["compare", "--hidden", "9", "--steps", "1"], ["train", "a.toml"]], ids=["compare", "train"]
)
def test_a_command_says_so_in_one_line(little_memory, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, "--backend", "cupy", "--out", "run"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.search(LITTLE, err), err


def test_the_memory_is_asked_for_once_a_shape_and_of_models_that_are_known_only(device, monkeypatch):
    model, source = contract.TRAININGS["language"](np.random.default_rng(0))
    asked = []
    monkeypatch.setattr("rnnlab.memory.check_memory", lambda *given: asked.append(given[1:3]))
    rl.fit(model, source, rl.optim.sgd(0.1), epochs=2, backend="cupy")
    assert len(asked) == len(set(asked)) >= 1
    monkeypatch.setitem(strict.MEMORY, "free", 0)

    class OfOnesOwn:
        init, loss, loss_and_grads = model.init, model.loss, model.loss_and_grads

    rl.fit(OfOnesOwn(), source, rl.optim.sgd(0.1), steps=1, backend="cupy")


# ----------------------------------------------------------------------- without a device at all


TINY = (
    '[data]\nname = "adding"\n[model]\ncell = "rnn"\nhidden = 3\n'
    "[optimizer]\nlearning_rate = 0.1\n[training]\nsteps = 1\n"
)
COMMANDS = {
    "compare": ["compare", "--steps", "1", "--out", "run"],
    "train": ["train", "a.toml", "--out", "run"],
    "gradcheck": ["gradcheck"],
    "reproduce": ["reproduce", "wu2024-ptb", "--quick", "--out", "run"],
    "sweep": ["sweep", "a.toml", "--rates", "0.1,1", "--out", "run"],
}


@pytest.fixture(params=["not installed", "no GPU", "no driver"])
def no_device(request, monkeypatch):
    if request.param == "not installed":
        monkeypatch.setitem(sys.modules, "cupy", None)
        return "backend 'cupy' needs CuPy, which cannot be imported"
    with strict.installed(monkeypatch, available=False):
        if request.param == "no driver":

            def unavailable():
                raise RuntimeError("cudaErrorInsufficientDriver")

            monkeypatch.setattr(sys.modules["cupy"], "is_available", unavailable)
        return "backend 'cupy' needs a CUDA GPU"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_command_without_a_device_is_one_line_and_writes_nothing(
    no_device, command, by, tmp_path, monkeypatch, capsys
):
    (tmp_path / "a.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNLAB_BACKEND", raising=False)
    if by == "environment":
        monkeypatch.setenv("RNNLAB_BACKEND", "cupy")
    assert cli.main([*COMMANDS[command], *(["--backend", "cupy"] if by == "option" else [])]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"rnnlab {command}: {no_device}"), err
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]


def test_the_functions_without_a_device_raise_the_same_error_and_write_nothing(no_device, tmp_path):
    model, source = contract.TRAININGS["language"](np.random.default_rng(0))
    calls = [
        lambda: rl.to_backend({"w": np.ones(1)}, "cupy"),
        lambda: rl.to_backend((), "cupy"),
        lambda: rl.fit(model, source, rl.optim.sgd(0.1), steps=1, backend="cupy"),
        lambda: rl.fit(model, source, rl.optim.sgd(0.1), steps=1, backend="cupy", folder=tmp_path / "run"),
        lambda: rl.check_layer(rl.RNN(2, 3), backend="cupy"),
    ]
    for call in calls:
        with pytest.raises(rl.BackendError, match=f"^{no_device}") as info:
            call()
        assert "\n" not in str(info.value)
    assert list(tmp_path.rglob("*.npz")) == []
