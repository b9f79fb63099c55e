# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 10. Forecasting and classifying real series
#
# Afterwards you can forecast a series and classify whole series with a recurrent network, put the right simple methods
# beside it, and recognize the mistakes that make a number look better than it is. You need chapters 1 to 3 and 6.
#
# The real data are ETTm1 (the oil temperature of a transformer, every 15 minutes for two years) and two sets of the UCR
# archive. They do not come with rnnlab. The first cell says whether it found them. **Where it did not, the chapter
# goes on with generated series alone**, and every conclusion is drawn from the numbers computed on your machine.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

FETCH = False  # True downloads ETTm1 (10 MB) if it is missing; the UCR sets must be put under RNNLAB_DATA by hand


def load(what, loader):
    """Return what the loader returns, or None where the files are not here."""
    try:
        return loader()
    except FileNotFoundError:
        print(f"{what} is not here: set RNNLAB_DATA to the folder that holds it. Going on without.")


if FETCH:
    rl.data.fetch("ett")
ett = load("ETTm1", rl.data.ettm1)
archive = {name: load(name, lambda name=name: rl.data.ucr(name)) for name in ("Coffee", "ECG5000")}
print("real series found:", [name for name, found in {"ETTm1": ett, **archive}.items() if found] or "none")

# %% [markdown]
# ## Derive
#
# **Forecasting.** From the $T$ values up to now predict the $K$ values to come. The network reads the values, and a
# linear layer reads its last hidden state: $\hat y = W h_T + b$, $\text{loss} = \text{mean}\,(\hat y - y)^2$. The loss
# looks at $h_T$ only. So backward starts with $\partial\,\text{loss} / \partial h_T = W^\top \,\partial\,\text{loss} /
# \partial \hat y$, and no step before $T$ receives a gradient from above (`dy = 0`).
#
# **What to compare with.** Two forecasts that need no network:
#
# - *repeat the last value*. For a random walk nothing is better.
# - *ridge regression*: each future value is a weighted sum of the past ones. With the windows as rows of $X$ and their
#   futures as rows of $Y$, minimize $\|X A - Y\|^2 + \lambda \|A\|^2$. Setting the derivative to zero,
#   $2 X^\top (X A - Y) + 2 \lambda A = 0$, gives $A = (X^\top X + \lambda I)^{-1} X^\top Y$.
#
# **Sequences of different lengths** are padded to a common $T$. With $m_t = 1$ inside a sequence and $0$ behind its end,
#
# $$h_t = m_t\, f(x_t, h_{t-1}) + (1 - m_t)\, h_{t-1}.$$
#
# The state stands still behind the end, and $\partial\,\text{loss}/\partial x_t = 0$ there, exactly. rnnlab is told
# the lengths, and does this.
#
# **Scaling.** $(x - \mu) / \sigma$ with $\mu, \sigma$ from the *training* part. In production you would have nothing else.
#
# ## Code
#
# The series: Mackey-Glass (chaotic, without noise, generated here) always; the oil temperature where it was found. Both
# are cut in time, the past for training.

# %%
T, K = 96, 24  # read 96 values, forecast 24: a day and six hours of oil temperature
mackey_glass = rl.data.mackey_glass(5000, discard=200)[:, None]
series = {"Mackey-Glass": (mackey_glass[:3500], mackey_glass[3500:])}
if ett is not None:
    series["oil temperature"] = (ett.train[:, -1:], ett.test[:, -1:])


def changes(values, stride):
    """Windows (T, N, 1) and futures (K, N, 1), both as changes from the last value read."""
    x, y = rl.data.series_windows(values, context=T, horizon=K, stride=stride)
    return x - x[-1:], y - x[-1:]


def prepare(train, test):
    """Scale by the training part alone, and cut into windows."""
    train, test = rl.data.standardize(train, test)
    return changes(train, max(1, len(train) // 8000)), changes(test, 4)


windows = {name: prepare(*parts) for name, parts in series.items()}
for name, ((x, y), (x_test, _)) in windows.items():
    print(f"{name}: training windows {x.shape}, futures {y.shape}; to test on {x_test.shape[1]}")

# %% [markdown]
# We forecast the *change* from the last value, since a temperature drifts with the seasons and the level of the test
# months may never have occurred in training. Every method gets this help.


# %%
def ridge(x, y, strength=1.0):
    """Weights A (T+1, K) of the linear forecast; the last row is the constant term."""
    X, Y = with_constant(x), y[:, :, 0].T
    return np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ Y)


def with_constant(x):
    """Windows (T, N, 1) as rows, each with a 1 at its end: (N, T+1)."""
    return np.concatenate([x[:, :, 0].T, np.ones((x.shape[1], 1))], axis=1)


def forecaster_by_hand(layer, params, x, y):
    """Loss and gradients of a forecast from the last hidden state."""
    _, h, tape = layer.forward(params["recurrent"], x)
    W, b = params["output"]["weight"], params["output"]["bias"]
    prediction = (h @ W.T + b).T[:, :, None]  # (K, N, 1)
    error = prediction - y
    ds = (2 * error / error.size)[:, :, 0].T  # (N, K)
    no_dy = np.zeros((*x.shape[:2], layer.hidden_size))  # the loss sees only the final state
    _, _, grads = layer.backward(params["recurrent"], tape, no_dy, dstate=ds @ W)
    return np.mean(error**2), {"recurrent": grads, "output": {"weight": ds.T @ h, "bias": ds.sum(axis=0)}}


# %% [markdown]
# ## Check
#
# Three checks: the gradient by central differences; our function against `rl.models.Forecaster`; and the derivative of
# the ridge objective, which must vanish at its solution.

# %%
(x, y), _ = windows["Mackey-Glass"]
layer = rl.GRU(1, 5)
model = rl.models.Forecaster(layer, horizon=K, num_targets=1)
params = model.init(np.random.default_rng(0))
params["recurrent"]["bias"] = np.random.default_rng(1).normal(size=15)
report = rl.check_gradients(lambda p: forecaster_by_hand(layer, p, x[:, :3], y[:, :3]), params)
loss, grads = forecaster_by_hand(layer, params, x[:, :3], y[:, :3])
loss_rl, grads_rl, _ = model.loss_and_grads(params, (x[:, :3], y[:, :3]))
A, X = ridge(x, y), with_constant(x)
slope = 2 * X.T @ (X @ A - y[:, :, 0].T) + 2 * A
print(f"gradient check {report.passed}; loss {loss:.6f} and {loss_rl:.6f}; slope of ridge {np.abs(slope).max():.1e}")
assert report.passed and np.isclose(loss, loss_rl) and np.abs(slope).max() < 1e-6
for name, g in grads["recurrent"].items():
    assert np.allclose(g, grads_rl["recurrent"][name]), name

# %% [markdown]
# And the mask. Padding may hold anything, even what is not a number. With the right lengths it changes nothing, and its
# gradient is exactly zero.

# %%
rng = np.random.default_rng(2)
lengths = np.array([7, 3, 5])
padded = rng.normal(size=(7, 3, 1))
dirty = np.where(np.arange(7)[:, None, None] < lengths[:, None], padded, np.nan)
_, h, tape = layer.forward(params["recurrent"], padded, lengths=lengths)
_, h_dirty, _ = layer.forward(params["recurrent"], dirty, lengths=lengths)
dx, _, _ = layer.backward(params["recurrent"], tape, np.zeros((7, 3, 5)), dstate=np.ones((3, 5)))
print("gradient of the inputs of sequence 1, of length 3:", np.round(dx[:, 1, 0], 4))
assert (h == h_dirty).all() and (dx[3:, 1] == 0).all() and (dx[:3, 1] != 0).all()

# %% [markdown]
# ## Train: forecasting
#
# A GRU of 32 units, 600 steps of 64 windows, in float32. The changes are divided by their training standard deviation,
# so that the network's numbers are near 1.


# %%
def train(model, draw, steps, rate, seed):
    """Adam with clipping and a cosine schedule on the batches that `draw(rng)` returns."""
    rng = np.random.default_rng(seed)
    params = model.init(rng, dtype=np.float32)
    schedule = rl.optim.schedules.cosine(rate, steps)
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1.0), rl.optim.adam(schedule))
    opt_state = optimizer.init(params)
    for _ in range(steps):
        _, grads, _ = model.loss_and_grads(params, draw(rng))
        params, opt_state = optimizer.step(params, grads, opt_state)
    return params


def train_forecaster(x, y, seed=3):
    """Train on windows and their futures; return a function that forecasts."""
    scale_x, scale_y = x.std(), y.std()
    x, y = (x / scale_x).astype(np.float32), (y / scale_y).astype(np.float32)

    def draw(rng):
        chosen = rng.integers(0, x.shape[1], 64)
        return x[:, chosen], y[:, chosen]

    model = rl.models.Forecaster(rl.GRU(1, 32), horizon=K, num_targets=1)
    params = train(model, draw, 600, 0.01, seed)
    return lambda x_new: scale_y * model.predict(params, (x_new / scale_x).astype(np.float32))


# %%
forecasts = {}
for name, ((x, y), (x_test, y_test)) in windows.items():
    forecasts[name] = {
        "last value": np.zeros_like(y_test),  # no change
        "ridge": (with_constant(x_test) @ ridge(x, y)).T[:, :, None],
        "GRU": train_forecaster(x, y)(x_test),
    }


def mse(forecast, y):
    """The mean squared error."""
    return np.mean((forecast - y) ** 2)


scores = {name: {m: mse(f, windows[name][1][1]) for m, f in found.items()} for name, found in forecasts.items()}
for name, found in scores.items():
    print(f"{name}: test MSE (scaled)  " + ",  ".join(f"{method} {score:.4f}" for method, score in found.items()))
    best = min(found, key=found.get)
    print(f"   the best is {best}; the network's error is {found['GRU'] / found[best]:.2f} times the best one's")
assert scores["Mackey-Glass"]["GRU"] < 0.5 * scores["Mackey-Glass"]["ridge"]

# %% [markdown]
# On Mackey-Glass the network wins by far: the series follows a nonlinear rule without noise, and a linear forecast cannot
# express it. On the oil temperature (if you have it) expect the opposite: the next six hours are close to a straight
# continuation plus noise, and 97 weights for each step ahead, found by one linear solve, are hard to beat. Had we shown the
# network alone, its error of about 0.012 would have looked excellent. **An error means nothing without a baseline.**
# And a mean over all steps hides that even on Mackey-Glass the ridge is better for the first few steps ahead:

# %%
fig, axes = plt.subplots(1, 1 + len(series), figsize=(10, 3.2), layout="constrained")
looks = {"last value": ("#000000", ":"), "ridge": ("#D55E00", "--"), "GRU": ("#0072B2", "-")}
(_, _), (x_test, y_test) = windows["Mackey-Glass"]
ahead, shown = np.arange(1, K + 1), 40
axes[0].plot(np.arange(-T + 1, 1), x_test[:, shown, 0], color="0.6")
axes[0].plot(ahead, y_test[:, shown, 0], "o", color="0.6", markersize=3, label="what came")
for method, (color, style) in looks.items():
    axes[0].plot(ahead, forecasts["Mackey-Glass"][method][:, shown, 0], style, color=color, label=method)
axes[0].set(title="Mackey-Glass: one forecast", xlabel="steps from now", ylabel="change (scaled)", xlim=(-40, K + 1))
for ax, (name, found) in zip(axes[1:], forecasts.items(), strict=True):
    for method, (color, style) in looks.items():
        error = np.mean((found[method] - windows[name][1][1]) ** 2, axis=(1, 2))
        ax.semilogy(ahead, error, style, color=color, label=method)
    ax.set(title=f"{name}: best is {min(scores[name], key=scores[name].get)}", xlabel="steps ahead", ylabel="test MSE")
axes[0].legend(fontsize=8)
plt.show()
first = {method: mse(f[0], y_test[0]) for method, f in forecasts["Mackey-Glass"].items()}
print("Mackey-Glass, one step ahead: " + ",  ".join(f"{method} {error:.5f}" for method, error in first.items()))
assert first["ridge"] < first["GRU"]

# %% [markdown]
# ## Train: classification
#
# A set that is always here: two bumps, one up and one down, in noise, at random places, in series of random length. The
# class is which of them comes first. Beside it the archive's sets, where found.


# %%
def two_bumps(count, rng, longest=100):
    """Padded series x (T, N, 1), classes y (N,) and lengths (N,); y = 1 where the bump up comes first."""
    y, first, gap = rng.integers(0, 2, count), rng.integers(4, 60, count), rng.integers(6, 30, count)
    lengths = rng.integers(first + gap + 5, longest + 1)
    t = np.arange(longest)[:, None]
    early, late = np.exp(-(((t - first) / 1.5) ** 2)), np.exp(-(((t - first - gap) / 1.5) ** 2))
    x = np.where(y == 1, 1, -1) * (early - late) + 0.3 * rng.normal(size=(longest, count))
    return np.where(t < lengths, x, 0)[:, :, None], y, lengths


rng = np.random.default_rng(4)
sets = {"two bumps": (two_bumps(200, rng), two_bumps(500, rng))}
for name, found in archive.items():
    if found is not None:
        sets[name] = tuple((part.x[::4], part.y, part.lengths // 4) for part in (found.train, found.test))
for name, ((x, y, _), (x_test, _, _)) in sets.items():
    print(f"{name:10s} {x.shape[1]} to train on, {x_test.shape[1]} to test on, {len(x)} steps, {len(set(y))} classes")

# %% [markdown]
# (Of the archive's series every fourth value is read, which is faster and, for so smooth series, loses little.) The
# baselines: always the most frequent class, and the class of the *nearest training series* by Euclidean distance.


# %%
def nearest_neighbour(x, y, x_new):
    """The class of the training series nearest to each new one."""
    a, b = x[:, :, 0].T, x_new[:, :, 0].T
    squared = (b**2).sum(axis=1)[:, None] - 2 * b @ a.T + (a**2).sum(axis=1)
    return y[np.argmin(squared, axis=1)]


def train_classifier(x, y, lengths, steps=300, seed=5):
    """Train a GRU of 24 units; return the model and its parameters."""
    x = x.astype(np.float32)

    def draw(rng):
        chosen = rng.integers(0, len(y), 32)
        return x[:, chosen], y[chosen], None if lengths is None else lengths[chosen]

    model = rl.models.SequenceClassifier(rl.GRU(1, 24), num_classes=int(y.max()) + 1)
    return model, train(model, draw, steps, 0.01, seed)


def accuracy(model, params, x, y, lengths):
    """The share of series whose class is predicted right."""
    logits = model.predict(params, x.astype(np.float32), lengths)
    return np.mean(np.argmax(logits, axis=1) == y)


# %%
trained, results = {}, {}
for name, ((x, y, lengths), (x_test, y_test, lengths_test)) in sets.items():
    trained[name] = train_classifier(x, y, np.minimum(lengths, len(x)))
    results[name] = {
        "most frequent": np.mean(y_test == np.bincount(y).argmax()),
        "nearest neighbour": np.mean(y_test == nearest_neighbour(x, y, x_test)),
        "GRU": accuracy(*trained[name], x_test, y_test, np.minimum(lengths_test, len(x_test))),
    }
    half_width = 1.96 * np.sqrt(0.25 / len(y_test))
    print(f"{name:10s} " + ",  ".join(f"{method} {share:.1%}" for method, share in results[name].items()), end="")
    print(f"   ({len(y_test)} test series: chance alone moves a share by up to {half_width:.0%})")
assert results["two bumps"]["GRU"] > results["two bumps"]["nearest neighbour"] + 0.1

# %% [markdown]
# Where the *place* of a pattern varies, the distance between series compares the wrong steps with each other, and the
# network wins. Where all series are aligned, as in Coffee and ECG5000, nearest neighbour is as good, without any training.

# %%
(x, y, lengths), _ = sets["two bumps"]
chosen = [*np.flatnonzero(y == 0)[:3], *np.flatnonzero(y == 1)[:3]]
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for row, n in enumerate(chosen):
    one = x[: lengths[n], n, 0]
    ax.plot(one + 3 * row, color="0.5", linewidth=1)
    ax.plot(one.argmax(), one.max() + 3 * row, "^", color="#0072B2", label="highest value" if row == 0 else None)
    ax.plot(one.argmin(), one.min() + 3 * row, "v", color="#D55E00", label="lowest value" if row == 0 else None)
ax.set_yticks(3 * np.arange(6), [f"class {y[n]}" for n in chosen])
ax.set(xlabel="step", xlim=(-2, 130), title="Which bump comes first? The place varies, and so does the length")
ax.legend(fontsize=8, loc="right")
plt.show()

# %% [markdown]
# ## Break it on purpose 1: windows shuffled across the split
#
# Windows at stride 1 overlap almost wholly. Whoever cuts first and then draws test windows at random has, for each test
# window, its neighbour one step away in the training set, *future included*. The series here is a random walk. For
# its changes, "no change" is the best forecast there can be. The forecaster only looks up the most similar training window
# and repeats what followed.

# %%
rng = np.random.default_rng(6)
walk = np.cumsum(rng.normal(size=(3000, 1)), axis=0)
x, y = changes(walk, 1)


def look_up(x, y, x_new):
    """The future of the most similar training window: (K, N, 1)."""
    return y[:, nearest_neighbour(x, np.arange(x.shape[1]), x_new)]


order = rng.permutation(x.shape[1])
in_time = np.arange(x.shape[1])
splits = {"in time": (in_time[:2000], in_time[2000 + T + K :]), "shuffled": (order[:2000], order[2000:])}
looked_up = {}
for name, (past, test) in splits.items():
    nothing = mse(0, y[:, test])
    looked_up[name] = mse(look_up(x[:, past], y[:, past], x[:, test]), y[:, test])
    print(f"split {name:8s}  look up: {looked_up[name]:6.2f}   best possible (no change): {nothing:6.2f}")
    assert (looked_up[name] < 0.5 * nothing) == (name == "shuffled")

# %% [markdown]
# Shuffled, the table of windows beats the best possible forecast several times over. That is not skill, it is the answer
# sheet. Any method that can memorize profits in the same way, a large network first of all.
#
# ## Break it on purpose 2: a look at the test set
#
# **Choosing by the test score.** Below, "models" that flip a coin, and the one with the best score on the test set.
# Trying seeds, learning rates or layer sizes and quoting the best *test* score is the same. The cure: choose on
# validation data, look at the test set once.

# %%
rng = np.random.default_rng(7)
for size in (28, 500):
    truth, fresh_truth = rng.integers(0, 2, (2, size))
    guesses = rng.integers(0, 2, (100, size))
    share = np.mean(guesses == truth, axis=1)
    chosen = guesses[np.argmax(share)]
    fresh = np.mean(chosen == fresh_truth)
    print(f"{size} test cases: best of 100 coins {share.max():.0%}; the same coin on fresh cases {fresh:.0%}")
    assert share.max() > 0.5 + 0.9 / np.sqrt(size)

# %% [markdown]
# **Scaling with test data.** Mean and standard deviation of the *whole* series know the future. The forecasts below are the
# same ones; only the unit that the error is quoted in changes, by the square of the ratio of the two standard deviations.
# For a series that drifts that is a lot. For a stationary one it is nothing: you cannot know beforehand, so do not do it.

# %%
for name, (past, future) in {**series, "random walk": (walk[:1000], walk[1000:])}.items():
    factor = (past.std() / np.concatenate([past, future]).std()) ** 2
    print(f"{name:16s} the error quoted is multiplied by {factor:.2f}")
    if name == "Mackey-Glass":
        assert 0.9 < factor < 1.1, "this series is stationary"
assert factor < 0.6, "and a random walk is not"

# %% [markdown]
# ## Break it on purpose 3: the wrong mask
#
# The classifier of the two bumps was trained with lengths. Now evaluate it (a) without, so that it reads on over the
# padding, which is 0 or -1; (b) with the lengths of other series, which happens when the series are sorted and the lengths
# are not. Then (c) train without lengths, from two different seeds.

# %%
(x, y, lengths), (x_test, y_test, lengths_test) = sets["two bumps"]
with_mask = trained["two bumps"]
minus_one = np.where(np.arange(len(x_test))[:, None, None] < lengths_test[:, None], x_test, -1)
masks = {
    "right lengths, padded with 0": accuracy(*with_mask, x_test, y_test, lengths_test),
    "right lengths, padded with -1": accuracy(*with_mask, minus_one, y_test, lengths_test),
    "(a) no lengths, padded with 0": accuracy(*with_mask, x_test, y_test, None),
    "(a) no lengths, padded with -1": accuracy(*with_mask, minus_one, y_test, None),
    "(b) the lengths of other series": accuracy(*with_mask, x_test, y_test, np.roll(lengths_test, 1)),
    "(c) trained without, seed 0": accuracy(*train_classifier(x, y, None, seed=0), x_test, y_test, None),
    "(c) trained without, seed 3": accuracy(*train_classifier(x, y, None, seed=3), x_test, y_test, None),
}
for name, share in masks.items():
    print(f"{share:6.1%}  {name}")
right = masks["right lengths, padded with 0"]
assert right == masks["right lengths, padded with -1"] > masks["(b) the lengths of other series"] + 0.05
assert masks["(a) no lengths, padded with 0"] > right - 0.05, "the text below says: no harm"
assert masks["(a) no lengths, padded with -1"] < 0.7

# %% [markdown]
# That a forgotten mask always hurts is folklore. With zeros (a) does no harm here: noise around zero is what the network
# had learned to sit through while it keeps its answer. Padded with -1 the same network is at chance. So a test with
# zeros can let this bug pass; pad with something absurd. (b) costs as many series as are cut before their second
# bump. And (c) depends on the seed: the answer has to survive more steps, and the gradient has to find its way back through
# them, so some seeds are still at chance when others have learned.
#
# ## Exercises
#
# **1.** The *skill* of a forecast is 1 minus its mean squared error divided by that of repeating the last value. Write it.


# %%
def skill(forecast, y):
    """Skill of a forecast of changes y: 1 is perfect, 0 is as good as no change, below 0 is worse."""
    ### BEGIN SOLUTION
    return 1 - mse(forecast, y) / mse(0, y)
    ### END SOLUTION


# %%
(_, _), (_, y_test) = windows["Mackey-Glass"]
assert np.isclose(skill(y_test, y_test), 1), "the truth itself has skill 1"
assert np.isclose(skill(np.zeros_like(y_test), y_test), 0), "no change has skill 0"
assert np.isclose(skill(-y_test, y_test), -3), "twice the error is four times the squared error"
for name, found in forecasts.items():
    print(name, {method: round(float(skill(f, windows[name][1][1])), 3) for method, f in found.items()})

# %% [markdown]
# **2.** For a series with a period a third baseline is due: what happened one period ago. Write it for windows of
# changes as above.


# %%
def one_period_ago(x, period, steps):
    """Repeat the values from `period` steps before, (steps, N, 1); x (T, N, 1) with steps <= period <= T."""
    ### BEGIN SOLUTION
    start = len(x) - period
    return x[start : start + steps]
    ### END SOLUTION


# %%
sine = np.sin(2 * np.pi * np.arange(400) / 24)[:, None]
x, y = changes(sine, 5)
assert one_period_ago(x, 24, K).shape == y.shape, "one forecast for each window and step"
assert np.allclose(one_period_ago(x, 24, K), y), "on a sine of period 24 the forecast is exact"
if ett is not None:
    x_test, y_test = windows["oil temperature"][1]
    print(
        f"the same hour of yesterday has skill {skill(one_period_ago(x_test, 96, K), y_test):.2f} on the oil temperature"
    )

# %% [markdown]
# **3.** Instead of the last state a classifier can read the mean of all hidden states *inside* each sequence. Write it.


# %%
def masked_mean(y, lengths):
    """Mean of y (T, N, H) over the first lengths[n] steps of each sequence: (N, H)."""
    ### BEGIN SOLUTION
    inside = np.arange(len(y))[:, None, None] < lengths[:, None]
    return np.where(inside, y, 0).sum(axis=0) / lengths[:, None]
    ### END SOLUTION


# %%
y, lengths = np.random.default_rng(8).normal(size=(6, 2, 3)), np.array([6, 2])
spoilt = y.copy()
spoilt[2:, 1] = np.nan
assert masked_mean(y, lengths).shape == (2, 3), "one mean a sequence and unit"
assert np.allclose(masked_mean(y, lengths)[0], y[:, 0].mean(axis=0)), "a full sequence: the plain mean"
assert np.allclose(masked_mean(y, lengths)[1], y[:2, 1].mean(axis=0)), "divide by the length, not by T"
assert np.allclose(masked_mean(spoilt, lengths), masked_mean(y, lengths)), "NaN * 0 is NaN: use np.where"

# %% [markdown]
# **4.** The classes of ECG5000 have shares of 58, 35, 2, 4 and 0.5 percent in the test set. Somebody reports 93 percent.
# What accuracy could a model have that never finds the three rare classes, and what would you report instead?
#
# <!-- ### BEGIN SOLUTION -->
# Up to 58 + 35 = 93 percent (93.7 before rounding). Report the share found of each class (its recall) and their mean, or a
# table of predicted against true classes; and with 0.5 percent of 4500, about 22 cases, say how uncertain that class is.
# <!-- ### END SOLUTION -->
