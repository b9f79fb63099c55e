"""Feed-forward layers: against loops and plain formulas, gradients by complex step, masks, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.backend import tree_items

seeds = st.integers(0, 2**32 - 1)
leading = st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple)


def random_params(layer, rng, dtype=np.float64):
    """Parameters that are all random, biases too."""
    return {name: rng.normal(size=p.shape).astype(dtype) for name, p in layer.init(rng).items()}


def complex_steps(function, array):
    """The gradient of a real scalar function by complex steps."""
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        stepped = array.astype(complex)
        stepped[index] += 1e-30j
        gradient[index] = function(stepped).imag / 1e-30
    return gradient


# ------------------------------------------------------------------------------- Embedding


@given(seeds, leading, st.integers(1, 5), st.integers(1, 4))
def test_embedding_looks_up_and_adds_the_gradients_of_repeated_symbols(seed, shape, V, E):
    rng = np.random.default_rng(seed)
    layer = rl.Embedding(V, E)
    params = random_params(layer, rng)
    ids = rng.integers(0, V, shape)
    y, tape = layer.forward(params, ids)
    assert y.shape == (*shape, E)
    dy = rng.normal(size=y.shape)
    dids, grads = layer.backward(params, tape, dy)
    expected = np.zeros((V, E))
    for index in np.ndindex(shape):
        np.testing.assert_array_equal(y[index], params["weight"][ids[index]])
        expected[ids[index]] += dy[index]
    assert dids is None and list(grads) == ["weight"]
    np.testing.assert_allclose(grads["weight"], expected, rtol=1e-12, atol=1e-13)


def test_embedding_gives_symbols_that_did_not_occur_exactly_zero():
    layer = rl.Embedding(4, 2)
    params = layer.init(np.random.default_rng(0))
    _, tape = layer.forward(params, np.array([1, 1, 3], np.uint8))
    _, grads = layer.backward(params, tape, np.ones((3, 2)))
    np.testing.assert_array_equal(grads["weight"], [[0, 0], [2, 2], [0, 0], [1, 1]])


def test_embedding_output_does_not_share_the_table():
    layer = rl.Embedding(3, 2)
    params = layer.init(np.random.default_rng(0))
    before = params["weight"].copy()
    y, _ = layer.forward(params, np.array([0, 1, 2]))
    y += 1
    np.testing.assert_array_equal(params["weight"], before)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([0, 4]), "ids must be from 0 to 3; got 0 to 4"),
        (np.array([2, -1]), "ids must be from 0 to 3; got -1 to 2"),
        (np.array([0.0, 1.0]), "ids must be integers; got dtype float64"),
        (np.array([True]), "ids must be integers; got dtype bool"),
    ],
)
def test_embedding_refuses_ids_that_are_no_symbols(ids, message):
    layer = rl.Embedding(4, 2)
    with pytest.raises(ValueError, match=message):
        layer.forward(layer.init(np.random.default_rng(0)), ids)


# ------------------------------------------------------------------------------- Linear


@given(seeds, leading, st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_linear_is_the_matrix_product_on_the_last_axis(seed, shape, D, K, bias):
    rng = np.random.default_rng(seed)
    layer = rl.Linear(D, K, bias=bias)
    params = random_params(layer, rng)
    x = rng.normal(size=(*shape, D))
    y, tape = layer.forward(params, x)
    assert y.shape == (*shape, K) and set(params) == ({"weight", "bias"} if bias else {"weight"})
    dy = rng.normal(size=y.shape)
    dx, grads = layer.backward(params, tape, dy)
    assert dx.shape == x.shape and {n: g.shape for n, g in grads.items()} == {n: p.shape for n, p in params.items()}
    dweight, dbias = np.zeros((K, D)), np.zeros(K)
    for index in np.ndindex(shape):
        expected = params["weight"] @ x[index] + (params["bias"] if bias else 0)
        np.testing.assert_allclose(y[index], expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(dx[index], params["weight"].T @ dy[index], rtol=1e-12, atol=1e-13)
        dweight += np.outer(dy[index], x[index])
        dbias += dy[index]
    np.testing.assert_allclose(grads["weight"], dweight, rtol=1e-12, atol=1e-12)
    if bias:
        np.testing.assert_allclose(grads["bias"], dbias, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("part", ["x", "weight", "bias"])
def test_linear_gradients_by_complex_step_of_one_argument_alone(part):
    rng = np.random.default_rng(1)
    layer = rl.Linear(3, 2)
    params, x = random_params(layer, rng), rng.normal(size=(4, 2, 3))
    y, tape = layer.forward(params, x)
    dy = rng.normal(size=y.shape)
    dx, grads = layer.backward(params, tape, dy)

    def loss(moved):
        p, moved_x = (params, moved) if part == "x" else ({**params, part: moved}, x)
        return (dy * layer.forward(p, moved_x)[0]).sum()

    expected = complex_steps(loss, x if part == "x" else params[part])
    np.testing.assert_allclose(dx if part == "x" else grads[part], expected, rtol=1e-12, atol=1e-13)


def test_errors_of_layers_name_what_was_got_and_what_is_allowed():
    linear, embedding = rl.Linear(3, 2), rl.Embedding(4, 2)
    rng = np.random.default_rng(0)
    params = linear.init(rng)
    for pattern, call in [
        (r"x must have shape \(..., 3\) for Linear.*; got \(5, 2\)", lambda: linear.forward(params, np.ones((5, 2)))),
        (r"x must have shape \(..., 3\) .*; got \(\)", lambda: linear.forward(params, np.array(1.0))),
        (
            r"params\['weight'\] of Linear.* must have shape \(2, 3\); got \(4, 2\)",
            lambda: linear.forward(embedding.init(rng), np.ones(3)),
        ),
        (
            r"params\['weight'\] of Embedding.* must have shape \(4, 2\); got the keys \['bias'\]",
            lambda: embedding.forward({"bias": np.ones(2)}, np.array([0])),
        ),
        ("input_size must be a positive integer; got 0", lambda: rl.Linear(0, 2)),
        ("output_size must be a positive integer; got 2.5", lambda: rl.Linear(3, 2.5)),
        ("vocab_size must be a positive integer; got -1", lambda: rl.Embedding(-1, 2)),
        ("embedding_size must be a positive integer; got '2'", lambda: rl.Embedding(4, "2")),
        ("dropout rate must be from 0 to 1; got 1.5", lambda: rl.Dropout(1.5)),
        ("dropout rate must be from 0 to 1; got -0.1", lambda: rl.Dropout(-0.1)),
        ("dropout rate must be from 0 to 1; got nan", lambda: rl.Dropout(float("nan"))),
    ]:
        with pytest.raises(ValueError, match=pattern):
            call()


# ------------------------------------------------------------------------------- Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    x = np.ones((300, 200))
    y, _ = rl.Dropout(rate).forward({}, x, rng=np.random.default_rng(0))
    dropped = (y == 0).mean()
    assert abs(dropped - rate) < 0.01  # 0.002 is one standard error
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-12)
    assert abs(y.mean() - 1) < 0.05


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_dropout_backward_uses_the_mask_of_forward_and_keeps_the_dtype(rate, dtype):
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(2, 6, 5)).astype(dtype)
    layer = rl.Dropout(rate)
    y, tape = layer.forward({}, x, rng=rng)
    dx, grads = layer.backward({}, tape, dy)
    assert grads == {} and y.dtype == dx.dtype == np.dtype(dtype) and layer.init(rng) == {}
    mask = y / x
    np.testing.assert_allclose(dx, dy * mask, rtol=1e-5)
    expected = {0.0: [1], 0.3: [0, 1 / 0.7], 1.0: [0]}[rate]
    np.testing.assert_allclose(np.unique(mask.real.astype(float).round(5)), expected, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_dropout_without_an_rng_is_the_identity(rate):
    x = np.random.default_rng(2).normal(size=(4, 3))
    layer = rl.Dropout(rate)
    y, tape = layer.forward({}, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(layer.backward({}, tape, 2 * x)[0], 2 * x)


def test_dropout_masks_follow_the_generator_and_differ_from_call_to_call():
    layer, x, rng = rl.Dropout(0.5), np.ones(100), np.random.default_rng(3)
    first, second = (layer.forward({}, x, rng)[0] for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(layer.forward({}, x, np.random.default_rng(3))[0], first)
    np.testing.assert_array_equal(x, np.ones(100))


def test_dropout_draws_the_same_mask_in_every_precision():
    wide, narrow = (
        rl.Dropout(0.5).forward({}, np.ones(50, dtype), np.random.default_rng(4))[0] for dtype in ("f8", "f4")
    )
    np.testing.assert_array_equal(wide, narrow)


# ------------------------------------------------------------------------------- all


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("layer", [rl.Embedding(4, 3), rl.Linear(4, 3)], ids=["embedding", "linear"])
def test_layers_keep_the_dtype_change_nothing_and_repeat_themselves(layer, dtype):
    rng = np.random.default_rng(5)
    params = layer.init(rng, dtype)
    assert all(p.dtype == np.dtype(dtype) for p in params.values())
    x = rng.integers(0, 4, (5, 2)) if isinstance(layer, rl.Embedding) else rng.normal(size=(5, 2, 4)).astype(dtype)
    kept = {"x": x.copy(), **{name: p.copy() for name, p in params.items()}}
    y, tape = layer.forward(params, x)
    dy = rng.normal(size=y.shape).astype(dtype)
    dy_kept = dy.copy()
    first, again = layer.backward(params, tape, dy), layer.backward(params, tape, dy)
    assert y.dtype == np.dtype(dtype)
    for (path, a), (_, b) in zip(tree_items(first), tree_items(again), strict=True):
        assert a.dtype == np.dtype(dtype), path
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(dy, dy_kept)
    for name, a in {"x": x, **params}.items():
        np.testing.assert_array_equal(a, kept[name])


def test_the_initial_weights_are_those_of_the_given_initializer():
    rng = np.random.default_rng(6)
    bias = rl.Linear(3, 3).init(rng)["bias"]
    np.testing.assert_array_equal(bias, np.zeros(3))
    eye = rl.initializers.identity()
    np.testing.assert_array_equal(rl.Linear(3, 3, init_weight=eye).init(rng)["weight"], np.eye(3))
    np.testing.assert_array_equal(rl.Embedding(3, 3, init_weight=eye).init(rng)["weight"], np.eye(3))
    assert abs(rl.Embedding(100, 100).init(rng)["weight"].std() - 0.1) < 0.01
