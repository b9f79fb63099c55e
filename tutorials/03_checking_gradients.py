# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 3. Checking gradients
#
# After this tutorial you can check any gradient that you wrote, choose the step and the tolerance for a reason, and
# set up the check such that it does not miss the mistakes that it is there for.
#
# You need: tutorial 2 (the backward pass of a recurrent network), Taylor's formula, and that a computer keeps about 16
# digits of a number (`float64`) or 7 (`float32`).

# %%
import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

# %% [markdown]
# ## Why check at all
#
# A wrong gradient raises no error and often still makes the loss fall: tutorial 2 showed it. But the loss itself is
# easy to compute, and a gradient is defined by nothing else: **move a parameter a little, and see by how much the
# loss moves**.
#
# ## Four formulas
#
# With Taylor's formula, for a function $f$ of one number and a small step $s$:
#
# $$f(w \pm s) = f(w) \pm s f'(w) + \tfrac{s^2}{2} f''(w) \pm \tfrac{s^3}{6} f'''(w) + \dots$$
#
# | formula | | error of the formula |
# |---|---|---|
# | one-sided | $(f(w + s) - f(w)) / s$ | $\tfrac{s}{2} f''$ |
# | central | $(f(w + s) - f(w - s)) / 2s$ | $\tfrac{s^2}{6} f'''$ |
# | five-point | $(8 f(w + s) - 8 f(w - s) - f(w + 2s) + f(w - 2s)) / 12 s$ | $\tfrac{s^4}{30} f^{(5)}$ |
# | complex step | $\mathrm{Im}\, f(w + i s) / s$ | $\tfrac{s^2}{6} f'''$ |
#
# So: take $s$ tiny? No. A computer knows $f$ only to a relative precision $\varepsilon$ ($2 \cdot 10^{-16}$ in float64).
# The difference of two nearly equal numbers keeps that absolute error, and dividing by $s$ makes it
# $\varepsilon |f| / s$: **smaller steps are worse**. An error of the formula of order $s^p$ and one of rounding of
# order $\varepsilon / s$ are balanced at about $s = \varepsilon^{1/(p+1)}$.
#
# The last formula subtracts nothing. The imaginary part of $f(w + is)$ *is* $s f'(w)$, kept with all its digits. So $s$
# can be $10^{-20}$ and no error is left (W. Squire, G. Trapp, *Using complex variables to estimate derivatives of
# real functions*, SIAM Review 40, 1998).


# %%
def one_sided(f, w, s):
    """The slope from f(w) and f(w + s)."""
    return (f(w + s) - f(w)) / s


def central(f, w, s):
    """The slope from f(w - s) and f(w + s)."""
    return (f(w + s) - f(w - s)) / (2 * s)


def five_point(f, w, s):
    """The slope from two points on either side."""
    return (8 * (f(w + s) - f(w - s)) - (f(w + 2 * s) - f(w - 2 * s))) / (12 * s)


def complex_step(f, w, s):
    """The slope from one point beside the real line."""
    return f(w + 1j * s).imag / s


# %% [markdown]
# A function whose derivative we know: $f(w) = e^w / (1 + w^2)$, $f'(w) = e^w (1 - w)^2 / (1 + w^2)^2$. Try all steps, in
# float64 and in float32.


# %%
def f(w):
    """The function to differentiate."""
    return np.exp(w) / (1 + w**2)


point = 0.5
truth = np.exp(point) * (1 - point) ** 2 / (1 + point**2) ** 2
formulas = {"one-sided": one_sided, "central": central, "five-point": five_point, "complex step": complex_step}
steps = 10.0 ** np.arange(-19, -0.4, 0.1)


def errors(formula, real):
    """The relative errors at all steps, the function computed with numbers of type `real`."""
    slopes = [formula(f, real(point), real(s)) for s in steps]
    return np.abs(np.array(slopes, dtype=float) - truth) / truth


with np.errstate(all="ignore"):
    found = {(name, real): errors(formulas[name], real) for name in formulas for real in (np.float64, np.float32)}

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for ax, real in zip(axes, (np.float64, np.float32), strict=True):
    for name, style in zip(formulas, ("C0-", "C1--", "C2-.", "C3:"), strict=True):
        ax.loglog(steps, np.maximum(found[name, real], 1e-17), style, label=name)
    ax.set(title=real.__name__, xlabel="step s", ylim=(3e-18, 30))
axes[0].set_ylabel("relative error of the slope")
axes[1].legend(loc="lower right")
fig.suptitle("Too large a step: the formula errs. Too small a step: rounding. The complex step has no such floor")
plt.show()

# %% [markdown]
# Read the left picture from the right: the errors fall as a power of the step, 1, 2 and 4, until they meet the rounding,
# which rises as $1/s$ to the left. In float32 even the best step leaves errors of $10^{-5}$ to $10^{-3}$, in which a small
# mistake can hide: **check in float64**, even if the network will be trained in float32.


# %%
def smooth(error):
    """The mean of five neighbours: single steps are good by chance."""
    return np.convolve(error, np.ones(5) / 5, mode="same")


print(f"{'':12}{'best error':>12}{'at step':>9}{'predicted step':>16}{'best in float32':>17}")
for name, order, allowed in (("one-sided", 1, 1e-6), ("central", 2, 1e-9), ("five-point", 4, 1e-11)):
    error, predicted = smooth(found[name, np.float64])[2:-2], np.finfo(float).eps ** (1 / (order + 1))
    step, single = steps[2:-2][np.argmin(error)], smooth(found[name, np.float32])[2:-2].min()
    print(f"{name:12}{error.min():12.1e}{step:9.0e}{predicted:16.0e}{single:17.1e}")
    large = (steps > 30 * predicted) & (steps < 0.05)
    slope = np.polyfit(np.log(steps[large]), np.log(found[name, np.float64][large]), 1)[0]
    assert abs(slope - order) < 0.2 and error.min() < allowed and 0.02 < step / predicted < 50 and single > 1e-6
assert found["complex step", np.float64][steps < 1e-9].max() < 1e-14

# %% [markdown]
# ## The gradient of a network
#
# A recurrent network with a random number $dy$ for each output: the loss $L = \sum dy \cdot y$ has the gradient $dy$
# with respect to $y$, so the backward pass can be called with it. A **case** holds everything that is needed.


# %%
def make_case(rng, T=5, N=3, D=2, H=4):
    """A good case: all sizes different, nothing zero, nothing constant."""
    params = {"weight_ih": (H, D), "weight_hh": (H, H), "bias": (H,), "h_start": (N, H)}
    params = {name: 0.7 * rng.normal(size=shape) for name, shape in params.items()}
    return {"params": params, "x": rng.normal(size=(T, N, D)), "dy": rng.normal(size=(T, N, H))}


def states(params, x):
    """All states, the initial one first: (T + 1, N, H). Complex parameters make complex states."""
    h = [params["h_start"]]
    for x_t in x:
        h.append(np.tanh(x_t @ params["weight_ih"].T + h[-1] @ params["weight_hh"].T + params["bias"]))
    return np.stack(h)


def loss(case, params):
    """One number."""
    return np.sum(case["dy"] * states(params, case["x"])[1:])


def gradients(case, bug=None):
    """The gradients by BPTT; `bug` names a mistake to be made (see below)."""
    params, x, dy = case["params"], case["x"], case["dy"]
    h = states(params, x)
    bias_used = 0 if bug == "slope without the bias" else params["bias"]
    W_hh = params["weight_hh"].T if bug == "transposed" else params["weight_hh"]
    g = {name: np.zeros_like(value) for name, value in params.items()}
    dh = np.zeros_like(params["h_start"])
    for t in reversed(range(len(x))):
        a = x[t] @ params["weight_ih"].T + h[t] @ params["weight_hh"].T + bias_used
        delta = ((dy[-1] if bug == "dy of the last step" else dy[t]) + dh) * (1 - np.tanh(a) ** 2)
        g["weight_ih"] += delta.T @ x[t]
        g["weight_hh"] += delta.T @ (0 * h[t] if bug == "initial state forgotten" and t == 0 else h[t])
        g["bias"] += delta.mean(axis=0) if bug == "mean over the batch" else delta.sum(axis=0)
        dh = 0 * dh if bug == "no recurrent term" else delta @ W_hh
    return {**g, "h_start": delta @ params["weight_hh"]}


# %% [markdown]
# The numeric gradient: each parameter is moved on its own. That takes two losses for *every* parameter; a backward pass
# takes about two losses for *all* of them. This is why nobody trains with differences, and why they are good enough
# for a check.


# %%
def numeric_gradient(loss, params, formula=central, s=6e-6):
    """The gradient of loss(params), element by element."""
    grads = {name: np.empty_like(value) for name, value in params.items()}
    for name, value in params.items():
        for index in np.ndindex(value.shape):

            def along(w, name=name, value=value, index=index):
                moved = value.astype(np.result_type(value, w))
                moved[index] = w
                return loss({**params, name: moved})

            grads[name][index] = formula(along, value[index], s)
    return grads


case = make_case(np.random.default_rng(0))
analytic = gradients(case)
by_central = numeric_gradient(lambda p: loss(case, p), case["params"])
by_complex = numeric_gradient(lambda p: loss(case, p), case["params"], complex_step, 1e-20)
for name in analytic:
    scale = np.abs(analytic[name]).max()
    errors_here = [np.abs(numeric[name] - analytic[name]).max() / scale for numeric in (by_central, by_complex)]
    print(f"{name:10} central {errors_here[0]:.1e}   complex step {errors_here[1]:.1e}")
    assert errors_here[0] < 1e-8 and errors_here[1] < 1e-13

# %% [markdown]
# ## Which error, and how small?
#
# **Relative, not absolute.** Gradients have any size. Below, the loss is divided by a million, as a mean over many
# numbers may be. A gradient that is wrong by a factor of 2 then has a tiny absolute error.
#
# **Relative to the array, not to the element.** An entry that happens to be almost zero has a large relative error from
# rounding alone. So we divide by the largest entry of the array:
# $\max_i |g_i - \hat{g}_i| \,/\, \max_i |\hat{g}_i|$.


# %%
def relative_error(analytic, numeric):
    """The largest error over all arrays, each relative to its largest entry."""
    return max(
        np.abs(analytic[name] - numeric[name]).max()
        / max(np.abs(analytic[name]).max(), np.abs(numeric[name]).max(), 1e-300)
        for name in analytic
    )


small = {name: 1e-6 * value for name, value in by_complex.items()}
halved = {name: 0.5 * value for name, value in small.items()}
absolute = max(np.abs(halved[name] - small[name]).max() for name in small)
print(f"a factor of 2 forgotten: absolute error {absolute:.0e}, relative error {relative_error(halved, small):.2f}")
assert absolute < 1e-4 and relative_error(halved, small) == 0.5

by_element = np.abs(by_central["weight_hh"] / by_complex["weight_hh"] - 1)
print(f"the right gradient, element by element: median {np.median(by_element):.0e}, largest {by_element.max():.0e}")
assert by_element.max() > 3 * np.median(by_element)

# %% [markdown]
# **The tolerance.** With central differences a right gradient comes out at $10^{-11}$ to $10^{-9}$. What do mistakes give?
# Six of them, on a good case:

# %%
BUGS = (
    "transposed",
    "no recurrent term",
    "dy of the last step",
    "slope without the bias",
    "initial state forgotten",
    "mean over the batch",
)
measured = {bug: relative_error(gradients(case, bug), by_central) for bug in (None, *BUGS)}

fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
names = [bug or "no mistake" for bug in measured]
ax.scatter(measured.values(), names, color=["C0"] + ["C1"] * len(BUGS), s=60)
ax.axvline(1e-7, color="C3", linestyle="--", label="tolerance $10^{-7}$")
ax.set(xscale="log", xlim=(1e-13, 10), xlabel="relative error", title="Right and wrong gradients lie decades apart")
ax.legend()
ax.invert_yaxis()
plt.show()

assert measured[None] < 1e-8 and min(measured[bug] for bug in BUGS) > 1e-2

# %% [markdown]
# There is a wide gap between $10^{-9}$ and $10^{-2}$, and any tolerance in it will do. A result *inside* the gap, like
# $10^{-5}$, is no "almost right": it says that something is computed in float32, or that a small term is missing, or
# that the loss has a kink nearby.

# %% [markdown]
# ## What a check can miss
#
# A check looks at one case. If the case is too simple, wrong gradients are right *there*. Seven cases that people do
# use, because they are easy to write down:


# %%
def poor_cases(rng):
    """Cases that each lack something, and the good one."""
    cases = {
        "good case": make_case(rng),
        "T = 1": make_case(rng, T=1),
        "N = 1": make_case(rng, N=1),
        "D = H": make_case(rng, D=4),
    }
    for name in ("zero bias", "zero initial state", "constant weights", "dy = 1"):
        cases[name] = make_case(rng)
    cases["zero bias"]["params"]["bias"][:] = 0
    cases["zero initial state"]["params"]["h_start"][:] = 0
    for weight in ("weight_ih", "weight_hh"):
        cases["constant weights"]["params"][weight][:] = 0.3
    cases["dy = 1"]["dy"][:] = 1
    return cases


cases = poor_cases(np.random.default_rng(1))
is_found = np.zeros((len(BUGS), len(cases)), bool)
for j, some_case in enumerate(cases.values()):
    numeric = numeric_gradient(lambda p, c=some_case: loss(c, p), some_case["params"])
    assert relative_error(gradients(some_case), numeric) < 1e-7  # the right gradient passes everywhere
    is_found[:, j] = [relative_error(gradients(some_case, bug), numeric) > 1e-7 for bug in BUGS]

# %%
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.imshow(is_found, cmap="cividis", vmin=-1, vmax=1.5, aspect="auto")
for i, j in np.ndindex(is_found.shape):
    ax.text(
        j,
        i,
        "found" if is_found[i, j] else "MISSED",
        ha="center",
        va="center",
        color="black" if is_found[i, j] else "white",
    )
ax.set_xticks(range(len(cases)), list(cases), rotation=20, ha="right")
ax.set_yticks(range(len(BUGS)), BUGS)
ax.set_title("Every shortcut but D = H lets a mistake through")
plt.show()

missed = {name: [bug for bug, ok in zip(BUGS, is_found[:, j], strict=True) if not ok] for j, name in enumerate(cases)}
assert missed["good case"] == [] and "slope without the bias" in missed["zero bias"]
assert "transposed" in missed["constant weights"] and "mean over the batch" in missed["N = 1"]
assert {"transposed", "no recurrent term", "dy of the last step"} <= set(missed["T = 1"])
assert "initial state forgotten" in missed["zero initial state"] and "dy of the last step" in missed["dy = 1"]

# %% [markdown]
# - **$T = 1$** never uses the recurrence in the backward pass. Three of six mistakes pass.
# - **Zero biases** hide everything that forgets the bias. Zeros are how biases are initialized, so this happens by itself.
# - **Constant weights** make $W_{hh}$ equal to its transpose.
# - **A batch of one** makes sums and means equal; **zero initial states** and a loss that is just `y.sum()` hide what
#   belongs to them.
# - **$D = H$** is said to be as bad. Here it misses nothing: the numbers of a transposed matrix are wrong all the same. What
#   it takes away is the earlier warning: with $D \neq H$ a transposed $W_{ih}$ is an error of shapes.
#
# So: **all sizes different and above 1, all numbers random, none of them zero.** And check the gradient of everything:
# parameters, inputs, initial state.

# %% [markdown]
# ## Kinks, and functions that the complex step does not like
#
# ReLU has no derivative at 0. With zero biases and a zero input the pre-activation *is* 0. A central difference then gives
# the mean of the two slopes, $\tfrac12$, and any analytic choice (0 or 1) looks wrong. It is not.

# %%
kink = [central(lambda w: np.maximum(w, 0.0), w, 1e-5) for w in (-1.0, 0.0, 1.0)]
print("slope of ReLU at -1, 0, 1:", np.round(kink, 6))
assert np.allclose(kink, [0, 0.5, 1])


def relu_loss_and_gradient(w):
    """The sum of relu(w), and a gradient that says 0 at the kink."""
    return np.maximum(w, 0).sum(), (w > 0).astype(float)


report = rl.check_gradients(relu_loss_and_gradient, np.array([-1.0, 0.0, 1.0]), elementwise=True)
print(report)
assert report.passed and len(report.kinks) == 1

# %% [markdown]
# `rl.check_gradients` makes its steps smaller where something does not fit. At a kink the slopes of the two sides stay
# apart; a smooth function's come together. So it can tell a kink from a mistake.
#
# The complex step needs a function that treats complex numbers as formulas do. `abs`, `maximum`, `norm` and
# `astype(float)` do not, and `maximum` compares real parts first:

# %%
for name, function in {
    "w**2": lambda w: w**2,
    "abs(w)**2": lambda w: np.abs(w) ** 2,
    "maximum(w, 0)": lambda w: np.maximum(w, 0),
}.items():
    print(
        f"{name:14} central {central(function, 1.5, 1e-5):.6f}   complex step {complex_step(function, 1.5, 1e-20):.6f}"
    )
assert complex_step(lambda w: np.abs(w) ** 2, 1.5, 1e-20) == 0  # the slope is 3

# %% [markdown]
# The second is silently wrong: the imaginary part is lost in `abs`. If the complex step disagrees with you, ask
# central differences for a second opinion.

# %% [markdown]
# ## The checker of the library
#
# `rl.check_gradients(function, params)` does what we did, with less work: it moves a whole array along two random
# directions, which takes two losses each however large the array, and only looks at single elements if that fails.
# `rl.check_layer(layer)` makes up a good case by itself and checks all else that a layer promises. Here is an LSTM whose
# author mixed up two gates in one of the gradients:


# %%
class MixedUp(rl.LSTM):
    """An LSTM whose backward swaps the input and the forget gate in the gradient of the bias."""

    def backward(self, params, tape, dy, dstate=None):
        dx, dstate, grads = super().backward(params, tape, dy, dstate)
        i, f, g, o = np.split(grads["bias"], 4)
        return dx, dstate, {**grads, "bias": np.concatenate([f, i, g, o])}


report = rl.check_layer(MixedUp(3, 4))
print(report)
assert not report.passed and report.worst.parameter == "bias" and "swapped" in str(report)

# %% [markdown]
# The last lines of each failure name the array, the index, the gate, and the usual mistake that fits the numbers.

# %%
right = rl.check_layer(rl.LSTM(3, 4))
print(str(right).splitlines()[0], f"largest relative error {right.max_relative_error:.0e}")
assert right.passed

# %% [markdown]
# ## Train without a backward pass
#
# If differences are so good, why derive anything? Train a small network with both gradients: to say half of the input
# of the step before. The curves are the same. The number of losses that have to be computed is not.


# %%
def train(gradient, rng, T=8, N=10, rate=0.3, steps=100):
    """Gradient descent on one batch with gradient(case, params -> loss); returns the losses."""
    case = make_case(rng, T=T, N=N, D=1, H=4)
    h_start = case["params"].pop("h_start")  # is not trained
    case["x"], case["dy"] = rng.choice([-1.0, 1.0], size=(T, N, 1)), np.zeros((T, N, 4))

    def errors(weights):
        y = states({**weights, "h_start": h_start}, case["x"])[1:]
        return y[1:, :, 0] - 0.5 * case["x"][:-1, :, 0]  # unit 0 is the answer, from the second step on

    weights, losses = case["params"], []
    for _ in range(steps):
        losses.append(np.mean(errors(weights) ** 2))
        case["dy"][1:, :, 0] = 2 * errors(weights) / (N * (T - 1))
        case["params"] = {**weights, "h_start": h_start}
        grads = gradient(case, weights, lambda w: np.mean(errors(w) ** 2))
        weights = {name: value - rate * grads[name] for name, value in weights.items()}
    return np.array(losses)


with_bptt = train(lambda case, weights, loss: gradients(case), np.random.default_rng(0))
with_differences = train(lambda case, weights, loss: numeric_gradient(loss, weights), np.random.default_rng(0))

fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.semilogy(with_bptt, "C0-", label="backpropagation: the work of about 3 losses a step")
ax.semilogy(np.arange(0, 100, 5), with_differences[::5], "C1o", label="central differences: 48 losses a step")
ax.set(xlabel="step", ylabel="mean squared error", title="The same curve, at sixteen times the work")
ax.legend()
plt.show()

parameters = 4 * 1 + 4 * 4 + 4
print("parameters:", parameters, "  largest difference of the losses:", np.abs(with_bptt - with_differences).max())
assert np.abs(with_bptt - with_differences).max() < 1e-6 and with_bptt[-1] < 0.1 * with_bptt[0]

# %% [markdown]
# Twice the number of parameters is 48 losses here. In a network of a million parameters it is two million losses, for
# one step.

# %% [markdown]
# ## Exercises
#
# **1.** Moving every parameter is slow. Move **all of them at once** along a random direction $u$: the slope of
# $L(\theta + s u)$ at $s = 0$ must be $\sum_i g_i u_i$. Two losses check a whole network.


# %%
def directional_error(loss, params, grads, rng, s=6e-6):
    """Return |slope - grads . u| / |grads . u| for one random direction u, the slope by central differences."""
    ### BEGIN SOLUTION
    u = {name: rng.normal(size=value.shape) for name, value in params.items()}
    slope = central(lambda t: loss({name: params[name] + t * u[name] for name in params}), 0.0, s)
    expected = sum(np.sum(grads[name] * u[name]) for name in params)
    return abs(slope - expected) / abs(expected)
    ### END SOLUTION


# %%
rng = np.random.default_rng(5)
error = directional_error(lambda p: loss(case, p), case["params"], gradients(case), rng)
assert error < 1e-7, f"the right gradient has an error of {error:.1e}: is u the same on both sides?"
for bug in BUGS:
    error = directional_error(lambda p: loss(case, p), case["params"], gradients(case, bug), rng)
    assert error > 1e-5, f"'{bug}' is not found: error {error:.1e}; is every array moved?"

# %% [markdown]
# **2.** A loss with `abs` cannot be checked by the complex step. Write an absolute value that can: for real $w$ the same,
# for $w + is$ the derivative $\pm 1$ in the imaginary part.


# %%
def complex_safe_abs(w):
    """Return |w| for real w, and what continues it for complex w."""
    ### BEGIN SOLUTION
    return np.where(w.real < 0, -w, w)
    ### END SOLUTION


# %%
numbers = np.array([-2.0, -0.1, 0.3, 5.0])
assert np.array_equal(complex_safe_abs(numbers), np.abs(numbers)), "for real numbers it must be the absolute value"
slopes = complex_step(complex_safe_abs, numbers, 1e-20)
assert np.array_equal(slopes, np.sign(numbers)), f"the slopes should be the signs, not {slopes}"

# %% [markdown]
# **3.** Somebody's check compares each element on its own, $|g_i - \hat g_i| / |\hat g_i| < 10^{-7}$, and fails at one
# entry of the gradient, which is $3 \cdot 10^{-13}$ while the others are about 1. Is the gradient wrong?
#
# <!-- ### BEGIN SOLUTION -->
# It cannot be told from this. Rounding of the loss gives central differences an absolute error of about
# $10^{-16} / 10^{-5} = 10^{-11}$ times the loss, so an entry of $3 \cdot 10^{-13}$ is not measured at all. Measure
# the error against the largest entry of the array, or use the complex step, whose error is relative to the entry.
# <!-- ### END SOLUTION -->
