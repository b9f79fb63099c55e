"""Activations: the value against its formula, the slope by complex step and central differences, extreme inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab import activations

FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: np.sinh(x) / np.cosh(x),
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.maximum(x, 0) + 0.01 * np.minimum(x, 0),
    "elu": lambda x: np.maximum(x, 0) + np.exp(np.minimum(x, 0)) - 1,
}
every = pytest.mark.parametrize("name", FORMULAS)
away_from_the_kink = st.floats(1e-3, 15).flatmap(lambda a: st.sampled_from([a, -a]))
arrays = st.lists(away_from_the_kink, min_size=1, max_size=8).map(np.array)


@every
@given(x=arrays)
def test_the_value_is_the_formulas(name, x):
    f = activations.get(name)
    np.testing.assert_allclose(f(x), FORMULAS[name](x), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(f(x), f.value(x))


@every
@given(x=arrays)
def test_the_slope_from_the_value_by_complex_step(name, x):
    f = activations.get(name)
    expected = f(x + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(f.slope(f(x)), expected, rtol=1e-12, atol=1e-15)


@every
@given(x=arrays)
def test_the_slope_from_the_value_by_central_differences(name, x):
    f, step = activations.get(name), 1e-6
    expected = (f(x + step) - f(x - step)) / (2 * step)
    np.testing.assert_allclose(f.slope(f(x)), expected, rtol=0, atol=1e-8)


@every
def test_values_and_slopes_at_zero(name):
    values = {"sigmoid": 0.5, "tanh": 0.0, "relu": 0.0, "leaky_relu": 0.0, "elu": 0.0}
    slopes = {"sigmoid": 0.25, "tanh": 1.0, "relu": 0.0, "leaky_relu": 0.01, "elu": 1.0}
    y = activations.get(name)(np.array([0.0, -0.0]))
    np.testing.assert_array_equal(y, values[name])
    np.testing.assert_array_equal(activations.get(name).slope(y), slopes[name])


@every
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_extreme_inputs_give_the_limits_without_a_warning_and_keep_the_dtype(name, dtype):
    x = np.array([-1e3, -90, 90, 1e3], dtype)
    f = activations.get(name)
    y, real = f(x), x.real
    limits = {
        "sigmoid": (real > 0) * 1.0,
        "tanh": np.sign(real),
        "relu": np.maximum(real, 0),
        "leaky_relu": np.where(real > 0, real, 0.01 * real),
        "elu": np.where(real > 0, real, -1),
    }
    slopes = {
        "sigmoid": [0, 0, 0, 0],
        "tanh": [0, 0, 0, 0],
        "relu": [0, 0, 1, 1],
        "leaky_relu": [0.01, 0.01, 1, 1],
        "elu": [0, 0, 1, 1],
    }
    assert y.dtype == f.slope(y).dtype == x.dtype
    np.testing.assert_allclose(y, limits[name], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(f.slope(y), slopes[name], rtol=1e-6, atol=1e-30)


@every
def test_the_result_can_be_written_over_the_argument(name):
    x = np.linspace(-2, 2, 7)
    expected = activations.get(name)(x.copy())
    out = np.empty_like(x)
    assert activations.get(name).value(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert activations.get(name).value(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@every
def test_without_out_the_argument_is_left_alone(name):
    x = np.linspace(-2, 2, 7)
    before = x.copy()
    y = activations.get(name)(x)
    kept = y.copy()
    activations.get(name).slope(y)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(y, kept)


@every
def test_a_nan_stays_a_nan(name):
    y = activations.get(name)(np.array([np.nan, 1.0]))
    assert np.isnan(y[0]) and np.isfinite(y[1])


def test_get_takes_a_name_or_an_activation():
    assert activations.get("elu") is activations.elu is activations.get(activations.elu)
    with pytest.raises(ValueError, match="activation must be one of sigmoid, tanh, relu, leaky_relu, elu; got 'swish'"):
        activations.get("swish")


@every
def test_a_list_is_no_array(name):
    with pytest.raises(TypeError, match="must be a NumPy or CuPy array; got"):
        activations.get(name)([1.0])
