"""Initializers: moments, orthogonality, blocks of gates, seeds, dtypes, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab import initializers

SPREADS = {"glorot": lambda rows, columns: 2 / (rows + columns), "he": lambda rows, columns: 2 / columns}
DRAWN = {
    "glorot": initializers.glorot(),
    "he": initializers.he(),
    "orthogonal": initializers.orthogonal(),
    "uniform": initializers.uniform(),
    "normal": initializers.normal(),
}
EVERY = {**DRAWN, "identity": initializers.identity(), "zeros": initializers.zeros()}
every = pytest.mark.parametrize("name", EVERY)
seeds = st.integers(0, 2**32 - 1)


def rng(seed=0):
    return np.random.default_rng(seed)


@every
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_shape_and_dtype_are_those_asked_for(name, dtype):
    w = EVERY[name](rng(), (4, 4), np.dtype(dtype))
    assert type(w) is np.ndarray and w.shape == (4, 4) and w.dtype == np.dtype(dtype) and w.flags.c_contiguous
    w += 1  # writable


@every
def test_a_seed_gives_the_same_draw_and_only_the_generator_moves(name):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a, b, other = (EVERY[name](rng(s), (5, 5), float) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != other).any() == (name in DRAWN)
    generator = rng()
    first, second = (EVERY[name](generator, (5, 5), float) for _ in range(2))
    assert (first != second).any() == (name in DRAWN)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_means_the_same_weights_in_every_precision(name):
    wide, narrow = (DRAWN[name](rng(3), (6, 4), dtype) for dtype in (np.float64, np.float32))
    np.testing.assert_array_equal(wide.astype(np.float32), narrow)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("gates", [1, 3])
@pytest.mark.parametrize("name", SPREADS)
def test_the_variance_of_every_gates_block_is_the_papers(name, gates, distribution):
    rows, columns, gain = 200, 50, 1.5
    draw = initializers.by_gate(getattr(initializers, name)(gain, distribution), gates)
    blocks = draw(rng(), (gates * rows, columns), float).reshape(gates, rows, columns)
    variance = gain**2 * SPREADS[name](rows, columns)
    for w in blocks:  # 10,000 draws: the mean is known to 1% of the deviation, the variance to 1.4%
        assert abs(w.mean()) < 0.04 * np.sqrt(variance)
        assert abs(w.var() / variance - 1) < 0.06
        edge = np.abs(w).max() / np.sqrt(3 * variance)
        assert 0.99 < edge <= 1 if distribution == "uniform" else edge > 1.5


def test_uniform_and_normal_have_the_spread_asked_for():
    u = initializers.uniform(-1, 3)(rng(), (20000,), float)
    assert -1 <= u.min() < -0.99 and 2.99 < u.max() < 3 and abs(u.mean() - 1) < 0.04
    default = initializers.uniform()(rng(), (20000,), float)
    assert -0.1 <= default.min() < -0.099 and 0.099 < default.max() < 0.1
    n = initializers.normal(0.2)(rng(), (20000,), float)
    assert abs(n.std() / 0.2 - 1) < 0.03 and abs(n.mean()) < 0.006
    assert abs(initializers.normal()(rng(), (20000,), float).std() / 0.01 - 1) < 0.03


@given(seeds, st.integers(1, 6), st.integers(1, 6), st.sampled_from([1.0, 0.5, 2.0]))
def test_every_singular_value_of_orthogonal_is_the_gain(seed, rows, columns, gain):
    w = initializers.orthogonal(gain)(rng(seed), (rows, columns), float)
    assert w.shape == (rows, columns)
    np.testing.assert_allclose(np.linalg.svd(w, compute_uv=False), gain, rtol=1e-12)


def test_orthogonal_is_uniform_over_the_group():
    # Of a uniform draw every entry has mean 0 and variance 1/n; without the sign correction the diagonal leans.
    draw, generator = initializers.orthogonal(), rng()
    sample = np.array([draw(generator, (3, 3), float) for _ in range(2000)])
    assert np.abs(sample.mean(axis=0)).max() < 0.06  # 0.013 is one standard error
    np.testing.assert_allclose((sample**2).mean(axis=0), 1 / 3, atol=0.04)
    assert 0.45 < (np.linalg.det(sample) > 0).mean() < 0.55


@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_by_gate_makes_each_block_orthogonal_and_the_blocks_distinct(seed, gates, H):
    w = initializers.by_gate(initializers.orthogonal(), gates)(rng(seed), (gates * H, H), float)
    blocks = w.reshape(gates, H, H)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-12)
    if H > 1:
        assert len({block.tobytes() for block in blocks}) == gates


def test_by_gate_of_one_gate_is_the_initializer_and_works_on_vectors():
    draw = initializers.by_gate(initializers.normal(), 1)
    np.testing.assert_array_equal(draw(rng(), (4, 2), float), initializers.normal()(rng(), (4, 2), float))
    np.testing.assert_array_equal(initializers.by_gate(initializers.zeros(), 3)(rng(), (6,), float), np.zeros(6))


def test_by_gate_makes_every_block_the_scaled_identity():
    w = initializers.by_gate(initializers.identity(0.3), 3)(rng(), (6, 2), float)
    np.testing.assert_array_equal(w, np.tile(0.3 * np.eye(2), (3, 1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initializers.glorot(gain=-1), "gain must be positive; got -1"),
        (lambda: initializers.he(gain=0), "gain must be positive; got 0"),
        (lambda: initializers.orthogonal(gain=float("nan")), "gain must be positive; got nan"),
        (lambda: initializers.normal(std=0), "std must be positive; got 0"),
        (lambda: initializers.uniform(1, 1), "low must be below high; got 1 and 1"),
        (lambda: initializers.glorot(distribution="beta"), "distribution must be 'uniform' or 'normal'; got 'beta'"),
        (lambda: initializers.he(distribution="beta"), "distribution must be 'uniform' or 'normal'; got 'beta'"),
        (lambda: initializers.glorot()(rng(), (3,), float), r"shape must be \(fan_out, fan_in\); got \(3,\)"),
        (lambda: initializers.he()(rng(), (3, 1, 1), float), r"shape must be .*; got \(3, 1, 1\)"),
        (lambda: initializers.orthogonal()(rng(), (3,), float), r"shape must be .*; got \(3,\)"),
        (lambda: initializers.identity()(rng(), (3, 2), float), r"identity needs a square shape; got \(3, 2\)"),
        (
            lambda: initializers.by_gate(initializers.zeros(), 4)(rng(), (6, 2), float),
            r"shape must have a multiple of 4 rows, one block a gate; got \(6, 2\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
