"""Layers, a model and the losses against stored PyTorch results (see tests/vectors/README.md)."""

import functools
import pathlib

import numpy as np
import pytest

import rnnlab as rl
from rnnlab.backend import tree_items, tree_map

VECTORS = pathlib.Path(__file__).parent / "vectors"

LAYERS = {
    "rnn_tanh": lambda D, H: rl.RNN(D, H, activation="tanh"),
    "rnn_relu": lambda D, H: rl.RNN(D, H, activation="relu"),
    "lstm": lambda D, H: rl.LSTM(D, H),
    "lstm_no_bias": lambda D, H: rl.LSTM(D, H, bias=False),
    "gru_after": lambda D, H: rl.GRU(D, H, reset="after"),
    "gru_after_no_bias": lambda D, H: rl.GRU(D, H, reset="after", bias=False),
    "gru_before": lambda D, H: rl.GRU(D, H, reset="before"),
    "bidirectional_lstm": lambda D, H: rl.Bidirectional(rl.LSTM(D, H), rl.LSTM(D, H)),
    "bidirectional_gru": lambda D, H: rl.Bidirectional(rl.GRU(D, H), rl.GRU(D, H)),
    "stacked_lstm": lambda D, H: rl.Stacked([rl.LSTM(D, H), rl.LSTM(H, H + 1)]),
    "stacked_mixed": lambda D, H: rl.Stacked([rl.Bidirectional(rl.GRU(D, H), rl.GRU(D, H)), rl.RNN(2 * H, H + 1)]),
}
LOSSES = ("cross_entropy", "binary_cross_entropy", "mean_squared_error", "mean_absolute_error")
PRECISIONS = {np.float64: 1e-10, np.float32: 1e-5}


@functools.cache
def load(name):
    """Read an archive as one tree; the slashes of its keys lead to dicts, integer names to tuples."""
    tree = {}
    with np.load(VECTORS / name) as archive:
        for key in archive.files:
            *folders, last = key.split("/")
            place = functools.reduce(lambda node, folder: node.setdefault(folder, {}), folders, tree)
            place[last] = archive[key]
    return as_tuples(tree)


def as_tuples(tree):
    if not isinstance(tree, dict):
        return tree
    children = {key: as_tuples(child) for key, child in tree.items()}
    if all(key.isdigit() for key in children):
        return tuple(children[str(k)] for k in range(len(children)))
    return children


def cast(tree, dtype):
    return tree_map(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, tree)


def assert_tree_close(found, expected, dtype, name):
    """Assert equal structure, shapes and dtype, and values within the precision of the dtype."""
    found, expected = dict(tree_items(found, name)), dict(tree_items(expected, name))
    assert found.keys() == expected.keys()
    for path, want in expected.items():
        got = found[path]
        assert got.shape == want.shape, path
        assert got.dtype == dtype, path
        error = np.max(np.abs(got - want)) / (np.max(np.abs(want)) or 1.0)
        assert error <= PRECISIONS[dtype], f"{path} differs by {error:.1e} of its scale"


def layer_cases():
    vectors = load("layers.npz")
    return [(name, size) for name in LAYERS for size in vectors[name]]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", ["full", "ragged"])
@pytest.mark.parametrize(("name", "size"), layer_cases())
def test_layer_agrees_with_torch(name, size, kind, dtype):
    case = load("layers.npz")[name][size]
    inputs, expected = cast(case["inputs"], dtype), dict(case[kind])
    lengths = expected.pop("lengths", None)
    _, first = next(iter(sorted(tree_items(inputs["state"]))))
    layer = LAYERS[name](inputs["x"].shape[2], first.shape[1])
    params = inputs["params"]
    y, state, tape = layer.forward(params, inputs["x"], state=inputs["state"], lengths=lengths)
    dx, dstate, grads = layer.backward(params, tape, inputs["dy"], dstate=inputs["dstate"])
    found = {"y": y, "state": state, "dx": dx, "dstate": dstate, "grads": grads}
    assert_tree_close(found, expected, dtype, f"{name}.{size}.{kind}")


@pytest.mark.parametrize("name", LAYERS)
def test_layer_initializes_what_torch_has(name):
    case = load("layers.npz")[name]["small"]["inputs"]
    layer = LAYERS[name](2, 3)
    params = layer.init(np.random.default_rng(0), dtype=np.float64)
    shapes = {path: array.shape for path, array in tree_items(params)}
    assert shapes == {path: array.shape for path, array in tree_items(case["params"])}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_language_model_agrees_with_torch(dtype):
    case = load("layers.npz")["language_model"]
    params = cast(case["params"], dtype)
    vocab_size, embedding_size = params["embedding"]["weight"].shape
    hidden_size = params["recurrent"]["weight_hh"].shape[1]
    model = rl.models.LanguageModel(vocab_size, embedding_size, rl.LSTM(embedding_size, hidden_size))
    state = None
    for k, expected in enumerate(case["chunks"]):
        batch = expected["inputs"], expected["targets"]
        loss_alone, state_alone = model.loss(params, batch, state=state)
        loss, grads, state = model.loss_and_grads(params, batch, state=state)
        wanted = {name: expected[name] for name in ("loss", "state", "grads")}
        found = {"loss": np.asarray(loss), "state": state, "grads": grads}
        assert_tree_close(found, wanted, dtype, f"chunk{k}")
        found = {"loss": np.asarray(loss_alone), "state": state_alone}
        assert_tree_close(found, {name: wanted[name] for name in found}, dtype, f"chunk{k} without gradients")


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", load("losses.npz"))
def test_loss_agrees_with_torch(name, dtype):
    case = cast(load("losses.npz")[name], dtype)
    loss_of = getattr(rl.losses, next(loss for loss in LOSSES if name.startswith(loss)))
    loss, dprediction = loss_of(case["prediction"], case["targets"], mask=case.get("mask"))
    expected = load("losses.npz")[name]
    found = {"loss": np.asarray(loss), "dprediction": dprediction}
    assert_tree_close(found, {key: expected[key] for key in found}, dtype, name)
