# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 2. Backpropagation through time
#
# After this tutorial you can derive the gradient of a recurrent network, write it in fifteen lines, show that it is
# right, and recognise the usual mistakes by what they do to training. You also know what *truncated* backpropagation
# throws away.
#
# You need: tutorial 1 (the loop and the layout $(T, N, D)$) and the chain rule.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

# %% [markdown]
# ## The network as one long graph
#
# The loop
#
# $$a_t = W_{ih} x_t + W_{hh} h_{t-1} + b, \qquad h_t = \tanh(a_t)$$
#
# can be written out, step after step, next to each other. It then is a feed-forward network with $T$ layers, with two
# peculiarities: each layer gets an input of its own, and **all layers have the same weights**. Say that the loss is a
# sum over the steps, $L = \sum_t \ell_t(h_t)$. Backpropagation on this graph is called backpropagation through time
# (BPTT).


# %%
def arrow(ax, start, end, text, back=False):
    """One arrow of the graph: forward is solid and blue, backward dashed and orange."""
    style = {"color": "C1", "linestyle": "--"} if back else {"color": "C0", "linestyle": "-"}
    ax.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 13, "shrinkB": 13, "linewidth": 1.4, **style}
    )
    (x0, y0), (x1, y1) = start, end
    level = y0 == y1
    place = ((x0 + x1) / 2, y0 + (-0.2 if back else 0.12)) if level else (x0 + (0.07 if back else -0.07), (y0 + y1) / 2)
    side = {"ha": "center"} if level else {"ha": "left" if back else "right"}
    ax.text(*place, text, color=style["color"], fontsize=9, **side)


fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for t in range(4):
    for height, name in ((0, "x"), (1, "h"), (2, r"\ell")):
        ax.text(2 * t, height, f"${name}_{t}$", ha="center", va="center", fontsize=13)
    arrow(ax, (2 * t - 0.04, 0), (2 * t - 0.04, 1), "$W_{ih}$")
    arrow(ax, (2 * t - 0.04, 1), (2 * t - 0.04, 2), "")
    arrow(ax, (2 * t + 0.04, 2), (2 * t + 0.04, 1), f"$dy_{t}$", back=True)
    if t:
        arrow(ax, (2 * t - 2, 1.05), (2 * t, 1.05), "$W_{hh}$")
        arrow(ax, (2 * t, 0.95), (2 * t - 2, 0.95), rf"$W_{{hh}}^T \delta_{t}$", back=True)
ax.set(
    xlim=(-0.6, 6.6),
    ylim=(-0.3, 2.3),
    title="Each state gets gradient from two sides: its own loss and the step after it",
)
ax.axis("off")
plt.show()

# %% [markdown]
# ## Derivation
#
# Write $\delta_t = \partial L / \partial a_t$, and $dy_t = \partial \ell_t / \partial h_t$ for what the loss sends directly
# to step $t$.
#
# **1. What does $h_t$ influence?** Two things (see the picture): its own loss $\ell_t$, and $a_{t+1}$, in which it is
# multiplied by $W_{hh}$. So its gradient is a sum of two terms:
#
# $$dh_t = dy_t + W_{hh}^T \, \delta_{t+1}, \qquad \delta_T = 0.$$
#
# The transpose comes from the chain rule: $a_{t+1,i}$ contains $\sum_j W_{hh,ij} h_{t,j}$, so
# $\partial L / \partial h_{t,j} = \sum_i \delta_{t+1,i} W_{hh,ij}$: a sum over the *rows*.
#
# **2. Through the $\tanh$.** It acts on each number alone, and $\tanh'(a) = 1 - \tanh^2(a)$, which needs only the
# output:
#
# $$\delta_t = dh_t \odot (1 - h_t^2).$$
#
# **3. The weights.** Pretend that each step had its own copy, $W_{hh}^{(t)}$. Its gradient is that of one layer,
# $\delta_t h_{t-1}^T$. But the copies are one matrix; when it moves, all copies move, so the effects **add up**:
#
# $$dW_{ih} = \sum_t \delta_t x_t^T, \quad dW_{hh} = \sum_t \delta_t h_{t-1}^T, \quad db = \sum_t \delta_t.$$
#
# **4. What came from outside** gets a gradient too, so that layers can be stacked and sequences continued:
#
# $$dx_t = W_{ih}^T \delta_t, \qquad dh_{-1} = W_{hh}^T \delta_0.$$
#
# $\delta_t$ needs $\delta_{t+1}$: the loop runs **from the last step to the first**. And it needs all $h_t$ and $x_t$, so
# the forward pass has to keep them. (P. Werbos, *Backpropagation through time: what it does and how to do it*,
# Proceedings of the IEEE 78, 1990.)

# %% [markdown]
# ## Code
#
# The states are kept in one array with the initial state in front: `h[t]` is the state *before* step $t$, `h[t + 1]`
# the one after it. Rows are sequences, so what is $W^T \delta$ for a column is `delta @ W` for the rows.


# %%
def forward(params, x, h_start=None, f=np.tanh):
    """Return all states (T + 1, N, H), the initial one first."""
    T, N, _ = x.shape
    h = np.zeros((T + 1, N, len(params["bias"])))
    if h_start is not None:
        h[0] = h_start
    for t in range(T):
        h[t + 1] = f(x[t] @ params["weight_ih"].T + h[t] @ params["weight_hh"].T + params["bias"])
    return h


def tanh_slope(h):
    """The slope of tanh, from its output."""
    return 1 - h**2


def backward(params, x, h, dy, dh_end=0.0, slope=tanh_slope):
    """Return dx, the gradient of the initial state, and the gradients of the parameters."""
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dx, dh_next = np.empty_like(x), dh_end  # dh_next: what arrives from the step after
    for t in reversed(range(len(x))):
        delta = (dy[t] + dh_next) * slope(h[t + 1])
        grads["weight_ih"] += delta.T @ x[t]  # this product sums over the batch; += sums over time
        grads["weight_hh"] += delta.T @ h[t]
        grads["bias"] += delta.sum(axis=0)
        dx[t] = delta @ params["weight_ih"]
        dh_next = delta @ params["weight_hh"]
    return dx, dh_next, grads


# %% [markdown]
# ### On paper first
#
# Take the smallest network: one unit, linear, $h_t = w h_{t-1} + u x_t$, from $h_{-1} = 0$. After three steps
# $h_2 = u (x_2 + w x_1 + w^2 x_0)$. With the loss $L = h_2$:
#
# $$\frac{\partial L}{\partial w} = u (x_1 + 2 w x_0), \qquad \frac{\partial L}{\partial u} = x_2 + w x_1 + w^2 x_0.$$
#
# With $w = \tfrac12$, $u = 3$, $x = (4, 1, 2)$: $\partial L / \partial w = 3 (1 + 4) = 15$ and
# $\partial L / \partial u = 2 + \tfrac12 + 1 = 3\tfrac12$. The recursion says the same: $\delta_2 = 1$,
# $\delta_1 = \tfrac12$, $\delta_0 = \tfrac14$, with states $h_0 = 12$, $h_1 = 9$, so
# $\sum_t \delta_t h_{t-1} = 1 \cdot 9 + \tfrac12 \cdot 12 + \tfrac14 \cdot 0 = 15$.

# %%
tiny = {"weight_ih": np.array([[3.0]]), "weight_hh": np.array([[0.5]]), "bias": np.zeros(1)}
x = np.array([4.0, 1.0, 2.0]).reshape(3, 1, 1)
h = forward(tiny, x, f=lambda a: a)
dy = np.array([0.0, 0.0, 1.0]).reshape(3, 1, 1)  # the loss is the last state
_, _, grads = backward(tiny, x, h, dy, slope=np.ones_like)
print("states", h[:, 0, 0], " dw =", grads["weight_hh"].item(), " du =", grads["weight_ih"].item())
assert grads["weight_hh"].item() == 15 and grads["weight_ih"].item() == 3.5

# %% [markdown]
# ## Check
#
# Against rnnlab, with sizes that are all different, a bias that is not zero, an initial state, and gradients that
# reach every output and the final state. Then against differences of the loss, which know nothing of our derivation;
# tutorial 3 explains how that works and what it can miss.

# %%
rng = np.random.default_rng(0)
T, N, D, H = 7, 4, 3, 5
layer = rl.RNN(D, H)
params = {**layer.init(rng), "bias": rng.normal(size=H)}
x, dy = rng.normal(size=(T, N, D)), rng.normal(size=(T, N, H))
h_start, dh_end = rng.normal(size=(2, N, H))

h = forward(params, x, h_start)
dx, dh_start, grads = backward(params, x, h, dy, dh_end)

y_rl, h_rl, tape = layer.forward(params, x, h_start)
dx_rl, dh_rl, grads_rl = layer.backward(params, tape, dy, dh_end)
for name, ours, theirs in (
    ("x", dx, dx_rl),
    ("initial state", dh_start, dh_rl),
    *((k, grads[k], grads_rl[k]) for k in grads),
):
    print(f"{name:14} largest difference {np.abs(ours - theirs).max():.1e}")
    assert np.abs(ours - theirs).max() < 1e-12


# %%
def loss_and_gradients(params):
    """The loss sum(dy * y) has the gradient dy with respect to y."""
    h = forward(params, x, h_start)
    return np.sum(dy * h[1:]), backward(params, x, h, dy)[2]


report = rl.check_gradients(loss_and_gradients, params)
print(report)
assert report.passed

# %% [markdown]
# ## Break it on purpose
#
# Three mistakes that everybody makes once. Each is one line, none raises an error.
#
# 1. **The recurrent term is missing:** `dh_next` is never passed on. Each step is treated as if it were alone.
# 2. **No sum over time:** `=` instead of `+=`. The loop ends at $t = 0$, so only the first step's term is left.
# 3. **A forgotten transposition:** `W_hh.T` where `W_hh` belongs. $W_{hh}$ is square, so the shapes fit.


# %%
def broken_backward(params, x, h, dy, mistake=None):
    """`backward` with one of the three mistakes."""
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dh_next = np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        delta = (dy[t] + dh_next) * (1 - h[t + 1] ** 2)
        new = {"weight_ih": delta.T @ x[t], "weight_hh": delta.T @ h[t], "bias": delta.sum(axis=0)}
        grads = new if mistake == "no sum over time" else {name: grads[name] + new[name] for name in new}
        W_hh = params["weight_hh"].T if mistake == "transposed" else params["weight_hh"]
        dh_next = 0 * dh_next if mistake == "no recurrent term" else delta @ W_hh
    return grads


def relative_error(wrong, right):
    """The size of the difference, relative to the size of what is right."""
    return np.linalg.norm(wrong - right) / np.linalg.norm(right)


MISTAKES = (None, "no recurrent term", "no sum over time", "transposed")
right = backward(params, x, h, dy)[2]
print(f"{'relative error of':20}" + "".join(f"{name:>12}" for name in right))
for mistake in MISTAKES:
    wrong = broken_backward(params, x, h, dy, mistake)
    errors = [relative_error(wrong[name], right[name]) for name in right]
    print(f"{mistake or 'no mistake':20}" + "".join(f"{error:12.1e}" for error in errors))
    assert max(errors) < 1e-12 if mistake is None else min(errors) > 0.1

# %% [markdown]
# ## Train
#
# The task: the inputs are $+1$ and $-1$ at random; at each step **say what the input was $k$ steps ago**,
# $\hat{y}_t = W_{out} h_t + b_{out} \to x_{t-k}$. Who knows nothing says 0 and has a mean squared error of 1. To solve it
# the network must learn to store an input and pass it on; nobody tells it how.
#
# The steps are taken by Adam; any optimizer will do here.


# %%
def task(rng, k, T=20, N=20):
    """Return x (T, N, 1), what to say at each step, and whether it counts (not before step k)."""
    x = rng.choice([-1.0, 1.0], size=(T, N, 1))
    target = np.zeros_like(x)
    target[k:] = x[:-k]
    return x, target, (np.arange(T) >= k)[:, None, None]


def start(rng, H=8):
    """Return the parameters of the network with its output layer."""
    params = rl.RNN(1, H).init(rng)
    params["weight_hh"] *= 0.5
    return params, {"weight": rng.normal(size=(1, H)) / np.sqrt(H), "bias": np.zeros(1)}


def loss_and_all_gradients(params, output, batch, recurrent_gradients):
    """The mean squared error, and the gradients of both parts."""
    x, target, counts = batch
    h = forward(params, x)
    error = (h[1:] @ output["weight"].T + output["bias"] - target) * counts
    size = counts.sum() * x.shape[1]
    d = 2 * error / size
    d_output = {"weight": np.einsum("tno,tnh->oh", d, h[1:]), "bias": d.sum(axis=(0, 1))}
    return np.sum(error**2) / size, recurrent_gradients(params, x, h, d @ output["weight"]), d_output


def train(rng, recurrent_gradients, k=4, steps=500):
    """Return the losses."""
    params, output = start(rng)
    both = {"recurrent": params, "output": output}
    optimizer = rl.optim.adam(0.01)
    opt_state, losses = optimizer.init(both), []
    for _ in range(steps):
        loss, d_params, d_output = loss_and_all_gradients(*both.values(), task(rng, k), recurrent_gradients)
        both, opt_state = optimizer.step(both, {"recurrent": d_params, "output": d_output}, opt_state)
        losses.append(loss)
    return np.array(losses)


def losses_with(mistake, k, seed=0):
    """Train with one of the mistakes."""
    gradients = lambda params, x, h, dy: broken_backward(params, x, h, dy, mistake)  # noqa: E731
    return train(np.random.default_rng(seed), gradients, k=k)


# %% [markdown]
# Once with $k = 1$ and once with $k = 4$, with the right gradient and with each mistake:

# %%
curves = {(k, mistake): losses_with(mistake, k) for k in (1, 4) for mistake in MISTAKES}
final = {key: curve[-50:].mean() for key, curve in curves.items()}

fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
for ax, k in zip(axes, (1, 4), strict=True):
    for mistake, style in zip(MISTAKES, ("C0-", "C1--", "C2-.", "C3:"), strict=True):
        smooth = np.convolve(curves[k, mistake], np.ones(10) / 10, mode="valid")
        ax.semilogy(smooth, style, label=mistake or "right gradient")
    ax.set(title=f"recall of {k} step{'s' * (k > 1)} ago", xlabel="training step")
axes[0].set_ylabel("mean squared error")
axes[0].legend()
fig.suptitle("Wrong gradients can learn the easy task and look healthy")
plt.show()

for key, value in final.items():
    print(f"k = {key[0]}  {key[1] or 'right gradient':20} {value:.4f}")
assert final[4, None] < 0.01 and min(final[4, m] for m in MISTAKES[1:]) > 0.1
assert max(final[1, m] for m in MISTAKES) < 0.2  # learned with each of the gradients, right or wrong

# %% [markdown]
# **A falling loss does not show that a gradient is right.** With each of the mistakes the easy task is learned all the
# same: the random state happens to hold the last input, and the output layer, whose gradient is right, finds it.
# Only the harder task tells. It is cheaper to check gradients than to wait for such a task.
#
# ## Truncation
#
# BPTT over $T$ steps keeps $T$ states, and there is no update before the end. For a text of a million characters that
# will not do. **Truncated** BPTT cuts the sequence into chunks of $K$ steps. The state is carried from chunk to chunk,
# so the forward values are the same as in one run. The gradient is *not* carried: each chunk starts its backward with
# $\delta_T = 0$.


# %%
def truncated_backward(params, x, h, dy, K):
    """The sum of the gradients of chunks of K steps, none of which hears of later chunks."""
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    for s in range(0, len(x), K):
        chunk = backward(params, x[s : s + K], h[s : s + K + 1], dy[s : s + K])[2]
        grads = {name: grads[name] + chunk[name] for name in grads}
    return grads


# %% [markdown]
# What is thrown away is the influence of an input on losses in later chunks. How much is it? That depends on how fast
# the gradient fades, so on $W_{hh}$. We take an orthogonal matrix times a factor, random gradients at every step, and
# compare with the whole gradient.


# %%
def truncation_errors(factor, lengths, rng, T=64, N=10, H=20):
    """Return the relative error of dW_hh for each chunk length."""
    params = rl.RNN(1, H).init(rng)
    params["weight_hh"] *= factor
    x, dy = 0.3 * rng.normal(size=(T, N, 1)), rng.normal(size=(T, N, H))
    h = forward(params, x)
    full = backward(params, x, h, dy)[2]["weight_hh"]
    return [relative_error(truncated_backward(params, x, h, dy, K)["weight_hh"], full) for K in lengths]


chunks = [1, 2, 4, 8, 16, 32, 64]
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
missing = {}
for factor, style in ((0.5, "C0o-"), (0.8, "C1s--"), (1.0, "C2^-.")):
    missing[factor] = truncation_errors(factor, chunks, np.random.default_rng(3))
    ax.plot(chunks, missing[factor], style, label=f"{factor} x orthogonal")
    print(factor, np.round(missing[factor], 3))
ax.set(xlabel="chunk length K (steps); the sequence has 64", ylabel="relative error of $dW_{hh}$", xscale="log")
ax.set_xticks(chunks, chunks)
ax.minorticks_off()
ax.set_title("A network with a long memory loses most by truncation")
ax.legend()
plt.show()

assert all(errors[-1] < 1e-12 for errors in missing.values())  # one chunk: nothing is thrown away
assert all(missing[0.5][i] < missing[1.0][i] for i in range(1, 6))

# %% [markdown]
# And what does it do to training? In the recall task with $k = 4$, a chunk of 4 steps never holds both an answer and
# the input that it asks for. A chunk of 5 holds one such pair, and that turns out to be enough: the weights are the
# same at all steps, so what is learned from one pair serves all.

# %%
trained = {}
for K in (1, 4, 5, 10, 20):
    gradients = lambda params, x, h, dy, K=K: truncated_backward(params, x, h, dy, K)  # noqa: E731
    trained[K] = np.mean([train(np.random.default_rng(seed), gradients, k=4)[-50:].mean() for seed in range(3)])
    print(f"K = {K:2}: mean squared error after training {trained[K]:.4f}")
assert min(trained[1], trained[4]) > 5 * trained[20] and max(trained[5], trained[20]) < 0.02

# %% [markdown]
# ## Exercises
#
# **1.** The backward loop needs $\delta_{t+1}$ for $\delta_t$, but the products for the weights can wait. Given all
# deltas as one array, compute the three gradients **without a loop**.


# %%
def weight_gradients(delta, x, h):
    """Return the gradients from delta (T, N, H), x (T, N, D) and h (T + 1, N, H)."""
    ### BEGIN SOLUTION
    D, H = x.shape[2], delta.shape[2]
    flat = delta.reshape(-1, H)
    return {
        "weight_ih": flat.T @ x.reshape(-1, D),
        "weight_hh": flat.T @ h[:-1].reshape(-1, H),
        "bias": flat.sum(axis=0),
    }
    ### END SOLUTION


# %%
delta, dh_next = np.empty_like(dy), np.zeros((N, H))
h = forward(params, x, h_start)
for t in reversed(range(T)):
    delta[t] = (dy[t] + dh_next) * (1 - h[t + 1] ** 2)
    dh_next = delta[t] @ params["weight_hh"]
for name, value in weight_gradients(delta, x, h).items():
    difference = np.abs(value - backward(params, x, h, dy)[2][name]).max()
    assert difference < 1e-12, f"{name}: largest difference {difference:.1e}; is h the state before the step?"

# %% [markdown]
# **2.** Make `backward` work for the logistic sigmoid $f(a) = 1 / (1 + e^{-a})$: give its slope **from its output**.


# %%
def sigmoid_slope(h):
    """The slope of the sigmoid, from its output h."""
    ### BEGIN SOLUTION
    return h * (1 - h)
    ### END SOLUTION


# %%
h = forward(params, x, h_start, f=lambda a: 1 / (1 + np.exp(-a)))
ours = backward(params, x, h, dy, dh_end, slope=sigmoid_slope)[0]
sigmoid_layer = rl.RNN(D, H, activation="sigmoid")
_, _, tape = sigmoid_layer.forward(params, x, h_start)
theirs = sigmoid_layer.backward(params, tape, dy, dh_end)[0]
assert np.abs(ours - theirs).max() < 1e-12, "dx differs: the slope is to be computed from h = f(a), not from a"

# %% [markdown]
# **3.** Sequences of different lengths: where $t \geq$ `lengths[n]` the state is kept and the output is zero
# (tutorial 1). What happens on the way back at such a step? Write one backward step, for rows where `alive` (shape
# $(N, 1)$) is true or false.


# %%
def backward_step(params, h_t, dy_t, dh_next, alive):
    """Return delta (N, H) and the gradient dh (N, H) of the state before this step."""
    ### BEGIN SOLUTION
    delta = np.where(alive, (dy_t + dh_next) * (1 - h_t**2), 0)
    return delta, np.where(alive, delta @ params["weight_hh"], dh_next)
    ### END SOLUTION


# %%
lengths = np.array([7, 1, 4, 6])
y, last, tape = layer.forward(params, x, h_start, lengths=lengths)
_, expected, _ = layer.backward(params, tape, dy, dh_end)
dh = dh_end
for t in reversed(range(T)):
    _, dh = backward_step(params, y[t], dy[t], dh, (t < lengths)[:, None])
assert np.abs(dh - expected).max() < 1e-12, "at a step past the end the state is only copied: its gradient is too"

# %% [markdown]
# **4.** In truncated BPTT, why is the state carried but its gradient dropped? What would change if both were dropped?
#
# <!-- ### BEGIN SOLUTION -->
# The state costs nothing to carry, and with it the forward values are those of one long run. Its gradient would have
# to travel back through all earlier chunks, whose states would have to be kept, and which were computed with older
# weights. If the state were dropped too, each chunk would be a sequence of its own that starts from zeros: the network
# could not use anything from before the chunk, neither in training nor in use. With the state carried it can use
# it; it is only not *taught* to store it for later chunks.
# <!-- ### END SOLUTION -->
