"""The gradient checker: it passes what is right, finds what is wrong, and refuses what it cannot check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlab as rl
from rnnlab.gradcheck import oracles
from rnnlab.gradcheck.hints import gate_of, hints

METHODS = ("central", "five-point", "complex")
DIFFERENCES = ("central", "five-point")


def network(params):
    """A small smooth function of a nested tree, with its gradients."""
    w, (x, b) = params["w"], params["rest"]
    y = np.tanh(w @ x + b)
    dy = 2 * y * (1 - y * y)
    return (y * y).sum(), {"w": dy @ x.T, "rest": (w.T @ dy, dy.sum(axis=1, keepdims=True))}


def point(seed=0, rows=3, columns=4):
    rng = np.random.default_rng(seed)
    shapes = (rows, columns), (columns, 5), (rows, 1)
    w, x, b = (rng.standard_normal(shape) for shape in shapes)
    return {"w": w, "rest": (x, b)}


def spoiled(path, change):
    """The same network with one gradient changed: ``change(grad)`` is what it returns instead."""

    def function(params):
        loss, grads = network(params)
        parts = {"w": grads["w"], "x": grads["rest"][0], "b": grads["rest"][1]}
        parts[path] = change(parts[path].copy())
        return loss, {"w": parts["w"], "rest": (parts["x"], parts["b"])}

    return function


def at(index, factor):
    def change(grad):
        grad[index] *= factor
        return grad

    return change


# ------------------------------------------------------------------------------------ right and wrong


@pytest.mark.parametrize(("method", "error"), [("central", 1e-8), ("five-point", 1e-8), ("complex", 1e-13)])
@pytest.mark.parametrize("elementwise", [False, True])
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_right_gradients_pass(method, error, elementwise, seed, rows, columns):
    report = rl.check_gradients(network, point(seed, rows, columns), method, elementwise=elementwise)
    assert report.passed and report
    assert report.max_relative_error < error
    assert report.kinks == ()
    report.raise_if_failed()


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32 - 1), st.data())
def test_a_small_error_in_one_element_is_named(method, seed, data):
    params = point(seed)
    w = network(params)[1]["w"]
    # 1e-4 of the array's largest gradient, in any element
    index = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 3)))

    def change(grad):
        grad[index] += 1e-4 * np.abs(w).max()
        return grad

    report = rl.check_gradients(spoiled("w", change), params, method)
    assert not report.passed and not report
    assert report.worst == ("w", index)
    assert report.max_relative_error == pytest.approx(1e-4, rel=0.01)
    assert [array.passed for array in report.arrays] == [False, True, True]


def test_the_report_is_a_story():
    report = rl.check_gradients(spoiled("x", at((2, 3), -1.0)), point())
    assert report.worst.parameter == "rest.0" and report.worst.index == (2, 3)
    assert report.worst_gate is None
    text = str(report)
    assert "FAILED" in text and "rest.0[2, 3]: analytic" in text and "numeric" in text
    with pytest.raises(rl.GradientCheckError) as caught:
        report.raise_if_failed()
    assert str(caught.value) == text and caught.value.report is report


def test_elements_that_each_are_small_show_in_a_direction():
    # every element of a large array is off by 1e-6 of itself
    weights = np.random.default_rng(0).standard_normal((100, 100))
    report = rl.check_gradients(lambda w: (0.5 * (w * w).sum(), w * (1 + 1e-6)), weights)
    assert not report.passed


def test_a_large_array_is_narrowed_down_to_the_wrong_element():
    weights = np.random.default_rng(0).standard_normal((200, 150))
    calls = 0

    def function(w):
        nonlocal calls
        calls += 1
        grad = np.cos(w)
        grad[123, 45] += 0.5
        return np.sin(w).sum(), grad

    report = rl.check_gradients(function, weights, max_elements=100)
    assert report.worst == ("params", (123, 45))
    assert calls < 600  # of 30,000 elements


@pytest.mark.parametrize("method", METHODS)
def test_zero_gradients_pass_and_a_wrong_zero_fails(method):
    params = {"used": np.array([1.0, 2.0]), "unused": np.ones(3)}

    def function(params, unused=0.0):
        return (params["used"] ** 3).sum(), {"used": 3 * params["used"] ** 2, "unused": np.full(3, unused)}

    report = rl.check_gradients(function, params, method)
    assert report.passed and report.max_relative_error < 1e-8
    report = rl.check_gradients(lambda params: function(params, 0.1), params, method)
    assert report.worst.parameter == "unused" and report.max_relative_error == 1.0
    assert "does not depend on it at all" in str(report)


def test_a_constant_function_passes():
    assert rl.check_gradients(lambda p: (0.0, 0 * p), np.ones(3)).passed
    assert not rl.check_gradients(lambda p: (0.0, 0 * p + 1e-3), np.ones(3)).passed


def test_bare_arrays_scalars_empty_arrays_and_names():
    assert rl.check_gradients(lambda p: (p**2, 2 * p), np.array(3.0)).passed
    report = rl.check_gradients(lambda p: (p[0].sum(), (p[0] + 1, p[1])), (np.ones(2), np.ones((0, 3))))
    assert report.worst.parameter == "0"
    report = rl.check_gradients(lambda p: (p.sum(), p + 1), np.ones(2), names="theta")
    assert report.worst.parameter == "theta"
    report = rl.check_gradients(lambda p: (p[0].sum(), (p[0] + 1,)), (np.ones(2),), names=("weights",))
    assert report.worst.parameter == "weights"


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e3, 1e8])
@pytest.mark.parametrize("method", METHODS)
def test_the_scale_of_the_loss_and_of_the_parameters_does_not_matter(scale, method):
    params = np.random.default_rng(0).standard_normal(5)
    loss = lambda p, s=scale: (s * np.sin(p).sum(), s * np.cos(p))  # noqa: E731
    assert rl.check_gradients(loss, params, method).passed
    assert not rl.check_gradients(lambda p: (loss(p)[0], loss(p)[1] * 1.001), params, method).passed
    large = lambda p, s=scale: (np.sin(p / s).sum(), np.cos(p / s) / s)  # noqa: E731
    step = 1e-13 if scale == 1e-8 and method != "complex" else None  # bends within 1e-8: no default step is so small
    assert rl.check_gradients(large, scale * params, method, step=step).passed


def test_a_loss_whose_terms_cancel_is_not_blamed():
    # the loss is about 0, its rounding that of terms of size 1e3
    terms = np.random.default_rng(0).standard_normal(100) * 1e3

    def function(p):
        return ((terms + np.sin(p)).sum() - terms.sum()), np.cos(p)

    assert rl.check_gradients(function, np.random.default_rng(1).standard_normal(100)).passed


def test_the_directions_come_from_the_generator():
    params, seen = point(), []

    def function(params):
        seen.append(params["w"])
        return network(params)

    def directions(**options):
        seen.clear()
        rl.check_gradients(function, params, **options)
        return np.array(seen)

    np.testing.assert_array_equal(directions(), directions())
    assert not np.array_equal(directions(), directions(rng=np.random.default_rng(1)))


def test_params_are_left_alone_and_a_cheaper_loss_is_used():
    params = point()
    before = params["w"].copy()
    calls = {"both": 0, "loss": 0}

    def function(params):
        calls["both"] += 1
        return network(params)

    def loss(params):
        calls["loss"] += 1
        return network(params)[0]

    assert rl.check_gradients(function, params, loss=loss).passed
    np.testing.assert_array_equal(params["w"], before)
    assert calls["both"] == 2 and calls["loss"] > 10
    with pytest.raises(rl.GradientCheckError, match=r"loss\(params\) is"):
        rl.check_gradients(network, params, loss=lambda p: 2 * network(p)[0])


# ----------------------------------------------------------------------------------------- refusals


def refused(function, params, match, **options):
    with pytest.raises(rl.GradientCheckError, match=match):
        rl.check_gradients(function, params, **options)


def test_float32_is_refused_unless_asked_for():
    params = np.random.default_rng(0).standard_normal(4).astype(np.float32)
    function = lambda p: (np.sin(p).sum(), np.cos(p))  # noqa: E731
    refused(function, params, r"params must be float64; got float32.*allow_float32=True")
    for method in METHODS:
        assert rl.check_gradients(function, params, method, allow_float32=True).passed
        wrong = lambda p: (np.sin(p).sum(), np.cos(p) * np.float32(1.1))  # noqa: E731
        assert not rl.check_gradients(wrong, params, method, allow_float32=True).passed


def test_other_dtypes_and_values_are_refused():
    square = lambda p: ((p * p).sum(), 2 * p)  # noqa: E731
    refused(square, np.arange(3), "params must be a real floating-point array; got int64")
    refused(square, np.ones(3, complex), "got complex128")
    refused(square, {"b": np.array([1.0, np.nan])}, r"b must be finite; got nan at index \(1,\)")
    refused(lambda p: (p.astype(np.float32).sum(), 0 * p + 1), np.ones(3), "the loss is float32")
    with pytest.raises(TypeError, match="params.0 must be a NumPy or CuPy array; got float"):
        rl.check_gradients(square, [1.0, 2.0])
    with pytest.raises(ValueError, match="at least one array"):
        rl.check_gradients(square, {})


def test_float32_inside_is_found_out():
    weights = np.random.default_rng(0).standard_normal(50)
    rounded = lambda p: (float(np.sin(p.astype(np.float32)).sum()), np.cos(p))  # noqa: E731
    refused(rounded, weights, "too coarse for differences")


def test_bad_losses_are_refused():
    ones = np.ones(3)
    refused(lambda p: (p, p), ones, r"the loss must be one number; got shape \(3,\)")
    refused(lambda p: ("high", p), ones, "the loss must be one number; got str")
    refused(lambda p: (np.inf, p), ones, "the loss must be finite; got inf")
    refused(lambda p: (1j, p), ones, "the loss must be real")
    refused(lambda p: (1.0, p, None), ones, r"must return \(loss, grads\); got 3 values")
    refused(lambda p: 1.0, ones, r"must return \(loss, grads\); got float")


def test_gradients_that_do_not_fit_are_refused_by_name():
    params = {"a": np.ones(2), "b": {"c": np.ones((2, 3))}}
    good = {"a": np.ones(2), "b": {"c": np.ones((2, 3))}}
    loss = lambda p: p["a"].sum() + p["b"]["c"].sum()  # noqa: E731
    refused(lambda p: (loss(p), {"a": good["a"]}), params, "no gradient for b.c")
    refused(lambda p: (loss(p), {**good, "d": np.ones(1)}), params, "a gradient for d, which params does not have")
    refused(lambda p: (loss(p), {**good, "a": np.ones(3)}), params, r"gradient of a .* shape \(2,\); got \(3,\)")
    refused(lambda p: (loss(p), {**good, "a": np.ones(2, "f")}), params, "gradient of a .* float64; got float32")
    nan = {"c": np.full((2, 3), np.nan)}
    refused(
        lambda p: (loss(p), {**good, "b": nan}), params, r"gradient of b.c must be finite; got nan at index \(0, 0\)"
    )


def test_functions_that_are_not_deterministic_are_refused():
    rng = np.random.default_rng(0)
    refused(lambda p: (rng.random() * p.sum(), p), np.ones(2), "not deterministic.*loss.*dropout")
    refused(lambda p: (p.sum(), rng.random(2)), np.ones(2), "not deterministic: the gradient of params.*dropout")
    total = np.zeros(2)

    def piling_up(p):
        np.add(total, 1, out=total)
        return p.sum(), total

    refused(piling_up, np.ones(2), "not deterministic: the gradient of params")
    buffer = np.zeros(2)

    def overwriting(p):
        buffer[...] = p + overwriting.calls
        overwriting.calls += 1
        buffer[...] = 1
        return p.sum(), buffer

    overwriting.calls = 0
    assert rl.check_gradients(overwriting, np.ones(2)).passed  # a buffer that always holds the same does no harm


def test_functions_that_change_their_argument_are_refused():
    def shifting(p):
        p["w"] += 1
        return p["w"].sum(), {"w": np.ones(2), "b": np.zeros(1)}

    refused(shifting, {"b": np.zeros(1), "w": np.zeros(2)}, "the function changes w, a parameter it was passed")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "magic"}, "method must be one of central, five-point, complex; got 'magic'"),
        ({"step": 0.0}, "step must be positive; got 0"),
        ({"rtol": -1.0}, "rtol must be positive; got -1"),
        ({"atol": -1.0}, "atol must be at least 0; got -1"),
        ({"directions": 0}, "directions must be at least 1; got 0"),
        ({"max_elements": 0}, "max_elements must be at least 1; got 0"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        rl.check_gradients(network, point(), **options)


def test_tolerances_can_be_given():
    function = spoiled("w", at((0, 0), 1.01))
    assert not rl.check_gradients(function, point()).passed
    assert rl.check_gradients(function, point(), rtol=0.05).passed
    assert rl.check_gradients(function, point(), atol=1.0).passed


# -------------------------------------------------------------------------------------------- kinks

CORNERS = np.array([0.0, 1e-9, -1e-9, 1e-7, 0.5, -0.5, 2.0])


def relu(p, slope=1.0, at_zero=0.0):
    return np.maximum(p, 0).sum(), np.where(p == 0, at_zero, slope * (p > 0))


@pytest.mark.parametrize("method", DIFFERENCES)
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_a_kink_is_no_error(method, at_zero):
    report = rl.check_gradients(lambda p: relu(p, at_zero=at_zero), CORNERS, method, elementwise=True)
    assert report.passed and report.max_relative_error < 1e-6
    near = {("params", (k,)) for k in (1, 2, 3)}
    assert near <= set(report.kinks)
    assert (("params", (0,)) in report.kinks) == (at_zero != 0.5)  # 0.5 is what central differences see there too
    assert "kinks" in str(report)


@pytest.mark.parametrize("method", DIFFERENCES)
@pytest.mark.parametrize(
    ("wrong", "index"),
    [
        (lambda p: relu(p, slope=1.1), {1, 3, 4, 6}),
        (lambda p: relu(p, at_zero=1.5), {0}),  # no slope between 0 and 1
        (lambda p: relu(p, at_zero=-0.1), {0}),
        (lambda p: (relu(p)[0], 1.0 * (p < 0)), {1, 2, 3, 4, 5, 6}),
        (lambda p: (relu(p)[0], relu(p)[1] + 0.001 * (p == 0.5)), {4}),  # in the smooth part, beside kinks
        (lambda p: (relu(p)[0], np.where(p == 1e-9, 0.5, relu(p)[1])), {1}),  # near the corner is not at it
    ],
)
def test_a_wrong_slope_is_an_error_beside_a_kink(method, wrong, index):
    report = rl.check_gradients(wrong, CORNERS, method)
    assert not report.passed
    assert report.worst.index[0] in index
    assert ("params", report.worst.index) not in report.kinks


@pytest.mark.parametrize(
    "function",
    [
        lambda p: (np.abs(p).sum(), np.sign(p)),
        lambda p: (np.clip(p, -0.5, 0.5).sum(), 1.0 * (np.abs(p) < 0.5)),
        lambda p: (np.maximum(p, p[::-1]).sum(), np.where(p > p[::-1], 2.0, np.where(p == p[::-1], 1.0, 0.0))),
        lambda p: ((np.abs(p) * np.sin(p + 1)).sum(), np.sign(p) * np.sin(p + 1) + np.abs(p) * np.cos(p + 1)),
    ],
    ids=["abs", "clip", "maximum", "bent"],
)
def test_other_kinks(function):
    assert rl.check_gradients(function, CORNERS).passed
    assert rl.check_gradients(function, CORNERS, elementwise=True).passed
    assert not rl.check_gradients(lambda p: (function(p)[0], function(p)[1] * 1.01 + 0.3), CORNERS).passed


@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 1.0), st.floats(0.1, 300.0))
def test_no_bug_of_a_smooth_function_is_excused_as_a_kink(seed, size, curvature):
    params = np.random.default_rng(seed).standard_normal(4)
    value = lambda p: np.sin(curvature * p).sum()  # noqa: E731
    slope = lambda p: curvature * np.cos(curvature * p)  # noqa: E731
    assert rl.check_gradients(lambda p: (value(p), slope(p)), params).passed

    def wrong(p):
        grad = slope(p)
        grad[2] += size * np.abs(grad).max()
        return value(p), grad

    report = rl.check_gradients(wrong, params)
    assert not report.passed and report.worst.index == (2,) and report.kinks == ()


def test_a_jump_is_no_kink():
    assert not rl.check_gradients(lambda p: (np.where(p > 1, 1.0, 0.0).sum() + p.sum(), 0 * p + 1.5), np.ones(2)).passed


# ------------------------------------------------------------------------------------- complex step


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda p: ((p.real**2).sum(), 2 * p.real), "loss is real although"),
        (lambda p: ((np.abs(p) ** 2).sum(), 2 * p.real), "loss is real although"),
        (lambda p: ((p.real**2).sum() + 0 * p.sum(), 2 * p), "imaginary part of params is lost"),
        (lambda p: ((np.abs(p) * p).sum(), 2 * p), "imaginary part of params is changed"),
        (lambda p: (float((p * p).sum()), 2 * p), "fails on complex parameters: (ComplexWarning|TypeError)"),
        (lambda p: ((p.astype(float) ** 2).sum(), 2 * p), "fails on complex parameters: ComplexWarning"),
        (lambda p: (_in_real_buffer(p), 2 * p), "fails on complex parameters: ComplexWarning"),
    ],
)
def test_functions_that_break_complex_numbers_are_told_so(function, match):
    params = np.array([0.3, 1.2, 2.0])
    assert rl.check_gradients(function, params).passed
    refused(function, params, match, method="complex")


def _in_real_buffer(p):
    buffer = np.empty(p.shape)
    buffer[...] = p
    return (buffer**2).sum()


def test_a_wrong_gradient_is_not_blamed_on_complex_numbers():
    report = rl.check_gradients(spoiled("w", at((1, 1), 1.5)), point(), "complex")
    assert report.worst == ("w", (1, 1))
    report = rl.check_gradients(lambda p: (0.0 * p.sum(), p), np.ones(3), "complex")
    assert not report.passed


def test_complex_step_sees_what_differences_cannot():
    function = spoiled("w", at((0, 1), 1 + 1e-9))
    assert rl.check_gradients(function, point()).passed
    report = rl.check_gradients(function, point(), "complex")
    assert not report.passed and report.worst == ("w", (0, 1))


def test_the_formulas():
    line = lambda t: np.exp(1 + t)  # noqa: E731
    assert oracles.central(line, 1e-5) == pytest.approx(np.e, rel=1e-10)
    assert oracles.five_point(line, 1e-3) == pytest.approx(np.e, rel=1e-12)
    assert oracles.complex_step(line, 1e-20) == pytest.approx(np.e, rel=1e-15)
    # of order h^2 and h^4: a step ten times as long, an error 100 and 10,000 times as large
    for slope, order in ((oracles.central, 2), (oracles.five_point, 4)):
        errors = [abs(slope(line, h) - np.e) for h in (0.1, 0.01)]
        assert errors[0] / errors[1] == pytest.approx(10**order, rel=0.02)


# -------------------------------------------------------------------------------- gates and hints


@pytest.mark.parametrize(
    ("prefix", "gates"), [("", "rzn"), ("", "ifgo"), ("recurrent", "rzn"), ("layer0.forward", "ifgo")]
)
def test_gates_are_named(prefix, gates):
    H, D = 4, 3
    join = (lambda name: f"{prefix}.{name}") if prefix else (lambda name: name)
    rows = len(gates) * H
    shapes = {join("weight_ih"): (rows, D), join("weight_hh"): (rows, H), join("bias"): (rows,), "x": (9, 2, D)}
    for k, gate in enumerate(gates):
        for row in (k * H, (k + 1) * H - 1):
            assert gate_of(join("weight_hh"), (row, 1), shapes) == gate
            assert gate_of(join("bias"), (row,), shapes) == gate
    assert gate_of("x", (0, 1, 1), shapes) is None


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda g: -g, "wrong sign everywhere"),
        (lambda g: g / 20, "0.05 times the numeric one everywhere"),
        (lambda g: 0 * g, "zero everywhere"),
        (lambda g: np.concatenate([g[4:8], g[:4], g[8:]]), "gates r and z are swapped"),
        (lambda g: np.concatenate([g[:8], 2 * g[8:]]), "wrong only in gate n"),
    ],
)
def test_hints_name_the_usual_mistakes(change, hint):
    params = {"weight_hh": np.random.default_rng(0).standard_normal((12, 4))}
    v = np.arange(1.0, 5.0)

    def function(p):
        y = np.tanh(p["weight_hh"] @ v)
        return (y**2).sum(), {"weight_hh": change(np.outer(2 * y * (1 - y * y), v))}

    report = rl.check_gradients(function, params)
    assert hint in str(report)


def test_hints_need_a_reason():
    numeric = np.random.default_rng(0).standard_normal((3, 3))
    assert hints(numeric + np.random.default_rng(1).standard_normal((3, 3)), numeric, {}) == []
    assert hints(numeric.T, numeric, {}) == ["the analytic gradient is the numeric one transposed"]


# --------------------------------------------------------------------------------------- whole models


def test_a_language_model_of_fifty_thousand_parameters_takes_seconds():
    rng = np.random.default_rng(0)
    model = rl.models.LanguageModel(vocab_size=60, embedding_size=48, recurrent=rl.LSTM(48, 80))
    params = model.init(rng)
    batch = rng.integers(0, 60, (12, 4)), rng.integers(0, 60, (12, 4))
    count = sum(array.size for _, array in rl.backend.tree_items(params))
    assert count > 48_000
    calls = 0

    def function(params):
        nonlocal calls
        calls += 1
        return model.loss_and_grads(params, batch)[:2]

    for method in METHODS:
        report = rl.check_gradients(function, params, method)
        assert report.passed, str(report)
    assert calls < 150

    def wrong(params):
        loss, grads = function(params)
        grads["recurrent"]["weight_hh"][170, 33] *= 1.5
        return loss, grads

    report = rl.check_gradients(wrong, params)
    assert report.worst == ("recurrent.weight_hh", (170, 33)) and report.worst_gate == "g"
    assert calls < 1500
