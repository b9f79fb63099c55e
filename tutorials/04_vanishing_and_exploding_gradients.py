# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 4. Vanishing and exploding gradients
#
# After this notebook you can say, before training, whether a recurrent network is able to learn from something that
# happened 50 steps ago. You will compute the Jacobian of a step, multiply many of them without underflow, and tell a
# spectral radius from a spectral norm. You will see which activations and initializers let a gradient live.
#
# You need backpropagation through time (notebook 2) and eigenvalues.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl
from rnnlab import plots

# %% [markdown]
# ## The gradient is a product of Jacobians
#
# A vanilla RNN computes
#
# $$a_t = W_{ih} x_t + W_{hh} h_{t-1} + b, \qquad h_t = f(a_t).$$
#
# Let the loss $L$ read only the last state $h_{T-1}$. By the chain rule its gradient, as a row, moves one step back
# through one matrix:
#
# $$\frac{\partial L}{\partial h_{t-1}} = \frac{\partial L}{\partial h_t} J_t, \qquad
# J_t = \frac{\partial h_t}{\partial h_{t-1}} = \mathrm{diag}(f'(a_t))\, W_{hh}.$$
#
# After $k$ steps it has met a product of $k$ matrices:
#
# $$\frac{\partial L}{\partial h_{T-1-k}} = \frac{\partial L}{\partial h_{T-1}} P_k, \qquad
# P_k = J_{T-1} J_{T-2} \cdots J_{T-k}.$$
#
# The spectral norm $\|J\|$, its largest singular value, is the most by which $J$ stretches any vector. So with
# $f' \le \gamma$,
#
# $$\|P_k\| \le \prod_t \|J_t\| \le (\gamma\, \|W_{hh}\|)^k.$$
#
# $\gamma$ is 1 for tanh and 1/4 for the sigmoid. If $\gamma\,\|W_{hh}\| < 1$, the gradient **must vanish**, at least as
# fast as a geometric series (Pascanu, Mikolov and Bengio 2013). If it is above 1, the bound says nothing: the
# gradient may explode, but need not.

# %% [markdown]
# ## The Jacobian in code, and three checks
#
# For tanh, $f'(a_t) = 1 - h_t^2$. Multiplying by a diagonal matrix from the left scales rows.


# %%
def forward(params, x, h):
    """Return the states h_0 .. h_{T-1} of one sequence x (T, D)."""
    states = []
    for x_t in x:
        h = np.tanh(params["weight_ih"] @ x_t + params["weight_hh"] @ h + params["bias"])
        states.append(h)
    return np.array(states)


def rnn_jacobians(params, states):
    """Return J_t = diag(1 - h_t^2) W_hh for every t, shape (T, H, H)."""
    slopes = 1 - states**2
    return slopes[:, :, None] * params["weight_hh"]


# %%
rng = np.random.default_rng(0)
T, D, H = 30, 3, 5
layer = rl.RNN(D, H)
params = layer.init(rng)
params["bias"] += rng.normal(size=H)
x = rng.normal(size=(T, D))
states = forward(params, x, np.zeros(H))
J = rnn_jacobians(params, states)

# %% [markdown]
# **First check: a complex step.** For an analytic function, $f(h + i\varepsilon e_b) = f(h) + i \varepsilon J e_b$ up to
# $\varepsilon^2$. With $\varepsilon = 10^{-30}$ the imaginary part is a column of the Jacobian, exact to rounding.

# %%
t = 20
columns = [forward(params, x[t : t + 1], states[t - 1] + 1e-30j * e)[0].imag / 1e-30 for e in np.eye(H)]
error = np.abs(np.stack(columns, axis=1) - J[t]).max()
print("largest difference from the complex step:", error)
assert error < 1e-14

# %% [markdown]
# **Second check: rnnlab's formula.** `rl.dynamics.step_jacobians` has one for every cell, sequences side by side.

# %%
theirs = rl.dynamics.step_jacobians(layer, params, x[:, None])[:, 0]
print("shape:", theirs.shape, " largest difference:", np.abs(theirs - J).max())
assert np.allclose(theirs, J, atol=1e-14)

# %% [markdown]
# **Third check: the product is what backpropagation does.** We send a unit vector $v$ into the last state, back through
# the whole sequence by rnnlab's own `backward`, and compare with $v^\top P_T$.

# %%
v = rng.normal(size=H)
v /= np.linalg.norm(v)
_, _, tape = layer.forward(params, x[:, None])
_, dh0, _ = layer.backward(params, tape, np.zeros((T, 1, H)), dstate=v[None])
by_product = v
for J_t in J[::-1]:
    by_product = by_product @ J_t
print(f"norm after {T} steps: {np.linalg.norm(dh0):.3e} by backward, {np.linalg.norm(by_product):.3e} by the product")
assert np.allclose(dh0[0], by_product, rtol=1e-10)

# %% [markdown]
# ## A thousand factors: keep the logarithm
#
# $0.3^{1000}$ is no floating-point number. The cure is to scale the product to norm 1 after every factor and to add up
# the logarithms of what was divided out. `rl.dynamics.jacobian_product` does so with a QR decomposition at every step.
# Besides the norm it returns the *rates*: by how much, in nats per step, each of the $H$ directions grows. For long
# sequences these are the Lyapunov exponents of the network.

# %%
long = rng.normal(size=(1000, D))
J_long = rnn_jacobians({**params, "weight_hh": 0.3 * params["weight_hh"]}, forward(params, long, np.zeros(H)))
naive = np.eye(H)
for J_t in J_long[::-1]:
    naive = naive @ J_t
product = rl.dynamics.jacobian_product(J_long)
print("naive norm:", np.linalg.norm(naive, 2), " its true base-10 logarithm:", product.log_norms[-1] / np.log(10))
print("rates (nats per step):", product.rates.round(2))
assert np.linalg.norm(naive, 2) == 0 and -2000 < product.log_norms[-1] / np.log(10) < -400
# the rates of all directions add up to the mean logarithm of the determinant
assert np.isclose(product.rates.sum(), np.linalg.slogdet(J_long)[1].mean())

# %% [markdown]
# ## Spectral radius against spectral norm
#
# If all $J_t$ were the same matrix $W$, then $P_k = W^k$. Its eigenvalues are those of $W$ to the power $k$, so *in the
# long run* the spectral radius $\rho(W)$, the largest modulus of an eigenvalue, decides: $\|W^k\|^{1/k} \to \rho(W)$.
# For the first steps, however, the norm decides. The two are equal for a normal matrix ($W W^\top = W^\top W$), and can
# be far apart for others. Take
#
# $$W = \begin{pmatrix} 0.9 & 4 \\ 0 & 0.9 \end{pmatrix}, \qquad
# W^k = 0.9^k \begin{pmatrix} 1 & 4k/0.9 \\ 0 & 1 \end{pmatrix}.$$
#
# Both eigenvalues are 0.9, so the product dies in the end. First it grows, because $k$ beats $0.9^k$ for a while.

# %%
W = np.array([[0.9, 4.0], [0.0, 0.9]])
radius, norm = rl.dynamics.spectral_radius(W), rl.dynamics.spectral_norm(W)
powers = [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in range(151)]
peak = int(np.argmax(powers))
print(f"radius {radius:.2f}, norm {norm:.2f}; ||W^k|| is largest, {powers[peak]:.1f}, at k = {peak}")
print(f"||W^k|| at k = 150: {powers[150]:.1e}")
assert radius < 1 < norm and powers[peak] > 15 and 8 <= peak <= 10 and powers[150] < 1e-3
assert all(radius**k <= p * (1 + 1e-9) and p <= norm**k * (1 + 1e-9) for k, p in enumerate(powers))

# %%
k = np.arange(151)
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.semilogy(k, powers, color="#0072B2", label=r"norm of $W^k$")
ax.semilogy(k, radius**k, "--", color="#D55E00", label="radius$^k$ (lower bound)")
ax.semilogy(k[:12], norm ** k[:12], ":", color="#009E73", linewidth=2.5, label="norm$^k$ (upper bound)")
ax.axhline(1, color="0.7", linewidth=1)
ax.set(xlabel="k (steps)", ylabel="size of the product", title="Radius below 1, and yet it grows 15-fold first")
ax.legend()
plt.show()

# %% [markdown]
# This is no curiosity of a 2 x 2 matrix. A matrix of independent normal numbers has a norm about twice its radius.


# %%
def gaussian(rng, H):
    """Return an H x H matrix of normal numbers, scaled to a spectral radius of 0.95."""
    W = rng.normal(size=(H, H))
    return 0.95 * W / rl.dynamics.spectral_radius(W)


found = rl.dynamics.spectrum(gaussian(np.random.default_rng(1), 200))
ratio = found.singular_values[0] / np.abs(found.eigenvalues[0])
print(f"200 x 200: spectral norm {found.singular_values[0]:.2f}, spectral radius {np.abs(found.eigenvalues[0]):.2f}")
assert 1.7 < ratio < 2.2 and 55 < (found.singular_values > 1).sum() < 75

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
left.plot(found.eigenvalues.real, found.eigenvalues.imag, "o", markersize=3, color="#0072B2")
left.add_patch(plt.Circle((0, 0), 1, fill=False, linestyle=":", color="0.3"))
left.set(xlabel="real part", ylabel="imaginary part", title="Eigenvalues: inside the circle", aspect="equal")
left.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
right.plot(np.arange(1, 201), found.singular_values, color="#D55E00")
right.axhline(1, linestyle=":", color="0.3")
right.set(xlabel="rank", ylabel="singular value", title="Singular values: a third above 1")
plt.show()

# %% [markdown]
# ## Five activations, four initializers
#
# A real network adds $f'$, different at every step and unit. We measure it. `rl.dynamics.gradient_norm_through_time`
# sends a random unit vector into the last state and reports the gradient's norm $k$ steps back, mean over sequences.
# The network has 64 units; the inputs are independent normal numbers.

# %%
ACTIVATIONS = ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]
INITIALIZERS = {
    "Xavier": rl.initializers.glorot(),
    "He": rl.initializers.he(),
    "orthogonal": rl.initializers.orthogonal(),
    "identity": rl.initializers.identity(),
}


def measure(activation, initializer, rng, scale=1.0, T=101, N=16, D=4, H=64):
    """Return the gradient norm at distances 0 .. T-1 of a network as initialized; inputs have std ``scale``."""
    layer = rl.RNN(D, H, activation=activation, init_hh=initializer)
    params = layer.init(rng)
    return rl.dynamics.gradient_norm_through_time(layer, params, scale * rng.normal(size=(T, N, D)), rng)


rng = np.random.default_rng(0)
norms = {(i, a): measure(a, draw, rng) for i, draw in INITIALIZERS.items() for a in ACTIVATIONS}

# %%
STYLES = dict(zip(ACTIVATIONS, [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"),
                                ("#000000", (0, (6, 2, 1, 2)))], strict=True))  # fmt: skip
fig, axes = plt.subplots(1, 4, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, initializer in zip(axes, INITIALIZERS, strict=True):
    for activation in ACTIVATIONS:
        color, line = STYLES[activation]
        ax.semilogy(norms[initializer, activation], color=color, linestyle=line, linewidth=2, label=activation)
    ax.set(title=initializer, xlabel="distance (steps)", ylim=(1e-20, 1e5))
axes[0].set_ylabel("gradient norm")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
fig.suptitle("Who survives 100 steps depends on activation and initializer together")
plt.show()

# %% [markdown]
# The same as numbers: the base-10 logarithm of the norm at distance 100. Zero is perfect memory.

# %%
decades = {key: np.log10(norm[100]) for key, norm in norms.items()}
print(" " * 12 + "".join(f"{activation:>12}" for activation in ACTIVATIONS))
for initializer in INITIALIZERS:
    print(f"{initializer:12}" + "".join(f"{decades[initializer, activation]:12.1f}" for activation in ACTIVATIONS))

# %% [markdown]
# Read it line by line, because two pieces of folklore fall here.
#
# - **The sigmoid vanishes everywhere.** Its slope is at most 1/4, so with an orthogonal $W_{hh}$ the bound alone gives
#   $4^{-100} = 10^{-60}$, and nothing measured is better than $10^{-40}$.
# - **"Orthogonal weights keep the gradient": not with these activations.** The matrix keeps norms, but $f'$ does not.
#   With ReLU about half the units are off at each step, and each takes its share of the gradient with it: more than
#   10 decades are lost. With tanh several are lost, because inputs push it off its linear part; inputs of a tenth the
#   size, measured below, cost less than two.
# - **"He for ReLU": it does not explode in general, and it does not keep the gradient in general.** The
#   factor 2 in its variance repairs the *average* loss by dead units. A recurrent network reuses the same matrix, so
#   its few largest directions win, and the result swings by decades between seeds.
# - **Identity with ReLU (the IRNN of Le, Jaitly and Hinton 2015) holds on** within one or two decades, since
#   $J_t$ is the identity for every unit that is on.

# %%
assert all(decades[initializer, "sigmoid"] < -40 for initializer in INITIALIZERS)
assert decades["orthogonal", "sigmoid"] < -100 * np.log10(4) + 1e-6
assert decades["orthogonal", "relu"] < -10 and decades["orthogonal", "tanh"] < -4
assert all(abs(decades["identity", activation]) < 2 for activation in ("relu", "leaky_relu", "elu"))
gentle = np.log10(measure("tanh", INITIALIZERS["orthogonal"], np.random.default_rng(0), scale=0.1)[100])
print(f"orthogonal with tanh, inputs of a tenth the size: {gentle:.1f}")
assert gentle > -2
he = [np.log10(measure("relu", INITIALIZERS["He"], np.random.default_rng(seed))[100]) for seed in range(6)]
print("He with ReLU, six seeds, decades at distance 100:", np.round(he, 1))
assert max(he) - min(he) > 1.5

# %% [markdown]
# One direction of the gradient is a sample. The rates of `jacobian_product` show all 64. `rnnlab.plots` has a picture for
# each instrument of `rl.dynamics`; this is the one for products.


# %%
def product_of(activation, initializer, rng, T=100, N=4, D=4, H=64):
    """Return the product of the Jacobians of a network as initialized."""
    layer = rl.RNN(D, H, activation=activation, init_hh=initializer)
    return rl.dynamics.jacobian_product(rl.dynamics.step_jacobians(layer, layer.init(rng), rng.normal(size=(T, N, D))))


PAIRS = [("orthogonal", "tanh"), ("orthogonal", "relu"), ("identity", "tanh")]
rng = np.random.default_rng(0)
products = {f"{i}, {a}": product_of(a, INITIALIZERS[i], rng) for i, a in PAIRS}
plots.product_of_jacobians(products)

# %% [markdown]
# With tanh every direction fades, some more than twice as fast as others. With ReLU the line on the right ends early: the
# other directions have met a step at which all that they live on was off, and are exactly zero.

# %%
rates = {name: found.rates.mean(axis=0) for name, found in products.items()}
print({name: f"{np.isfinite(rate).sum()} of 64 directions left" for name, rate in rates.items()})
assert np.isfinite(rates["orthogonal, tanh"]).all() and rates["orthogonal, tanh"].max() < 0
assert all(rates[name][-1] < 2 * rates[name][0] < 0 for name in ("orthogonal, tanh", "identity, tanh"))
assert np.isfinite(rates["orthogonal, relu"]).sum() < 40

# %% [markdown]
# ## Break it on purpose
#
# Two mistakes that look harmless. **(1)** Leaving $f'$ out: then every network with the same $W_{hh}$ has the same
# gradients, and tanh would never vanish with an orthogonal one. **(2)** Multiplying in the order of time
# from the wrong side, $J_{T-k} \cdots J_{T-1}$: the norms even come out similar, so a picture does not betray it. The
# gradient itself does.

# %%
without_slope = rl.dynamics.jacobian_product(np.broadcast_to(params["weight_hh"], (T, H, H))).log_norms[-1]
right_one = rl.dynamics.jacobian_product(J).log_norms[-1]
print(f"log norm of P_{T}: {right_one:.2f}; without the slope: {without_slope:.2f}")
assert abs(without_slope) < 1e-9 and right_one < -1  # the default W_hh is orthogonal

wrong_order = v
for J_t in J:
    wrong_order = wrong_order @ J_t
print(f"norms: {np.linalg.norm(by_product):.2e} right, {np.linalg.norm(wrong_order):.2e} in the wrong order")
cosine = by_product @ wrong_order / np.linalg.norm(by_product) / np.linalg.norm(wrong_order)
print(f"cosine of the angle between the two: {cosine:.3f}")
assert abs(cosine) < 0.999 and not np.allclose(wrong_order, dh0[0], rtol=0.1, atol=0)

# %% [markdown]
# ## Train: does the gradient at the start tell who will learn?
#
# The adding problem: of 40 numbers two are marked, predict their sum. Who ignores the marks has a mean squared
# error of 1/6 (the variance of the sum). Three networks of 32 units, all else equal:
#
# - tanh with half of Xavier's gain: $\|P_{30}\|$ tiny,
# - tanh with an orthogonal matrix: in between,
# - ReLU with the identity: about 1.

# %%
NETWORKS = {
    "tanh, Xavier / 2": {"activation": "tanh", "init_hh": rl.initializers.glorot(0.5)},
    "tanh, orthogonal": {"activation": "tanh", "init_hh": rl.initializers.orthogonal()},
    "ReLU, identity": {"activation": "relu", "init_hh": rl.initializers.identity()},
}


def train(options, seed=0, steps=1000, T=40, H=32, N=32):
    """Train on the adding problem; return the losses and the gradient norms through time before and after."""
    rng = np.random.default_rng(seed)
    layer = rl.RNN(2, H, **options)
    model = rl.models.Forecaster(layer, horizon=1, num_targets=1)
    params = model.init(rng)
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1.0), rl.optim.adam(2e-3))
    state, losses, probe = optimizer.init(params), [], rl.data.adding(rng, N, T)[0]
    before = rl.dynamics.gradient_norm_through_time(layer, params["recurrent"], probe, rng)
    for _ in range(steps):
        loss, grads, _ = model.loss_and_grads(params, rl.data.adding(rng, N, T))
        params, state = optimizer.step(params, grads, state)
        losses.append(loss)
    after = rl.dynamics.gradient_norm_through_time(layer, params["recurrent"], probe, rng)
    return np.array(losses), before, after


runs = {name: train(options) for name, options in NETWORKS.items()}

# %%
LOOKS = dict(zip(NETWORKS, [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-.")], strict=True))
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for name, (losses, before, after) in runs.items():
    color, line = LOOKS[name]
    left.semilogy(np.convolve(losses, np.ones(20) / 20, "valid"), color=color, linestyle=line, label=name)
    right.semilogy(before, color=color, linestyle=line)
    right.semilogy(after, color=color, linestyle=line, linewidth=3.5, alpha=0.45)
left.axhline(1 / 6, color="0.3", linestyle=":")
left.set(xlabel="training step", ylabel="mean squared error", title="The better the gradient, the sooner it learns")
left.legend(fontsize=8)
right.set(xlabel="distance (steps)", ylabel="gradient norm", title="before (thin) and after training (thick)")
plt.show()

# %%
for name, (losses, before, after) in runs.items():
    print(f"{name:18} loss {losses[-50:].mean():.3f}   gradient at distance 30: {before[30]:.1e} -> {after[30]:.1e}")
final = {name: losses[-50:].mean() for name, (losses, _, _) in runs.items()}
start = {name: before[30] for name, (_, before, _) in runs.items()}
assert start["tanh, Xavier / 2"] < 1e-6 < start["tanh, orthogonal"] < start["ReLU, identity"]
assert (
    final["tanh, Xavier / 2"] > 0.14 > final["tanh, orthogonal"] > final["ReLU, identity"]
    and final["ReLU, identity"] < 0.05
)
assert runs["tanh, Xavier / 2"][2][30] < 1e-3

# %% [markdown]
# The order of the gradients at the start is the order of learning. Training does change the gradients: the orthogonal
# network, once it has found the marks, lets them through better than before, and the ReLU network, which needs
# no more than it has, gives some away. But a network whose gradient is $10^{-9}$ at distance 30 gets no message from
# there, so nothing tells it to remember; after 1000 steps it is as blind as before. Training does little about a
# vanishing gradient; the initializer can do a lot, and so can the cell. The next notebook changes the cell.

# %% [markdown]
# ## Exercises
#
# **1. Two stable matrices.** Both matrices below have a spectral radius of 0.5. Write a function that returns the
# spectral radius of their alternating product $A B A B \cdots$ per factor, that is $\rho(AB)^{1/2}$. What does the answer
# mean for a network whose Jacobian changes from step to step?

# %%
A = np.array([[0.5, 2.0], [0.0, 0.5]])
B = A.T


def growth_per_factor(A, B):
    """Return by how much one factor of the product A B A B ... makes it grow in the long run."""
    ### BEGIN SOLUTION
    return np.sqrt(rl.dynamics.spectral_radius(A @ B))
    ### END SOLUTION


# %%
answer = growth_per_factor(A, B)
assert answer > 1, "each matrix alone is stable; their product is not"
steps = np.array([A, B] * 500)
assert np.isclose(rl.dynamics.jacobian_product(steps).rates[0], np.log(answer), atol=0.01), "compare with the rates"

# %% [markdown]
# <!-- ### BEGIN SOLUTION -->
# It grows by 2.1 per factor. A spectral radius below 1 at every step says nothing of the product when the matrices
# differ. A spectral *norm* below 1 at every step does: norms of products are at most the products of norms.
# <!-- ### END SOLUTION -->

# %% [markdown]
# **2. Clipping.** Clipping scales the whole gradient down if its norm is above a limit. Show with one line that it cannot
# help a vanishing gradient: return the ratio of the gradient norms at distance 30 and 0 after both were multiplied by
# the same factor.


# %%
def ratio_after_clipping(norms, factor):
    """Return the gradient norm at distance 30 over that at distance 0, both scaled by ``factor``."""
    ### BEGIN SOLUTION
    return (factor * norms[30]) / (factor * norms[0])
    ### END SOLUTION


# %%
vanishing = runs["tanh, Xavier / 2"][1]
assert np.isclose(ratio_after_clipping(vanishing, 0.01), vanishing[30] / vanishing[0]), "the factor must cancel"

# %% [markdown]
# **3. Repair the orthogonal tanh network.** Find a gain $g$ for `rl.initializers.orthogonal(g)` with which the
# gradient norm of `measure` at distance 100 lies between $10^{-3}$ and $10^{3}$ for tanh (seed 0).


# %%
def repaired_gain():
    """Return the gain g."""
    ### BEGIN SOLUTION
    return 1.4  # undoes on average what tanh' takes away at these inputs
    ### END SOLUTION


# %%
repaired = measure("tanh", rl.initializers.orthogonal(repaired_gain()), np.random.default_rng(0))
assert 1e-3 < repaired[100] < 1e3, f"at distance 100 the norm is {repaired[100]:.1e}; a larger gain makes it grow"

# %% [markdown]
# **4. In words.** A colleague reports $\rho(W_{hh}) = 1.2$ and concludes that gradients explode. Name two reasons why
# they need not.
#
# <!-- ### BEGIN SOLUTION -->
# The Jacobian is $\mathrm{diag}(f'(a_t)) W_{hh}$, not $W_{hh}$: saturated or dead units shrink it, and training
# drives them there. And the states bound it: as tanh states grow, slopes fall, so the product's rate is often
# below 0 although the matrix alone would make it grow.
# <!-- ### END SOLUTION -->
