# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 6. The GRU
#
# After this notebook you can write both variants of the GRU with their backward passes, say why weights of one do not fit
# the other, and treat the network as a dynamical system: when is the state 0 stable, what happens when it stops being so,
# and what does it help to keep it so in training?
#
# You need the LSTM (notebook 5) and the spectral radius and norm (4).

# %%
import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

# %% [markdown]
# ## The equations, twice
#
# The GRU (Cho et al. 2014) has one state and two gates. $r$, "reset", says how much of the old state the candidate $n$ may
# see; $z$, "update", how much of the old state stays:
#
# $$\begin{aligned}
# r &= \sigma(W_{ir} x + W_{hr} h + b_r), \qquad z = \sigma(W_{iz} x + W_{hz} h + b_z) \\
# h' &= (1 - z) \odot n + z \odot h
# \end{aligned}$$
#
# The candidate exists in two variants, which differ in where $r$ acts:
#
# $$\begin{aligned}
# \text{before:} \quad n &= \tanh(W_{in} x + b_n + W_{hn} (r \odot h)) \\
# \text{after:} \quad n &= \tanh(W_{in} x + b_n + r \odot (W_{hn} h + b_{hn}))
# \end{aligned}$$
#
# "before" is the published cell; "after" is what cuDNN computes, and so PyTorch, and Keras by default. The reason is speed. With
# "after", all that $h$ enters is *one* product with the stacked matrix $W_{hh}$. With "before", the product with
# $W_{hn}$ has to wait for $r$: two products, one after the other, at every step. Note too that "after" can tell two
# biases apart: $b_{hn}$ stands inside the reset gate's reach, $b_n$ outside.
#
# ## The backward pass
#
# From $dh'$, with $u = W_{hn} h + b_{hn}$ in the variant "after":
#
# $$\begin{aligned}
# dz &= dh' \odot (h - n), \quad dn = dh' \odot (1-z), \quad da_n = dn \odot (1 - n^2), \quad dh = dh' \odot z \\
# \text{after:} \quad dr &= da_n \odot u, \quad du = da_n \odot r, \quad dh \mathrel{+}= W_{hn}^\top du \\
# \text{before:} \quad dv &= W_{hn}^\top da_n, \quad dr = dv \odot h, \quad dh \mathrel{+}= dv \odot r \\
# da_r &= dr \odot r (1-r), \quad da_z = dz \odot z (1-z), \quad dh \mathrel{+}= W_{hr}^\top da_r + W_{hz}^\top da_z
# \end{aligned}$$

# %% [markdown]
# ## Both in code


# %%
def sigmoid(a):
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def step(params, x, h, reset):
    """One step forward, x (N, D) and h (N, H); also return what backward needs."""
    W_r, W_z, W_n = np.split(params["weight_hh"], 3)
    a_r, a_z, a_n = np.split(x @ params["weight_ih"].T + params["bias"], 3, axis=1)
    r, z = sigmoid(a_r + h @ W_r.T), sigmoid(a_z + h @ W_z.T)
    if reset == "after":
        u = h @ W_n.T + params["bias_hn"]
        n = np.tanh(a_n + r * u)
    else:
        u = None
        n = np.tanh(a_n + (r * h) @ W_n.T)
    return (1 - z) * n + z * h, (x, h, r, z, n, u)


def step_back(params, cache, dh_new, reset):
    """From dh' to dh and the gradients of the parameters at this step."""
    x, h, r, z, n, u = cache
    W_r, W_z, W_n = np.split(params["weight_hh"], 3)
    dz, dn, dh = dh_new * (h - n), dh_new * (1 - z), dh_new * z
    da_n = dn * (1 - n**2)
    if reset == "after":
        dr, du = da_n * u, da_n * r
        dh, dW_n = dh + du @ W_n, du.T @ h
    else:
        dv = da_n @ W_n
        dr, dh, dW_n = dv * h, dh + dv * r, da_n.T @ (r * h)
    da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    grads = {"weight_ih": da.T @ x, "weight_hh": np.concatenate([da_r.T @ h, da_z.T @ h, dW_n]), "bias": da.sum(axis=0)}
    if reset == "after":
        grads["bias_hn"] = du.sum(axis=0)
    return dh + da_r @ W_r + da_z @ W_z, grads


# %%
def run(params, x, reset, h=None, step=step):
    """Run sequences x (T, N, D); return y (T, N, H) and the caches."""
    h = np.zeros((x.shape[1], params["weight_hh"].shape[1])) if h is None else h
    y, caches = [], []
    for x_t in x:
        h, cache = step(params, x_t, h, reset)
        y.append(h)
        caches.append(cache)
    return np.array(y), caches


def backward(params, caches, dy, reset, step_back=step_back):
    """Backpropagate dy (T, N, H); return the gradients of the parameters."""
    total, dh = {name: np.zeros_like(p) for name, p in params.items()}, 0
    for cache, dy_t in zip(reversed(caches), dy[::-1], strict=True):
        dh, grads = step_back(params, cache, dh + dy_t, reset)
        total = {name: total[name] + grads[name] for name in total}
    return total


# %% [markdown]
# ## Check
#
# Against rnnlab's two layers, with biases that are not zero, and by differences.


# %%
def draw(rng, layer):
    """Return random parameters, biases and all."""
    return {name: p + 0.5 * rng.normal(size=p.shape) for name, p in layer.init(rng).items()}


rng = np.random.default_rng(0)
T, N, D, H = 6, 3, 2, 4
x, dy = rng.normal(size=(T, N, D)), rng.normal(size=(T, N, H))
layers = {reset: rl.GRU(D, H, reset=reset) for reset in ("before", "after")}
all_params = {reset: draw(rng, layer) for reset, layer in layers.items()}


def checked(params, reset, step_back=step_back):
    """Return the checker's report on the loss sum(dy * y)."""

    def function(params):
        y, caches = run(params, x, reset)
        return (dy * y).sum(), backward(params, caches, dy, reset, step_back)

    return rl.check_gradients(function, params)


for reset, layer in layers.items():
    params = all_params[reset]
    y, caches = run(params, x, reset)
    their_y, _, tape = layer.forward(params, x)
    _, _, theirs = layer.backward(params, tape, dy)
    mine = backward(params, caches, dy, reset)
    worst = max(np.abs(mine[name] - theirs[name]).max() for name in params)
    report = checked(params, reset)
    print(f"{reset:6}  outputs differ by {np.abs(y - their_y).max():.0e}, gradients by {worst:.0e}, "
          f"from differences by {report.max_relative_error:.0e} (relative)")  # fmt: skip
    assert np.allclose(y, their_y, atol=1e-13) and worst < 1e-11 and report.passed

# %% [markdown]
# ## The same weights, two networks
#
# How different are the variants? We give both the same matrices and biases, with $b_{hn} = 0$.

# %%
shared = all_params["before"]
long = rng.normal(size=(50, N, D))
as_before, _ = run(shared, long, "before")
as_after, _ = run({**shared, "bias_hn": np.zeros(H)}, long, "after")
difference = np.abs(as_before - as_after).max()
print(f"largest difference of the outputs, which lie between -1 and 1: {difference:.2f}")
assert difference > 0.1

# %% [markdown]
# They agree where $r \odot (W_{hn} h) = W_{hn} (r \odot h)$, which is when $W_{hn}$ is diagonal. One unit is such a case.

# %%
diagonal = {**shared, "weight_hh": shared["weight_hh"].copy()}
diagonal["weight_hh"][2 * H :] *= np.eye(H)
a, _ = run(diagonal, long, "before")
b, _ = run({**diagonal, "bias_hn": np.zeros(H)}, long, "after")
print("largest difference with a diagonal W_hn:", np.abs(a - b).max())
assert np.allclose(a, b, atol=1e-12)

# %% [markdown]
# And $b_{hn}$ is no luxury: moving it into $b_n$ changes the outputs, because $r$ scales one and not the other.

# %%
p = all_params["after"]
moved = {**p, "bias": p["bias"] + np.concatenate([np.zeros(2 * H), p["bias_hn"]]), "bias_hn": np.zeros(H)}
shift = np.abs(run(p, x, "after")[0] - run(moved, x, "after")[0]).max()
print(f"outputs change by up to {shift:.2f} when b_hn is added to b_n instead")
assert shift > 0.05

# %% [markdown]
# ## Break it on purpose
#
# **A bias forgotten, once.** In "after", $dr = da_n \odot u$ with $u = W_{hn} h + b_{hn}$. Suppose that the backward pass uses
# $W_{hn} h$ alone. A checker that is given biases of zero, as most initializers leave them, sees nothing.


# %%
def step_back_without_bias(params, cache, dh_new, reset):
    x, h, r, z, n, u = cache
    return step_back(params, (x, h, r, z, n, u - params["bias_hn"]), dh_new, reset)  # the mistake


no_bias = {**p, "bias_hn": np.zeros(H)}
blind, seeing = (checked(q, "after", step_back_without_bias) for q in (no_bias, p))
print("zero biases:  ", "passed" if blind.passed else "failed")
print("random biases:", "passed" if seeing.passed else "failed", f"(relative error {seeing.max_relative_error:.1e})")
print("named by the checker:", seeing.worst)
assert blind.passed and not seeing.passed

# %% [markdown]
# **The other polarity.** Some papers write $h' = z \odot n + (1 - z) \odot h$. Since $1 - \sigma(a) = \sigma(-a)$ that is the
# same network with the signs of the z blocks changed. Loading such weights without changing signs gives no error, only
# another network; no gradient check tells.

# %%
flipped = {name: value.copy() for name, value in p.items()}
for name in ("weight_ih", "weight_hh", "bias"):
    flipped[name][H : 2 * H] *= -1


def step_other_polarity(params, x, h, reset):
    _, cache = step(params, x, h, reset)
    z, n = cache[3], cache[4]
    return z * n + (1 - z) * h, cache


y = run(p, x, "after")[0]
loaded = run(p, x, "after", step=step_other_polarity)[0]
converted = run(flipped, x, "after", step=step_other_polarity)[0]
print(f"as loaded: off by {np.abs(loaded - y).max():.2f}; z blocks negated: off by {np.abs(converted - y).max():.0e}")
assert np.abs(loaded - y).max() > 0.1 and np.allclose(converted, y, atol=1e-14)

# %% [markdown]
# ## The fixed point at the origin
#
# Without biases and with input 0, the state 0 stays 0: $n = \tanh(0) = 0$ and $h' = 0$. Is this *fixed point* stable, that is, do
# small states die out? The Jacobian there decides. At $h = 0$ both gates are $\sigma(0) = 1/2$, and every term that has
# a slope of a gate carries a factor $h$, $n$ or $u$, which are 0. What is left, for both variants:
#
# $$J = \frac{\partial h'}{\partial h}\Big|_0 = \mathrm{diag}(z) + \mathrm{diag}(1 - z)\, W_{hn}\, \mathrm{diag}(r)
# = \tfrac12 I + \tfrac14 W_{hn}.$$
#
# The gates' own matrices have dropped out. The origin is stable if all eigenvalues $\tfrac12 + \tfrac14 \lambda$ lie inside
# the unit circle, in terms of the eigenvalues $\lambda$ of $W_{hn}$:
#
# $$|\lambda + 2| < 4 \quad \text{(exact)}, \qquad \|W_{hn}\|_2 < 2 \quad \text{(sufficient, since } |\lambda| \le \|W_{hn}\|_2).$$
#
# The second is the condition that Kanai, Fujiwara and Iwamura (2017) enforce in training.


# %%
def without_biases(rng, H, reset, D=2):
    """Return a GRU without biases and its parameters."""
    layer = rl.GRU(D, H, reset=reset, bias=False)
    return layer, layer.init(rng)


for reset in ("before", "after"):
    layer, params = without_biases(rng, H, reset)
    J = rl.dynamics.step_jacobians(layer, params, np.zeros((1, 1, D)))[0, 0]
    expected = np.eye(H) / 2 + params["weight_hh"][2 * H :] / 4
    print(f"{reset:6}: J(0) - (I/2 + W_hn/4) is at most {np.abs(J - expected).max():.0e}")
    assert np.allclose(J, expected, atol=1e-15)

y, _, _ = rl.GRU(D, H).forward(all_params["after"], np.zeros((1, 1, D)))
print("with biases the origin is no fixed point; after one step h =", y[0, 0].round(2))
assert np.abs(y).max() > 0.05

# %% [markdown]
# ## Bifurcations: what happens at the border
#
# Take one unit, $W_{hr} = W_{hz} = 0$, and let $W_{hn} = w$. The map is $h' = \tfrac12 h + \tfrac12 \tanh(\tfrac12 w h)$. The exact
# condition says stable for $-6 < w < 2$. We iterate from two small states and look where they end.


# %%
def settle(W_hn, h, steps, keep, W_hr=None):
    """Iterate the GRU without input and biases, return the last ``keep`` states, shape (keep, N, H)."""
    H = len(W_hn)
    gates = np.zeros((2 * H, H))
    if W_hr is not None:
        gates[:H] = W_hr
    layer = rl.GRU(1, H, reset="before", bias=False)
    params = {"weight_ih": np.zeros((3 * H, 1)), "weight_hh": np.concatenate([gates, W_hn])}
    return layer.forward(params, np.zeros((steps, len(h), 1)), h)[0][-keep:]


weights = np.linspace(-10, 6, 161)
ends = np.array([settle(np.array([[w]]), np.array([[0.1], [-0.1]]), 600, 4)[:, :, 0].ravel() for w in weights])

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(weights, ends, ".", color="#0072B2", markersize=3)
for border in (-6, 2):
    ax.axvline(border, color="#D55E00", linestyle="--")
ax.set(
    xlabel="$w$, the candidate's weight", ylabel="state after 600 steps", title="The origin is stable for -6 < w < 2"
)
ax.text(-9.9, 0.75, "swings between\ntwo states", va="top")
ax.text(3.0, 0.0, "settles at one\nof two states", va="center")
plt.show()

# %%
inside = (weights > -5.9) & (weights < 1.9)
assert np.abs(ends[inside]).max() < 1e-3
above = settle(np.array([[3.0]]), np.array([[0.1]]), 600, 1)[0, 0, 0]
assert above > 0.5 and np.isclose(above, np.tanh(1.5 * above))  # h = tanh(w h / 2)
below = settle(np.array([[-8.0]]), np.array([[0.1]]), 600, 4)[:, 0, 0]
assert (
    np.isclose(below[0], -below[1]) and np.isclose(3 * below[0], np.tanh(4 * below[0])) and abs(below[0]) > 0.2
)  # -h = h'
print(f"w = 3: settles at {above:.3f};  w = -8: swings, {below.round(3)}")

# %% [markdown]
# At $w = 2$ one stable state becomes two (a pitchfork bifurcation): a bit of memory. At $w = -6$ the eigenvalue leaves through
# $-1$ and the state alternates. With two units and a rotation, $\lambda = \pm i s$, the pair leaves the circle away from the
# real axis, at $|2 + is| = 4$, $s = \sqrt{12} \approx 3.46$: an oscillation is born. Note that $s = 3$ violates the *sufficient*
# condition, and the origin is stable all the same.

# %%
turn = np.array([[0.0, -1.0], [1.0, 0.0]])
paths = {s: settle(s * turn, np.array([[0.3, 0.0]]), 300, 300)[:, 0] for s in (3.0, 4.0)}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), sharex=True, sharey=True, layout="constrained")
for ax, (s, path) in zip(axes, paths.items(), strict=True):
    ax.plot(*path[:20].T, "-", color="0.75", linewidth=0.8)
    ax.plot(*path.T, ".", color="#0072B2", markersize=4)
    ax.plot(0, 0, "x", color="#D55E00", markersize=9)
    ax.set(xlabel="$h_1$", title=f"norm {s:.0f}: " + ("dies out" if s < 3.46 else "circles for ever"), aspect="equal")
axes[0].set_ylabel("$h_2$")
plt.show()
print({s: float(np.linalg.norm(path[-1]).round(5)) for s, path in paths.items()})
assert np.linalg.norm(paths[3.0][-1]) < 1e-3 < 0.3 < np.linalg.norm(paths[4.0][-1])

# %% [markdown]
# ## What the condition does not say
#
# It is *local*: it speaks of states near 0. Give the single unit $w = 1.8 < 2$, so that the origin is stable, and a reset
# gate with the weight $W_{hr} = 10$. Near 0 the gate is 1/2; for larger positive states it opens, and the effective weight
# of the candidate doubles. A second stable state exists, far from 0, and a state of 0.05 is enough to end up there.

# %%
starts = np.array([[0.01], [0.05]])
near, far = settle(np.array([[1.8]]), starts, 1000, 1, W_hr=10.0)[0, :, 0]
print(f"from 0.01: {near:.1e};  from 0.05: {far:.3f}")
assert abs(near) < 1e-3 and far > 0.6
assert np.isclose(far, np.tanh(1.8 * sigmoid(10 * far) * far))

# %% [markdown]
# So $\|W_{hn}\|_2 < 2$ bounds neither the state nor the gradient for every input. It keeps one important point from
# losing its stability.
#
# ## Train: with and without the projection
#
# Kanai et al. take a step and then put back $W_{hn}$: of its singular values those above $2 - \delta$ are cut down to
# $2 - \delta$ (their Eqs. 12 to 14). In rnnlab that is one more part of the optimizer. The task is that of
# notebook 5: name the first symbol after 20 steps of noise. We follow the spectral norm of $W_{hn}$, the spectral radius of
# $J(0)$, and the gradient norm. No clipping.


# %%
def first_symbol(rng, N=32, T=20, K=4):
    """Return a batch: x (T, N, K + 1), of which only step 0 tells the label."""
    labels = rng.integers(0, K, N)
    x = np.zeros((T, N, K + 1))
    x[0, np.arange(N), labels] = 1
    x[1:, :, K] = rng.normal(size=(T - 1, N))
    return x, labels, None


def train(projected, seed, steps=400, H=16):
    """Return the trace of a run, shape (steps, 4): loss, gradient norm, norm of W_hn, radius of J(0)."""
    rng = np.random.default_rng(seed)
    model = rl.models.SequenceClassifier(rl.GRU(5, H, reset="before", bias=False), num_classes=4)
    params = model.init(rng)
    projection = [rl.optim.project_spectral_norm(1.8, only="weight_hn")] if projected else []
    optimizer = rl.optim.chain(rl.optim.adam(5e-3), *projection)
    state, trace = optimizer.init(params), []
    for _ in range(steps):
        loss, grads, _ = model.loss_and_grads(params, first_symbol(rng))
        size = np.sqrt(sum((g**2).sum() for g in grads["recurrent"].values()))
        params, state = optimizer.step(params, grads, state)
        W_hn = rl.dynamics.recurrent_blocks(params["recurrent"]["weight_hh"])["n"]
        radius = rl.dynamics.spectral_radius(np.eye(H) / 2 + W_hn / 4)
        trace.append([loss, size, rl.dynamics.spectral_norm(W_hn), radius])
    return np.array(trace)


traces = {projected: [train(projected, seed) for seed in range(3)] for projected in (False, True)}

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
for projected, of_seeds in traces.items():
    color, line = ("#D55E00", "--") if projected else ("#0072B2", "-")
    for seed, trace in enumerate(of_seeds):
        label = ("projected to 1.8" if projected else "free") if seed == 0 else None
        for ax, column in zip(axes, (0, 1, 3), strict=True):
            ax.plot(trace[:, column], line, color=color, linewidth=1, label=label)
for ax, title in zip(axes, ("loss (nats)", "gradient norm", "spectral radius of J(0)"), strict=True):
    ax.set(xlabel="training step", title=title)
axes[1].set_yscale("log")
axes[2].axhline(1, color="0.4", linestyle=":")
axes[0].legend()
plt.show()

# %%
for projected, of_seeds in traces.items():
    losses, gradients, norms, radii = np.array(of_seeds).transpose(2, 0, 1)
    print(f"{'projected' if projected else 'free':9}  final loss {losses[:, -20:].mean(axis=1).round(3)}  largest: gradient "
          f"{gradients.max(axis=1).round(1)}, norm of W_hn {norms.max():.2f}, radius of J(0) {radii.max():.2f}")  # fmt: skip
    assert losses[:, -20:].mean() < 0.1
    assert (norms.max() <= 1.8 + 1e-9 and radii.max() <= 0.95) if projected else (radii.max(axis=1) > 1.2).all()

peaks = {projected: [trace[:, 1].max() for trace in of_seeds] for projected, of_seeds in traces.items()}
late = {projected: np.mean([trace[-100:, 1] for trace in of_seeds]) for projected, of_seeds in traces.items()}
print(f"median peak: free {np.median(peaks[False]):.1f}, projected {np.median(peaks[True]):.1f}; "
      f"mean of the last 100 steps: free {late[False]:.4f}, projected {late[True]:.4f}")  # fmt: skip
assert np.median(peaks[False]) > np.median(peaks[True]) and late[False] < late[True]

# %% [markdown]
# Left free, the network *learns* to make the origin unstable: the radius of $J(0)$ passes 1, because leaving 0 is a way to
# remember. With the projection the radius cannot pass $\tfrac12 + \tfrac14 \cdot 1.8 = 0.95$, and the task is learned all the
# same. The largest gradient of a run is lower with it, in the median of three seeds. But the bound is local and promises
# no number: between the spikes the projected networks have the *larger* gradients here, since they learn a little later. Notebook 7 sets the projection beside clipping, each at its best learning rate.

# %% [markdown]
# ## Exercises
#
# **1. Count.** How many parameters has `rl.GRU(D, H, reset)` with biases?


# %%
def count(D, H, reset):
    """Return the number of parameters."""
    ### BEGIN SOLUTION
    return 3 * H * (D + H + 1) + (H if reset == "after" else 0)
    ### END SOLUTION


# %%
for reset in ("before", "after"):
    expected = sum(w.size for w in rl.GRU(3, 5, reset=reset).init(np.random.default_rng(0)).values())
    assert count(3, 5, reset) == expected, f"reset={reset!r} has {expected} parameters, you say {count(3, 5, reset)}"

# %% [markdown]
# **2. Exact stability.** Write the exact test for the origin from the eigenvalues of $W_{hn}$. It must call $-5 I$ stable, whose
# norm is 5.


# %%
def origin_is_stable(W_hn):
    """Return whether the state 0 of a GRU without biases is stable without input."""
    ### BEGIN SOLUTION
    return bool((np.abs(np.linalg.eigvals(W_hn) + 2) < 4).all())
    ### END SOLUTION


# %%
draws = np.random.default_rng(1)
cases = [-5 * np.eye(2), 3 * turn, 4 * turn, *(scale * draws.normal(size=(5, 5)) for scale in (0.5, 1, 1.5, 2, 3))]
for W_hn in cases:
    end = settle(W_hn, 1e-6 * draws.normal(size=(1, len(W_hn))), 3000, 1)
    dies_out = np.abs(end).max() < 1e-9
    assert origin_is_stable(W_hn) == dies_out, (
        f"eigenvalues {np.linalg.eigvals(W_hn).round(2)}: iteration says {dies_out}"
    )

# %% [markdown]
# **3. With a bias on z.** Without biases, except $b_z = \beta$ for all units (and $b_r = 0$), the origin is still a fixed point. What
# is $J(0)$ now? Return it as a function of $W_{hn}$ and $\beta$, and find out whether a larger $\beta$ can make it unstable.


# %%
def jacobian_at_origin(W_hn, beta):
    """Return J(0) of a GRU whose only bias is b_z = beta."""
    ### BEGIN SOLUTION
    z = sigmoid(beta)
    return z * np.eye(len(W_hn)) + (1 - z) / 2 * W_hn
    ### END SOLUTION


# %%
layer, params = rl.GRU(2, 3, reset="before"), rl.GRU(2, 3, reset="before").init(np.random.default_rng(2))
params["bias"][3:6] = 1.5
exact = rl.dynamics.step_jacobians(layer, params, np.zeros((1, 1, 2)))[0, 0]
assert np.allclose(jacobian_at_origin(params["weight_hh"][6:], 1.5), exact), "z is sigmoid(beta), r is still 1/2"

# %% [markdown]
# <!-- ### BEGIN SOLUTION -->
# $J = z I + \tfrac12 (1-z) W_{hn}$ is a mean of $I$ and $\tfrac12 W_{hn}$. If $\|W_{hn}\|_2 < 2$, its norm is below 1 for
# every $\beta$; a large $\beta$ brings it close to 1: slow forgetting, and still stable. This is the GRU's forget bias.
# <!-- ### END SOLUTION -->

# %% [markdown]
# **4. In words.** At a stable origin every memory fades near 0. How can the projected network above name a symbol
# after 20 steps, and what would you try for 200?
#
# <!-- ### BEGIN SOLUTION -->
# Fading at the rate of 0.95 a step leaves a third after 20 steps, which a linear layer can still read. And the condition is
# local: away from 0 the gates can be near 1, and other stable states may exist. For 200 steps start with a bias
# on z, as in exercise 3, so that a state fades by 0.995 a step instead of 0.95.
# <!-- ### END SOLUTION -->
