"""Optimizers: PyTorch's trajectories, one suite that every part passes, and what each alone promises."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import optim
from rnnlab.backend import tree_items, tree_map

VECTORS = np.load(Path(__file__).parent / "vectors" / "optim.npz")
seeds = st.integers(0, 2**32 - 1)

# ---------------------------------------------------------------------------- PyTorch's trajectories

TORCH = {
    "sgd": optim.sgd(0.1),
    "sgd_momentum": optim.sgd(0.1, momentum=0.9),
    "sgd_nesterov": optim.sgd(0.03, momentum=0.8, nesterov=True),
    "sgd_l2": optim.chain(optim.l2(0.1), optim.sgd(0.1, momentum=0.5)),
    "rmsprop": optim.rmsprop(0.01),
    "rmsprop_momentum": optim.rmsprop(0.02, alpha=0.9, eps=1e-6, momentum=0.7),
    "adagrad": optim.adagrad(0.1),
    "adagrad_eps": optim.adagrad(0.2, eps=1e-2),
    "adam": optim.adam(0.01),
    "adam_betas": optim.adam(0.02, betas=(0.5, 0.9), eps=1e-3),
    "adam_l2": optim.chain(optim.l2(0.1), optim.adam(0.02)),
    "adamw": optim.adamw(0.01),
    "adamw_decay": optim.adamw(0.02, betas=(0.8, 0.99), weight_decay=0.3),
}


def test_every_stored_trajectory_has_a_test():
    assert set(TORCH) == {key.partition("/")[0] for key in VECTORS.files} - {"start", "grads"}


@pytest.mark.parametrize("case", TORCH)
def test_the_trajectory_is_pytorchs(case):
    optimizer = TORCH[case]
    params = {name: VECTORS[f"start/{name}"] for name in ("weight", "bias")}
    opt_state = optimizer.init(params)
    for step in range(25):
        grads = {name: VECTORS[f"grads/{name}"][step] for name in params}
        params, opt_state = optimizer.step(params, grads, opt_state)
        for name, value in params.items():
            np.testing.assert_allclose(value, VECTORS[f"{case}/{name}"][step], rtol=1e-12, atol=1e-13)


# ------------------------------------------------------------------------------- the suite for all parts

RATE = 0.1
TRANSFORMS = {
    "clip_by_value": optim.clip_by_value(0.5),
    "clip_by_global_norm": optim.clip_by_global_norm(1.0),
    "clip_by_norm": optim.clip_by_norm(0.7),
    "wgn": optim.normalize_weight_gradients(),
    "wgn-root": optim.normalize_weight_gradients(denominator="sqrt(var+eps)"),
    "wgn-gate": optim.normalize_weight_gradients(per="gate"),
    "wgn-row": optim.normalize_weight_gradients(per="row", only="weight_*"),
    "wgn-uncentred": optim.normalize_weight_gradients(center=False),
    "centralize": optim.centralize_gradients(),
    "block": optim.block_normalize_gradients(),
    "l1": optim.l1(0.1),
    "l2": optim.l2(0.1, only="recurrent.*"),
}
UPDATES = {
    "sgd": optim.sgd(RATE),
    "momentum": optim.sgd(RATE, momentum=0.9),
    "nesterov": optim.sgd(RATE, momentum=0.9, nesterov=True),
    "rmsprop": optim.rmsprop(RATE, momentum=0.5),
    "adagrad": optim.adagrad(RATE),
    "adam": optim.adam(RATE),
    "adamw": optim.adamw(RATE),
    "plateau": optim.sgd(optim.schedules.reduce_on_plateau(RATE)),
    "cosine": optim.sgd(optim.schedules.cosine(RATE, 10)),
}
PROJECTIONS = {
    "project-hh": optim.project_spectral_norm(0.9, only="weight_hh"),
    "project-hn": optim.project_spectral_norm(0.9, only="weight_hn"),
}
OPTIMIZERS = {
    **{name: optim.chain(part, optim.sgd(RATE)) for name, part in TRANSFORMS.items()},
    **UPDATES,
    **{name: optim.chain(optim.sgd(RATE), part) for name, part in PROJECTIONS.items()},
    "all": optim.chain(optim.l2(0.1), optim.clip_by_global_norm(1.0), optim.adam(RATE), *PROJECTIONS.values()),
}


def draw(seed=0, dtype=np.float64, scale=1.0):
    """The nested parameters of a model, and gradients for them."""
    rng = np.random.default_rng(seed)
    model = rl.models.LanguageModel(7, 3, rl.Stacked([rl.GRU(3, 4), rl.GRU(4, 4)]))
    params = tree_map(lambda w: w + (0.1 * rng.normal(size=w.shape)).astype(dtype), model.init(rng, dtype))
    params["recurrent"] = {"layer0": params["recurrent"]["layer0"], "list": [params["recurrent"]["layer1"]["bias"]]}
    return params, tree_map(lambda w: (scale * rng.normal(size=w.shape)).astype(dtype), params)


def steps(optimizer, params, grads, opt_state=None, count=3):
    opt_state = optimizer.init(params) if opt_state is None else opt_state
    for _ in range(count):
        params, opt_state = optimizer.step(params, grads, opt_state)
    return params, opt_state


def assert_equal(left, right):
    for (path, a), (other, b) in zip(tree_items(left), tree_items(right), strict=True):
        assert path == other
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
class TestEveryPart:
    def test_keeps_structure_dtype_and_what_it_was_given(self, name):
        for dtype in (np.float32, np.float64):
            params, grads = draw(dtype=dtype)
            before = copy.deepcopy((params, grads))
            new, opt_state = steps(OPTIMIZERS[name], params, grads)
            assert_equal(before, (params, grads))
            for (path, old), (new_path, array) in zip(tree_items(params), tree_items(new), strict=True):
                assert (path, old.dtype, old.shape) == (new_path, array.dtype, array.shape)
                assert np.isfinite(array).all()
            assert isinstance(new["recurrent"]["list"], list)
            assert {a.dtype for _, a in tree_items(opt_state["memory"])} <= {np.dtype(dtype)}
            assert int(opt_state["step"]) == 3

    def test_moves_something(self, name):
        params, grads = draw()
        new, _ = steps(OPTIMIZERS[name], params, grads, count=1)
        assert any(not np.array_equal(a, b) for (_, a), (_, b) in zip(tree_items(params), tree_items(new), strict=True))

    def test_float32_is_near_float64(self, name):
        params, grads = draw(dtype=np.float32)
        wide = tree_map(lambda a: a.astype(np.float64), (params, grads))
        narrow, wide = (steps(OPTIMIZERS[name], *start)[0] for start in ((params, grads), wide))
        for (_, a), (_, b) in zip(tree_items(narrow), tree_items(wide), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)

    def test_state_round_trips(self, name):
        optimizer = OPTIMIZERS[name]
        params, grads = draw()
        middle, opt_state = steps(optimizer, params, grads)
        kept = copy.deepcopy(opt_state)
        straight = steps(optimizer, middle, grads, opt_state)
        assert_equal(opt_state, kept)  # a step leaves the state it was given alone
        for again in (pickle.loads(pickle.dumps(kept)), rl.to_backend(kept, "numpy")):
            assert_equal(steps(optimizer, middle, grads, again), straight)

    def test_arrays_without_elements_do_no_harm(self, name):
        params, grads = draw()
        empty = {"none": np.zeros((0, 3)), "nested": {}}
        new, _ = steps(OPTIMIZERS[name], {**params, **empty}, {**grads, **empty})
        assert new["none"].shape == (0, 3) and new["nested"] == {}

    def test_gradients_that_do_not_fit_are_refused(self, name):
        params, grads = draw()
        opt_state = OPTIMIZERS[name].init(params)
        with pytest.raises(ValueError, match="missing: output.weight, output.bias, too many: none"):
            OPTIMIZERS[name].step(params, {**grads, "output": {}}, opt_state)
        with pytest.raises(ValueError, match="missing: none, too many: extra"):
            OPTIMIZERS[name].step(params, {**grads, "extra": np.ones(2)}, opt_state)
        grads["embedding"]["weight"] = np.ones((7, 4))
        with pytest.raises(ValueError, match=r"grads.embedding.weight must have .* shape \(7, 3\); got \(7, 4\)"):
            OPTIMIZERS[name].step(params, grads, opt_state)


@pytest.mark.parametrize("name", [name for name in (*TRANSFORMS, *UPDATES) if name not in ("wgn-row", "l2")])
def test_one_array_is_a_tree_too(name):
    w = np.random.default_rng(0).normal(size=(3, 4))
    new, _ = steps(OPTIMIZERS[name], w, np.ones((3, 4)) + w)
    assert isinstance(new, np.ndarray) and new.shape == (3, 4)


BY_NORM = [name for name in TRANSFORMS if name[0] != "l"]


@pytest.mark.parametrize("name", BY_NORM)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_raises_instead_of_spreading(name, bad):
    params, grads = draw()
    grads["recurrent"]["layer0"]["weight_hh"][5, 2] = bad
    if name == "clip_by_value" and np.isinf(bad):
        new, _ = steps(OPTIMIZERS[name], params, grads, count=1)  # the limit is what an infinity becomes
        assert all(np.isfinite(a).all() for _, a in tree_items(new))
        return
    words = r"gradient of recurrent.layer0.weight_hh must be finite; got (nan|inf|-inf) at index \(5, 2\)"
    with pytest.raises(FloatingPointError, match=words):
        steps(OPTIMIZERS[name], params, grads, count=1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_wider_gradients_do_not_widen_the_parameters(name):
    params, grads = draw(dtype=np.float32)
    wide = tree_map(lambda g: g.astype(np.float64), grads)
    results = [steps(OPTIMIZERS[name], params, g) for g in (grads, wide)]
    assert_equal(*(new for new, _ in results))
    assert {a.dtype for _, a in tree_items(results[1][0])} == {np.dtype(np.float32)}
    assert {a.dtype for _, a in tree_items(results[1][1]["memory"])} <= {np.dtype(np.float32)}


def test_gradients_whose_dtype_does_not_fit_are_refused():
    w, optimizer = {"w": np.ones(2)}, optim.sgd(0.1)
    with pytest.raises(TypeError, match="grads.w must have a dtype that goes .* float64; got complex128"):
        optimizer.step(w, {"w": np.ones(2) + 1j}, optimizer.init(w))
    with pytest.raises(TypeError, match="grads must have a dtype that goes .* int64; got float64"):
        optimizer.step(np.ones(2, np.int64), np.ones(2), optimizer.init(np.ones(2, np.int64)))


def changed(transform, grads, params=None):
    """What a gradient transform makes of gradients."""
    params = tree_map(np.zeros_like, grads) if params is None else params
    optimizer = optim.chain(transform, optim.sgd(1.0))
    new, _ = optimizer.step(params, grads, optimizer.init(params))
    return tree_map(np.subtract, params, new)


# ------------------------------------------------------------------------------------------- clipping


@given(seeds, st.floats(-18, 18), st.floats(-3, 3))
def test_clipping_meets_its_bound_keeps_the_direction_and_is_idempotent(seed, scale, bound):
    scale, bound = 10.0**scale, 10.0**bound
    rng = np.random.default_rng(seed)
    grads = {"w": scale * rng.normal(size=(3, 4)), "b": scale * rng.normal(size=3)}
    whole = lambda g: np.sqrt(sum((a**2).sum() for a in g.values()))  # noqa: E731
    for transform, size in (
        (optim.clip_by_global_norm(bound), whole),
        (optim.clip_by_norm(bound), lambda g: max(np.linalg.norm(a) for a in g.values())),
        (optim.clip_by_value(bound), lambda g: max(np.abs(a).max() for a in g.values())),
    ):
        once = changed(transform, grads)
        assert size(once) <= bound * (1 + 1e-12)
        if size(grads) <= bound:
            assert_equal(once, grads)
        else:
            assert size(once) == pytest.approx(bound, rel=1e-12)
        twice = changed(transform, once)
        for name in grads:
            np.testing.assert_allclose(twice[name], once[name], rtol=1e-14)
            assert (np.sign(once[name]) == np.sign(grads[name])).all()
    together = changed(optim.clip_by_global_norm(bound), grads)
    factor = min(1, bound / whole(grads))
    for name in grads:
        np.testing.assert_allclose(together[name], factor * grads[name], rtol=1e-12)


@pytest.mark.parametrize("make", [optim.clip_by_global_norm, optim.clip_by_norm, optim.block_normalize_gradients])
@pytest.mark.parametrize("scale", [1e-38, 1e-25, 1e25, 1e37])
def test_norms_do_not_overflow_or_vanish_in_float32(make, scale):
    transform = make() if make is optim.block_normalize_gradients else make(scale / 10)
    g = np.float32([[3, 0], [0, 4]]) * np.float32(scale)
    out = changed(transform, g)
    expected = np.array([[0.6, 0], [0, 0.8]]) * (1 if make is optim.block_normalize_gradients else scale / 10)
    np.testing.assert_allclose(out, expected, rtol=1e-3)


# ----------------------------------------------------------- weight gradient normalization: papers 1.2

exact = optim.normalize_weight_gradients(eps=0.0)


@given(seeds, st.integers(2, 6), st.integers(2, 6), st.floats(-15, 15))
def test_a_step_has_the_length_rate_times_root_of_size_and_keeps_the_mean(seed, rows, columns, scale):
    rng = np.random.default_rng(seed)
    w, g = rng.normal(size=(rows, columns)), 10.0**scale * (rng.normal(size=(rows, columns)) + rng.normal())
    new, _ = steps(optim.chain(exact, optim.sgd(0.01)), w, g, count=1)
    assert np.linalg.norm(new - w) == pytest.approx(0.01 * np.sqrt(w.size), rel=1e-9)
    assert new.mean() == pytest.approx(w.mean(), abs=1e-13)
    assert (g * (w - new)).sum() == pytest.approx(0.01 * w.size * g.std(), rel=1e-6)  # <g, update> = N*std >= 0


@pytest.mark.parametrize("per", ["array", "gate", "row"])
def test_the_mean_of_each_weight_never_changes(per):
    params, _ = draw()
    optimizer = optim.chain(optim.normalize_weight_gradients(per=per), optim.sgd(0.01))
    start, opt_state = params, optimizer.init(params)
    for seed in range(20):
        params, opt_state = optimizer.step(params, draw(seed)[1], opt_state)
    for (_, a), (_, b) in zip(tree_items(start), tree_items(params), strict=True):
        assert a.mean() == pytest.approx(b.mean(), abs=1e-13)
        assert not np.array_equal(a, b)


@given(seeds, st.floats(-6, 6), st.floats(-10, 10))
def test_scale_and_shift_of_the_gradient_do_not_matter(seed, scale, shift):
    g = np.random.default_rng(seed).normal(size=(4, 5))
    np.testing.assert_allclose(changed(exact, 10.0**scale * (g + shift)), changed(exact, g), rtol=1e-7, atol=1e-9)


@given(seeds)
def test_it_is_the_block_normalized_centred_gradient(seed):
    g = np.random.default_rng(seed).normal(size=(4, 5)) + 1
    block = changed(optim.block_normalize_gradients(), g - g.mean())
    # An entry near the mean is a small difference of numbers near 1: its error is theirs, whatever its own size.
    np.testing.assert_allclose(changed(exact, g), np.sqrt(20) * block, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("per", ["array", "row"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e20, -3e-300, 3e-7, 7e-7])
def test_an_all_equal_gradient_gives_no_update(eps, per, value):
    transform = optim.normalize_weight_gradients(eps=eps, per=per)
    assert not changed(transform, np.full((7, 3), value)).any()
    assert not changed(transform, np.full((7, 3), np.float32(value))).any()


def test_a_row_of_equal_elements_gives_exactly_no_update_beside_other_rows():
    g = np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 4.0]])  # the mean of three times 0.1 is not 0.1
    for eps in (0.0, 1e-5):
        out = changed(optim.normalize_weight_gradients(eps, per="row"), g)
        assert not out[0].any() and out[1].all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_formulas_with_eps(scale):
    g = scale * np.random.default_rng(0).normal(size=(4, 5)) + 0.3
    centred, eps = g - g.mean(), 0.01
    for denominator, spread in (("std+eps", g.std() + eps), ("sqrt(var+eps)", np.sqrt(g.var() + eps))):
        made = optim.normalize_weight_gradients(eps, denominator)
        np.testing.assert_allclose(changed(made, g), centred / spread, rtol=1e-12)
        made = optim.normalize_weight_gradients(eps, denominator, center=False)
        np.testing.assert_allclose(changed(made, g), g / spread, rtol=1e-12)
    small = 1e-4 * np.random.default_rng(0).normal(size=(40, 50))  # where the two readings differ thirtyfold
    plus, under = (changed(optim.normalize_weight_gradients(1e-5, d), small) for d in ("std+eps", "sqrt(var+eps)"))
    assert 25 < (plus / under).mean() < 35


def test_per_gate_and_per_row_are_the_formula_on_each_block():
    params, grads = draw()
    gate = changed(optim.normalize_weight_gradients(0.0, per="gate"), grads, params)
    row = changed(optim.normalize_weight_gradients(0.0, per="row"), grads, params)
    standard = lambda g: (g - g.mean()) / g.std()  # noqa: E731
    for name in ("weight_ih", "weight_hh", "bias"):
        both = (np.split(tree["recurrent"]["layer0"][name], 3) for tree in (gate, grads))
        for got, wanted in zip(*both, strict=True):
            np.testing.assert_allclose(got, standard(wanted), rtol=1e-10, atol=1e-12)
    for name in (("recurrent", "layer0", "bias_hn"), ("output", "weight"), ("output", "bias")):  # no gates
        got, wanted = gate, grads
        for key in name:
            got, wanted = got[key], wanted[key]
        np.testing.assert_allclose(got, standard(wanted), rtol=1e-10, atol=1e-12)
    for got, wanted in zip(row["output"]["weight"], grads["output"]["weight"], strict=True):
        np.testing.assert_allclose(got, standard(wanted), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(row["output"]["bias"], standard(grads["output"]["bias"]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 2), (4, 2), (2, 2), (8,), (0, 0)])
def test_a_weight_hh_of_no_gated_cell_is_one_block(shape):
    rng = np.random.default_rng(0)
    grads = {"weight_hh": rng.normal(size=shape), "weight_ih": rng.normal(size=(7, 3)), "bias": rng.normal(size=8)}
    by_gate = changed(optim.normalize_weight_gradients(per="gate"), grads)
    assert_equal(by_gate, changed(optim.normalize_weight_gradients(), grads))


def test_an_array_that_does_not_have_the_rows_of_weight_hh_has_no_gates():
    rng = np.random.default_rng(0)
    grads = {"weight_hh": rng.normal(size=(8, 2)), "weight_ih": rng.normal(size=(7, 3)), "bias": rng.normal(size=4)}
    by_gate, whole = (changed(optim.normalize_weight_gradients(per=per), grads) for per in ("gate", "array"))
    np.testing.assert_array_equal(by_gate["weight_ih"], whole["weight_ih"])
    np.testing.assert_array_equal(by_gate["bias"], whole["bias"])
    assert not np.allclose(by_gate["weight_hh"], whole["weight_hh"])


@pytest.mark.parametrize("denominator", ["std+eps", "sqrt(var+eps)"])
@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e-6, 1e25, 1e37])
def test_very_small_and_large_gradients_in_float32(denominator, scale):
    g = (scale * np.array([[1.0, -2.0, 4.0], [0.5, 3.0, -1.0]])).astype(np.float32)
    wide = g.astype(float)
    spread = wide.std() + 1e-5 if denominator == "std+eps" else np.sqrt(wide.var() + 1e-5)
    out = changed(optim.normalize_weight_gradients(1e-5, denominator), g)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, (wide - wide.mean()) / spread, rtol=1e-5, atol=1e-44)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("ratio", [1e-37, 1e-25, 1e-10])
def test_a_row_is_normalized_as_if_alone_however_large_the_others_are(eps, ratio):
    g = np.float32([[1.0, -2.0, 4.0], [0.5, 3.0, -1.0]]) * np.float32([[ratio], [1.0]])
    transform = optim.normalize_weight_gradients(eps, per="row")
    together, alone = changed(transform, g), [changed(transform, row) for row in g]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert together[0].any()


def test_only_leaves_the_others_alone():
    params, grads = draw()
    out = changed(optim.normalize_weight_gradients(only="weight_hh"), grads, params)
    np.testing.assert_allclose(out["output"]["weight"], grads["output"]["weight"], atol=1e-14)
    assert abs(out["recurrent"]["layer0"]["weight_hh"].mean()) < 1e-14
    words = "only must name a parameter, one of embedding.weight, recurrent.layer0.weight_ih, .*; got 'weight_xx'"
    for transform in (optim.l1(0.1, "weight_xx"), optim.centralize_gradients("weight_xx")):
        with pytest.raises(ValueError, match=words):
            optim.chain(transform, optim.sgd(1.0)).init(params)


def test_centralizing_makes_the_mean_of_each_row_zero_and_is_idempotent():
    g = {"w": np.random.default_rng(0).normal(size=(3, 4)), "b": np.ones(3)}
    once = changed(optim.centralize_gradients(), g)
    np.testing.assert_allclose(once["w"].mean(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(once["w"] - g["w"], np.repeat(-g["w"].mean(axis=1, keepdims=True), 4, axis=1))
    np.testing.assert_array_equal(once["b"], g["b"])
    np.testing.assert_allclose(changed(optim.centralize_gradients(), once)["w"], once["w"], atol=1e-15)


def test_penalties():
    w, zero = np.array([[2.0, -3.0, 0.0]]), np.zeros((1, 3))
    np.testing.assert_allclose(changed(optim.l1(0.1), zero, w), [[0.1, -0.1, 0.0]], atol=1e-15)
    np.testing.assert_allclose(changed(optim.l2(0.1), zero, w), [[0.2, -0.3, 0.0]], atol=1e-15)


# ------------------------------------------------------------------------------------------- schedules


def test_schedules():
    s = optim.schedules
    assert [s.step_decay(1.0, 0.1, 3)(t) for t in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    assert [s.exponential(2.0, 0.5)(t) for t in range(4)] == [2, 1, 0.5, 0.25]
    assert [s.linear_warmup(4, 1.0)(t) for t in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert [s.linear_warmup(2, s.exponential(1.0, 0.5))(t) for t in range(5)] == [0.5, 1, 1, 0.5, 0.25]
    wave = [s.cosine(1.0, 8, final=0.2)(t) for t in range(12)]
    assert wave[0] == 1.0 and wave[4] == pytest.approx(0.6) and wave[8:] == [pytest.approx(0.2)] * 4
    assert all(a > b for a, b in zip(wave[:8], wave[1:9], strict=True))


def test_a_schedule_sets_the_rate_of_each_step():
    for schedule in (optim.schedules.step_decay(1.0, 0.5, 2), lambda step: 0.5 ** (step // 2)):
        optimizer = optim.sgd(schedule)
        w = np.zeros(1)
        opt_state, moved, rates = optimizer.init(w), [], []
        for _ in range(5):
            rates.append(optimizer.learning_rate(opt_state))
            new, opt_state = optimizer.step(w, np.ones(1), opt_state)
            moved.append(float(w[0] - new[0]))
            w = new
        assert moved == rates == [1, 1, 0.5, 0.5, 0.25]


def test_reduce_on_plateau():
    schedule = optim.schedules.reduce_on_plateau(8.0, factor=0.5, patience=1, threshold=0.1, lowest=1.5)
    optimizer = optim.chain(optim.clip_by_value(1.0), optim.sgd(schedule))
    opt_state, rates = optimizer.init(np.zeros(1)), []
    #        first, better, not by a tenth, twice: cut, better, nan, nan: cut, worse, worse: cut, worse, worse: lowest
    for metric in (10.0, 8.0, 7.9, 7.5, 5.0, np.nan, np.nan, 9.0, 9.0, 9.0, 9.0):
        opt_state = optimizer.observe(opt_state, metric)
        rates.append(optimizer.learning_rate(opt_state))
    assert rates == [8, 8, 8, 4, 4, 4, 2, 2, 1.5, 1.5, 1.5]
    falling = optim.sgd(optim.schedules.reduce_on_plateau(1.0))
    opt_state = falling.init(np.zeros(1))
    for metric in (-1.0, -2.0, -3.0):  # a metric below 0, such as a log-likelihood with its sign turned
        opt_state = falling.observe(opt_state, metric)
    assert falling.learning_rate(opt_state) == 1.0
    picky = optim.sgd(optim.schedules.reduce_on_plateau(1.0, threshold=0.1))
    opt_state = picky.observe(picky.observe(picky.init(np.zeros(1)), -3.0), -2.9)
    assert picky.learning_rate(opt_state) == 0.25


def test_reduce_on_plateau_around_a_warm_up():
    s = optim.schedules
    optimizer = optim.sgd(s.reduce_on_plateau(s.linear_warmup(2, then=1.0)))
    opt_state = optimizer.init(np.zeros(1))
    for metric in (1.0, 2.0):
        opt_state = optimizer.observe(opt_state, metric)
    rates = []
    for _ in range(3):
        rates.append(optimizer.learning_rate(opt_state))
        _, opt_state = optimizer.step(np.zeros(1), np.ones(1), opt_state)
    assert rates == [0.125, 0.25, 0.25]


def test_observing_is_harmless_for_a_schedule_that_does_not_listen():
    optimizer = optim.adam(0.1)
    opt_state = optimizer.init(np.zeros(1))
    assert optimizer.observe(opt_state, 3.0) is opt_state


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.clip_by_value(0), "limit must be positive; got 0"),
        (lambda: optim.clip_by_norm(-1.0), "max_norm must be positive; got -1.0"),
        (lambda: optim.clip_by_global_norm(np.nan), "max_norm must be positive; got nan"),
        (lambda: optim.sgd(-0.1), "learning_rate must be at least 0; got -0.1"),
        (lambda: optim.sgd(np.inf), "learning_rate must be at least 0; got inf"),
        (lambda: optim.sgd(0.1, momentum=1.0), "momentum must be at least 0 and below 1; got 1.0"),
        (lambda: optim.sgd(0.1, nesterov=True), "nesterov needs a momentum above 0"),
        (lambda: optim.adam(0.1, betas=(0.9, 1.0)), r"betas\[1\] must be at least 0 and below 1; got 1.0"),
        (lambda: optim.adamw(0.1, weight_decay=-1), "weight_decay must be at least 0; got -1"),
        (lambda: optim.normalize_weight_gradients(eps=-1), "eps must be at least 0; got -1"),
        (lambda: optim.normalize_weight_gradients(denominator="var"), r"denominator must be one of std\+eps, sqrt"),
        (lambda: optim.normalize_weight_gradients(per="layer"), "per must be one of array, gate, row; got 'layer'"),
        (lambda: optim.project_spectral_norm(0, "w"), "max_norm must be positive; got 0"),
        (lambda: optim.schedules.step_decay(1.0, 0.5, 0), "every must be at least 1; got 0"),
        (lambda: optim.schedules.reduce_on_plateau(1.0, factor=1.0), "factor must be positive and below 1; got 1.0"),
        (lambda: optim.chain(), "exactly one update, such as sgd.*; got 0"),
        (lambda: optim.chain(optim.sgd(1), optim.adam(1)), "exactly one update, such as sgd.*; got 2: SGD, Adam"),
        (lambda: optim.normalize_weight_gradients(denominator=["std+eps"]), r"denominator must be one of .*; got \["),
        (lambda: optim.chain(optim.sgd(1), optim.l2(0.1)), "must come before the update; got l2"),
        (
            lambda: optim.chain(optim.project_spectral_norm(1, "w"), optim.sgd(1)),
            "must come after the update; got proj",
        ),
    ],
)
def test_bad_values_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.sgd("fast"), "learning_rate must be a number; got 'fast'"),
        (lambda: optim.clip_by_norm(True), "max_norm must be a number; got True"),
        (lambda: optim.clip_by_norm(np.True_), "max_norm must be a number; got np.True_"),
        (lambda: optim.sgd(np.ones(2)), "learning_rate must be a number; got array"),
        (lambda: optim.sgd(0.1, 0.9, nesterov="yes"), "nesterov must be True or False; got 'yes'"),
        (lambda: optim.adam(0.1, betas=0.9), "betas must be two numbers, .*; got 0.9"),
        (lambda: optim.adamw(0.1, betas=(0.9, 0.9, 0.9)), "betas must be two numbers"),
        (lambda: optim.normalize_weight_gradients(center="no"), "center must be True or False; got 'no'"),
        *(
            (lambda make=make: make(only=5), "only must be a string that names parameters, or None; got 5")
            for make in (optim.normalize_weight_gradients, optim.centralize_gradients, optim.block_normalize_gradients)
        ),
        (lambda: optim.l1(0.1, only=5), "only must be a string"),
        (lambda: optim.l2(0.1, only=5), "only must be a string"),
        (
            lambda: optim.schedules.linear_warmup(3, then=optim.schedules.reduce_on_plateau(1.0)),
            "then must not be reduce_on_plateau, which must stand outermost",
        ),
        (
            lambda: optim.schedules.reduce_on_plateau(optim.schedules.reduce_on_plateau(1.0)),
            "rate must not be reduce_on_plateau",
        ),
        (lambda: optim.schedules.cosine(1.0, 2.5), "steps must be a whole number; got 2.5"),
        (lambda: optim.chain(0.1), "chain takes gradient transforms, an update and projections; got 0.1"),
        (lambda: optim.project_spectral_norm(1.0, None), "only must be a string"),
        (lambda: optim.sgd(0.1).step(np.ones(2), [1.0, 2.0], {}), "structure|array|NumPy"),
    ],
)
def test_bad_types_are_refused_by_name(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_an_optimizer_says_what_it_is():
    text = repr(optim.chain(optim.clip_by_norm(1.0), optim.sgd(0.1), optim.project_spectral_norm(1.8, "weight_hn")))
    assert "clip_by_norm(max_norm=1.0)" in text and "project_spectral_norm(max_norm=1.8, only='weight_hn')" in text
