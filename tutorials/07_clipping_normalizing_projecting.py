# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 7. Clipping, normalizing, projecting
#
# Three remedies against exploding gradients: clip the gradient's norm, normalize each array of the gradient, or
# project the recurrent matrix. Afterwards you can code each in a few lines and say what it does to one step, to a
# whole path and to the choice of the learning rate, and where it does nothing or harm.
#
# Needed from before: backpropagation through time (2) and why gradients explode (4).

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl
from rnnlab.backend import tree_items

# %% [markdown]
# ## What each one is
#
# All gradients of a network together are $g$, one array of them (say that of W_hh) is $G$ with $N$ elements. Plain
# SGD moves the parameters by $-\eta g$.
#
# **Clipping by the global norm** (Pascanu, Mikolov and Bengio 2013, Algorithm 1) shortens what is too long:
#
# $$g \leftarrow g \cdot \min\left(1, \frac{c}{\|g\|}\right)$$
#
# The direction stays. The length of a step is at most $\eta c$.
#
# **Weight gradient normalization**, WGN (Wu et al. 2024, Eq. 5), gives each array mean 0 and spread 1:
#
# $$G \leftarrow \frac{G - m}{s + \epsilon}, \qquad m = \frac{1}{N}\sum_i G_i, \qquad
# s^2 = \frac{1}{N}\sum_i (G_i - m)^2 = \frac{1}{N}\|G\|^2 - m^2$$
#
# Two facts follow. The new array has the length $\sqrt{N} s/(s + \epsilon)$, so while $s$ is far above $\epsilon$
# each array moves by $\eta \sqrt{N}$ at every step, however small or large its gradient is. And because
# $\sum_i G_i (G_i - m) = N s^2$, the angle to the plain gradient is known:
#
# $$\cos(G, G - m) = \frac{N s^2}{\|G\| \cdot \sqrt{N} s} = \frac{s}{\sqrt{s^2 + m^2}}$$
#
# which is never negative: a small enough step goes downhill.
#
# **Spectral projection** (Kanai, Fujiwara and Iwamura 2017) leaves the gradient alone. After the step it clips the
# singular values of a recurrent matrix, $W = U S V^T \to U \min(S, \sigma) V^T$. Of all matrices whose spectral norm
# is at most $\sigma$, this one is the nearest to $W$. One step of backpropagation through a tanh layer multiplies by
# W_hh and by slopes of at most 1, so with $\sigma \le 1$ gradients cannot grow on their way back. They can still
# vanish.
#
# ## In code

# %%
WGN_EPS = 1e-5


def length(grads):
    """The norm of all arrays together."""
    return np.sqrt(sum((g**2).sum() for g in grads.values()))


def clipped(grads, max_norm):
    """Clip by the global norm: one factor for all arrays."""
    factor = min(1.0, max_norm / length(grads))
    return {name: factor * g for name, g in grads.items()}


def normalized(grads, eps=WGN_EPS):
    """Weight gradient normalization: each array to mean 0 and standard deviation 1."""
    return {name: (g - g.mean()) / (g.std() + eps) for name, g in grads.items()}


def projected(W, max_norm):
    """The nearest matrix with a spectral norm of at most max_norm."""
    U, s, Vt = np.linalg.svd(W)
    return U @ np.diag(np.minimum(s, max_norm)) @ Vt


# %% [markdown]
# ## Check: a network's gradient, against the library
#
# The network reads 20 symbols and says in which order two rare ones came (the temporal-order task). Its recurrent
# matrix is 1.3 times an orthogonal one: gradients grow on their way back. `tree_items` lists the arrays of the nested
# dict by name.

# %%
TIME_STEPS = 20
layer = rl.RNN(6, 24, init_hh=rl.initializers.orthogonal(1.3))
model = rl.models.SequenceClassifier(layer, num_classes=4)
params = model.init(np.random.default_rng(0))
batch = rl.data.temporal_order(np.random.default_rng(1), num_sequences=32, length=TIME_STEPS)
loss, grads, _ = model.loss_and_grads(params, batch)

w, g = dict(tree_items(params)), dict(tree_items(grads))
for name in g:
    print(f"{name:22} {g[name].shape!s:8} ||G|| {np.linalg.norm(g[name]):6.3f}  mean {g[name].mean():+.1e}")
print(f"all together ||g|| = {length(g):.3f}")


# %%
def one_step(optimizer):
    """The change of every array in one step of a library optimizer."""
    new = dict(tree_items(optimizer.step(params, grads, optimizer.init(params))[0]))
    return {name: new[name] - w[name] for name in w}


RATE, MAX_NORM, SIGMA = 0.1, 1.0, 1.0
sgd = rl.optim.sgd(RATE)
steps = {
    "plain": one_step(sgd),
    "clipped": one_step(rl.optim.chain(rl.optim.clip_by_global_norm(MAX_NORM), sgd)),
    "WGN": one_step(rl.optim.chain(rl.optim.normalize_weight_gradients(eps=WGN_EPS), sgd)),
    "projected": one_step(rl.optim.chain(sgd, rl.optim.project_spectral_norm(SIGMA, only="recurrent.weight_hh"))),
}

# %%
by_hand = {
    "clipped": {name: -RATE * G for name, G in clipped(g, MAX_NORM).items()},
    "WGN": {name: -RATE * G for name, G in normalized(g).items()},
    "projected": {name: -RATE * G for name, G in g.items()},
}
W_hh = w["recurrent.weight_hh"]
by_hand["projected"]["recurrent.weight_hh"] = projected(W_hh - RATE * g["recurrent.weight_hh"], SIGMA) - W_hh

for method, ours in by_hand.items():
    error = max(abs(ours[name] - steps[method][name]).max() for name in g)
    print(f"{method:10} by hand against rl.optim: largest difference {error:.0e}")
    assert error < 1e-10, f"{method}: the few lines above are not what the library does"

# %% [markdown]
# ## One step
#
# Two numbers for each array: how far it moves, and the cosine of the move with the downhill direction $-G$.


# %%
def cosine(a, b):
    """The cosine of the angle between two arrays, or between two dicts of arrays."""
    if isinstance(a, dict):
        a, b = (np.concatenate([d[name].ravel() for name in g]) for d in (a, b))
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


downhill = {name: -G for name, G in g.items()}
lengths = {method: [np.linalg.norm(d[name]) for name in g] for method, d in steps.items()}
cosines = {method: [cosine(d[name], downhill[name]) for name in g] for method, d in steps.items()}
for method, d in steps.items():
    print(f"{method:10} length of the whole step {length(d):6.3f}   cosine with -g {cosine(d, downhill):.3f}")

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
looks = {"plain": ("k", "o"), "clipped": ("#0072B2", "s"), "WGN": ("#D55E00", "^"), "projected": ("#009E73", "D")}
for k, (method, (color, marker)) in enumerate(looks.items()):
    at = np.arange(len(g)) + 0.16 * (k - 1.5)
    axes[0].semilogy(at, lengths[method], marker, color=color, label=method)
    axes[1].plot(at, cosines[method], marker, color=color)
axes[0].set(ylabel="length of the step", title="WGN sets every array's length anew")
axes[1].set(ylabel="cosine with downhill", title="Only the projection turns an array")
for ax in axes:
    ax.set_xticks(range(len(g)), [name.replace(".", "\n") for name in g], fontsize=7)
axes[1].set_ylim(-0.05, 1.1)
fig.legend(loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# - **Clipping** leaves every cosine at 1 and multiplies all lengths by one factor.
# - **WGN** hardly turns an array. It sets all lengths to $\eta\sqrt{N}$: an array with a small gradient moves as far,
#   for its size, as one with a large gradient. That turns the whole step, since the arrays' shares change.
# - **Projection** gives a step that is mostly not the gradient: here it pulls W_hh from $\sigma_1 = 1.3$ to 1. The
#   other arrays take a plain step, so if *their* gradient explodes, nothing holds it.

# %%
for name, G in g.items():
    k = list(g).index(name)
    assert abs(cosines["clipped"][k] - 1) < 1e-9
    assert abs(lengths["WGN"][k] / (RATE * np.sqrt(G.size)) - 1) < 0.01, "WGN's step length is rate * sqrt(N)"
    assert abs(cosines["WGN"][k] - G.std() / np.hypot(G.std(), G.mean())) < 1e-9, "the cosine follows from m and s"
assert length(steps["plain"]) > RATE * MAX_NORM and abs(length(steps["clipped"]) - RATE * MAX_NORM) < 1e-9
assert cosine(steps["WGN"], downhill) < 0.99 and cosine(steps["projected"], downhill) < 0.9

# %% [markdown]
# One more finding: the mean of the two output gradients is 0 already (see the list above). The gradient of a softmax
# sums to 0 over the classes, so centring does *nothing* to the layer below it.

# %%
assert abs(g["output.weight"].mean()) < 1e-12 and abs(g["output.bias"].mean()) < 1e-12

# %% [markdown]
# ## Break it on purpose
#
# **1. Clipping each array and calling it global.** Each array is then at most $c$ long, all $K$ together up to
# $c\sqrt{K}$, and the direction changes.


# %%
def clipped_each(grads, max_norm):
    """Not the global norm: every array has a factor of its own."""
    return {name: clipped({name: G}, max_norm)[name] for name, G in grads.items()}


small = 0.3
print(f"global: length {length(clipped(g, small)):.3f}, cosine {cosine(clipped(g, small), g):.3f}")
print(f"each:   length {length(clipped_each(g, small)):.3f}, cosine {cosine(clipped_each(g, small), g):.3f}")
assert length(clipped_each(g, small)) > 1.5 * small and cosine(clipped_each(g, small), g) < 0.99

# %% [markdown]
# **2. Constant arrays.** If all elements of $G$ are equal, $G - m$ is 0 and so is $s$. In exact arithmetic WGN gives
# 0: the array does not move. In floating point $m$ is rounded, and without $\epsilon$ rounding is all that is left.

# %%
constant = {"bias": np.full(10, 0.1) + 0.2}
noise = normalized(constant, eps=0.0)["bias"]
print("without eps:", noise[:3], " with eps:", normalized(constant)["bias"][:3].round(9))
assert abs(noise).max() > 0.9, "rounding was blown up to the size of a whole step"
assert abs(normalized(constant)["bias"]).max() < 1e-9

# %% [markdown]
# That is no rare accident. An array of *one* element always equals its mean, so **WGN never trains it**. The output
# bias of a network that predicts one number is such an array.

# %%
adder = rl.models.Forecaster(rl.RNN(2, 16), horizon=1, num_targets=1)
adder_start = adder.init(np.random.default_rng(0))
numbers = rl.data.batches.Drawn(lambda rng: rl.data.adding(rng, 32, 10), num_batches=100)
wgn = rl.optim.chain(rl.optim.normalize_weight_gradients(), rl.optim.sgd(0.003))
trained = {
    "WGN": rl.fit(adder, numbers, wgn, epochs=1, params=adder_start),
    "SGD": rl.fit(adder, numbers, rl.optim.sgd(0.03), epochs=1, params=adder_start),
}
for method, result in trained.items():
    print(f"{method}: output bias after 100 steps {result.params['output']['bias']}")
assert trained["WGN"].params["output"]["bias"][0] == 0 and abs(trained["SGD"].params["output"]["bias"][0]) > 0.005

# %% [markdown]
# **3. No centring.** With `center=False` the gradient is divided by $s + \epsilon$ but keeps its mean. Mostly little
# changes. But where the mean is large and the spread is not, the length is $\sqrt{N}\sqrt{s^2 + m^2}/(s + \epsilon)$,
# without a bound: for an array of one element, the gradient times $1/\epsilon = 100\,000$.

# %%
bare = rl.optim.chain(rl.optim.normalize_weight_gradients(center=False), rl.optim.sgd(0.003))
stopped = rl.fit(adder, numbers, bare, epochs=1, params=adder_start, on_nonfinite="stop")
_, bare_loss = stopped.curve("training_loss")
_, wgn_loss = trained["WGN"].curve("training_loss")
print("the first losses without centring:", bare_loss[:6], "and with:", wgn_loss[:6].round(2))
assert bare_loss[:10].max() > 1e6 and wgn_loss[-10:].mean() < 0.5 and stopped.stopped == "nonfinite"

# %% [markdown]
# With centring, the mean of each array of weights never changes. That is a restriction: the best weights may have
# another mean. SGD has none.

# %%
drift = {}
for method, result in trained.items():
    ends = dict(tree_items(result.params))
    drift[method] = {name: float(ends[name].mean() - start.mean()) for name, start in tree_items(adder_start)}
    print(f"{method}: change of the mean", {name: round(change, 4) + 0.0 for name, change in drift[method].items()})
assert max(map(abs, drift["WGN"].values())) < 1e-5 and max(map(abs, drift["SGD"].values())) > 5e-3

# %% [markdown]
# ## A path beside a cliff
#
# A network whose loss we can draw: two units, opposite to each other, and no input.
#
# $$W_{hh} = \frac{w}{2}\begin{pmatrix}1 & -1\\ -1 & 1\end{pmatrix}, \qquad b = \begin{pmatrix}b\\ -b\end{pmatrix},
# \qquad h_0 = \begin{pmatrix}0.5\\ -0.5\end{pmatrix}$$
#
# Both units do $h_t = \tanh(w h_{t-1} + b)$, the second with the opposite sign, and so it stays: the gradient is
# $\pm s$ in all elements of W_hh and $\pm t$ in those of the bias. SGD, clipping, WGN and projection (the
# spectral norm of W_hh is $|w|$) all stay in the plane $(w, b)$. After 50 steps $h$ should be 0.5.
#
# For $w > 1$ and small $b$ the network has two stable states, one above and one below. Which of them $h_0$ falls into
# changes at a line in the plane; there the loss has a wall. First the loss and its slopes for a whole plane at once.

# %%
STEPS_IN_TIME, TARGET, H0 = 50, 0.5, 0.5


def loss_and_slopes(w, b):
    """The loss (h - 0.5)^2 after 50 steps, and its derivatives by w and b; w and b may be arrays."""
    h = [np.full(np.shape(w), H0)]
    for _ in range(STEPS_IN_TIME):
        h.append(np.tanh(w * h[-1] + b))
    dh, dw, db = 2 * (h[-1] - TARGET), 0.0, 0.0
    for t in range(STEPS_IN_TIME, 0, -1):
        da = dh * (1 - h[t] ** 2)
        dw, db, dh = dw + da * h[t - 1], db + da, da * w
    return (h[-1] - TARGET) ** 2, dw, db


# %% [markdown]
# The same network in the library, to check the slopes: $dL/dw$ is $2s$, $dL/db$ is $2t$.

# %%
OPPOSITE = np.array([1.0, -1.0])
two_units = rl.RNN(1, 2)


def network(w, b):
    """The parameters at the point (w, b) of the plane."""
    W_hh = w / 2 * np.outer(OPPOSITE, OPPOSITE)
    return {"weight_ih": np.zeros((2, 1)), "weight_hh": W_hh, "bias": b * OPPOSITE}


def network_loss(params):
    """The loss of the two units, and the gradients."""
    x = np.zeros((STEPS_IN_TIME, 1, 1))
    y, _, tape = two_units.forward(params, x, H0 * OPPOSITE[None])
    error = y[-1] - TARGET * OPPOSITE
    dy = np.zeros_like(y)
    dy[-1] = error
    return 0.5 * (error**2).sum(), two_units.backward(params, tape, dy)[2]


L, dw, db = loss_and_slopes(0.8, -0.3)
L_net, grads_net = network_loss(network(0.8, -0.3))
print(f"loss {L:.6f} {L_net:.6f}; dL/dw {dw:.6f} {2 * grads_net['weight_hh'][0, 0]:.6f}")
assert np.allclose([L, dw, db], [L_net, 2 * grads_net["weight_hh"][0, 0], 2 * grads_net["bias"][0]], atol=1e-9)

# %% [markdown]
# How steep is the wall? It is too thin for a grid of points; bisection finds it.

# %%
low, high = -1.0, 0.0  # at w = 1.7 the loss is large at low, small at high
for _ in range(30):
    middle = 0.5 * (low + high)
    low, high = (middle, high) if loss_and_slopes(1.7, middle)[0] > 0.5 else (low, middle)
for b in (high + 0.1, high + 0.01, high):
    L, dw, db = loss_and_slopes(1.7, b)
    print(f"w = 1.7, b = {b:.6f}: loss {L:.3f}, slope {np.hypot(dw, db):.2g}")
assert np.hypot(dw, db) > 1e3 * np.hypot(*loss_and_slopes(1.7, high + 0.1)[1:])


# %%
def walk(start, optimizer, steps=300):
    """The points (w, b) that an optimizer passes, and the loss at each."""
    params = network(*start)
    state, points, losses = optimizer.init(params), [start], []
    for _ in range(steps):
        loss, grads = network_loss(params)
        params, state = optimizer.step(params, grads, state)
        points.append((2 * params["weight_hh"][0, 0], params["bias"][0]))
        losses.append(loss)
    return np.array(points), np.array(losses)


PLANE_RATE, PLANE_NORM = 0.1, 0.2
plane_sgd = rl.optim.sgd(PLANE_RATE)
walkers = {
    "plain": plane_sgd,
    "clipped": rl.optim.chain(rl.optim.clip_by_global_norm(PLANE_NORM), plane_sgd),
    "WGN": rl.optim.chain(rl.optim.normalize_weight_gradients(), rl.optim.sgd(0.01)),
    "projected": rl.optim.chain(plane_sgd, rl.optim.project_spectral_norm(1.0, only="weight_hh")),
}
START = (1.8, -0.2)
paths = {name: walk(START, optimizer) for name, optimizer in walkers.items()}
for name, (points, losses) in paths.items():
    longest = np.hypot(*np.diff(points, axis=0).T).max()
    print(f"{name:10} longest step {longest:8.3f}, loss {losses[0]:.3f} -> {losses[-10:].mean():.1e}")
assert np.hypot(*np.diff(paths["plain"][0], axis=0).T).max() > 3, "SGD is thrown"
assert paths["plain"][1][-1] > 0.2 > 0.01 > paths["clipped"][1][-1]

# %%
ws, bs = np.meshgrid(np.linspace(0.5, 2.1, 500), np.linspace(-0.5, 0.4, 500))
fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
filled = ax.contourf(ws, bs, loss_and_slopes(ws, bs)[0], levels=np.linspace(0, 2.25, 16), cmap="Greys", vmax=4)
for name, (points, _) in paths.items():
    color, marker = looks[name]
    every = 15 if name in ("clipped", "WGN") else 1
    ax.plot(*points.T, marker=marker, color=color, markersize=5, markevery=every, linewidth=1.5, label=name)
ax.plot(*START, "*", color="k", markersize=14)
ax.set(xlim=(0.5, 2.1), ylim=(-0.5, 0.4), xlabel="w, the weight", ylabel="b, the bias")
ax.set_title("Four paths from the star: SGD leaves the picture at the wall")
fig.colorbar(filled, label="loss")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# Is this start special? Whether SGD is thrown depends on how close to the wall one of its points happens to fall. So
# we take 3600 starts. The four methods in the coordinates of the plane need a line each. Plain SGD moves $w$ by
# $-\eta\, dL/dw$ and $b$ by $-\frac{\eta}{2} dL/db$ (two elements of the bias move instead of one number). WGN
# sees arrays of $\pm s$ with mean 0 and spread $|s|$: **here it is the sign of the gradient**, and $w$ moves by
# $\pm 2\eta$, $b$ by $\pm\eta$.


# %%
def plane_walk(method, w, b, rate, sigma=1.0, steps=300, decay=False):
    """The loss at the end for many starts at once, and whether any step was longer than 1."""
    thrown = np.zeros(np.shape(w), bool)
    for k in range(steps):
        now = rate * (0.5 + 0.5 * np.cos(np.pi * k / steps)) if decay else rate
        _, dw, db = loss_and_slopes(w, b)
        if method == "clipped":
            factor = np.minimum(1, PLANE_NORM / np.maximum(np.sqrt(dw**2 + db**2 / 2), 1e-300))
            dw, db = factor * dw, factor * db
        if method == "WGN":
            dw, db = dw / (abs(dw) / 2 + WGN_EPS), db / (abs(db) / 2 + WGN_EPS)
        w, b = w - now * dw, b - now * db / 2
        thrown |= np.hypot(now * dw, now * db / 2) > 1
        w = np.clip(w, -sigma, sigma) if method == "projected" else w
    return loss_and_slopes(w, b)[0], thrown


for name, optimizer in walkers.items():
    points, _ = walk((0.8, -0.3), optimizer, steps=20)
    end, _ = plane_walk(name, 0.8, -0.3, 0.01 if name == "WGN" else PLANE_RATE, steps=20)
    assert np.isclose(end, loss_and_slopes(*points[-1])[0], rtol=1e-4), f"{name}: the plane is not the network"

# %%
starts = np.meshgrid(np.linspace(1, 3, 60), np.linspace(-1, 0.6, 60))
arms = {
    "plain": ("plain", PLANE_RATE, 1.0, False),
    "clipped": ("clipped", PLANE_RATE, 1.0, False),
    "WGN, constant rate": ("WGN", 0.01, 1.0, False),
    "WGN, cosine rate": ("WGN", 0.02, 1.0, True),
    "projected to 1": ("projected", PLANE_RATE, 1.0, False),
    "projected to 1.8": ("projected", PLANE_RATE, 1.8, False),
}
ends, thrown = {}, {}
for name, (method, rate, sigma, decay) in arms.items():
    ends[name], thrown[name] = plane_walk(method, *starts, rate, sigma, decay=decay)
failed = {name: (end > 0.05).mean() for name, end in ends.items()}
for name in arms:
    print(f"{name:20} not learned {failed[name]:6.1%} of the starts, thrown {thrown[name].mean():6.1%}")

# %%
fig, axes = plt.subplots(2, 3, figsize=(9, 5.2), layout="constrained", sharex=True, sharey=True)
for ax, (name, end) in zip(axes.flat, ends.items(), strict=True):
    shown = ax.pcolormesh(*starts, np.log10(end + 1e-8), vmin=-6, vmax=0.4, cmap="cividis", rasterized=True)
    ax.set_title(f"{name}: {failed[name]:.0%} not learned", fontsize=9)
fig.supxlabel("w of the start")
fig.supylabel("b of the start")
fig.suptitle("SGD is a lottery near the wall; a decaying rate or a small spectral norm is not")
fig.colorbar(shown, ax=axes, label="log10 of the loss after 300 steps")
plt.show()

# %% [markdown]
# - **Plain SGD** meets the wall as a lottery: neighbouring starts end well or far outside.
# - **Clipping** throws nobody. What it does not cure is the flat land (the yellow areas): where the gradient is
#   *small*, clipping does nothing, and these starts stand still exactly as with plain SGD.
# - **WGN** walks off the flat land too, since its step does not depend on the gradient's size. For the same reason
#   it cannot come to rest: with a constant rate it zigzags along the wall and often ends on the wrong side of it.
#   With a decaying rate it arrives from everywhere. (Do not expect this in larger networks: in this plane it is sign
#   descent in two numbers.)
# - **Projection to 1** removes the wall: for $|w| \le 1$ there is only one stable state. **Projection to 1.8** leaves
#   part of the wall inside, and throws go on. The paper's limit $2 - \delta$ is for the GRU's candidate matrix,
#   where the Jacobian at 0 is $\frac{1}{2}I + \frac{1}{4}W$. Taken over to a tanh network it protects from nothing.

# %%
assert thrown["plain"].mean() > 0.05 and thrown["projected to 1.8"].mean() > 0.03
assert thrown["clipped"].mean() == 0 and thrown["WGN, constant rate"].mean() == 0
assert failed["clipped"] > 0.1 and failed["WGN, constant rate"] > 0.1
assert failed["WGN, cosine rate"] < 0.01 and failed["projected to 1"] < 0.03

# %% [markdown]
# ## The learning-rate curve
#
# A method that is better at *one* learning rate may just have had another rate fit it. So each method gets its own
# grid, and we look at the whole curve. Adam runs along, because nobody should compare with plain SGD alone. Task: the
# temporal order of 20 symbols, a tanh network of 24 units, 300 steps, 3 seeds. A run counts as diverged if its loss
# on 256 fresh sequences ends above 1.5 times $\log 4$, the loss of guessing, or is no number.

# %%
GUESSING = np.log(4)
racer = rl.models.SequenceClassifier(rl.RNN(6, 24), num_classes=4)
test = rl.data.temporal_order(np.random.default_rng(99), 256, TIME_STEPS, np.float32)
source = rl.data.batches.Drawn(lambda rng: rl.data.temporal_order(rng, 32, TIME_STEPS, np.float32), num_batches=300)


def final_loss(optimizer, seed):
    """The loss on the test sequences after 300 steps; NaN if the training broke off."""
    result = rl.fit(racer, source, optimizer, epochs=1, seed=seed, on_nonfinite="stop")
    return float(racer.loss(result.params, test)[0]) if result.stopped == "epochs" else np.nan


def curve(make, rates):
    """The final losses, one row a rate, one column a seed."""
    return np.array([[final_loss(make(rate), seed) for seed in range(3)] for rate in rates])


# %%
optim = rl.optim
coarse, fine = np.geomspace(1e-2, 3, 6), np.geomspace(3e-4, 9e-2, 6)
makers = {
    "plain": (optim.sgd, coarse),
    "clipped": (lambda rate: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(rate)), coarse),
    "WGN": (lambda rate: optim.chain(optim.normalize_weight_gradients(), optim.sgd(rate)), fine),
    "WGN without centring": (
        lambda rate: optim.chain(optim.normalize_weight_gradients(center=False), optim.sgd(rate)),
        fine,
    ),
    "projected": (
        lambda rate: optim.chain(optim.sgd(rate), optim.project_spectral_norm(1.0, only="recurrent.weight_hh")),
        coarse,
    ),
    "Adam": (optim.adam, fine),
}
looks |= {"WGN without centring": ("#CC79A7", "v"), "Adam": ("#E69F00", "P")}
curves = {name: curve(make, rates) for name, (make, rates) in makers.items()}

# %%
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
CEILING, FLOOR = 1.5 * GUESSING, 1e-7
for name, losses in curves.items():
    rates = makers[name][1]
    color, marker = looks[name]
    fine_runs = np.where(losses < CEILING, losses, np.nan)  # a comparison with NaN is False
    ax.loglog(rates, np.median(np.where(np.isnan(fine_runs), 9, losses), axis=1).clip(FLOOR, 3.5), color=color, lw=1)
    ax.loglog(np.repeat(rates, 3), fine_runs.clip(FLOOR).ravel(), marker, color=color, ms=5, label=name)
    lost = np.repeat(rates, 3)[np.isnan(fine_runs).ravel()]
    ax.loglog(lost, np.full(len(lost), 3.5), "x", color=color, ms=8)
ax.axhline(GUESSING, color="0.5", ls=":", lw=1)
ax.text(ax.get_xlim()[0] * 1.1, GUESSING * 1.1, "guessing", color="0.4", fontsize=8)
ax.set(xlabel="learning rate", ylabel="test loss after 300 steps (nats)", ylim=(None, 6))
ax.set_title("WGN is best here with or without its mean; crosses at the top diverged", fontsize=11)
ax.legend(fontsize=8)
plt.show()

# %%
best = {name: np.nanmin(np.median(losses, axis=1)) for name, losses in curves.items()}
print(f"{'':22}best median   rates with a median below 0.3   diverged runs")
for name, losses in curves.items():
    good = makers[name][1][np.median(losses, axis=1) < 0.3]
    span = f"{good.min():.0e} to {good.max():.0e}" if len(good) else "none"
    print(f"{name:22}{best[name]:10.1e}   {span:>30}   {(~(losses < CEILING)).sum():8} of {losses.size}")

# %% [markdown]
# What this experiment shows, for this task and size:
#
# - **Clipping** makes rates usable that are three to ten times as large, and at those it reaches a lower loss. At small
#   rates it is plain SGD or slower. At 0.1 plain SGD is a lottery: even another BLAS library changes which seed learns.
# - **WGN** is best here. But compare the arm **without centring**: the curve is much the same. What helps is that every
#   array has a step of its own standard length; subtracting the mean hardly matters.
# - Do not read too much into its lowest point. A loss of 0.001 already means a probability of 99.9 % for the right
#   answer. WGN goes on below because its steps do not shrink when the gradient does. **Adam**, which solves the task
#   too, has the wider range of rates.
# - WGN still needs its rate to be found. Its steps cannot explode; yet at the two largest rates it has learned nothing,
#   since each step moves the weights too far.
# - **Projection to 1 harms here**. A likely reason: W_hh starts orthogonal, with all singular values 1, and is kept
#   from growing; the slopes of tanh are below 1; and the first symbol must be remembered for up to 18 steps.

# %%
assert best["clipped"] < 0.5 * best["plain"], "clipping reaches a lower loss than plain SGD"
assert best["WGN"] < 0.5 * best["clipped"] and best["WGN without centring"] < best["clipped"]
assert best["Adam"] < 0.1, "Adam solves the task"
assert best["projected"] > 3 * best["clipped"], "projection harms on this task"
assert np.nanmedian(curves["WGN"][-2:]) > 0.5 * GUESSING, "WGN fails too if its rate is too large"

# %% [markdown]
# ## Exercises
#
# **1.** Clipping by *value* limits each element of the gradient to $[-l, l]$. Write it, and find out whether it keeps
# the direction.


# %%
def clipped_by_value(grads, limit):
    """The gradients, each element limited to [-limit, limit]."""
    ### BEGIN SOLUTION
    return {name: np.clip(G, -limit, limit) for name, G in grads.items()}
    ### END SOLUTION


# %%
limit = 0.05
library_step = one_step(rl.optim.chain(rl.optim.clip_by_value(limit), sgd))
for name, G in clipped_by_value(g, limit).items():
    assert abs(G).max() <= limit, f"{name} still has an element beyond the limit"
    assert np.allclose(library_step[name], -RATE * G), f"{name}: the library's clip_by_value differs"
print(f"cosine with the gradient: {cosine(clipped_by_value(g, limit), g):.3f}, so the direction changes")

# %% [markdown]
# **2.** Clipping by the global norm with the threshold $c$, then WGN: what does the clipping do? Return the step of
# this chain *without* clipping anything, exact up to $\epsilon$.


# %%
def clipped_then_normalized(grads, max_norm):
    """What WGN makes of clipped gradients."""
    ### BEGIN SOLUTION
    return normalized(grads)  # (aG - am) / (as) = (G - m) / s for every a > 0: clipping is undone
    ### END SOLUTION


# %%
truth = one_step(rl.optim.chain(rl.optim.clip_by_global_norm(0.5), rl.optim.normalize_weight_gradients(), sgd))
for name, G in clipped_then_normalized(g, 0.5).items():
    assert np.allclose(truth[name], -RATE * G, atol=1e-2 * RATE), f"{name}: think of what WGN does to 2G"
print("right: WGN does not see the factor")

# %% [markdown]
# **3.** If only *one* singular value of $W$ is above $\sigma$, the projection needs no full decomposition:
# $W - (s_1 - \sigma) u_1 v_1^T$. Find $s_1, u_1, v_1$ by power iteration: multiply a vector by $W^T W$ and bring it to
# length 1, again and again.


# %%
def project_one(W, max_norm, rng, rounds=500):
    """Project a matrix of which at most one singular value is above max_norm."""
    ### BEGIN SOLUTION
    v = rng.normal(size=W.shape[1])
    for _ in range(rounds):
        v = W.T @ (W @ v)
        v /= np.linalg.norm(v)
    s = np.linalg.norm(W @ v)
    u = W @ v / s
    return W - max(s - max_norm, 0.0) * np.outer(u, v)
    ### END SOLUTION


# %%
rng = np.random.default_rng(3)
U, _, Vt = np.linalg.svd(rng.normal(size=(8, 8)))
one_large = U @ np.diag([3.0, *np.linspace(0.9, 0.1, 7)]) @ Vt
assert np.allclose(project_one(one_large, 1.0, rng), projected(one_large, 1.0)), "not the projection"
assert np.allclose(project_one(0.1 * one_large, 1.0, rng), 0.1 * one_large), "nothing is to be clipped here"
print("right: spectral norm", np.linalg.norm(project_one(one_large, 1.0, rng), 2).round(6))

# %% [markdown]
# **4.** In words: a colleague writes "WGN makes the learning rate unimportant, since gradients are normalized". Which
# two observations of this notebook speak against that?

# %% [markdown]
# <!-- ### BEGIN SOLUTION -->
# First, each step of WGN has the length $\eta\sqrt{N}$, so the rate *is* the step; the learning-rate curve shows good
# losses over about one decade of rates and none beyond. Second, with a constant rate the steps never get shorter, and
# the path beside the cliff zigzags for ever; only with a decaying rate does it arrive.
# <!-- ### END SOLUTION -->
