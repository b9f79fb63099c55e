"""Losses: against plain formulas, slopes by complex step, masks, huge logits, dtypes, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab import losses

ELEMENTWISE = {
    "binary_cross_entropy": losses.binary_cross_entropy,
    "mean_squared_error": losses.mean_squared_error,
    "mean_absolute_error": losses.mean_absolute_error,
}
EVERY = {"cross_entropy": losses.cross_entropy, **ELEMENTWISE}
every = pytest.mark.parametrize("name", EVERY)
elementwise = pytest.mark.parametrize("name", ELEMENTWISE)
seeds = st.integers(0, 2**32 - 1)
leading = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def plain(name, prediction, target):
    """The loss of every entry, from the formula in the textbook."""
    if name == "cross_entropy":
        p = np.exp(prediction) / np.exp(prediction).sum(axis=-1, keepdims=True)
        return -np.log(np.take_along_axis(p, target[..., None], axis=-1)[..., 0])
    if name == "binary_cross_entropy":
        p = 1 / (1 + np.exp(-prediction))
        return -target * np.log(p) - (1 - target) * np.log(1 - p)
    return (prediction - target) ** 2 if name == "mean_squared_error" else np.abs(prediction - target)


def draw(name, seed, shape, dtype=np.float64):
    """A prediction, its target and a mask that leaves at least one entry."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.6
    mask.flat[rng.integers(mask.size)] = True
    if name == "cross_entropy":
        return rng.normal(size=(*shape, 5)).astype(dtype), rng.integers(0, 5, shape), mask
    target = rng.random(shape) if name == "binary_cross_entropy" else rng.normal(size=shape)
    return rng.normal(size=shape).astype(dtype), target.astype(dtype), mask


@every
@given(seed=seeds, shape=leading, masked=st.booleans())
def test_the_loss_is_the_mean_of_the_textbook_formula_over_the_entries_that_count(name, seed, shape, masked):
    prediction, target, mask = draw(name, seed, shape)
    keep = mask if masked else np.ones(shape, bool)
    loss, _ = EVERY[name](prediction, target, mask if masked else None)
    np.testing.assert_allclose(loss, plain(name, prediction, target)[keep].mean(), rtol=1e-12, atol=1e-14)


@every
@given(seed=seeds, shape=leading, masked=st.booleans())
def test_the_gradient_by_complex_step(name, seed, shape, masked):
    prediction, target, mask = draw(name, seed, shape)
    mask = mask if masked else None
    _, gradient = EVERY[name](prediction, target, mask)
    expected = np.empty_like(prediction)
    for index in np.ndindex(prediction.shape):
        stepped = prediction.astype(complex)
        stepped[index] += 1e-30j
        expected[index] = EVERY[name](stepped, target, mask)[0].imag / 1e-30
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


@every
@given(seed=seeds, shape=leading, filler=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]))
def test_masked_entries_may_hold_anything_and_get_exactly_zero(name, seed, shape, filler):
    prediction, target, mask = draw(name, seed, shape)
    loss, gradient = EVERY[name](prediction, target, mask)
    prediction[~mask] = filler
    target[~mask] = -100 if name == "cross_entropy" else filler
    dirty_loss, dirty_gradient = EVERY[name](prediction, target, mask)
    assert dirty_loss == loss
    np.testing.assert_array_equal(dirty_gradient, gradient)
    assert (gradient[~mask] == 0).all()


@every
def test_a_mask_of_ones_counts_like_true_and_a_full_mask_like_none(name):
    prediction, target, mask = draw(name, 1, (4, 3))
    expected = EVERY[name](prediction, target, mask)
    for same in (mask.astype(int), mask.astype(np.float32)):
        loss, gradient = EVERY[name](prediction, target, same)
        assert loss == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])
    loss, gradient = EVERY[name](prediction, target, np.ones((4, 3), bool))
    whole_loss, whole_gradient = EVERY[name](prediction, target)
    np.testing.assert_allclose(loss, whole_loss, rtol=1e-15)
    np.testing.assert_allclose(gradient, whole_gradient, rtol=1e-15)


@elementwise
def test_a_mask_of_the_leading_axes_holds_for_the_others(name):
    prediction, target, _ = draw(name, 2, (4, 3, 2))
    mask = np.array([[True, False, True], [False] * 3, [True] * 3, [False, True, False]])
    loss, gradient = EVERY[name](prediction, target, mask)
    whole_loss, whole_gradient = EVERY[name](prediction, target, np.repeat(mask[..., None], 2, axis=2))
    assert loss == whole_loss
    np.testing.assert_array_equal(gradient, whole_gradient)


@every
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_dtype_is_the_predictions_and_nothing_passed_in_changes(name, dtype):
    prediction, target, mask = draw(name, 3, (4, 3), dtype)
    before = [a.copy() for a in (prediction, target, mask)]
    for m in (None, mask):
        for t in (target, target.astype(np.float64) if name != "cross_entropy" else target.astype(np.uint8)):
            loss, gradient = EVERY[name](prediction, t, m)
            assert loss.dtype == gradient.dtype == np.dtype(dtype) and gradient.shape == prediction.shape
            assert np.ndim(loss) == 0
            reference, _ = EVERY[name](prediction.astype(np.float64), t, m)
            np.testing.assert_allclose(loss, reference, rtol=1e-5 if dtype == "f4" else 1e-14)
    for a, b in zip((prediction, target, mask), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_cross_entropy_of_huge_logits_is_exact(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [1e4, 1e4, -1e4]], dtype)
    targets = np.array([0, 1, 0])
    loss, dlogits = losses.cross_entropy(logits, targets)
    np.testing.assert_allclose(loss, (0 + 2e4 + np.log(2)) / 3, rtol=1e-6)
    np.testing.assert_allclose(dlogits * 3, [[0, 0, 0], [1, -1, 0], [-0.5, 0.5, 0]], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_binary_cross_entropy_of_huge_logits_is_exact(dtype):
    logits = np.array([1e4, -1e4, 1e4, -1e4], dtype)
    loss, dlogits = losses.binary_cross_entropy(logits, np.array([1, 0, 0, 1], dtype))
    np.testing.assert_allclose(loss, 2e4 / 4, rtol=1e-6)
    np.testing.assert_allclose(dlogits * 4, [0, 0, 1, -1], rtol=1e-6, atol=1e-30)


def test_small_losses_keep_their_precision():
    # -log(sigmoid(40)) is e^-40 = 4.2e-18, which 1 + e^-40 would lose.
    loss, dlogits = losses.binary_cross_entropy(np.array([40.0, -40.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(loss, np.exp(-40), rtol=1e-12)
    np.testing.assert_allclose(dlogits[1], np.exp(-40) / 2, rtol=1e-12)


@given(seeds, st.floats(-50, 50))
def test_cross_entropy_does_not_see_a_shift_and_its_gradient_sums_to_zero(seed, shift):
    logits, targets, mask = draw("cross_entropy", seed, (3, 2))
    loss, dlogits = losses.cross_entropy(logits, targets, mask)
    np.testing.assert_allclose(losses.cross_entropy(logits + shift, targets, mask)[0], loss, rtol=1e-9)
    np.testing.assert_allclose(dlogits.sum(axis=-1), 0, atol=1e-15)


def test_cross_entropy_over_one_class_is_zero_with_zero_gradient():
    loss, dlogits = losses.cross_entropy(np.array([[3.0], [-1e4]]), np.array([0, 0]))
    assert loss == 0
    np.testing.assert_array_equal(dlogits, np.zeros((2, 1)))


def test_cross_entropy_of_two_classes_is_binary_cross_entropy():
    a = np.random.default_rng(4).normal(size=6)
    targets = np.array([0, 1, 1, 0, 1, 0])
    two, dtwo = losses.cross_entropy(np.stack([np.zeros(6), a], axis=1), targets)
    one, done = losses.binary_cross_entropy(a, targets)
    np.testing.assert_allclose(two, one, rtol=1e-13)
    np.testing.assert_allclose(dtwo[:, 1], done, rtol=1e-12)


def test_the_absolute_error_has_slope_zero_at_its_kink():
    loss, slope = losses.mean_absolute_error(np.array([2.0, 3.0]), np.array([2.0, 5.0]))
    assert loss == 1
    np.testing.assert_array_equal(slope, [0, -0.5])


@every
def test_a_nan_that_counts_shows_in_the_loss(name):
    prediction, target, _ = draw(name, 5, (4,))
    prediction[1] = np.nan
    loss, gradient = EVERY[name](prediction, target)
    assert np.isnan(loss) and np.isnan(gradient[1]).all()


@every
def test_an_empty_mask_and_no_entries_at_all_are_refused(name):
    prediction, target, _ = draw(name, 6, (4, 3))
    for mask in (np.zeros((4, 3), bool), np.zeros((4, 3))):
        with pytest.raises(ValueError, match="mask must leave at least one entry; it masks all of them"):
            EVERY[name](prediction, target, mask)
    with pytest.raises(ValueError, match=r"mean over no entries is not defined; got shape \(0, 3\)"):
        EVERY[name](prediction[:0], target[:0])


@every
def test_shapes_that_do_not_fit_are_named(name):
    prediction, target, mask = draw(name, 7, (4, 3))
    second = "target" if name.startswith("mean") else "targets"
    with pytest.raises(ValueError, match=rf"{second} must have .*; got \(3, 4\)"):
        EVERY[name](prediction, target.reshape(3, 4))
    with pytest.raises(ValueError, match=r"mask must have shape \(4, 3\) .*; got \(3, 4\)"):
        EVERY[name](prediction, target, mask.reshape(3, 4))
    with pytest.raises(ValueError, match=r"mask must have shape \(4, 3\) .*; got \(4, 3, 1\)"):
        EVERY[name](prediction, target, mask[..., None])
    with pytest.raises(TypeError, match=f"{second}.* must be a NumPy or CuPy array; got"):
        EVERY[name](prediction, target.tolist())


@pytest.mark.parametrize("wrong", [-1, 5, 100])
def test_a_target_that_is_no_class_is_named(wrong):
    logits, targets, _ = draw("cross_entropy", 8, (4, 3))
    targets[2, 1] = wrong
    with pytest.raises(ValueError, match=rf"targets must be from 0 to 4; got .*{wrong}"):
        losses.cross_entropy(logits, targets)


def test_class_targets_must_be_integers():
    with pytest.raises(ValueError, match="targets must be integers; got dtype float64"):
        losses.cross_entropy(np.zeros((2, 3)), np.zeros(2))
