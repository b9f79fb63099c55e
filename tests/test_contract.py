"""What every layer owes: gradients of x, initial state and each parameter by two oracles, lengths, chunks."""

import numpy as np
import pytest
from cases import KINKED, LAYERS, cases, leaves, make_case
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.backend import tree_items, tree_map

EVERY = {**LAYERS, **KINKED}
both = pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
analytic = pytest.mark.parametrize("name", LAYERS)
every = pytest.mark.parametrize("name", EVERY)


def close(actual, expected, rtol):
    """Compare with a tolerance relative to the largest entry of what is expected."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    scale = max(np.abs(expected).max(initial=0), 1e-3)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


def trees_equal(a, b):
    for (path, left), (_, right) in zip(tree_items(a), tree_items(b), strict=True):
        np.testing.assert_array_equal(left, right, err_msg=path)


# ------------------------------------------------------------------------------- gradients


@analytic
@both
def test_complex_step_of_every_element(name, ragged):
    @settings(max_examples=5)
    @given(cases(LAYERS[name], ragged))
    def check(case):
        analytic_gradients = case.gradients()
        for part, gradient in analytic_gradients.items():
            tree = getattr(case, part)
            for (path, array), (_, g) in zip(tree_items(tree, part), tree_items(gradient, part), strict=True):
                expected = np.empty_like(array)
                for index in np.ndindex(array.shape):
                    stepped = array.astype(complex)
                    stepped[index] += 1e-30j
                    moved = tree_map(lambda a: stepped if a is array else a, tree)  # noqa: B023
                    expected[index] = case.loss(**{part: moved}).imag / 1e-30
                assert g.shape == array.shape, path
                scale = max(np.abs(expected).max(initial=0), 1e-3)
                np.testing.assert_allclose(g, expected, rtol=0, atol=1e-12 * scale, err_msg=path)

    check()


@every
@both
def test_central_differences_along_random_directions(name, ragged):
    @settings(max_examples=10)
    @given(cases(EVERY[name], ragged))
    def check(case):
        rng = np.random.default_rng(0)
        step = 1e-5 if name in LAYERS else 1e-7  # a smaller step meets fewer kinks
        for part, gradient in case.gradients().items():
            tree = getattr(case, part)
            for (path, array), (_, g) in zip(tree_items(tree, part), tree_items(gradient, part), strict=True):
                v = rng.normal(size=array.shape)
                v /= max(np.linalg.norm(v), 1e-12)
                plus = tree_map(lambda a: a + step * v if a is array else a, tree)  # noqa: B023
                minus = tree_map(lambda a: a - step * v if a is array else a, tree)  # noqa: B023
                numeric = (case.loss(**{part: plus}) - case.loss(**{part: minus})) / (2 * step)
                scale = max(np.abs(g).max(initial=0), 1)
                tolerance = 1e-7 if name in LAYERS else 1e-6
                assert abs((g * v).sum() - numeric) <= tolerance * scale, path

    check()


@every
@both
def test_every_gradient_has_the_shape_and_dtype_of_its_array(name, ragged):
    lengths = np.array([4, 0, 2]) if ragged else None
    for dtype in (np.float32, np.float64):
        case = make_case(EVERY[name], 0, 4, 3, 2, 3, lengths, dtype)
        for part, gradient in case.gradients().items():
            for (path, a), (_, g) in zip(
                tree_items(getattr(case, part), part), tree_items(gradient, part), strict=True
            ):
                assert (g.shape, g.dtype) == (a.shape, a.dtype), path


@every
@both
def test_backward_twice_is_the_same_and_nothing_passed_in_is_changed(name, ragged):
    case = make_case(EVERY[name], 1, 5, 3, 2, 4, np.array([5, 0, 3]) if ragged else None)
    before = tree_map(np.copy, (case.params, case.x, case.state, case.dy, case.dstate))
    _, _, tape = case.layer.forward(case.params, case.x, case.state, case.lengths)
    first = case.layer.backward(case.params, tape, case.dy, case.dstate)
    first = tree_map(np.copy, first)
    trees_equal(first, case.layer.backward(case.params, tape, case.dy, case.dstate))
    trees_equal(before, (case.params, case.x, case.state, case.dy, case.dstate))


@every
def test_zero_upstream_gradient_gives_exactly_zero(name):
    case = make_case(EVERY[name], 2, 4, 2, 3, 2)
    _, _, tape = case.layer.forward(case.params, case.x, case.state)
    for array in leaves(case.layer.backward(case.params, tape, case.dy * 0)):
        assert not array.any()


@every
def test_a_missing_state_is_zeros_and_a_missing_dstate_too(name):
    case = make_case(EVERY[name], 3, 4, 2, 3, 2)
    zeros = tree_map(np.zeros_like, case.state)
    y, final, tape = case.layer.forward(case.params, case.x)
    y0, final0, _ = case.layer.forward(case.params, case.x, zeros)
    trees_equal((y, final), (y0, final0))
    trees_equal(
        case.layer.backward(case.params, tape, case.dy),
        case.layer.backward(case.params, tape, case.dy, zeros),
    )


# --------------------------------------------------------------------------------- lengths


@every
def test_lengths_equal_the_unpadded_sequences_one_by_one(name):
    @given(cases(EVERY[name], ragged=True))
    def check(case):
        y, final, tape = case.layer.forward(case.params, case.x, case.state, case.lengths)
        dx, dstate, grads = case.layer.backward(case.params, tape, case.dy, case.dstate)
        total = tree_map(np.zeros_like, grads)
        for n, length in enumerate(case.lengths):
            one = lambda s: s[n : n + 1]  # noqa: B023, E731
            x, dy = case.x[:length, n : n + 1], case.dy[:length, n : n + 1]
            y_n, final_n, tape_n = case.layer.forward(case.params, x, tree_map(one, case.state))
            close(y[:length, n : n + 1], y_n, 1e-13)
            assert not y[length:, n].any()
            for a, b in zip(leaves(tree_map(one, final)), leaves(final_n), strict=True):
                close(a, b, 1e-13)
            dx_n, dstate_n, grads_n = case.layer.backward(case.params, tape_n, dy, tree_map(one, case.dstate))
            close(dx[:length, n : n + 1], dx_n, 1e-12)
            for a, b in zip(leaves(tree_map(one, dstate)), leaves(dstate_n), strict=True):
                close(a, b, 1e-12)
            total = tree_map(np.add, total, grads_n)
        for a, b in zip(leaves(grads), leaves(total), strict=True):
            close(a, b, 1e-12)

    check()


@every
def test_padding_changes_nothing_and_gets_exactly_zero_gradient(name):
    lengths = np.array([6, 3, 0, 1])
    case = make_case(EVERY[name], 4, 6, 4, 2, 3, lengths)
    padding = np.arange(6)[:, None] >= lengths
    y, final, tape = case.layer.forward(case.params, case.x, case.state, lengths)
    clean = case.layer.backward(case.params, tape, case.dy, case.dstate)
    for junk in (7.0, np.inf, np.nan):
        x, dy = case.x.copy(), case.dy.copy()
        x[padding] = dy[padding] = junk
        y_junk, final_junk, tape = case.layer.forward(case.params, x, case.state, lengths)
        dirty = case.layer.backward(case.params, tape, dy, case.dstate)
        trees_equal((y, final, clean), (y_junk, final_junk, dirty))
        assert not dirty[0][padding].any()


@every
def test_a_length_of_zero_returns_the_initial_state(name):
    case = make_case(EVERY[name], 5, 4, 2, 3, 2, np.array([0, 4]))
    _, final, tape = case.layer.forward(case.params, case.x, case.state, case.lengths)
    for s0, s in zip(leaves(case.state), leaves(final), strict=True):
        np.testing.assert_array_equal(s[0], s0[0])
    _, dstate, _ = case.layer.backward(case.params, tape, case.dy, case.dstate)
    for d, d0 in zip(leaves(case.dstate), leaves(dstate), strict=True):
        np.testing.assert_array_equal(d0[0], d[0])


# ---------------------------------------------------------------------------------- chunks

ONE_WAY = [name for name in EVERY if name not in ("bidirectional", "mix")]


@pytest.mark.parametrize("name", ONE_WAY)
def test_chunks_with_carried_state_equal_the_whole_forwards_and_back(name):
    @given(cases(EVERY[name], ragged=False), st.integers(1, 2))
    def check(case, cut):
        y, final, tape = case.layer.forward(case.params, case.x, case.state)
        dx, dstate, grads = case.layer.backward(case.params, tape, case.dy, case.dstate)
        y1, state, tape1 = case.layer.forward(case.params, case.x[:cut], case.state)
        y2, state, tape2 = case.layer.forward(case.params, case.x[cut:], rl.carry_state(state))
        trees_equal((y, final), (np.concatenate([y1, y2]), state))  # bit for bit
        dx2, d, grads2 = case.layer.backward(case.params, tape2, case.dy[cut:], case.dstate)
        dx1, d, grads1 = case.layer.backward(case.params, tape1, case.dy[:cut], d)
        close(np.concatenate([dx1, dx2]), dx, 1e-13)
        for a, b in zip(leaves(d), leaves(dstate), strict=True):
            close(a, b, 1e-13)
        for a, b in zip(leaves(tree_map(np.add, grads1, grads2)), leaves(grads), strict=True):
            close(a, b, 1e-12)

    check()


def test_truncation_drops_exactly_the_gradient_that_crosses_the_cut():
    case = make_case(LAYERS["lstm"], 6, 6, 3, 2, 4)
    _, state, tape1 = case.layer.forward(case.params, case.x[:3], case.state)
    carried = rl.carry_state(state)
    for a, b in zip(leaves(state), leaves(carried), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.shares_memory(a, b)
    _, _, tape2 = case.layer.forward(case.params, case.x[3:], carried)
    _, crossing, _ = case.layer.backward(case.params, tape2, case.dy[3:])
    whole = case.layer.backward(case.params, tape1, case.dy[:3], crossing)[2]
    truncated = case.layer.backward(case.params, tape1, case.dy[:3])[2]
    only_crossing = case.layer.backward(case.params, tape1, case.dy[:3] * 0, crossing)[2]
    for a, b, c in zip(leaves(whole), leaves(truncated), leaves(only_crossing), strict=True):
        close(b + c, a, 1e-13)
        assert np.abs(c).max() > 1e-3


def test_carry_state_zeroes_the_sequences_that_begin_anew():
    state = (np.ones((3, 2)), np.full((3, 2), np.nan))
    h, c = rl.carry_state(state, keep=np.array([True, False, True]))
    assert h[0].all() and not h[1].any() and not c[1].any()


# ------------------------------------------------------------------------------ symmetries


@every
def test_permuting_the_batch_permutes_the_result(name):
    lengths = np.array([5, 2, 0, 4])
    case = make_case(EVERY[name], 7, 5, 4, 2, 3, lengths)
    order = np.array([2, 0, 3, 1])
    y, final, tape = case.layer.forward(case.params, case.x, case.state, lengths)
    dx, _, grads = case.layer.backward(case.params, tape, case.dy, case.dstate)
    permute = lambda s: s[order]  # noqa: E731
    y2, final2, tape2 = case.layer.forward(case.params, case.x[:, order], tree_map(permute, case.state), lengths[order])
    dx2, _, grads2 = case.layer.backward(case.params, tape2, case.dy[:, order], tree_map(permute, case.dstate))
    close(y2, y[:, order], 1e-13)
    close(dx2, dx[:, order], 1e-12)
    for a, b in zip(leaves(grads), leaves(grads2), strict=True):
        close(a, b, 1e-12)


def test_the_backward_direction_is_the_layer_on_each_sequence_reversed():
    lengths = np.array([5, 3, 1])
    case = make_case(LAYERS["bidirectional"], 8, 5, 3, 2, 3, lengths)
    y, state, _ = case.layer.forward(case.params, case.x, case.state, lengths)
    for n, length in enumerate(lengths):
        flipped = case.x[:length, n : n + 1][::-1]
        initial = case.state[1][n : n + 1]
        y_n, h_n, _ = case.layer.backward_layer.forward(case.params["backward"], flipped, initial)
        close(y[:length, n : n + 1, 3:], y_n[::-1], 1e-13)
        close(state[1][n : n + 1], h_n, 1e-13)


def test_dropout_between_layers_acts_only_with_an_rng_and_its_gradient_is_right():
    case = make_case(LAYERS["stacked"], 9, 4, 3, 2, 5)
    layer = case.layer
    plain, _, _ = layer.forward(case.params, case.x)
    trees_equal(plain, layer.forward(case.params, case.x)[0])

    def loss(x):
        y, _, _ = layer.forward(case.params, x, rng=np.random.default_rng(5))
        return (y * case.dy).sum()

    y, _, tape = layer.forward(case.params, case.x, rng=np.random.default_rng(5))
    assert np.abs(y - plain).max() > 1e-3
    dx, _, _ = layer.backward(case.params, tape, case.dy)
    v = np.random.default_rng(6).normal(size=case.x.shape)
    numeric = (loss(case.x + 1e-6 * v) - loss(case.x - 1e-6 * v)) / 2e-6
    np.testing.assert_allclose((dx * v).sum(), numeric, rtol=1e-7)


@every
def test_float32_is_near_float64(name):
    wide = make_case(EVERY[name], 10, 5, 3, 2, 4, np.array([5, 3, 2]))
    narrow = make_case(EVERY[name], 10, 5, 3, 2, 4, np.array([5, 3, 2]), np.float32)
    y64, _, _ = wide.layer.forward(wide.params, wide.x, wide.state, wide.lengths)
    y32, _, _ = narrow.layer.forward(narrow.params, narrow.x, narrow.state, narrow.lengths)
    np.testing.assert_allclose(y32, y64, rtol=0, atol=1e-5)
    for a, b in zip(leaves(narrow.gradients()), leaves(wide.gradients()), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1, np.abs(b).max()))


def test_two_updates_in_a_row_work_and_the_second_starts_from_the_first():
    case = make_case(LAYERS["gru-after"], 11, 4, 2, 3, 2)
    start = case.loss()
    for _ in range(2):
        case.params = tree_map(lambda p, g: p - 1e-3 * g, case.params, case.gradients()["params"])
    assert case.loss() < start


# ------------------------------------------------------------------------------ bad input


def test_errors_name_the_argument_what_was_got_and_what_is_allowed():
    rng = np.random.default_rng(0)
    layer = rl.LSTM(input_size=3, hidden_size=4)
    params = layer.init(rng)
    x = rng.normal(size=(5, 2, 3))
    y, _, tape = layer.forward(params, x)
    h = np.zeros((2, 4))
    bad = [
        (
            ValueError,
            r"x must have shape \(T, N, 3\).*got \(5, 2, 4\)",
            lambda: layer.forward(params, x[..., [0, 1, 2, 0]]),
        ),
        (ValueError, r"x must have shape", lambda: layer.forward(params, x[0])),
        (ValueError, "state of .* must be a tuple", lambda: layer.forward(params, x, h)),
        (
            ValueError,
            r"c in state must have shape.*\(2, 4\).*got \(2, 3\)",
            lambda: layer.forward(params, x, (h, h[:, :3])),
        ),
        (ValueError, r"lengths must have shape \(N,\)", lambda: layer.forward(params, x, lengths=[1, 2, 3])),
        (
            ValueError,
            "lengths must be from 0 to T = 5; got 2 to 6",
            lambda: layer.forward(params, x, lengths=[2, 6]),
        ),
        (ValueError, "lengths must be integers", lambda: layer.forward(params, x, lengths=[2.0, 1.0])),
        (
            ValueError,
            "params of .* must have the keys",
            lambda: layer.forward({"weight_ih": params["weight_ih"]}, x),
        ),
        (
            ValueError,
            r"params\['bias'\] must have shape",
            lambda: layer.forward({**params, "bias": np.zeros(4)}, x),
        ),
        (TypeError, "x must be a NumPy or CuPy array; got list", lambda: layer.forward(params, [x])),
        (ValueError, "dy must have the shape of y", lambda: layer.backward(params, tape, y[:-1])),
        (ValueError, "dstate of .* must be a tuple", lambda: layer.backward(params, tape, y, h)),
        (ValueError, "hidden_size must be a positive integer; got 0", lambda: rl.RNN(3, 0)),
        (ValueError, "activation must be", lambda: rl.RNN(3, 2, activation="swish")),
        (ValueError, "reset must be 'after' or 'before'; got 'never'", lambda: rl.GRU(3, 2, reset="never")),
        (
            ValueError,
            "forget_bias must be 0 with bias=False",
            lambda: rl.LSTM(3, 2, bias=False, forget_bias=1.0),
        ),
        (ValueError, "same input_size; got 3 and 2", lambda: rl.Bidirectional(rl.RNN(3, 2), rl.RNN(2, 2))),
        (
            ValueError,
            r"layers\[1\].input_size must be .* = 4; got 3",
            lambda: rl.Stacked([rl.RNN(3, 4), rl.RNN(3, 4)]),
        ),
        (ValueError, "layers must hold at least one", lambda: rl.Stacked([])),
        (ValueError, "must be a dict with the keys", lambda: rl.Stacked([layer]).forward(params, x)),
    ]
    for error, pattern, call in bad:
        with pytest.raises(error, match=pattern):
            call()
    integers = {name: p.astype(int) for name, p in params.items()}
    with pytest.raises(TypeError, match="floating-point dtype; got int64"):
        layer.forward(integers, np.zeros((5, 2, 3), int))
