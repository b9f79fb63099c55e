# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 5. The LSTM
#
# After this notebook you can write an LSTM with its backward pass from the equations, show that it is right, and
# explain with numbers why it remembers: what the cell state does to a gradient, and what the forget gate's bias has to
# do with it.
#
# You need backpropagation through time (notebook 2), gradient checks (3), and products of Jacobians (4).

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

# %% [markdown]
# ## The equations
#
# A vanilla RNN rewrites its whole state at every step. The LSTM (Hochreiter and Schmidhuber 1997) keeps a second state,
# the *cell* $c_t$, that is changed by adding and scaled by a gate. Four blocks of pre-activations are stacked in
# one array, in the order i, f, g, o, which is also PyTorch's:
#
# $$\begin{aligned}
# a &= W_{ih} x_t + W_{hh} h_{t-1} + b, \qquad a = (a_i, a_f, a_g, a_o) \\
# i &= \sigma(a_i), \quad f = \sigma(a_f), \quad g = \tanh(a_g), \quad o = \sigma(a_o) \\
# c_t &= f \odot c_{t-1} + i \odot g \\
# h_t &= o \odot \tanh(c_t)
# \end{aligned}$$
#
# The input gate $i$ decides what is written, the forget gate $f$ (Gers, Schmidhuber and Cummins 2000; the cell of 1997
# had $f = 1$) what is kept, the output gate $o$ what is shown.
#
# ## The backward pass
#
# Let $dh$ and $dc$ be the gradients that reach $h_t$ and $c_t$ from later steps and from the loss. Go through the
# equations from the last to the first:
#
# $$\begin{aligned}
# do &= dh \odot \tanh(c_t), \qquad dc \leftarrow dc + dh \odot o \odot (1 - \tanh^2(c_t)) \\
# di &= dc \odot g, \quad df = dc \odot c_{t-1}, \quad dg = dc \odot i \\
# da_i &= di \odot i (1-i), \; da_f = df \odot f (1-f), \; da_g = dg \odot (1 - g^2), \; da_o = do \odot o (1-o) \\
# dc_{t-1} &= dc \odot f, \qquad dh_{t-1} = W_{hh}^\top da
# \end{aligned}$$
#
# and, summed over time, $dW_{ih} = \sum_t da\, x_t^\top$, $dW_{hh} = \sum_t da\, h_{t-1}^\top$, $db = \sum_t da$. Note the
# first line: $c_t$ is used twice, by $h_t$ and by $c_{t+1}$, so its gradient has two terms.

# %% [markdown]
# ## The same in code
#
# Rows are sequences: `x` is `(N, D)`, `h` and `c` are `(N, H)`.


# %%
def sigmoid(a):
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def step(params, x, h, c):
    """One step forward; also return what backward needs."""
    a = x @ params["weight_ih"].T + h @ params["weight_hh"].T + params["bias"]
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c_new = f * c + i * g
    h_new = o * np.tanh(c_new)
    return h_new, c_new, (x, h, c, i, f, g, o, c_new)


def step_back(params, cache, dh, dc):
    """One step back: from dh, dc after the step to da and to dh, dc before it."""
    x, h, c, i, f, g, o, c_new = cache
    do = dh * np.tanh(c_new)
    dc = dc + dh * o * (1 - np.tanh(c_new) ** 2)
    di, df, dg = dc * g, dc * c, dc * i
    da = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
    return da, da @ params["weight_hh"], dc * f


# %%
def forward(params, x, step=step):
    """Run a batch of sequences x (T, N, D); return y (T, N, H) and the caches."""
    H = params["weight_hh"].shape[1]
    h = c = np.zeros((x.shape[1], H))
    y, caches = [], []
    for x_t in x:
        h, c, cache = step(params, x_t, h, c)
        y.append(h)
        caches.append(cache)
    return np.array(y), caches


def backward(params, caches, dy, step_back=step_back):
    """Backpropagate dy (T, N, H) through time; return the gradients of the parameters."""
    grads = {name: np.zeros_like(p) for name, p in params.items()}
    dh = dc = 0
    for cache, dy_t in zip(reversed(caches), dy[::-1], strict=True):
        da, dh, dc = step_back(params, cache, dh + dy_t, dc)
        x, h = cache[:2]
        grads["weight_ih"] += da.T @ x
        grads["weight_hh"] += da.T @ h
        grads["bias"] += da.sum(axis=0)
    return grads


# %% [markdown]
# ## Is it right?
#
# Against rnnlab's layer, with biases that are not zero, and against the complex step, which knows nothing of rnnlab.

# %%
rng = np.random.default_rng(0)
T, N, D, H = 7, 3, 2, 4
layer = rl.LSTM(D, H)
params = layer.init(rng)
params = {name: p + 0.5 * rng.normal(size=p.shape) for name, p in params.items()}
x, dy = rng.normal(size=(T, N, D)), rng.normal(size=(T, N, H))

y, caches = forward(params, x)
grads = backward(params, caches, dy)
their_y, _, tape = layer.forward(params, x)
_, _, their_grads = layer.backward(params, tape, dy)
print("outputs differ by", np.abs(y - their_y).max())
assert np.allclose(y, their_y, atol=1e-13)
for name in params:
    print(f"{name:10} gradients differ by {np.abs(grads[name] - their_grads[name]).max():.1e}")
    assert np.allclose(grads[name], their_grads[name], atol=1e-12)


# %%
def loss_and_grads(step=step, step_back=step_back):
    """Return the function params -> (loss, grads) that the checker wants; the loss is sum(dy * y)."""

    def function(params):
        y, caches = forward(params, x, step)
        return (dy * y).sum(), backward(params, caches, dy, step_back)

    return function


def complex_loss(params):
    """The same loss for complex parameters."""
    y, _ = forward(params, x)
    return (dy * y).sum()


index = ("weight_hh", 5, 2)
moved = {name: p.astype(complex) for name, p in params.items()}
moved[index[0]][index[1:]] += 1e-30j
by_step = complex_loss(moved).imag / 1e-30
print("one entry by complex step:", by_step, " by hand:", grads[index[0]][index[1:]])
assert np.isclose(by_step, grads[index[0]][index[1:]], rtol=1e-12)

report = rl.check_gradients(loss_and_grads(), params)
print("checker:", "passed" if report.passed else "failed", f"{report.max_relative_error:.1e}")
assert report.passed

# %% [markdown]
# ## The carousel
#
# The step's Jacobian has four blocks, since the state is $(h, c)$. The one from cell to cell is the simplest that there is:
#
# $$\frac{\partial c_t}{\partial c_{t-1}}\Big|_{h_{t-1}} = \mathrm{diag}(f).$$
#
# No matrix, no slope. On that direct path a gradient is multiplied by $f$ at each step and by nothing else. With
# $f = 1$ it turns round and round unchanged: Hochreiter and Schmidhuber's "constant error carousel".

# %%
J = rl.dynamics.step_jacobians(layer, params, x)
f = rl.dynamics.gate_values(layer, params, x)["f"]
cell_to_cell = J[:, :, H:, H:]
assert np.array_equal(cell_to_cell, f[..., None] * np.eye(H))

fig, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
largest = np.abs(J[5, 0]).max()
image = ax.imshow(J[5, 0], cmap="RdBu_r", vmin=-largest, vmax=largest)
ax.axhline(H - 0.5, color="0.3")
ax.axvline(H - 0.5, color="0.3")
ax.set_xticks([H / 2 - 0.5, 3 * H / 2 - 0.5], ["h before", "c before"])
ax.set_yticks([H / 2 - 0.5, 3 * H / 2 - 0.5], ["h after", "c after"])
ax.set_title("Jacobian of a step: from c to c only a diagonal")
fig.colorbar(image, label="derivative")
plt.show()

# %% [markdown]
# The direct path is not the only one. The cell acts on $h$, $h$ acts through $W_{hh}$ on all gates, and the gates on
# the next cell. So "an LSTM's gradient is the product of its forget gates" holds exactly only without $W_{hh}$. Below:
# the product of the forget gates, and the whole gradient from $c_T$ to $c_0$, without and with $W_{hh}$.


# %%
def cell_gradients(params, x):
    """Return, for one unit of c_T, its gradient with respect to c_0, and the product of that unit's forget gates."""
    J = rl.dynamics.step_jacobians(layer, params, x)[:, 0]
    gradient = np.eye(2 * H)[H]  # the first cell
    for J_t in J[::-1]:
        gradient = gradient @ J_t
    return gradient[H:], rl.dynamics.gate_values(layer, params, x)["f"][:, 0, 0].prod()


for name, p in {"without W_hh": {**params, "weight_hh": 0 * params["weight_hh"]}, "with W_hh": params}.items():
    whole, product = cell_gradients(p, x)
    print(f"{name:13} product of forget gates {product:.5f}   gradient of c_0: {whole.round(5)}")
    alone = np.allclose(whole, [product, 0, 0, 0], atol=1e-15)
    assert alone == (name == "without W_hh")

# %% [markdown]
# And the carousel itself: with $f$ all but 1 and nothing else in the way, a thousand steps cost nothing. A tanh RNN of the
# same size, orthogonal and with the same inputs, has lost everything.

# %%
closed = {name: np.zeros_like(p) for name, p in params.items()}
closed["bias"][H : 2 * H] = 40.0  # sigmoid(40) is 1 to the last bit
long = rng.normal(size=(1000, 1, D))
carousel = rl.dynamics.gradient_norm_through_time(layer, closed, long, rng)
rnn = rl.RNN(D, H)
vanilla = rl.dynamics.gradient_norm_through_time(rnn, rnn.init(rng), long, rng)
print(
    f"after 999 steps: carousel {carousel[-1]:.3f} of {carousel[1]:.3f}; tanh RNN {vanilla[-1]:.1e}, after 100 {vanilla[100]:.1e}"
)
assert np.isclose(carousel[-1], carousel[1], rtol=1e-12) and vanilla[-1] < 1e-20

# %% [markdown]
# ## Break it on purpose
#
# **The slope of tanh left out.** $dc \leftarrow dc + dh \odot o$ instead of $dc + dh \odot o \odot (1 - \tanh^2(c_t))$.
# While cells are small, $1 - \tanh^2$ is nearly 1, so a network with this bug trains, only worse. The checker sees it.


# %%
def step_back_without_slope(params, cache, dh, dc):
    x, h, c, i, f, g, o, c_new = cache
    do = dh * np.tanh(c_new)
    dc = dc + dh * o  # the mistake
    di, df, dg = dc * g, dc * c, dc * i
    da = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
    return da, da @ params["weight_hh"], dc * f


broken = rl.check_gradients(loss_and_grads(step_back=step_back_without_slope), params)
print(broken)
assert not broken.passed

# %% [markdown]
# The relative error is large only because our cells are. With small weights, the same bug is small too. That is why one
# checks with weights that are not tiny.

# %%
small = {name: 0.05 * p for name, p in params.items()}
hidden = rl.check_gradients(loss_and_grads(step_back=step_back_without_slope), small)
print(
    f"relative error with weights of ordinary size {broken.max_relative_error:.1e}, small {hidden.max_relative_error:.1e}"
)
assert hidden.max_relative_error < 0.1 * broken.max_relative_error

# %% [markdown]
# **Gates in another order, in the backward pass only.** The blocks of $g$ and $o$ swapped. Found at once.


# %%
def step_back_swapped(params, cache, dh, dc):
    da, _, dc = step_back(params, cache, dh, dc)
    a_i, a_f, a_g, a_o = np.split(da, 4, axis=1)
    da = np.concatenate([a_i, a_f, a_o, a_g], axis=1)  # the mistake
    return da, da @ params["weight_hh"], dc


swapped = rl.check_gradients(loss_and_grads(step_back=step_back_swapped), params)
print("backward only: passed" if swapped.passed else f"backward only: failed, {swapped.max_relative_error:.1e}")
assert not swapped.passed


# %% [markdown]
# **Gates in another order, in both passes.** Now every gradient is right, of another network. It learns as well as the
# right one. **No gradient check can find this**; only a comparison of outputs for the same weights can. It bites when
# weights are loaded from elsewhere.


# %%
def step_other_order(params, x, h, c):
    """An LSTM whose blocks stand in the order i, f, o, g."""
    order = np.concatenate([np.arange(2 * H), np.arange(3 * H, 4 * H), np.arange(2 * H, 3 * H)])
    return step({name: p[order] for name, p in params.items()}, x, h, c)


def step_back_other_order(params, cache, dh, dc):
    order = np.concatenate([np.arange(2 * H), np.arange(3 * H, 4 * H), np.arange(2 * H, 3 * H)])
    da, dh, dc = step_back({name: p[order] for name, p in params.items()}, cache, dh, dc)
    return da[:, order], dh, dc


both = rl.check_gradients(loss_and_grads(step_other_order, step_back_other_order), params)
difference = np.abs(forward(params, x, step_other_order)[0] - their_y).max()
print(f"both passes: gradient check passed: {both.passed}; outputs differ from rl.LSTM's by {difference:.2f}")
assert both.passed and difference > 0.1

# %% [markdown]
# ## The forget gate's bias
#
# At the start $a_f$ is near 0 where inputs and weights are small, so $f \approx \sigma(b_f)$. With $b_f = 0$ that is 1/2: the
# carousel loses half at each turn, and $0.5^{50} \approx 10^{-15}$. Gers et al. gave it a positive value; Jozefowicz, Zaremba and
# Sutskever (2015) report that a bias of 1 closes the gap between the LSTM and the GRU. We measure the *reach*: the
# largest distance at which the gradient is still above 1/100 of what it was at the last step.


# %%
def norms_with(forget_bias, rng, T=201, N=16, D=4, H=32):
    """Return the gradient norm against distance, and the mean of the forget gates."""
    layer = rl.LSTM(D, H, forget_bias=forget_bias)
    params, x = layer.init(rng), rng.normal(size=(T, N, D))
    f = rl.dynamics.gate_values(layer, params, x)["f"]
    return rl.dynamics.gradient_norm_through_time(layer, params, x, rng), f.mean()


reach, curves = {}, {}
for bias in (0.0, 1.0, 2.0, 4.0):
    curves[bias], mean_f = norms_with(bias, np.random.default_rng(0))
    reach[bias] = int(np.flatnonzero(curves[bias] > 0.01).max())
    print(
        f"forget bias {bias:.0f}: mean f {mean_f:.3f}, reach {reach[bias]:3d} steps, norm at 200: {curves[bias][200]:.0e}"
    )
assert reach[0.0] < 15 < 25 < reach[1.0] < 60 and reach[2.0] == reach[4.0] == 200

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (bias, norms), line, color in zip(
    curves.items(), ["-", "--", "-.", ":"], ["#0072B2", "#D55E00", "#009E73", "#000000"], strict=True
):
    ax.semilogy(norms, line, color=color, linewidth=2, label=f"forget bias {bias:.0f}")
ax.axhline(0.01, color="0.6", linewidth=1)
ax.set(xlabel="distance (steps)", ylabel="gradient norm", ylim=(1e-12, 1e3))
ax.set_title("A forget bias of 1 reaches 30 steps, of 2 all 200")
ax.legend()
plt.show()

# %% [markdown]
# Two things that are often said are not so. A bias of **1 is not enough for long memory**: $\sigma(1) = 0.73$, and
# $0.73^{50} \approx 10^{-7}$. And **an LSTM can explode**: with a bias of 4 the norm *grows* with distance. Each cell sums up
# its inputs for hundreds of steps and each gate hears all of them through $W_{hh}$; the paths through the gates add
# to the carousel.

# %%
assert curves[4.0][200] > 10 * curves[4.0][50]

# %% [markdown]
# ## Train: remember the first symbol
#
# At step 0 one of four symbols is shown. Then 59 steps of noise follow, and the class of the first must be named. Guessing costs
# $\log 4 = 1.386$. The only difference between the runs is the forget bias at the start; three seeds each.


# %%
def first_symbol(rng, N=32, T=60, K=4):
    """Return a batch: x (T, N, K + 1), of which only step 0 tells the label."""
    labels = rng.integers(0, K, N)
    x = np.zeros((T, N, K + 1))
    x[0, np.arange(N), labels] = 1
    x[1:, :, K] = rng.normal(size=(T - 1, N))
    return x, labels, None


def train(forget_bias, seed, steps=300):
    """Return the losses, and the mean forget gate after training."""
    rng = np.random.default_rng(seed)
    layer = rl.LSTM(5, 16, forget_bias=forget_bias)
    model = rl.models.SequenceClassifier(layer, num_classes=4)
    params = model.init(rng)
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1.0), rl.optim.adam(3e-3))
    state, losses = optimizer.init(params), []
    for _ in range(steps):
        loss, grads, _ = model.loss_and_grads(params, first_symbol(rng))
        params, state = optimizer.step(params, grads, state)
        losses.append(loss)
    f = rl.dynamics.gate_values(layer, params["recurrent"], first_symbol(rng)[0])["f"]
    return np.array(losses), f[1:].mean(axis=(0, 1))


runs = {bias: [train(bias, seed) for seed in range(3)] for bias in (0.0, 1.0, 3.0)}

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (bias, of_seeds), line, color in zip(
    runs.items(), ["-", "--", ":"], ["#0072B2", "#D55E00", "#000000"], strict=True
):
    for seed, (losses, _) in enumerate(of_seeds):
        smooth = np.convolve(losses, np.ones(10) / 10, "valid")
        ax.plot(smooth, line, color=color, label=f"forget bias {bias:.0f}" if seed == 0 else None)
ax.axhline(np.log(4), color="0.6", linewidth=1)
ax.set(
    xlabel="training step", ylabel="loss (nats)", title="60 steps of memory: without a forget bias nothing is learned"
)
ax.legend(loc="upper right", bbox_to_anchor=(1, 0.8))
plt.show()

# %%
final = {bias: [losses[-20:].mean() for losses, _ in of_seeds] for bias, of_seeds in runs.items()}
for bias, values in final.items():
    print(f"forget bias {bias:.0f}: final losses {np.round(values, 3)}")
assert min(final[0.0]) > 1.3 and max(final[3.0]) < 0.3 and np.mean(final[1.0]) > np.mean(final[3.0])
assert curves[0.0][59] < 1e-8 and np.ptp(final[1.0]) > 0.1
largest = [np.sort(f)[-4:].round(2) for _, f in runs[3.0]]
print("the four largest forget gates after training with a bias of 3:", *largest)

# %% [markdown]
# With a bias of 0 no seed learns: the curve above lies below $10^{-8}$ at distance 59. With 1 it is a matter of the seed.
# With 3 all learn. The rule to take away: **choose the bias by the memory that the task needs**; exercise 2 turns this
# into a formula.

# %% [markdown]
# ## Exercises
#
# **1. Count.** How many parameters has an LSTM, with one bias per gate and unit?


# %%
def count(D, H):
    """Return the number of parameters of rl.LSTM(D, H)."""
    ### BEGIN SOLUTION
    return 4 * H * (D + H + 1)
    ### END SOLUTION


# %%
for sizes in ((3, 5), (1, 1), (10, 2)):
    expected = sum(p.size for p in rl.LSTM(*sizes).init(np.random.default_rng(0)).values())
    assert count(*sizes) == expected, f"rl.LSTM{sizes} has {expected}, you say {count(*sizes)}"

# %% [markdown]
# **2. The bias for a memory.** Return the forget bias with which the carousel keeps half of a gradient after `T` steps:
# solve $\sigma(b)^T = 1/2$ for $b$.


# %%
def bias_for(T):
    """Return the forget bias b with sigmoid(b)**T == 1/2."""
    ### BEGIN SOLUTION
    f = 0.5 ** (1 / T)
    return np.log(f / (1 - f))
    ### END SOLUTION


# %%
for T_half in (1, 10, 100, 1000):
    assert np.isclose(sigmoid(bias_for(T_half)) ** T_half, 0.5), f"wrong for T = {T_half}"
print("biases for 10, 100, 1000 steps:", [round(float(bias_for(T_half)), 2) for T_half in (10, 100, 1000)])

# %% [markdown]
# **3. Coupled gates.** Replace the input gate by $i = 1 - f$, so that a cell forgets just as much as it writes. Write the step
# back for $a = (a_f, a_g, a_o)$: given $dc$ (complete) and the cache, return $da_f$.


# %%
def coupled_da_f(dc, c, f, g):
    """Return da_f for c_new = f*c + (1-f)*g."""
    ### BEGIN SOLUTION
    return dc * (c - g) * f * (1 - f)
    ### END SOLUTION


# %%
a_f, c_before, g_now = np.random.default_rng(1).normal(size=(3, 6))
c_after = sigmoid(a_f + 1e-30j) * c_before + (1 - sigmoid(a_f + 1e-30j)) * g_now
mine = coupled_da_f(np.ones(6), c_before, sigmoid(a_f), g_now)
assert np.allclose(mine, c_after.imag / 1e-30, rtol=1e-12), "f appears twice: before c and, with a minus, before g"

# %% [markdown]
# **4. In words.** Why not fix $f = 1$ for ever, as in 1997? Name one thing that goes wrong on a long stream of text.
#
# <!-- ### BEGIN SOLUTION -->
# The cell then only adds. On a stream without end it grows without bound, $\tanh(c)$ saturates, its slope goes
# to 0, and the unit neither shows anything new nor lets a gradient in. The network also has no way to drop what it
# no longer needs, such as the last sentence.
# <!-- ### END SOLUTION -->
