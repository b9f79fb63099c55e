"""What must come out of a device as it comes out of NumPy: bodies that run on CuPy and on its stand-in alike.

Each body computes something twice, on NumPy arrays and on those that ``to_backend(tree, "cupy")`` makes of them, and
compares. ``close`` is the comparison: ``close(device, host)`` for two trees.
"""

from __future__ import annotations

import json

import numpy as np
from cases import KINKED, LAYERS, make_case

import rnnlab as rl
from rnnlab import backend, cli, dynamics
from rnnlab.backend import tree_items, tree_map
from rnnlab.data.batches import Rolls, Sequences, Streams

EVERY = {**LAYERS, **KINKED}
GIVEN = ("full", "ragged", "no state")


def on_device(tree):
    return rl.to_backend(tree, "cupy")


def closeness(of_float64, of_float32):
    """A comparison of two trees: relative to the largest number of an array, and at least 1."""

    def close(device, host, what=""):
        left, right = list(tree_items(device)), list(tree_items(host))
        assert [path for path, _ in left] == [path for path, _ in right], what
        for (path, a), (_, b) in zip(left, right, strict=True):
            if isinstance(b, (str, type(None))):
                assert a == b, (what, path)
                continue
            fetched, b = (a.get() if hasattr(a, "get") else np.asarray(a)), np.asarray(b)
            assert (fetched.shape, fetched.dtype) == (b.shape, b.dtype), (what, path, fetched.dtype, b.dtype)
            assert (type(a).__module__.partition(".")[0] == "cupy") or not isinstance(b, np.ndarray) or b.ndim == 0
            tolerance = of_float32 if b.dtype in (np.float32, np.complex64) else of_float64
            scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0))) if b.dtype.kind in "fc" else 1.0
            np.testing.assert_allclose(fetched, b, rtol=0, atol=tolerance * scale, err_msg=f"{what} {path}")

    return close


def numbers(tree):
    """Turn results that are Python numbers, wherever they were computed, into arrays."""
    return tree_map(lambda a: a if hasattr(a, "shape") else np.asarray(a), tree)


# ----------------------------------------------------------------------------------------- layers


def layer_forward_and_backward(close, name, given, dtype):
    lengths = np.array([5, 0, 3]) if given == "ragged" else None
    case = make_case(EVERY[name], 3, 5, 3, 2, 4, lengths, dtype)
    state, dstate = (None, None) if given == "no state" else (case.state, case.dstate)
    y, final, tape = case.layer.forward(case.params, case.x, state, lengths)
    gradients = case.layer.backward(case.params, tape, case.dy, dstate)
    params, x, state, dy, dstate = map(on_device, (case.params, case.x, state, case.dy, dstate))
    for held in (lengths, on_device(lengths)):  # they may stay on the host
        y_d, final_d, tape_d = case.layer.forward(params, x, state, held)
        close((y_d, final_d), (y, final), name)
        close(case.layer.backward(params, tape_d, dy, dstate), gradients, name)
    close(case.layer.backward(params, tape_d, dy, dstate), gradients, f"{name}, backward again")


def one_long_sequence_and_one_step(close, name, dtype):
    for T, N in ((9, 1), (1, 3), (1, 1)):
        case = make_case(EVERY[name], T, T, N, 3, 2, None, dtype)
        device = make_case(EVERY[name], T, T, N, 3, 2, None, dtype)
        for part in ("params", "x", "state", "dy", "dstate"):
            setattr(device, part, on_device(getattr(case, part)))
        close(device.gradients(), case.gradients(), f"{name} T={T} N={N}")


def dropout_between_layers(close, dtype):
    case = make_case(LAYERS["stacked"], 5, 4, 3, 2, 3, None, dtype)
    results = []
    for move in (on_device, lambda tree: tree):
        params, x, dy = map(move, (case.params, case.x, case.dy))
        y, state, tape = case.layer.forward(params, x, rng=np.random.default_rng(1))
        results.append((y, state, case.layer.backward(params, tape, dy)))
    close(*results)


def feed_forward(close, dtype):
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(4, 3, 5)).astype(dtype), rng.integers(0, 6, (4, 3))
    cases = [(rl.Linear(5, 2), x), (rl.Linear(5, 2, bias=False), x), (rl.Embedding(6, 2), ids), (rl.Dropout(0.4), x)]
    for layer, given in cases:
        params = tree_map(lambda p: p + 1, layer.init(rng, dtype))
        y, tape = layer.forward(params, given, np.random.default_rng(3))
        dy = rng.normal(size=y.shape).astype(dtype)
        y_d, tape_d = layer.forward(on_device(params), on_device(given), np.random.default_rng(3))
        close(y_d, y, repr(layer))
        close(layer.backward(on_device(params), tape_d, on_device(dy)), layer.backward(params, tape, dy), repr(layer))


def activations_state_and_scatter(close, dtype):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "elu"):
        f = rl.activations.get(name)
        close((f(on_device(x)), f.slope(on_device(x))), (f(x), f.slope(x)), name)
    for keep in (None, np.array([True, False, True])):
        close(rl.carry_state((on_device(x), None), on_device(keep)), rl.carry_state((x, None), keep))
    index = np.array([0, 2, 0])
    target, target_d = np.ones((3, 4), dtype), on_device(np.ones((3, 4), dtype))
    backend.scatter_add(target, index, x)
    backend.scatter_add(target_d, on_device(index), on_device(x))
    close(target_d, target)


# --------------------------------------------------------------------------- losses and models


def losses(close, dtype):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 4, 3, 5)).astype(dtype)
    share, classes, mask = rng.random((4, 3, 5)).astype(dtype), rng.integers(0, 5, (4, 3)), rng.random((4, 3)) < 0.6
    for loss, target in (
        (rl.losses.cross_entropy, classes),
        (rl.losses.binary_cross_entropy, share),
        (rl.losses.mean_squared_error, b),
        (rl.losses.mean_absolute_error, b),
    ):
        for given in (None, mask):
            close(loss(on_device(a), on_device(target), on_device(given)), numbers(loss(a, target, given)), loss)


def models(dtype):
    """name -> (model, params, batch), all on the host."""
    rng = np.random.default_rng(4)
    normal = lambda *shape: rng.normal(size=shape).astype(dtype)  # noqa: E731
    stacked = rl.Stacked([rl.GRU(3, 4, reset="before"), rl.Bidirectional(rl.LSTM(4, 3), rl.RNN(4, 2))], dropout=0.3)
    roll, lengths = (rng.random((6, 3, 4)) < 0.4).astype(dtype), np.array([6, 2, 4])
    found = {
        "language": (rl.models.LanguageModel(7, 3, stacked, dropout=0.2), tuple(rng.integers(0, 7, (2, 5, 3)))),
        "classifier": (rl.models.SequenceClassifier(stacked, 4), (normal(5, 3, 3), np.array([0, 3, 1]), None)),
        "ragged classifier": (
            rl.models.SequenceClassifier(rl.LSTM(3, 4), 4),
            (normal(6, 3, 3), np.array([0, 3, 1]), lengths),
        ),
        "forecaster": (rl.models.Forecaster(rl.GRU(3, 4), 2, 3), (normal(5, 3, 3), normal(2, 3, 3))),
        "piano rolls": (rl.models.PianoRollModel(rl.RNN(4, 5), 4), (roll, None)),
        "ragged piano rolls": (rl.models.PianoRollModel(rl.LSTM(4, 5), 4), (roll, lengths)),
    }
    drawn = lambda p: (p + 0.3 * rng.normal(size=p.shape)).astype(dtype)  # noqa: E731
    return {name: (model, tree_map(drawn, model.init(rng, dtype)), batch) for name, (model, batch) in found.items()}


def model(close, name, dtype):
    model, params, batch = models(dtype)[name]
    for seed in (None, 6):
        results = []
        for move in (on_device, numbers):
            state, rng, outputs = None, None if seed is None else np.random.default_rng(seed), []
            for _ in range(2):  # the second batch starts from the state of the first
                loss, grads, state = model.loss_and_grads(move(params), move(batch), state, rng)
                outputs.append((numbers(loss), grads, state, tree_map(numbers, model.loss(move(params), move(batch)))))
            results.append(outputs)
        close(*results, name)
    if hasattr(model, "predict"):
        close(model.predict(on_device(params), on_device(batch[0])), model.predict(params, batch[0]))


# ----------------------------------------------------------------------------------- optimizers

o = rl.optim
OPTIMIZERS = {
    "sgd": lambda: o.sgd(0.1),
    "momentum": lambda: o.sgd(0.1, momentum=0.9),
    "nesterov": lambda: o.sgd(o.schedules.cosine(0.1, 5), momentum=0.9, nesterov=True),
    "rmsprop": lambda: o.rmsprop(0.01),
    "rmsprop with momentum": lambda: o.rmsprop(0.01, momentum=0.5),
    "adagrad": lambda: o.adagrad(0.1),
    "adam": lambda: o.adam(o.schedules.linear_warmup(2, 0.01)),
    "adamw": lambda: o.adamw(0.01),
    "clip_by_value": lambda: o.chain(o.clip_by_value(0.3), o.sgd(0.1)),
    "clip_by_norm": lambda: o.chain(o.clip_by_norm(0.3), o.sgd(0.1)),
    "clip_by_global_norm": lambda: o.chain(o.clip_by_global_norm(0.3), o.sgd(0.1)),
    "not clipped": lambda: o.chain(o.clip_by_global_norm(1e6), o.sgd(0.1)),
    "l1": lambda: o.chain(o.l1(0.1, only="weight_*"), o.sgd(0.1)),
    "l2": lambda: o.chain(o.l2(0.1), o.sgd(0.1)),
    "wgn": lambda: o.chain(o.normalize_weight_gradients(), o.sgd(0.1)),
    "wgn, by gate": lambda: o.chain(o.normalize_weight_gradients(denominator="sqrt(var+eps)", per="gate"), o.sgd(0.1)),
    "wgn, by row": lambda: o.chain(o.normalize_weight_gradients(per="row", only="weight_hh"), o.sgd(0.1)),
    "centralized": lambda: o.chain(o.centralize_gradients(), o.sgd(0.1)),
    "block normalized": lambda: o.chain(o.block_normalize_gradients(), o.sgd(0.1)),
    "projected": lambda: o.chain(o.clip_by_global_norm(1.0), o.sgd(0.1), o.project_spectral_norm(0.9, "weight_hn")),
}


def optimizer(close, name, dtype):
    layer, rng = rl.GRU(3, 4), np.random.default_rng(5)
    draw = lambda w: rng.normal(size=w.shape).astype(dtype)  # noqa: E731
    params = tree_map(draw, layer.init(rng, dtype))
    many = [tree_map(draw, params) for _ in range(3)]
    results = []
    for move in (on_device, lambda tree: tree):
        opt, w = OPTIMIZERS[name](), move(params)
        opt_state, steps = opt.init(w), []
        for grads in many:
            w, opt_state = opt.step(w, move(grads), opt_state)
            steps.append(w)
        results.append((steps, opt_state["memory"]))
    close(*results, name)


def spectral_projection(close, H, kind, dtype, factor=1.0):
    """Five slow steps; the result is that of the decomposition to ``factor`` times what the optimizer promises."""
    rng = np.random.default_rng(H)
    limit, values = 1.3, np.linspace(0.1, 1.1, H)
    above = {"few": 2, "many": H // 2, "none": 0}[kind]
    values[:above] = 1.6
    left, right = (np.linalg.qr(rng.normal(size=(H, H)))[0] for _ in range(2))
    opt = o.chain(o.sgd(1.0), o.project_spectral_norm(limit, "w"))
    params = {"w": ((left * values) @ right).astype(dtype)}
    device = on_device(params)
    state, state_d = opt.init(params), opt.init(device)
    tolerance = factor * (2e-6 if dtype == np.float32 else 2e-8)
    for _ in range(5):
        grads = {"w": (1e-4 * rng.normal(size=(H, H)) - 0.01 * params["w"]).astype(dtype)}  # it grows by a hundredth
        params, state = opt.step(params, grads, state)
        device, state_d = opt.step(device, on_device(grads), state_d)
        found = device["w"].get().astype(float)
        assert np.linalg.norm(found - params["w"]) <= tolerance * np.linalg.norm(params["w"]), (H, kind)
        largest = np.linalg.norm(found, 2)
        assert largest <= limit * (1 + tolerance) and (not above or largest >= limit * (1 - tolerance)), (H, kind)


# ------------------------------------------------------------------- instruments, checker, training


def instruments(close, name):
    case = make_case(LAYERS[name], 6, 5, 3, 2, 3)
    params, x = on_device(case.params), on_device(case.x)
    through_time = [
        dynamics.gradient_norm_through_time(case.layer, p, given, np.random.default_rng(0))
        for p, given in ((params, x), (case.params, case.x))
    ]
    np.testing.assert_allclose(*through_time, rtol=1e-10)
    close(
        dynamics.state_jacobian(case.layer, params, x[0]), dynamics.state_jacobian(case.layer, case.params, case.x[0])
    )
    close(dynamics.step_jacobians(case.layer, params, x), dynamics.step_jacobians(case.layer, case.params, case.x))
    lengths = np.array([5, 2, 4])
    close(
        dynamics.gate_values(case.layer, params, x, lengths=lengths),
        dynamics.gate_values(case.layer, case.params, case.x, lengths=lengths),
    )
    assert dynamics.gate_saturation(case.layer, params, x, lengths=lengths) == dynamics.gate_saturation(
        case.layer, case.params, case.x, lengths=lengths
    )
    for w, w_d in zip(*(list(dict(tree_items(p)).values()) for p in (case.params, params)), strict=True):
        np.testing.assert_allclose(dynamics.weight_statistics(w_d), dynamics.weight_statistics(w), rtol=1e-9)
        np.testing.assert_allclose(dynamics.update_ratio(w_d, w_d * 1.1), dynamics.update_ratio(w, w * 1.1), rtol=1e-9)
    for block, block_d in zip(
        *(dynamics.recurrent_blocks(p["weight_hh"]).values() for p in (case.params, params)), strict=True
    ):
        np.testing.assert_allclose(dynamics.spectral_norm(block_d), dynamics.spectral_norm(block), rtol=1e-9)
        np.testing.assert_allclose(dynamics.spectral_radius(block_d), dynamics.spectral_radius(block), rtol=1e-9)


def the_checker_passes(name):
    rl.check_layer(LAYERS[name](2, 3), backend="cupy").raise_if_failed()


TRAININGS = {
    "language": lambda rng: (
        rl.models.LanguageModel(7, 3, rl.Stacked([rl.LSTM(3, 4), rl.GRU(4, 4)], dropout=0.2), dropout=0.2),
        Streams(np.tile(np.arange(7), 12), 3, 5),
    ),
    "ragged classifier": lambda rng: (
        rl.models.SequenceClassifier(rl.Bidirectional(rl.GRU(2, 3), rl.RNN(2, 3)), 2),
        Sequences(rng.normal(size=(6, 8, 2)), np.arange(8) % 2, 4, lengths=np.array([6, 3, 5, 1, 2, 6, 4, 4])),
    ),
    "piano rolls": lambda rng: (
        rl.models.PianoRollModel(rl.RNN(3, 4), 3),
        Rolls([(rng.random((k, 3)) < 0.5).astype(float) for k in (5, 3, 6, 4)], 2),
    ),
}


def training(close, name, folder, dtype=np.float64, again=0.0):
    """`fit` on both, then on the device stopped half way and resumed from the disk, which is right to ``again``."""
    quantities = ["gradient_norm", "update_ratio", "weight_statistics", "spectral_norm", "spectral_radius"]

    def go(backend, **options):
        model, source = TRAININGS[name](np.random.default_rng(1))
        monitor = rl.Monitor([*quantities, "saturation"], every=2, max_share=None)
        optimizer = o.chain(o.clip_by_global_norm(1.0), o.adam(0.02))
        options = {"epochs": 2, "valid": source, "callbacks": [monitor], "dtype": dtype, **options}
        return rl.fit(model, source, optimizer, backend=backend, **options), monitor

    (host, rows), (device, rows_d) = go("numpy"), go("cupy", folder=folder / "whole")
    close(device.params, host.params, "the best parameters")
    close(device.last_params, host.last_params, "the last parameters")
    tolerance = 1e-3 if dtype == np.float32 else 1e-8
    for one, other in ((device.history, host.history), (rows_d.rows, rows.rows)):
        assert [list(row) for row in one] == [list(row) for row in other]
        for a, b in zip(one, other, strict=True):
            # Of a few float32 that are nearly equal these two are made of rounding.
            kept = [key for key in a if dtype == np.float64 or not key.partition("_")[2].startswith(("skew", "kurt"))]
            np.testing.assert_allclose([a[k] for k in kept], [b[k] for k in kept], rtol=tolerance, atol=tolerance)
    go("cupy", folder=folder / "parts", steps=2)
    resumed, _ = go("cupy", folder=folder / "parts", resume=True)
    for (path, a), (_, b) in zip(tree_items(resumed.last_params), tree_items(device.last_params), strict=True):
        assert type(a).__module__.partition(".")[0] == "cupy"
        np.testing.assert_allclose(a.get(), b.get(), rtol=0, atol=again, err_msg=path)


def comparison(cell, out):
    """``rnnlab compare``, tiny, on both; the same numbers in both folders."""
    words = ["compare", "--cell", cell, "--task", "adding", "--arms", "sgd,clip,wgn,projection", "--steps", "4"]
    words += ["--hidden", "5", "--seeds", "1", "--learning-rates", "1e-3", "--jobs", "1"]
    arms = []
    for name in ("numpy", "cupy"):
        assert cli.main([*words, "--backend", name, "--out", str(out / name)]) == 0
        results = json.loads((out / name / "results.json").read_text(encoding="utf-8"))
        arms.append({arm: results["arms"][arm]["runs"] for arm in results["arms"]})
    assert list(arms[0]) == list(arms[1]) == ["sgd", "clip", "wgn", "projection"]
    for arm, (host,) in arms[0].items():
        (device,) = arms[1][arm]
        assert device["steps"] == host["steps"] == 4
        for key in ("validation_loss_at_start", "validation_loss", "training_loss"):
            np.testing.assert_allclose(device[key], host[key], rtol=1e-4, err_msg=f"{arm} {key}")


def train_command(folder, monkeypatch):
    """``rnnlab train``, tiny, on both."""
    monkeypatch.chdir(folder)
    (folder / "a.toml").write_text(
        '[data]\nname = "adding"\nlength = 6\nbatch_size = 4\nbatches = 3\n[model]\ncell = "lstm"\nhidden = 3\n'
        "[optimizer]\nlearning_rate = 0.1\nclip_global_norm = 1.0\n[training]\nsteps = 4\n"
        '[monitor]\nquantities = ["gradient_norm", "saturation"]\nmax_share = false\n'
    )
    found = []
    for name in ("numpy", "cupy"):
        assert cli.main(["train", "a.toml", "--backend", name, "--out", name]) == 0
        found.append(json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))["test"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
