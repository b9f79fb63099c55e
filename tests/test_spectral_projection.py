"""Spectral projection (Kanai et al. 2017): exact, and no decomposition where none is needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab import optim
from rnnlab.optim.spectral import Clipped, clip_singular_values, clip_step, norm_bound
from rnnlab.optim.subspace import BLOCK, _filtered, _none_above

seeds = st.integers(0, 2**32 - 1)
COUNTED = 120  # rows from which a decomposition counts as one of a whole matrix


def by_full_svd(W, max_norm):
    """The paper's three steps, in float64."""
    U, s, Vt = np.linalg.svd(W.astype(float), full_matrices=False)
    return U @ np.diag(np.minimum(s, max_norm)) @ Vt


def with_singular_values(rng, values):
    """A square matrix of random singular vectors."""
    n = len(values)
    U, V = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    return U @ np.diag(values) @ V.T


@given(seeds, st.integers(1, 8), st.integers(1, 8), st.floats(-6, 6), st.sampled_from([np.float32, np.float64]))
def test_it_is_the_clipping_by_a_full_svd(seed, rows, columns, scale, dtype):
    W = (10.0**scale * np.random.default_rng(seed).normal(size=(rows, columns))).astype(dtype)
    for bound in (10.0**scale, 0.3 * 10.0**scale, 1.0):
        clipped, largest = clip_singular_values(W, bound)
        digits = 1e-6 if dtype == np.float32 else 1e-8
        expected = by_full_svd(W, bound)
        assert clipped.dtype == dtype
        assert np.linalg.norm(clipped - expected) <= digits * np.linalg.norm(expected)
        assert np.linalg.norm(clipped.astype(float), 2) <= bound * (1 + digits)
        assert largest == pytest.approx(np.linalg.norm(W.astype(float), 2), rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        [3.0, 3.0, 3.0, 1.0, 0.5, 0.0],  # repeated
        [2.0, 1.8, 1.8 - 1e-12, 1.8 + 1e-12, 1.0, 0.1],  # at the bound
        [1e6, 1.9, 1.0, 1e-3, 1e-6, 0.0],  # far apart
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # orthogonal: nothing to clip
        [5.0, 5.0, 5.0, 5.0, 5.0, 5.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ],
)
def test_repeated_gapped_and_borderline_singular_values(values):
    W = with_singular_values(np.random.default_rng(0), values)
    clipped, _ = clip_singular_values(W, 1.8)
    np.testing.assert_allclose(clipped, by_full_svd(W, 1.8), rtol=0, atol=1e-15 * (1 + max(values)) * 10)
    again, _ = clip_singular_values(clipped, 1.8)
    np.testing.assert_allclose(again, clipped, rtol=0, atol=1e-15 * (1 + max(values)) * 10)


@pytest.mark.parametrize("largest", [2.0, 5.0, 15.0, 1e2, 1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_explosion_leaves_the_small_singular_values_as_they_are(largest, dtype):
    values = [largest, *np.linspace(1.9, 0.1, 39)]
    W = with_singular_values(np.random.default_rng(0), values).astype(dtype)
    clipped, _ = clip_singular_values(W, 1.8)
    expected = by_full_svd(W, 1.8)
    assert clipped.dtype == dtype
    assert np.linalg.norm(clipped - expected) <= 1e-6 * np.linalg.norm(expected)
    assert np.linalg.norm(clipped.astype(float), 2) <= 1.8 * (1 + 1e-6)


def test_the_bound_holds_where_no_dtype_has_digits_enough():
    W = with_singular_values(np.random.default_rng(0), [1e15, 1e3, 1.7, 1.0, 0.5, 0.0])
    assert np.linalg.norm(clip_singular_values(W, 1.8)[0], 2) <= 1.8 * (1 + 1e-6)


def test_the_candidate_block_alone_is_projected():
    params = rl.GRU(3, 6).init(np.random.default_rng(0))
    params["weight_hh"] *= 2.5
    optimizer = optim.chain(optim.sgd(0.1), optim.project_spectral_norm(1.8, only="weight_hn"))
    new, _ = optimizer.step(params, {name: 0 * w for name, w in params.items()}, optimizer.init(params))
    np.testing.assert_array_equal(new["weight_hh"][:12], params["weight_hh"][:12])
    np.testing.assert_allclose(new["weight_hh"][12:], by_full_svd(params["weight_hh"][12:], 1.8), atol=1e-14)
    np.testing.assert_array_equal(new["weight_ih"], params["weight_ih"])
    assert np.linalg.norm(params["weight_hh"], 2) > 2  # the caller's array is as it was


@pytest.mark.parametrize(
    ("pattern", "projected"),
    [
        ("weight_hn", {"layer0", "layer2"}),
        ("layer2.weight_hn", {"layer2"}),
        ("*.weight_hn", {"layer0", "layer2"}),
        ("weight_hh", {"layer0", "layer1", "layer2"}),
        ("layer1.*_hh", {"layer1"}),
    ],
)
def test_patterns_of_a_stack(pattern, projected):
    layer = rl.Stacked([rl.GRU(3, 4), rl.LSTM(4, 5), rl.GRU(5, 4)])
    params = layer.init(np.random.default_rng(0))
    grads = rl.backend.tree_map(np.zeros_like, params)
    optimizer = optim.chain(optim.sgd(1.0), optim.project_spectral_norm(0.5, only=pattern))
    new, _ = optimizer.step(params, grads, optimizer.init(params))
    changed = {name for name in params if not np.array_equal(new[name]["weight_hh"], params[name]["weight_hh"])}
    assert changed == projected


@pytest.mark.parametrize(
    ("layer", "pattern", "words"),
    [
        (rl.LSTM(2, 3), "weight_hn", "only must name a parameter, one of weight_ih, weight_hh, bias; got 'weight_hn'"),
        (rl.RNN(2, 3), "weight_hn", "got 'weight_hn'"),
        (rl.GRU(2, 3), "weight_xx", "one of .*weight_hh, bias, bias_hn, weight_hn; got 'weight_xx'"),
        (rl.GRU(2, 3), "bias", r"only must name matrices; got 'bias', which means bias of shape \(9,\)"),
    ],
)
def test_a_pattern_that_means_no_matrix_is_refused(layer, pattern, words):
    optimizer = optim.chain(optim.sgd(1.0), optim.project_spectral_norm(0.5, only=pattern))
    with pytest.raises(ValueError, match=words):
        optimizer.init(layer.init(np.random.default_rng(0)))


def test_a_matrix_that_is_not_finite_raises():
    optimizer = optim.chain(optim.sgd(1e300), optim.project_spectral_norm(1.0, only="w"))
    params = {"w": np.eye(3)}
    opt_state, zero = optimizer.init(params), {"w": np.zeros((3, 3))}
    for known in (opt_state, optimizer.step(params, zero, opt_state)[1]):
        with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="^w must be finite to be projected"):
            optimizer.step(params, {"w": np.full((3, 3), 1e200)}, known)


@pytest.fixture
def decompositions(monkeypatch):
    """Which decompositions of a whole matrix were made."""
    made = []
    for name in ("svd", "eigh"):
        real = getattr(np.linalg, name)

        def counted(A, *args, name=name, real=real, **kwargs):
            made.extend([name] * (len(A) >= COUNTED))
            return real(A, *args, **kwargs)

        monkeypatch.setattr(np.linalg, name, counted)
    return made


@given(seeds, st.floats(0.01, 0.3))
def test_the_bound_holds_at_every_step_of_a_training(seed, rate):
    rng = np.random.default_rng(seed)
    params = {"w": with_singular_values(rng, [1.0, 0.9, 0.5, 0.1])}
    optimizer = optim.chain(optim.sgd(rate), optim.project_spectral_norm(1.2, only="w"))
    opt_state = optimizer.init(params)
    for _ in range(30):
        g = rng.normal(size=(4, 4))
        expected = by_full_svd(params["w"] - rate * g, 1.2)
        params, opt_state = optimizer.step(params, {"w": g}, opt_state)
        np.testing.assert_allclose(params["w"], expected, atol=1e-13)


def trained(params, optimizer, gradients):
    """Yield the matrix before the projection, after it, and the state, for each gradient."""
    opt_state = optimizer.init(params)
    rate = optimizer.learning_rate(opt_state)
    for g in gradients:
        g = g.astype(params["w"].dtype)
        before = params["w"] - params["w"].dtype.type(rate) * g
        params, opt_state = optimizer.step(params, {"w": g}, opt_state)
        yield before, params["w"], opt_state


def test_small_steps_far_from_the_bound_need_one_decomposition(decompositions):
    rng = np.random.default_rng(0)
    params = {"w": with_singular_values(rng, np.linspace(1, 0, COUNTED))}
    optimizer = optim.chain(optim.sgd(1e-3), optim.project_spectral_norm(1.8, only="w"))
    for before, after, _ in trained(params, optimizer, rng.normal(size=(100, COUNTED, COUNTED)) / 11):
        np.testing.assert_array_equal(before, after)
    assert decompositions == ["eigh"]


def test_a_matrix_whose_frobenius_norm_is_within_the_bound_needs_none(decompositions):
    optimizer = optim.chain(optim.sgd(1e-3), optim.project_spectral_norm(2.0, only="w"))
    w = with_singular_values(np.random.default_rng(0), [1.5, *np.zeros(COUNTED)])
    list(trained({"w": w}, optimizer, [w, w, w]))
    assert decompositions == []


def low_rank_gradients(rng, n, steps, dtype):
    """As in a training: a few directions that persist, and little noise."""
    u, v = (np.linalg.qr(rng.normal(size=(n, 6)))[0] for _ in range(2))
    for _ in range(steps):
        yield (-(u * rng.uniform(0, 1, 6)) @ v.T + 0.01 * rng.normal(size=(n, n)) / n**0.5).astype(dtype)


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 1e-6), (np.float64, 1e-8)])
def test_a_long_training_at_the_bound_is_that_of_the_full_svd(decompositions, dtype, digits):
    rng = np.random.default_rng(0)
    params = {"w": with_singular_values(rng, np.linspace(1.1, 0.1, COUNTED)).astype(dtype)}
    optimizer = optim.chain(optim.sgd(0.05), optim.project_spectral_norm(1.8, only="w"))
    bound, whole = 0, 0
    for before, after, _ in trained(params, optimizer, low_rank_gradients(rng, COUNTED, 120, dtype)):
        whole += len(decompositions)
        expected = by_full_svd(before, 1.8)
        assert np.linalg.norm(after - expected) <= digits * np.linalg.norm(expected)
        assert np.linalg.norm(after.astype(float), 2) <= 1.8 * (1 + digits)
        bound += not np.array_equal(before, after)
        decompositions.clear()
    assert bound >= 60
    assert whole <= 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_training_with_every_value_at_the_bound_is_that_of_the_full_svd(dtype):
    rng = np.random.default_rng(0)
    params = {"w": with_singular_values(rng, np.ones(COUNTED)).astype(dtype)}
    optimizer = optim.chain(optim.sgd(0.02), optim.project_spectral_norm(1.0, only="w"))
    for before, after, _ in trained(params, optimizer, low_rank_gradients(rng, COUNTED, 25, dtype)):
        expected = by_full_svd(before, 1.0)
        assert np.linalg.norm(after - expected) <= 1e-6 * np.linalg.norm(expected)
        assert np.linalg.norm(after.astype(float), 2) <= 1 + 1e-6


SPECTRA = {
    "random": lambda rng, n: np.sort(rng.uniform(0, 2.2, n))[::-1],
    "far above": lambda rng, n: np.geomspace(1e6, 1e-6, n),
    "one far above": lambda rng, n: [1e4, *np.linspace(1.7, 0, n - 1)],
    "above by much": lambda rng, n: [60.0, *np.linspace(1.7, 0, n - 1)],
    "above by twice": lambda rng, n: [3.9, 3.8, 3.7, *np.linspace(1.5, 0, n - 3)],
    "a little above": lambda rng, n: [2.0, 1.9, 1.81, *np.linspace(1.5, 0, n - 3)],
    "low rank": lambda rng, n: [2.0, 1.9, 1.7, *np.zeros(n - 3)],
    "rank one": lambda rng, n: [2.0, *np.zeros(n - 1)],
    "repeated": lambda rng, n: [2.0] * 5 + [1.8] * 5 + [1.0] * (n - 10),
    "all repeated": lambda rng, n: [2.5] * n,
    "clustered at the bound": lambda rng, n: [*(1.8 * (1 + 1e-7 * rng.normal(size=12))), *np.linspace(1.5, 0, n - 12)],
    "all at the bound": lambda rng, n: 1.8 * (1 + 1e-3 * rng.normal(size=n)),
    "zero": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", ["none", "near", "useless", "not independent"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_where_the_search_starts_changes_nothing(spectrum, start, dtype):
    rng = np.random.default_rng(0)
    n = 70
    W = with_singular_values(rng, SPECTRA[spectrum](rng, n)).astype(dtype)
    top = np.linalg.svd(W)[2][:12].T
    basis = {
        "none": None,
        "near": top + (0.01 * rng.normal(size=top.shape)).astype(dtype),
        "useless": np.linalg.svd(W)[2][-4:].T,
        "not independent": np.repeat(top[:, :3], 3, axis=1),
    }[start]
    for A in (W, np.concatenate([W, W[:9]]), np.concatenate([W, W[:9]]).T):
        new = clip_step(A, 1.8, basis=basis)
        expected = by_full_svd(A, 1.8)
        digits = 1e-6 if dtype == np.float32 else 1e-8
        assert new.matrix.dtype == dtype and new.basis.dtype == np.float64
        assert np.linalg.norm(new.matrix - expected) <= digits * np.linalg.norm(expected)
        assert np.linalg.norm(new.matrix.astype(float), 2) <= min(1.8, new.norm) * (1 + digits)
        P = new.matrix.astype(float) if len(new.basis) == A.shape[1] else new.matrix.astype(float).T
        assert np.linalg.norm(P - P @ new.basis @ new.basis.T, 2) <= new.rest + 1.8 * digits


def test_a_value_that_the_search_misses_is_found_by_the_proof(decompositions):
    rng = np.random.default_rng(0)
    values = [2.0, 1.9, *np.linspace(1.2, 0, COUNTED - 2)]
    u, v = (np.linalg.qr(rng.normal(size=(COUNTED, COUNTED)))[0] for _ in range(2))
    hidden = v[:, 1:4]  # invariant, so no Krylov space that starts inside sees the value 2.0
    W = np.zeros((COUNTED, COUNTED))
    W[0, 0] = 2.0
    W[1:, 1:] = (u * values)[1:, 1:] @ v[1:, 1:].T  # block-diagonal
    basis = np.zeros((COUNTED, 3))
    basis[1:] = hidden[1:]
    np.testing.assert_allclose(clip_step(W, 1.8, basis=basis).matrix, by_full_svd(W, 1.8), atol=1e-12)
    assert "eigh" in decompositions


@given(seeds, st.floats(0, 1), st.integers(1, 3))
def test_the_bound_of_a_matrix_near_a_known_one_is_one(seed, size, rank):
    rng = np.random.default_rng(seed)
    A = with_singular_values(rng, np.linspace(1.2, 0, 40))
    U, s, Vt = np.linalg.svd(A)
    known = Clipped(A, s[0], Vt[:5].T, s[5])
    E = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 40)) + 0.1 * rng.normal(size=(40, 40))
    W = A + size * E / np.linalg.norm(E)
    bound = norm_bound(W, known, 1.8)
    assert np.linalg.norm(W, 2) <= bound * (1 + 1e-12)
    assert bound <= (s[0] + size) * 1.3


def test_a_step_that_what_is_known_does_not_see_is_in_the_bound():
    A = with_singular_values(np.random.default_rng(0), np.linspace(1.0, 0.9, 60))
    U, s, Vt = np.linalg.svd(A)
    W = A + 0.3 * U[:, 10:30] @ Vt[10:30]  # at a right angle to the known singular vectors
    bound = norm_bound(W, Clipped(A, s[0], Vt[:5].T, s[5]), 1.8)
    assert bound >= np.linalg.norm(W, 2) > 1.25


def test_the_second_bound_counts_what_lies_beside_the_known_vectors():
    A = with_singular_values(np.random.default_rng(0), [1.0, *[0.99] * 20, *np.linspace(0.5, 0, 39)])
    U, s, Vt = np.linalg.svd(A)
    W = A + 0.02 * np.outer(U[:, 40], Vt[40])
    assert 1 - 1e-12 <= norm_bound(W, Clipped(A, 1.0, Vt[30:31].T, 1.0), 1.015) <= 1.015


def test_the_second_bound_passes_where_the_first_does_not():
    rng = np.random.default_rng(0)
    A = with_singular_values(rng, [1.7, *np.linspace(1.0, 0, 59)])
    U, s, Vt = np.linalg.svd(A)
    E = 0.5 * np.outer(U[:, 3], Vt[3])
    assert s[0] + np.linalg.norm(E) > 1.8 > norm_bound(A + E, Clipped(A, s[0], Vt[:5].T, s[5]), 1.8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_nothing_overflows_or_underflows(scale, dtype):
    W = (scale * with_singular_values(np.random.default_rng(0), [2.0, 1.9, *np.linspace(1.5, 0, 68)])).astype(dtype)
    limit = 1.8 * scale
    new = clip_step(W, limit)
    again = clip_step(W * dtype(1.01), limit, basis=new.basis)
    for A, P in ((W, new.matrix), (W * dtype(1.01), again.matrix)):
        expected = by_full_svd(A / dtype(scale), 1.8)
        assert np.linalg.norm(P / dtype(scale) - expected) <= 1e-6 * np.linalg.norm(expected)
    assert norm_bound(W, new, limit) >= limit * (1 - 1e-6)
    assert clip_step(W, 1e-3 * limit).norm <= 1e-3 * limit


def test_the_state_holds_arrays_and_goes_on_from_a_copy():
    rng = np.random.default_rng(0)
    params = {"w": with_singular_values(rng, [2.0, *np.linspace(1.5, 0, 89)])}
    optimizer = optim.chain(optim.sgd(0.05), optim.project_spectral_norm(1.8, only="w"))
    gradients = list(low_rank_gradients(rng, 90, 6, float))
    *_, (_, _, opt_state) = trained(params, optimizer, gradients[:3])
    assert all(isinstance(a, np.ndarray) for _, a in rl.backend.tree_items(opt_state))
    copy = rl.backend.tree_map(np.copy, opt_state)
    one, other = (optimizer.step(params, {"w": gradients[3]}, state)[0]["w"] for state in (opt_state, copy))
    np.testing.assert_array_equal(one, other)


def test_the_bound_holds_for_parameters_that_came_from_elsewhere():
    optimizer = optim.chain(optim.sgd(0.1), optim.project_spectral_norm(1.0, only="w"))
    _, opt_state = optimizer.step({"w": 0.1 * np.eye(3)}, {"w": np.zeros((3, 3))}, optimizer.init({"w": np.eye(3)}))
    new, _ = optimizer.step({"w": 7 * np.eye(3)}, {"w": np.zeros((3, 3))}, opt_state)
    np.testing.assert_allclose(new["w"], np.eye(3), atol=1e-14)


def test_the_bound_holds_when_the_parameters_are_changed_in_place():
    optimizer = optim.chain(optim.sgd(0.1), optim.project_spectral_norm(1.0, only="w"))
    zero = {"w": np.zeros((3, 3))}
    params, opt_state = optimizer.step({"w": 0.1 * np.eye(3)}, zero, optimizer.init(zero))
    params["w"] *= 70
    np.testing.assert_allclose(optimizer.step(params, zero, opt_state)[0]["w"], np.eye(3), atol=1e-14)


# ------------------------------------------------------------------ a hostile course of training


def noise(rng, shape):
    """A matrix of norm 1 or so."""
    return rng.normal(size=shape) / (shape[0] ** 0.5 + shape[1] ** 0.5)


def hidden_from(W, rank=6):
    """A matrix of rank one between singular vectors of W that no few leading ones have any part in."""
    U, _, Vt = np.linalg.svd(W.astype(float), full_matrices=False)
    return np.outer(U[:, -rank], Vt[-rank])


EVENTS = {
    "nothing": lambda rng, W: W,
    "small step": lambda rng, W: W + 0.02 * noise(rng, W.shape),
    "low rank": lambda rng, W: W + 0.3 * noise(rng, (W.shape[0], 2)) @ noise(rng, (2, W.shape[1])),
    "spike": lambda rng, W: W + 10 ** rng.uniform(0, 6) * np.outer(noise(rng, (len(W), 1)), noise(rng, W.shape)[0]),
    "large step": lambda rng, W: W + 10 ** rng.uniform(-1, 4) * noise(rng, W.shape),
    "hidden": lambda rng, W: W + rng.uniform(0.5, 4) * hidden_from(W),
    "just above": lambda rng, W: W + (1 + 1e-5) * hidden_from(W) * np.linalg.norm(W, 2),
    "reloaded": lambda rng, W: rng.uniform(0.1, 3) * noise(rng, W.shape),
    "scaled": lambda rng, W: rng.uniform(0.9, 1.3) * W,
    "orthogonal": lambda rng, W: rng.choice([0.5, 1.0, 1.0 + 1e-7, 3.0]) * np.eye(*W.shape)[rng.permutation(len(W))],
    "shuffled": lambda rng, W: W[rng.permutation(len(W))][:, rng.permutation(W.shape[1])],
    "rank one": lambda rng, W: rng.uniform(0.9, 1.2) * np.ones(W.shape) / W.size**0.5,
    "zero": lambda rng, W: 0 * W,
}


@settings(max_examples=60)
@given(
    seeds,
    st.lists(st.sampled_from(sorted(EVENTS)), min_size=3, max_size=12),
    st.sampled_from([(70, 70), (66, 66), (90, 68), (68, 90)]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1.0, 1.8, 1e-3]),
)
def test_whatever_happens_between_two_steps_it_is_the_full_svd(seed, events, shape, dtype, limit):
    rng = np.random.default_rng(seed)
    projection = optim.project_spectral_norm(limit, only="w")
    params = {"w": (limit * 1.2 * noise(rng, shape)).astype(dtype)}
    state = projection.init(params)
    digits = 1e-6 if dtype == np.float32 else 1e-8
    for event in ["nothing", *events]:
        before = (limit * EVENTS[event](rng, params["w"] / limit)).astype(dtype)
        params, state = projection.project({"w": before.copy()}, state)
        expected = by_full_svd(before, limit)
        after = params["w"].astype(float)
        assert np.linalg.norm(after - expected) <= digits * np.linalg.norm(expected), event
        assert np.linalg.norm(after, 2) <= limit * (1 + digits), event
        known = state["w"]
        A, V = known["matrix"].astype(float), known["basis"]
        assert np.linalg.norm(A, 2) <= float(known["norm"]) + digits * limit
        A = A if len(V) == A.shape[1] else A.T
        assert np.linalg.norm(A - A @ V @ V.T, 2) <= float(known["rest"]) + digits * limit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("off", [0.0, 1e-16, 1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("copies", [1, 3, 30, 80])
def test_clusters_around_the_limit(copies, off, dtype):
    rng = np.random.default_rng(0)
    values = [*(1 + off * rng.choice([-1, 1], copies)), *np.linspace(0.8, 0, 80 - copies)]
    W = with_singular_values(rng, values).astype(dtype)
    digits = 1e-6 if dtype == np.float32 else 1e-8
    basis = clip_step(W, 1.0).basis
    for A in (W, W + (1e-3 * noise(rng, W.shape)).astype(dtype)):
        for new in (clip_step(A, 1.0), clip_step(A, 1.0, basis=basis)):
            expected = by_full_svd(A, 1.0)
            assert np.linalg.norm(new.matrix - expected) <= digits * np.linalg.norm(expected)
            assert np.linalg.norm(new.matrix.astype(float), 2) <= 1 + digits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_too_is_exact_where_the_matrix_is_large(dtype):
    rng = np.random.default_rng(0)
    n, digits = 400, 5e-7 if dtype == np.float32 else 2e-9
    W = with_singular_values(rng, [1.4, 1.2, 1.1, *np.linspace(0.93, 0.9, n - 3)]).astype(dtype)
    new = clip_step(W, 1.0)
    for _ in range(3):
        W = new.matrix + (0.05 * noise(rng, (n, 3)) @ noise(rng, (3, n)) + 1e-3 * noise(rng, (n, n))).astype(dtype)
        new = clip_step(W, 1.0, basis=new.basis)
        assert np.linalg.norm(new.matrix.astype(float), 2) <= 1 + digits


@pytest.mark.parametrize(("n", "above"), [(500, 3e-5), (500, 2e-6), (400, 1e-5)])
def test_a_long_sum_of_squares_in_float32_hides_nothing(n, above):
    W = np.full((n, n), 1 / n, np.float32)  # of rank one: Frobenius norm and spectral norm are the same
    limit = float(W[0, 0]) * n * (1 - above)
    new = clip_step(W, limit)
    assert float(new.matrix.astype(float).sum()) / n <= limit * (1 + 1e-7)
    projection = optim.project_spectral_norm(limit, only="w")
    zero = {"w": np.zeros_like(W)}
    _, state = projection.project(zero, projection.init(zero))
    after, _ = projection.project({"w": W}, state)
    assert float(after["w"].astype(float).sum()) / n <= limit * (1 + 1e-7)


@pytest.mark.parametrize(("largest", "off"), [(50.0, 0.0), (50.0, 2e-7), (50.0, 2e-5), (900.0, 0.5)])
def test_a_start_that_is_almost_right_is_not_taken_for_right(largest, off):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(200, 200)))[0] for _ in range(2))
    W = ((U * [largest, 0.3, *np.linspace(0.1, 0, 198)]) @ V.T).astype(np.float32)
    _, _, Vt = np.linalg.svd(W.astype(float))
    start = np.stack([Vt[0] + off * Vt[1], *Vt[2:12]], axis=1)
    expected = by_full_svd(W, 1.0)
    assert np.linalg.norm(clip_step(W, 1.0, basis=start).matrix - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("n", [1, 5, BLOCK, BLOCK + 1, 2 * BLOCK, 250])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_proof_is_one_wherever_the_eigenvalue_hides(n, dtype):
    rng = np.random.default_rng(n)
    root, off = 0.9, 1e-3
    for vector in (rng.normal(size=n), np.eye(n)[0], np.eye(n)[-1], np.eye(n)[0] + np.eye(n)[-1], np.ones(n)):
        v = vector / np.linalg.norm(vector)
        rest = rng.normal(size=(n, max(1, n // 3)))
        rest = np.linalg.qr(rest - np.outer(v, v @ rest))[0] if n > 1 else np.zeros((1, 1))
        for above, found in ((-off, True), (off, False)):
            G = (root**2 + above) * np.outer(v, v) + 0.8 * rest @ rest.T
            assert _none_above(np, G.astype(dtype), root) is found, (n, above)


def test_the_polynomial_that_brings_out_the_large_values_is_that_of_chebyshev():
    values, edge = np.linspace(0, 2, 9), 0.8
    for degree in (1, 2, 5, 12):
        expected = np.polynomial.chebyshev.Chebyshev.basis(degree)(2 * values / edge - 1)
        found = np.diag(_filtered(np, np.diag(values), np.eye(9), values, np.zeros((9, 9)), edge, degree))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_without_anything_to_clip_it_is_the_matrix_itself():
    W = with_singular_values(np.random.default_rng(0), np.linspace(0.9, 0, 80))
    first = clip_step(W, 1.0)
    assert first.matrix is W and first.basis.shape[1]
    for basis in (first.basis, np.eye(90)[:, :8]):  # one that fits, and one of another matrix
        again = clip_step(W, 1.0, basis=basis)
        assert again.matrix is W and 0.9 * (1 - 1e-12) <= again.norm < 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_numbers_there_are(dtype):
    rng = np.random.default_rng(0)
    big = np.finfo(dtype).max / 1e3
    W = (big * noise(rng, (70, 70))).astype(dtype)
    for basis in (None, np.eye(70)[:, :9]):
        new = clip_step(W, 1.0, basis=basis)
        np.testing.assert_allclose(new.matrix, by_full_svd(W, 1.0), rtol=0, atol=1e-6)


@given(seeds, st.sampled_from([(1, 1), (1, 5), (5, 1), (0, 3), (3, 0), (2, 90), (90, 2)]), st.floats(0.1, 3))
def test_thin_and_empty_matrices(seed, shape, limit):
    W = np.random.default_rng(seed).normal(size=shape)
    projection = optim.project_spectral_norm(limit, only="w")
    params, state = {"w": W.copy()}, projection.init({"w": W})
    for _ in range(2):
        params, state = projection.project(params, state)
        np.testing.assert_allclose(params["w"], by_full_svd(W, limit), rtol=0, atol=1e-13)


@given(seeds, st.sampled_from([(4, 4), (70, 70), (90, 68), (68, 90)]), st.sampled_from([np.complex64, np.complex128]))
@settings(max_examples=10)
def test_complex_matrices(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    projection = optim.project_spectral_norm(1.0, only="w")
    state = projection.init({"w": np.zeros(shape, dtype)})
    for scale in (1.0, 1.5, 0.5):
        W = (scale * (noise(rng, shape) + 1j * noise(rng, shape))).astype(dtype)
        U, s, Vt = np.linalg.svd(W.astype(complex), full_matrices=False)
        params, state = projection.project({"w": W.copy()}, state)
        assert params["w"].dtype == dtype
        np.testing.assert_allclose(params["w"], (U * np.minimum(s, 1)) @ Vt, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [3, 80])
def test_one_bad_entry_raises_wherever_it_is(bad, n):
    rng = np.random.default_rng(0)
    projection = optim.project_spectral_norm(1.0, only="w")
    W = 2 * noise(rng, (n, n))
    after, state = projection.project({"w": W.copy()}, projection.init({"w": W}))
    for place in ((0, 0), (n - 1, n - 1), (n // 2, 1)):
        worse = after["w"].copy()
        worse[place] = bad
        for known in (projection.init({"w": W}), state):
            with pytest.raises(FloatingPointError, match="^w must be finite to be projected"):
                projection.project({"w": worse.copy()}, known)
        with pytest.raises(FloatingPointError, match="^W must be finite"):
            clip_step(worse, 1.0, basis=state["w"]["basis"])


def test_a_step_of_nothing_changes_nothing():
    rng = np.random.default_rng(0)
    projection = optim.project_spectral_norm(1.0, only="w")
    for dtype in (np.float32, np.float64):
        W = (2 * noise(rng, (100, 100))).astype(dtype)
        params, state = projection.project({"w": W}, projection.init({"w": W}))
        again, _ = projection.project({"w": params["w"].copy()}, state)
        np.testing.assert_array_equal(again["w"], params["w"])
