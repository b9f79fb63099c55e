# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 1. A recurrent network is a loop
#
# After this tutorial you can compute a recurrent network by hand, write it in ten lines of NumPy, say what the shape
# of every array is and why, run sequences of different lengths in one batch, and cut a long sequence into pieces
# without changing the result.
#
# You need: matrix products, NumPy arrays, and what $\tanh$ looks like. Nothing is trained by gradients yet: that is
# tutorial 2.

# %%
import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

# %% [markdown]
# ## The equation
#
# A feed-forward network maps one vector to one vector. A **recurrent** network reads vectors one after the other,
# $x_0, x_1, \dots, x_{T-1}$, and keeps a vector of its own between them, the **state** $h$. At each step the new
# state is made from the new input and the old state:
#
# $$a_t = W_{ih} x_t + W_{hh} h_{t-1} + b, \qquad h_t = f(a_t).$$
#
# - $x_t$ has $D$ numbers, $h_t$ and $a_t$ have $H$ numbers.
# - $W_{ih}$ leads from the **i**nput to the **h**idden state: shape $(H, D)$.
# - $W_{hh}$ leads from the old hidden state to the new one: shape $(H, H)$.
# - $b$ has $H$ numbers. $f$ is applied to each number on its own; $\tanh$ is usual.
# - $h_{-1}$ is where we start, usually zeros.
#
# The same $W_{ih}, W_{hh}, b$ are used at every step. That is why the network can read sequences of any length. This
# is the network of J. L. Elman, *Finding structure in time*, Cognitive Science 14, 1990.

# %% [markdown]
# ## A network to follow on paper
#
# Take $D = 1$, $H = 2$, and $f(a) = \max(a, 0)$, the rectifier (ReLU), so that all numbers are small fractions:
#
# $$W_{ih} = \begin{pmatrix} 1 \\ 1 \end{pmatrix}, \quad
# W_{hh} = \begin{pmatrix} 1/2 & -1 \\ 1 & 0 \end{pmatrix}, \quad
# b = \begin{pmatrix} 0 \\ -1 \end{pmatrix}, \quad x = (2, 1, 3, -1).$$
#
# Do it with a pencil before you read on. The first two steps, from $h_{-1} = (0, 0)$:
#
# - $a_0 = (1 \cdot 2 + 0,\; 1 \cdot 2 + 0 - 1) = (2, 1)$, so $h_0 = (2, 1)$.
# - $a_1 = (1 + \tfrac12 \cdot 2 - 1 \cdot 1,\; 1 + 1 \cdot 2 - 1) = (1, 2)$, so $h_1 = (1, 2)$.
#
# Then $a_2 = (3 + \tfrac12 - 2,\; 3 + 1 - 1) = (\tfrac32, 3) = h_2$, and at the last step both numbers are negative:
# $a_3 = (-1 + \tfrac34 - 3,\; -1 + \tfrac32 - 1) = (-\tfrac{13}{4}, -\tfrac12)$, so $h_3 = (0, 0)$.

# %%
paper = {
    "weight_ih": np.array([[1.0], [1.0]]),
    "weight_hh": np.array([[0.5, -1.0], [1.0, 0.0]]),
    "bias": np.array([0.0, -1.0]),
}
inputs = np.array([2.0, 1.0, 3.0, -1.0])


def relu(a):
    """The rectifier."""
    return np.maximum(a, 0)


h = np.zeros(2)
for t, x_t in enumerate(inputs):
    a = paper["weight_ih"] @ [x_t] + paper["weight_hh"] @ h + paper["bias"]
    h = relu(a)
    print(f"t = {t}   x = {x_t:4}   a = {a}   h = {h}")

assert np.array_equal(h, [0, 0])  # as on paper; halves and quarters are exact in binary numbers

# %% [markdown]
# That is all there is: **a recurrent network is a loop** in which one variable, `h`, survives from round to round.
# Everything below is about running this loop for many sequences at once, and about what the state remembers.
#
# ## Many sequences at once: the layout $(T, N, D)$
#
# A computer multiplies two large matrices much faster than many small ones. So we run $N$ sequences side by side, a
# **batch**. The input becomes an array of shape $(T, N, D)$: time first, then the sequence in the batch, then the
# features. The state becomes $(N, H)$, one row a sequence.
#
# With rows instead of columns the equation is transposed: $W x$ for a column is `x @ W.T` for a row.
#
# | array | shape | | array | shape |
# |---|---|---|---|---|
# | `x` | $(T, N, D)$ | | `weight_ih` | $(H, D)$ |
# | `x[t]` | $(N, D)$ | | `weight_hh` | $(H, H)$ |
# | `h` | $(N, H)$ | | `bias` | $(H,)$ |
# | `y`, all states | $(T, N, H)$ | | | |


# %%
def step(params, x_t, h, f=np.tanh):
    """One step for N sequences: x_t (N, D), h (N, H)."""
    return f(x_t @ params["weight_ih"].T + h @ params["weight_hh"].T + params["bias"])


def forward(params, x, h=None, f=np.tanh):
    """All steps: x (T, N, D); returns all states y (T, N, H) and the last one."""
    T, N, D = x.shape
    H = len(params["bias"])
    h = np.zeros((N, H)) if h is None else h
    y = np.empty((T, N, H))
    for t in range(T):
        h = step(params, x[t], h, f)
        y[t] = h
    return y, h


# %% [markdown]
# The paper network, with three sequences: the one from above, the same with a first input of 0, and zeros.

# %%
batch = np.stack([inputs, [0, 1, 3, -1], [0, 0, 0, 0]], axis=1)[:, :, None]
y, h = forward(paper, batch, f=relu)
print("x", batch.shape, " y", y.shape, " h", h.shape)
print(y[:, 0])

assert np.array_equal(y[:, 0], [[2, 1], [1, 2], [1.5, 3], [0, 0]])
assert np.array_equal(y[-1], h)  # the last state is the last of all states

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained", sharey=True)
for unit, ax in enumerate(axes):
    ax.plot(y[:, 0, unit], "o-", color="C0", label="$x = (2, 1, 3, -1)$")
    ax.plot(y[:, 1, unit], "s--", color="C1", label="$x = (0, 1, 3, -1)$")
    ax.plot(y[:, 2, unit], "^:", color="C2", label="$x = (0, 0, 0, 0)$")
    ax.set(title=f"unit {unit}", xlabel="step t", xticks=range(4))
axes[0].set_ylabel("state $h_t$")
axes[0].legend()
fig.suptitle("Two steps after the inputs differed, the states still differ")
plt.show()

assert np.abs(y[2, 0] - y[2, 1]).max() > 0  # though the inputs of steps 1 and 2 are equal

# %% [markdown]
# ### Why time comes first
#
# The loop takes `x[t]` at every step. With time first this is one block of memory; with the batch first, `x[:, t]`
# is picked from $N$ places. The batch-first layout is as right, only slower to loop over, and some libraries use it:
# **look up which one you have**. Section *Break it on purpose* shows what happens if you guess.

# %%
rng = np.random.default_rng(0)
T, N, D, H = 50, 4, 3, 5
x = rng.normal(size=(T, N, D))
print("time first: x[t] in one block?    ", x[7].flags.c_contiguous)
print("batch first: x[:, t] in one block?", x.transpose(1, 0, 2).copy()[:, 7].flags.c_contiguous)

# %% [markdown]
# ## Check: the same as rnnlab's layer
#
# `rl.RNN(D, H)` holds only the sizes. The parameters are a dict of arrays that you pass in yourself, with the names
# used here. `forward` returns all states, the last state, and a *tape* that is needed to go back (tutorial 2).

# %%
layer = rl.RNN(D, H)
params = layer.init(rng)
params["bias"] = rng.normal(size=H)  # rnnlab starts with zeros, with which a forgotten bias would not be seen
for name, value in params.items():
    print(f"{name:10} {value.shape}")

y, h = forward(params, x)
y_rl, h_rl, _ = layer.forward(params, x)
print("largest difference:", np.abs(y - y_rl).max())
assert np.abs(y - y_rl).max() < 1e-12 and np.abs(h - h_rl).max() < 1e-12

# %% [markdown]
# ### One large product instead of T small ones
#
# $W_{ih} x_t$ does not depend on the state, so it can be computed for all steps before the loop, as one product of a
# $(TN, D)$ with a $(D, H)$ matrix. What needs $h_{t-1}$ must wait for it. Tutorial 11 measures what this gains.


# %%
def forward_fewer_products(params, x):
    """As `forward`, with the input's products taken out of the loop."""
    T, N, D = x.shape
    a = (x.reshape(T * N, D) @ params["weight_ih"].T + params["bias"]).reshape(T, N, -1)
    h = np.zeros_like(a[0])
    for t in range(T):
        h = a[t] = np.tanh(a[t] + h @ params["weight_hh"].T)
    return a, h


assert np.abs(forward_fewer_products(params, x)[0] - y).max() < 1e-12

# %% [markdown]
# ## A long sequence in pieces: carry the state
#
# The state holds all that the network knows about the past. So a sequence may be cut anywhere: run the first piece,
# keep its last state, start the second piece from it. The result is the same as in one run. This is how a text that
# does not fit into memory is read.

# %%
state, pieces = None, []
for start in range(0, T, 20):  # pieces of 20, 20 and 10 steps
    piece, state = forward(params, x[start : start + 20], state)
    pieces.append(piece)
print("pieces:", [len(piece) for piece in pieces])
print("one run against three pieces:", np.abs(np.concatenate(pieces) - y).max())
assert np.abs(np.concatenate(pieces) - y).max() < 1e-12

# %% [markdown]
# rnnlab's layers take and return the state in the same way; `rl.carry_state` copies it, and can set it to zero for
# those sequences of the batch in which something new begins.

# %%
_, first_state, _ = layer.forward(params, x[:20])
fresh = rl.carry_state(first_state, keep=np.array([True, True, False, True]))
second, _, _ = layer.forward(params, x[20:], fresh)
print("difference per sequence:", np.abs(second - y[20:]).max(axis=(0, 2)))
assert np.abs(second - y[20:])[:, [0, 1, 3]].max() < 1e-12 < np.abs(second - y[20:])[:, 2].max()

# %% [markdown]
# ## Sequences of different lengths
#
# Sequences in a batch are padded to the longest one. The padding must not change anything: when a sequence is over,
# its state has to stay what it was. So at every step we keep the old state where $t$ is past the end, and write
# zeros into `y` there.


# %%
def forward_ragged(params, x, lengths):
    """As `forward`, for sequences of the given lengths (N,), padded to T."""
    T, N, D = x.shape
    h = np.zeros((N, len(params["bias"])))
    y = np.zeros((T, *h.shape))
    for t in range(T):
        alive = (t < lengths)[:, None]  # (N, 1): one truth value a sequence
        h = np.where(alive, step(params, x[t], h), h)
        y[t] = np.where(alive, h, 0)
    return y, h


lengths = np.array([50, 7, 23, 1])
y_ragged, h_ragged = forward_ragged(params, x, lengths)
for n, length in enumerate(lengths):
    alone, last = forward(params, x[:length, n : n + 1])  # this sequence alone, without padding
    assert np.abs(y_ragged[:length, n] - alone[:, 0]).max() < 1e-12
    assert np.abs(h_ragged[n] - last[0]).max() < 1e-12

y_rl, h_rl, _ = layer.forward(params, x, lengths=lengths)
print("difference from rnnlab:", np.abs(y_ragged - y_rl).max(), np.abs(h_ragged - h_rl).max())
assert np.abs(y_ragged - y_rl).max() < 1e-12 and np.abs(h_ragged - h_rl).max() < 1e-12

# %% [markdown]
# ## Break it on purpose
#
# None of these mistakes raises an error. Each gives finite, harmless-looking numbers. What finds them is a comparison
# with something that you trust, on sizes that are **all different**.
#
# **The wrong axis first.** Both layouts have three axes with $D$ last, so a batch-first array is accepted as a
# time-first one: the network runs through the batch as if it were time. If $N = T$ even the shape of the result fits.

# %%
square = rng.normal(size=(6, 6, D))  # T = N = 6
right, _ = forward(params, square)
wrong, _ = forward(params, square.transpose(1, 0, 2))
print(
    "shapes:",
    right.shape,
    wrong.transpose(1, 0, 2).shape,
    " difference:",
    np.abs(right - wrong.transpose(1, 0, 2)).max(),
)
assert np.abs(right - wrong.transpose(1, 0, 2)).max() > 0.1

# %% [markdown]
# **A forgotten transposition.** $W_{hh}$ is square, so `h @ W_hh` runs as well as `h @ W_hh.T`. With $T = 1$ and a
# zero initial state there is not even a difference in the numbers: $W_{hh}$ is multiplied by zero.

# %%
transposed = {**params, "weight_hh": params["weight_hh"].T}
for steps in (1, 2, T):
    difference = np.abs(forward(transposed, x[:steps])[0] - y[:steps]).max()
    print(f"T = {steps:2}: largest difference {difference:.3f}")
    assert (difference == 0) == (steps == 1)

# %% [markdown]
# **The same array at every step.** To save memory somebody writes each state into the same array `h`, and puts `h`
# into a list. The list then holds $T$ times the same array, and that is the last state.

# %%
states, h_shared = [], np.zeros((N, H))
for x_t in x:
    h_shared[:] = step(params, x_t, h_shared)  # [:] overwrites the numbers that the list already refers to
    states.append(h_shared)  # right would be: states.append(h_shared.copy())
print("all states the same:", all(np.array_equal(s, states[-1]) for s in states))
assert np.abs(np.array(states)[0] - y[0]).max() > 0.1

# %% [markdown]
# **A state that is not carried.** Starting every piece from zeros looks like a detail. How long is it felt?

# %%
pieces = np.concatenate([forward(params, x[start : start + 10])[0] for start in range(0, T, 10)])
error = np.abs(pieces - y).max(axis=(1, 2))
print("right after a cut:  ", np.round(error[10:50:10], 3))
print("9 steps after a cut:", np.round(error[19:50:10], 3))
assert error[:10].max() < 1e-12 and error[10:50:10].min() > 0.1

# %% [markdown]
# ## How long does the state remember?
#
# Run the same inputs from two states that differ, and look at how fast the difference goes away. The recurrent matrix
# decides: here it is an orthogonal matrix (which keeps lengths) times a factor. With factor 0.5 the start is
# forgotten within some ten steps. With factor 1.5 it is never forgotten. $\tanh$ flattens large values, so even with
# factor 1 the difference shrinks.


# %%
def difference_over_time(factor, rng, T=60, N=20, H=30):
    """Run the same input from two random states: mean distance (T,) of the states, that at the start being 1."""
    layer = rl.RNN(1, H)
    params = layer.init(rng)  # weight_hh is orthogonal
    params["weight_hh"] *= factor
    x = rng.normal(size=(T, N, 1))
    start = rng.uniform(-1, 1, size=(2, N, H))
    one, other = (forward(params, x, h)[0] for h in start)
    first = np.linalg.norm(start[0] - start[1], axis=1).mean()
    return np.linalg.norm(one - other, axis=2).mean(axis=1) / first


fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
distances = {}
for factor, style in ((0.5, "C0-"), (0.9, "C1--"), (1.0, "C2-."), (1.5, "C3:")):
    distances[factor] = difference_over_time(factor, np.random.default_rng(1))
    ax.semilogy(distances[factor], style, label=f"{factor} x orthogonal")
ax.set(
    xlabel="step t", ylabel="distance of the two states", title="A larger recurrent matrix remembers its start longer"
)
ax.legend(loc="lower right")
ax.set_ylim(1e-16, 10)
plt.show()

assert distances[0.5][20] < 1e-4 and distances[1.5][-1] > 0.1
assert distances[0.5][-1] < distances[0.9][-1] < distances[1.0][-1] < distances[1.5][-1]

# %% [markdown]
# ## Train: only the part that is not recurrent
#
# We cannot train $W_{hh}$ yet. But we can leave it random and fit a linear map from the state to a target, by least
# squares. If that works, the state must hold the answer. The task: **tell the input of $k$ steps ago**,
# $\hat{x}_{t-k} = W_{out} h_t + c$.
#
# The measure is $R^2$, the share of the variance that is explained, on numbers that were not used for fitting: 1 is
# perfect recall, 0 is nothing. For independent inputs the sum of $R^2$ over all $k \geq 1$ is at most $H$, the number
# of units (H. Jaeger, *Short term memory in echo state networks*, GMD report 152, 2001). A state of $H$ numbers
# cannot hold more.


# %%
def recall(factor, rng, H=20, T=4000, longest=60):
    """Return R^2 of telling x[t - k] from the state, for k = 0 .. longest - 1."""
    layer = rl.RNN(1, H)
    params = layer.init(rng)
    params["weight_hh"] *= factor
    params["weight_ih"] *= 0.1  # small inputs keep tanh in its straight part
    x = rng.uniform(-1, 1, size=(T, 1, 1))
    states = np.hstack([forward(params, x)[0][:, 0], np.ones((T, 1))])  # the ones are for the constant c
    half, scores = T // 2, []
    for k in range(longest):
        target = np.roll(x[:, 0, 0], k)  # its first k numbers are from the end, so they are left out
        weights, *_ = np.linalg.lstsq(states[longest:half], target[longest:half])
        rest = target[half:] - states[half:] @ weights
        scores.append(1 - rest.var() / target[half:].var())
    return np.array(scores)


scores = {factor: recall(factor, np.random.default_rng(2)) for factor in (0.3, 0.7, 0.95, 1.5)}
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (factor, score), style in zip(scores.items(), ("C0o-", "C1s--", "C2^-.", "C3x:"), strict=True):
    ax.plot(score, style, markersize=4, label=f"{factor} x orthogonal: {score[1:].sum():.1f} steps in all")
ax.set(xlabel="delay k (steps)", ylabel="recall, $R^2$", xlim=(-1, 45))
ax.set_title("0.7 recalls the near past sharply, 0.95 the far past faintly, 1.5 nothing")
ax.legend(loc="upper right")
plt.show()

totals = {factor: score[1:].sum() for factor, score in scores.items()}
assert all(total < 20 for total in totals.values())  # the bound H
assert min(totals[0.7], totals[0.95]) > 15 and totals[1.5] < 2
assert scores[0.7][5] > scores[0.95][5] and scores[0.95][25] > scores[0.7][25] + 0.1

# %% [markdown]
# So "a larger matrix remembers longer" is only half of it. Factors 0.7 and 0.95 remember about equally much in all,
# close to the bound $H = 20$; the larger one gives up sharpness for the recent past to reach further back. With factor
# 0.3 an input shrinks so fast that the bend of $\tanh$ under the newer ones soon hides it. With factor
# 1.5 the states remember where they *started*, but the network's own motion drowns what it *reads*. Choosing $W_{hh}$ well by luck does not go far: we want to learn
# it, and for that we need its gradient. That is tutorial 2.

# %% [markdown]
# ## Exercises
#
# **1.** How many parameters does an `rl.RNN(D, H)` have?


# %%
def count_parameters(D, H):
    """Return the number of parameters of a vanilla recurrent layer."""
    ### BEGIN SOLUTION
    return H * D + H * H + H
    ### END SOLUTION


# %%
for sizes in ((1, 2), (3, 5), (10, 7)):
    parameters = rl.RNN(*sizes).init(np.random.default_rng(0))
    expected = sum(value.size for value in parameters.values())
    assert count_parameters(*sizes) == expected, f"D, H = {sizes}: expected {expected}, got {count_parameters(*sizes)}"

# %% [markdown]
# **2.** Choose the parameters of a *linear* network ($f(a) = a$, $D = 1$, $H = 3$) such that its state is the last
# three inputs, $h_t = (x_t, x_{t-1}, x_{t-2})$: a perfect memory for three steps.


# %%
def delay_line():
    """Return params with which h_t = (x_t, x_{t-1}, x_{t-2})."""
    ### BEGIN SOLUTION
    return {
        "weight_ih": np.array([[1.0], [0.0], [0.0]]),
        "weight_hh": np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        "bias": np.zeros(3),
    }
    ### END SOLUTION


# %%
numbers = np.arange(1.0, 8.0)
memory, _ = forward(delay_line(), numbers[:, None, None], f=lambda a: a)
for t in range(2, 7):
    assert np.array_equal(memory[t, 0], numbers[[t, t - 1, t - 2]]), f"at t = {t} the state is {memory[t, 0]}"

# %% [markdown]
# **3.** From the padded `y (T, N, H)` and `lengths (N,)` alone, without running the network again, pick each
# sequence's last valid state. No loop over the batch is needed.


# %%
def last_states(y, lengths):
    """Return the state at the last valid step of each sequence, (N, H)."""
    ### BEGIN SOLUTION
    return y[lengths - 1, np.arange(len(lengths))]
    ### END SOLUTION


# %%
picked = last_states(y_ragged, lengths)
assert picked.shape == h_ragged.shape, f"expected shape (N, H) = {h_ragged.shape}, got {picked.shape}"
assert np.array_equal(picked, h_ragged), "not the state at step lengths[n] - 1 of sequence n"

# %% [markdown]
# **4.** The products with $W_{ih}$ can all be done at once. Why not those with $W_{hh}$? For which $f$ could the loop
# be avoided after all?
#
# <!-- ### BEGIN SOLUTION -->
# $W_{hh} h_{t-1}$ needs $h_{t-1}$, which is known only after $f$ has been applied at the step before. If $f$ is the
# identity, the steps are linear, and $h_t = \sum_k W_{hh}^{k} (W_{ih} x_{t-k} + b)$: sums and matrix powers, which can be
# computed in any order, so in about $\log_2 T$ rounds instead of $T$.
# <!-- ### END SOLUTION -->
