"""Spectral projection as a GPU does it, by products instead of decompositions: the hostile tests, on NumPy's arrays."""

import numpy as np
import pytest
from test_spectral_projection import (  # noqa: F401  (these are run here once more)
    by_full_svd,
    low_rank_gradients,
    test_a_long_sum_of_squares_in_float32_hides_nothing,
    test_a_start_that_is_almost_right_is_not_taken_for_right,
    test_a_step_of_nothing_changes_nothing,
    test_a_training_with_every_value_at_the_bound_is_that_of_the_full_svd,
    test_clusters_around_the_limit,
    test_complex_matrices,
    test_it_is_the_clipping_by_a_full_svd,
    test_the_largest_numbers_there_are,
    test_the_norm_too_is_exact_where_the_matrix_is_large,
    test_thin_and_empty_matrices,
    test_whatever_happens_between_two_steps_it_is_the_full_svd,
    test_where_the_search_starts_changes_nothing,
    trained,
    with_singular_values,
)

from rnnlab import optim
from rnnlab.optim import spectral, subspace
from rnnlab.optim.newton_schulz import norm_by_products


@pytest.fixture(autouse=True, scope="module")
def products():
    with pytest.MonkeyPatch.context() as patch:
        for module in ("spectral", "projection", "subspace"):
            patch.setattr(f"rnnlab.optim.{module}.on_device", lambda xp: True)
        yield


@pytest.fixture
def counted(monkeypatch):
    """How often what was called."""
    counts = {}

    def count(module, name, weight):
        real = getattr(module, name)

        def call(*arguments):
            counts[name] = counts.get(name, 0) + weight(*arguments)
            return real(*arguments)

        monkeypatch.setattr(module, name, call)

    count(spectral, "nearest_within", lambda *arguments: 1)
    count(spectral, "norm_by_products", lambda *arguments: 1)
    count(subspace, "_filtered", lambda *arguments: arguments[-1])
    for name in ("svd", "eigh", "eigvalsh", "cholesky"):
        real = getattr(np.linalg, name)

        def refuse(A, *options, name=name, real=real, **named):
            assert len(A) < 100, f"a decomposition of a whole matrix: {name}"
            return real(A, *options, **named)

        monkeypatch.setattr(np.linalg, name, refuse)
    return counts


@pytest.mark.parametrize("n", [3, 70, 400])
@pytest.mark.parametrize("kind", ["random", "flat", "one", "zero", "negative"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_by_products_is_never_too_small_and_hardly_too_large(n, kind, dtype):
    rng = np.random.default_rng(0)
    values = {"random": rng.normal(size=n), "flat": np.ones(n), "one": np.eye(n)[0], "zero": np.zeros(n)}
    values["negative"] = -np.linspace(0.9, 1, n)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    for scale in (1e-6, 1.0, 1e6):
        G = (scale * (Q * values[kind]) @ Q.T).astype(dtype)
        bound, largest = float(norm_by_products((G + G.T) / 2)), scale * np.abs(values[kind]).max()
        assert largest * (1 - 1e-6) <= bound <= largest * n ** (1 / 2048) * (1 + 3e-4) + 1e-30


def test_far_from_the_limit_a_step_takes_no_product(counted):
    rng = np.random.default_rng(0)
    params = {"w": with_singular_values(rng, np.linspace(1, 0, 120))}
    optimizer = optim.chain(optim.sgd(1e-3), optim.project_spectral_norm(1.8, only="w"))
    for before, after, _ in trained(params, optimizer, rng.normal(size=(50, 120, 120)) / 11):
        np.testing.assert_array_equal(before, after)
    assert counted == {"norm_by_products": 1}


def course(rng):
    """A training whose matrix grows beyond the limit in a few directions; the matrices before and after each step."""
    n = 120
    params = {"w": with_singular_values(rng, np.linspace(1.0, 0.1, n)).astype(np.float32)}
    optimizer = optim.chain(optim.sgd(0.05), optim.project_spectral_norm(1.2, only="w"))
    return trained(params, optimizer, low_rank_gradients(rng, n, 60, np.float32))


def test_a_few_values_are_found_by_products_of_a_few_vectors(counted, monkeypatch):
    bound, steps = 0, list(course(np.random.default_rng(0)))
    monkeypatch.undo()  # from here on decompositions are allowed
    for before, after, _ in steps:
        expected = by_full_svd(before, 1.2)
        assert np.linalg.norm(after - expected) <= 1e-6 * np.linalg.norm(expected)
        bound += not np.array_equal(before, after)
    assert bound >= 30
    assert counted["nearest_within"] <= 3, "the search from the step before failed"
    assert counted["_filtered"] <= 20 * bound


def test_a_matrix_just_below_the_limit_is_left_alone(counted):
    W = with_singular_values(np.random.default_rng(0), np.full(120, 1 - 1e-4))
    new = spectral.clip_step(W, 1.0)
    assert new.matrix is W and counted == {"norm_by_products": 1, "nearest_within": 1}
