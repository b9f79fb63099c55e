# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 11. Faster
#
# Afterwards you can say where the time of a training step goes, measure a change honestly, and make your own layer many
# times faster without changing its results. You need chapters 2 and 5. Every number is measured on *your* machine
# while you read; the sentences say what to expect, and the checks are generous. At the end: the switch to a GPU.

# %%
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl  # limits the threads of the BLAS, the library that multiplies NumPy's matrices

import rnnlab as rl

one_thread = threadpoolctl.threadpool_limits(1)  # one core, until the section on threads
for library in threadpoolctl.threadpool_info():
    print(library["internal_api"], library.get("version"), "kernels for", library.get("architecture"))

# %% [markdown]
# ## How to measure
#
# A computer is a noisy place: other programs run, the processor changes its speed, the first call fetches memory. So
# measure the candidates **in turns**, many times, and compare **medians**. What disturbs one then disturbs the other
# too, and the median does not care about a few slow rounds. As long as one thread works, read the *processor time*
# (`time.process_time`): what other programs take meanwhile is not counted. With threads or a GPU only the clock on the
# wall will do (`time.perf_counter`).


# %%
CLOCK = time.perf_counter if sys.platform == "win32" else time.process_time  # Windows counts it in 16 ms


def compare(title, rounds=15, clock=CLOCK, **functions):
    """Time functions in turns; print and return the median of each in microseconds."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()  # not counted: the first call is always slower
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(1e6 * (clock() - start))
    medians = {name: float(np.median(t)) for name, t in times.items()}
    fastest = min(medians.values())
    print(
        title
        + "".join(f"\n   {us:10.1f} us  {us / fastest:5.1f}x  {name.replace('_', ' ')}" for name, us in medians.items())
    )
    return medians


rng = np.random.default_rng(0)
small, large = np.ones(10, np.float32), np.ones(1_000_000, np.float32)
sides = {"a_thousand_calls_on_10_numbers_each": lambda: [np.add(small, 1, small) for _ in range(1000)],
         "one_call_on_a_million_numbers": lambda: np.add(large, 1, large)}  # fmt: skip
cost = compare("adding 1 in place", **sides)
overhead = cost["a_thousand_calls_on_10_numbers_each"] / 1000
assert cost["a_thousand_calls_on_10_numbers_each"] > cost["one_call_on_a_million_numbers"], "a hundredth of the numbers"

# %% [markdown]
# ## Derive: what a step must cost
#
# The time of a program that calls NumPy is about
#
# $$\text{time} \approx \text{calls} \cdot c + \frac{\text{operations in products}}{\text{speed of products}}
# + \frac{\text{numbers in elementwise work}}{\text{speed of elementwise work}},$$
#
# with $c$ the price of a call, however little it does. Count it for an RNN layer,
# $h_t = \tanh(W_{ih} x_t + W_{hh} h_{t-1} + b)$, over $T$ steps and $N$ sequences. A product of $(m, k)$ and $(k, n)$
# takes $2 m k n$ operations. Forward: $2 H (D + H)$ for each step and sequence. Backward has for each product of forward
# two: one for the gradient of the weights, one for that of the input. So in all
#
# $$\text{operations} = 3 \cdot 2\, T N H (D + H).$$
#
# Measure the three constants, and predict. Products reach their speed only when they are large.


# %%
def constants(H=256):
    """Products in operations per us, and tanh in numbers per us, both in float32."""
    A, B = rng.normal(size=(2, H, 4 * H)).astype(np.float32)
    C, a = np.empty((H, H), np.float32), rng.normal(size=(H, 4 * H)).astype(np.float32)
    (product_us,) = compare("a large product", product=lambda: np.matmul(A, B.T, out=C)).values()
    (tanh_us,) = compare(f"tanh of {a.size:,} numbers", tanh=lambda: np.tanh(a, out=a)).values()
    return 2 * H * H * 4 * H / product_us, a.size / tanh_us


def predicted_us(T, N, D, H, calls_per_step=8):
    """The formula above for an RNN, forward and backward, with about 8 calls a step."""
    operations, numbers = 6 * T * N * H * (D + H), 5 * T * N * H
    return T * calls_per_step * overhead, operations / product_speed, numbers / tanh_speed


product_speed, tanh_speed = constants()
print(
    f"a call costs {overhead:.2f} us; products run at {product_speed / 1000:.0f} GFLOP/s, tanh at {tanh_speed:.0f}/us"
)


def rnn_step(T, N, D, H, dtype=np.float32):
    """Return a function that runs rnnlab's RNN forward and back."""
    layer = rl.RNN(D, H)
    params = layer.init(rng, dtype)
    x, dy = rng.normal(size=(T, N, D)).astype(dtype), rng.normal(size=(T, N, H)).astype(dtype)
    return lambda: layer.backward(params, layer.forward(params, x)[2], dy)


shapes = {"one sequence": (100, 1, 64, 100), "batch": (50, 32, 64, 128), "wide": (35, 32, 256, 512)}
measured = {}
for name, shape in shapes.items():
    (measured[name],) = compare(f"{name}: T, N, D, H = {shape}", rounds=7, rnn=rnn_step(*shape)).values()
    print("   predicted: calls {:.0f}, products {:.0f}, elementwise {:.0f} us".format(*predicted_us(*shape)))
assert np.argmax(predicted_us(*shapes["one sequence"])) == 0, "one sequence: the calls should cost most"
assert np.argmax(predicted_us(*shapes["wide"])) == 1, "a wide layer: the products should cost most"

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
bottom, at = np.zeros(3), np.arange(3)
parts = np.array([predicted_us(*shape) for shape in shapes.values()]).T / np.array(list(measured.values()))
looks = zip(["calls", "products", "elementwise"], ["#D55E00", "#0072B2", "#009E73"], ["//", "", ".."], strict=True)
for part, (name, color, hatch) in zip(parts, looks, strict=True):
    ax.bar(at, part, 0.6, bottom, color=color, hatch=hatch, edgecolor="white", label=name + ", predicted")
    bottom += part
ax.axhline(1, color="k", linestyle="--", label="measured")
ax.set_xticks(at, [f"{name}\nT={T}, N={N}\nD={D}, H={H}" for name, (T, N, D, H) in shapes.items()])
ax.set(
    ylabel="share of the measured time",
    title="With one sequence calls cost most, in a wide layer products",
    ylim=(0, 1.7),
)
ax.legend(fontsize=8, ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# The formula leaves out copies, Python itself, and that small products are slower than large ones; it is right about *what
# matters where*. With one sequence no better product would help, only fewer calls. That decides what to try.
#
# ## Code: a slow layer
#
# The equations as they stand in a textbook: one sequence after the other, one step after the other. It has rnnlab's layer
# interface, so that it can be put into rnnlab's models.


# %%
class SlowRNN:
    """h_t = tanh(W_ih x_t + W_hh h_{t-1} + b), one sequence and one step at a time."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.init = rl.RNN(input_size, hidden_size).init

    def forward(self, params, x, state=None, rng=None):
        (T, N, _), H = x.shape, self.hidden_size
        h = np.zeros((T + 1, N, H), x.dtype)
        h[0] = 0 if state is None else state
        for n in range(N):
            for t in range(T):
                a = params["weight_ih"] @ x[t, n] + params["weight_hh"] @ h[t, n] + params["bias"]
                h[t + 1, n] = np.tanh(a)
        return h[1:].copy(), h[-1].copy(), (x, h)

    def backward(self, params, tape, dy, dstate=None):
        x, h = tape
        grads = {name: np.zeros_like(p) for name, p in params.items()}
        dx, dh0 = np.zeros_like(x), np.zeros_like(h[0])
        for n in range(x.shape[1]):
            dh = np.zeros_like(h[0, n]) if dstate is None else dstate[n]
            for t in reversed(range(len(x))):
                da = (dh + dy[t, n]) * (1 - h[t + 1, n] ** 2)
                grads["weight_ih"] += np.outer(da, x[t, n])
                grads["weight_hh"] += np.outer(da, h[t, n])
                grads["bias"] += da
                dx[t, n], dh = params["weight_ih"].T @ da, params["weight_hh"].T @ da
            dh0[n] = dh
        return dx, dh0, grads


# %% [markdown]
# ## Five changes, one at a time
#
# **1. All sequences at once.** The weights are the same for all, so $N$ products of a matrix and a vector become one
# product of two matrices, and $N$ times as many calls become one.

# %%
W = rng.normal(size=(128, 128)).astype(np.float32)
h = rng.normal(size=(128, 32)).astype(np.float32)  # a column for each sequence
us = compare("W h for 32 sequences", one_by_one=lambda: [W @ h[:, n] for n in range(32)], together=lambda: W @ h)
assert us["one_by_one"] > 2 * us["together"]

# %% [markdown]
# **2. Out of the loop what needs no earlier step.** $W_{ih} x_t$ does not depend on $h$: one product for all steps, before
# the loop. Likewise $\partial W_{hh} = \sum_t \delta a_t h_{t-1}^\top$ can wait until all $\delta a_t$ are known: as
# one product *after* the loop, in which the sum over $t$ is the inner sum of the product.

# %%
for N in (1, 32):
    da, h_before = rng.normal(size=(2, 100, N, 128)).astype(np.float32)
    total = np.zeros((128, 128), np.float32)

    def step_by_step(da=da, h_before=h_before, total=total):
        total[:] = 0
        for t in range(100):
            total += da[t].T @ h_before[t]
        return total

    def after_the_loop(da=da, h_before=h_before):
        return da.reshape(-1, 128).T @ h_before.reshape(-1, 128)

    us = compare(f"gradient of weight_hh, 100 steps, N = {N}", step_by_step=step_by_step, after_the_loop=after_the_loop)
    assert np.allclose(step_by_step(), after_the_loop(), atol=1e-2)
    assert us["step_by_step"] > (2 if N == 1 else 1) * us["after_the_loop"]

# %% [markdown]
# **3. Memory layout.** What is used together should lie together. A step reads `x[t]` in time-major order `(T, N, D)`, one
# block; in batch-major order it reads `x[:, t]`, pieces of $D$ numbers far apart. With gates it is the same: kept as
# `(4H, N)` the forget gate is one block of rows, kept as `(N, 4H)` it is $N$ pieces.

# %%
time_major = rng.normal(size=(400, 64, 4)).astype(np.float32)
batch_major = time_major.transpose(1, 0, 2).copy()
room = np.empty((64, 4), np.float32)
compare("read 400 steps of 64 sequences, D = 4",
        batch_major=lambda: [np.tanh(batch_major[:, t], out=room) for t in range(400)],
        time_major=lambda: [np.tanh(time_major[t], out=room) for t in range(400)])  # fmt: skip
H, N = 128, 64
rows, columns = np.ones((4 * H, N), np.float32), np.ones((N, 4 * H), np.float32)
c_rows, c_columns = np.ones((H, N), np.float32), np.ones((N, H), np.float32)
us = compare("f * c in place, 100 times, H = 128, N = 64",
             columns=lambda: [np.multiply(columns[:, H : 2 * H], c_columns, out=c_columns) for _ in range(100)],
             rows=lambda: [np.multiply(rows[H : 2 * H], c_rows, out=c_rows) for _ in range(100)])  # fmt: skip
assert us["columns"] > 1.2 * us["rows"]

# %% [markdown]
# **4. In place.** $h' = (1 - z) \, n + z \, h = n + z \, (h - n)$ makes a new array for each operation. New memory must be
# found, and large memory is fetched from the operating system page by page. `out=` writes where there is room already. The
# folklore says: always do it. Look at the one line without names, and at the sizes.

# %%
for size in (1_000, 30_000, 3_000_000):
    z, n, h, room = (np.full(size, 0.5, np.float32) for _ in range(4))

    def with_names(z=z, n=n, h=h):
        difference = h - n
        part = z * difference
        return n + part

    def one_line(z=z, n=n, h=h):
        return n + z * (h - n)

    def in_place(z=z, n=n, h=h, room=room):
        np.subtract(h, n, out=room)
        np.multiply(z, room, out=room)
        np.add(n, room, out=room)

    compare(f"h' of a GRU, {size:,} numbers", with_names=with_names, one_line=one_line, in_place=in_place)

# %% [markdown]
# For small arrays the folklore is wrong: only the number of calls counts. For large ones each name costs new memory; one
# line costs less, as NumPy reuses what has no name; `out=` costs least. How much varies from run to run with the memory
# that is free. Measure before you make a line harder to read.
#
# **5. float32.** Half the bytes, and twice as many numbers in each instruction. Training does not miss the digits.
# Gradient checks do (below).

# %%
shape = (35, 32, 256, 256)
us = compare(
    "RNN, T, N, D, H = " + str(shape), rounds=7, float64=rnn_step(*shape, np.float64), float32=rnn_step(*shape)
)
assert us["float64"] > 1.2 * us["float32"]


# %% [markdown]
# ## Code: the fast layer
#
# All five, in as many lines as the slow one.


# %%
class FastRNN(SlowRNN):
    """The same equations: all sequences at once, and in the loop only what must be there."""

    def forward(self, params, x, state=None, rng=None):
        (T, N, D), H = x.shape, self.hidden_size
        h = np.empty((T + 1, N, H), x.dtype)
        h[0] = 0 if state is None else state
        np.matmul(x.reshape(T * N, D), params["weight_ih"].T, out=h[1:].reshape(T * N, H))  # before the loop
        h[1:] += params["bias"]
        room = np.empty((N, H), x.dtype)
        for t in range(T):
            h[t + 1] += np.dot(h[t], params["weight_hh"].T, out=room)
            np.tanh(h[t + 1], out=h[t + 1])
        return h[1:].copy(), h[-1].copy(), (x, h)

    def slope(self, h):
        """1 - h^2 of all steps."""
        return 1 - h[1:] * h[1:]

    def backward(self, params, tape, dy, dstate=None):
        x, h = tape
        (T, N, D), H = x.shape, self.hidden_size
        dh = np.zeros((N, H), x.dtype) if dstate is None else dstate.copy()
        da = self.slope(h)
        for t in reversed(range(T)):
            dh += dy[t]
            da[t] *= dh
            np.dot(da[t], params["weight_hh"], out=dh)
        da = da.reshape(T * N, H)  # after the loop: three products
        grads = {"weight_ih": da.T @ x.reshape(T * N, D), "weight_hh": da.T @ h[:-1].reshape(T * N, H)}
        return (da @ params["weight_ih"]).reshape(x.shape), dh, {**grads, "bias": da.sum(axis=0)}


# %% [markdown]
# ## Check: faster, and the same
#
# A fast layer that is wrong is worthless. Compare every gradient with the slow layer and with rnnlab's, in float64, with
# random biases and a random gradient from above; then the clock.

# %%
T, N, D, H = 12, 3, 4, 5
x, dy, dstate = rng.normal(size=(T, N, D)), rng.normal(size=(T, N, H)), rng.normal(size=(N, H))
params = {**rl.RNN(D, H).init(rng), "bias": rng.normal(size=H)}


def all_gradients(layer):
    """Every result of backward, as a dict."""
    _, _, tape = layer.forward(params, x)
    dx, dh0, grads = layer.backward(params, tape, dy, dstate)
    return {"x": dx, "state": dh0, **grads}


reference = all_gradients(rl.RNN(D, H))
for layer in (SlowRNN(D, H), FastRNN(D, H)):
    errors = {name: np.abs(g - reference[name]).max() for name, g in all_gradients(layer).items()}
    print(type(layer).__name__, {name: f"{error:.0e}" for name, error in errors.items()})
    assert max(errors.values()) < 1e-12

# %%
T, N, D, H = 50, 32, 64, 128
x, dy = rng.normal(size=(T, N, D)).astype(np.float32), rng.normal(size=(T, N, H)).astype(np.float32)
params = rl.RNN(D, H).init(rng, np.float32)


def step_of(layer):
    """Forward and backward of a layer as a function without arguments."""
    return lambda: layer.backward(params, layer.forward(params, x)[2], dy)


layers = {"slow": SlowRNN(D, H), "fast": FastRNN(D, H), "rnnlab": rl.RNN(D, H)}
us = compare(
    f"forward and back, T, N, D, H = {(T, N, D, H)}", rounds=5, **{name: step_of(l) for name, l in layers.items()}
)
assert us["slow"] > 4 * us["fast"]

# %% [markdown]
# rnnlab's layer does more (lengths, any dtype, checked arguments) and keeps its arrays as `(H, N)`. At this shape a layer
# of twenty lines can keep up with it. That is the point: it is the *few large calls* that count.

# %% [markdown]
# ## Break it on purpose
#
# **In place, one step too far.** `slope` makes a new array. Why not write $1 - h^2$ over $h$, which is needed no more? It
# *is* needed: for the gradient of `weight_hh`, after the loop. Three of the five gradients stay right, which is why such
# bugs survive a look at the loss.


# %%
class TooFarInPlace(FastRNN):
    """Wrong on purpose: backward overwrites what it still needs."""

    def slope(self, h):
        np.multiply(h[1:], h[1:], out=h[1:])
        np.subtract(1, h[1:], out=h[1:])
        return h[1:]


T, N, D, H = 12, 3, 4, 5
x, dy = rng.normal(size=(T, N, D)), rng.normal(size=(T, N, H))
params = {**rl.RNN(D, H).init(rng), "bias": rng.normal(size=H)}
wrong = {name: np.abs(g - ref).max() for (name, g), ref in zip(
    all_gradients(TooFarInPlace(D, H)).items(), all_gradients(rl.RNN(D, H)).values(), strict=True)}  # fmt: skip
print("largest error of each gradient:", {name: f"{error:.0e}" for name, error in wrong.items()})
assert wrong["weight_hh"] > 1e-2 and max(error for name, error in wrong.items() if name != "weight_hh") < 1e-12


# %% [markdown]
# **float32 in a gradient check.** The difference of two losses that agree in six digits has none left.


# %%
def central_difference(dtype, step=1e-5):
    """Relative error of one entry of the gradient of sum(y * dy), by central differences."""
    layer, p = FastRNN(D, H), {name: array.astype(dtype) for name, array in params.items()}
    grads = layer.backward(p, layer.forward(p, x.astype(dtype))[2], dy.astype(dtype))[2]
    losses = []
    for sign in (1, -1):
        moved = {**p, "bias": p["bias"] + dtype(sign * step) * np.eye(H, dtype=dtype)[0]}
        losses.append((layer.forward(moved, x.astype(dtype))[0] * dy.astype(dtype)).sum())
    numeric = (losses[0] - losses[1]) / dtype(2 * step)
    return abs(float(numeric) / float(grads["bias"][0]) - 1)


print(
    f"relative error in float64 {central_difference(np.float64):.0e}, in float32 {central_difference(np.float32):.0e}"
)
assert central_difference(np.float64) < 1e-6 < 1e-4 < central_difference(np.float32)

# %% [markdown]
# **Measure once.** A single measurement of one function against a single one of another can show anything. Here the *same*
# function against itself: how far apart are the luckiest and the unluckiest of 30 runs?

# %%
step, runs = rnn_step(50, 32, 64, 128), []
for _ in range(31):
    start = time.perf_counter()
    step()
    runs.append(1e3 * (time.perf_counter() - start))
print(f"first {runs[0]:.2f} ms; then from {min(runs[1:]):.2f} to {max(runs[1:]):.2f}, median {np.median(runs[1:]):.2f}")

# %% [markdown]
# ## Train: what it is good for
#
# The same model, seed and batches, once with the slow layer in float64, once with the fast one in float32. By steps the
# losses are the same. By the clock they are not.


# %%
def train(recurrent, dtype, steps):
    """Train a character model; return the seconds passed and the loss at each step."""
    text = rl.data.shakespeare()[:200_000]
    vocabulary = rl.data.Vocabulary(text)
    streams = rl.data.streams(vocabulary.encode(text), 16)
    model = rl.models.LanguageModel(len(vocabulary), 32, recurrent)
    params, state = model.init(np.random.default_rng(1), dtype), None
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(1.0), rl.optim.adam(0.005))
    opt_state, history, start = optimizer.init(params), [], CLOCK()
    for _, batch in zip(range(steps), rl.data.windows(streams, 32), strict=False):
        loss, grads, state = model.loss_and_grads(params, batch, state)
        params, opt_state = optimizer.step(params, grads, opt_state)
        history.append((CLOCK() - start, loss))
    return np.array(history).T


slow, fast = train(SlowRNN(32, 96), np.float64, 60), train(FastRNN(32, 96), np.float32, 60)
print(
    f"60 steps: slow {slow[0, -1]:.2f} s, fast {fast[0, -1]:.2f} s; last losses {slow[1, -1]:.4f} and {fast[1, -1]:.4f}"
)
assert np.allclose(slow[1], fast[1], rtol=1e-2) and slow[0, -1] > 2 * fast[0, -1]

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for name, (seconds, loss), color, style in [("slow", slow, "#D55E00", "--"), ("fast", fast, "#0072B2", "-")]:
    axes[0].plot(np.arange(60), loss, style, color=color, label=name, linewidth=3 if name == "slow" else 1.2)
    axes[1].plot(seconds, loss, style, color=color, label=name)
axes[0].set(xlabel="step", ylabel="loss (nats)", title="By steps: no difference")
axes[1].set(xlabel="seconds of processor time", title="By the clock: all the difference")
axes[0].legend()
plt.show()

# %% [markdown]
# ## Threads
#
# The BLAS can share one product among several cores. For large products that pays; for the small ones of a recurrent step
# the cores spend their time waiting for each other, and on a machine where other programs run, for a core to be free:
# there two threads can be many times slower than one. Try, for your shapes. (No check here: it depends on your machine.)

# %%
one_thread.restore_original_limits()
most = max(library["num_threads"] for library in threadpoolctl.threadpool_info())


def limited(function, threads):
    """Run a function with so many BLAS threads."""

    def run():
        with threadpoolctl.threadpool_limits(threads):
            function()

    return run


print(f"the BLAS would use {most} thread(s) here" + (": nothing to compare" if most == 1 else ""))
for name, shape in shapes.items():
    step = rnn_step(*shape)
    sides = {"one_thread": limited(step, 1)} | ({"all_threads": limited(step, most)} if most > 1 else {})
    compare(name, rounds=5, clock=time.perf_counter, **sides)

# %% [markdown]
# ## The GPU switch
#
# rnnlab's layers ask the *arrays* where to compute. So the switch is one line for the parameters and one for each batch;
# the model, the loss and the optimizer stay as they are.
#
# | changes | does not change |
# |---|---|
# | `params = rl.to_backend(params, "cupy")`, and every batch | layers, models, losses, optimizers, shapes, names |
# | float32 sums in another order: the last digits | the result, up to those digits |
# | calls return before the work is done: wait before you read the clock | drawing random numbers, on the host with NumPy |
# | a look at a value (`float(loss)`, printing) makes the host wait | |
#
# A GPU has its own price of a call, larger than NumPy's. A small layer with one sequence can be *slower* there.


# %%
def wait_for(loss):
    """Bring the loss to the host: when it is here, what it needed is done."""
    return float(rl.to_numpy(loss))


T, N, V, H = 64, 64, 65, 512
model = rl.models.LanguageModel(V, 128, rl.LSTM(128, H))
params = model.init(np.random.default_rng(2), np.float32)
batch = tuple(np.random.default_rng(3).integers(0, V, (2, T, N)))
on_host = wait_for(model.loss(params, batch)[0])
try:
    params_gpu, batch_gpu = rl.to_backend((params, batch), "cupy")
    on_gpu = wait_for(model.loss(params_gpu, batch_gpu)[0])
    print(f"loss on the host {on_host:.6f}, on the GPU {on_gpu:.6f}")
    assert np.isclose(on_host, on_gpu, rtol=1e-4)
    compare(f"loss of an LSTM, T, N, H = {(T, N, H)}", rounds=5, clock=time.perf_counter,
            host=lambda: wait_for(model.loss(params, batch)[0]),
            gpu=lambda: wait_for(model.loss(params_gpu, batch_gpu)[0]))  # fmt: skip
except rl.BackendError as error:
    print(f"No GPU here, the chapter ends on the host. rnnlab says: {error}")

# %% [markdown]
# Mixing is an error, not a silent copy: arrays of both libraries in one call raise a `TypeError` that names the argument.
#
# ## Exercises
#
# **1.** A function that adds the products of all steps, one call. `A (T, m, k)` and `B (T, k, n)`; wanted is
# $\sum_t A_t B_t$.


# %%
def sum_of_products(A, B):
    """sum over t of A[t] @ B[t], shape (m, n), as one matrix product."""
    ### BEGIN SOLUTION
    T, m, k = A.shape
    return A.transpose(1, 0, 2).reshape(m, T * k) @ B.reshape(T * k, B.shape[2])
    ### END SOLUTION


# %%
A, B = rng.normal(size=(200, 20, 3)), rng.normal(size=(200, 3, 30))
expected = sum(A[t] @ B[t] for t in range(200))
assert sum_of_products(A, B).shape == (20, 30), "the result has shape (m, n)"
assert np.allclose(sum_of_products(A, B), expected), (
    "time and the inner axis must be joined in the same order in A and B"
)
compare("200 products", loop=lambda: sum(A[t] @ B[t] for t in range(200)), one=lambda: sum_of_products(A, B))

# %% [markdown]
# **2.** One `tanh` can serve sigmoid gates too: $\sigma(a) = \tfrac12 \tanh(a/2) + \tfrac12$. Compute all four gates of an
# LSTM in place with a single call of `np.tanh`.


# %%
def gates_in_place(a):
    """Turn a (4, H, N) in the order i, f, g, o into gates: sigmoid for i, f, o and tanh for g; return a."""
    ### BEGIN SOLUTION
    scale, shift = np.array([[0.5, 0.5, 1, 0.5], [0.5, 0.5, 0, 0.5]], a.dtype)[:, :, None, None]
    a *= scale
    np.tanh(a, out=a)
    a *= scale
    a += shift
    return a
    ### END SOLUTION


# %%
a = rng.normal(size=(4, 5, 3))
by_definition = 1 / (1 + np.exp(-a))
by_definition[2] = np.tanh(a[2])
result = gates_in_place(a)
assert result is a, "work in the array that was given"
assert np.allclose(result, by_definition), "three sigmoids and, at place 2, a tanh"

# %% [markdown]
# **3.** Write `predicted_speedup(T, N, D, H, factor)`: by the formula of this chapter, how much faster does a step become
# if only the products become `factor` times faster?


# %%
def predicted_speedup(T, N, D, H, factor):
    """Old predicted time divided by new predicted time."""
    ### BEGIN SOLUTION
    calls, products, elementwise = predicted_us(T, N, D, H)
    return (calls + products + elementwise) / (calls + products / factor + elementwise)
    ### END SOLUTION


# %%
for name, shape in shapes.items():
    print(f"{name:13s} twice as fast products: {predicted_speedup(*shape, 2):.2f}x faster")
assert np.isclose(predicted_speedup(*shapes["batch"], 1), 1), "factor 1 changes nothing"
assert predicted_speedup(*shapes["one sequence"], 1e9) < predicted_speedup(*shapes["wide"], 1e9), "use all three parts"
assert predicted_speedup(*shapes["wide"], 2) < 2, "the calls and the elementwise work stay"

# %% [markdown]
# **4.** Somebody measured on a GPU that one step takes 20 microseconds, a thousand times less than on the host. What did
# they forget?
#
# <!-- ### BEGIN SOLUTION -->
# To wait. A call on the GPU only puts work into a queue and returns; the clock saw the queueing. Read a result
# (or synchronize) before stopping the clock, and run once before starting it, since the first call compiles.
# <!-- ### END SOLUTION -->
