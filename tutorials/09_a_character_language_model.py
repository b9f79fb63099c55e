# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 9. A character language model
#
# Afterwards you can derive the gradient of softmax cross-entropy, build a language model from an embedding, an LSTM
# and an output layer, check it, train it on Shakespeare's plays, say how good it is in bits per character, and let it
# write. You need chapters 1 to 3 and 5. Everything runs on one core in about half a minute.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl

text = rl.data.shakespeare()  # ships with rnnlab: nothing is downloaded
vocabulary = rl.data.Vocabulary(text)
tokens = vocabulary.encode(text)
V = len(vocabulary)
print(text[:75])
print(f"{len(tokens):,} characters of {V} kinds; the first ten as numbers: {tokens[:10]}")

# %% [markdown]
# ## Derive: softmax, cross-entropy, and its gradient
#
# A language model reads characters $x_1, \dots, x_t$ and gives a probability to each candidate for $x_{t+1}$. Its last
# layer yields one number a candidate, the logits $s \in \mathbb{R}^V$, and the softmax makes them probabilities:
#
# $$p_k = \frac{e^{s_k}}{\sum_j e^{s_j}}, \qquad \text{loss} = -\log p_y = \log \sum_j e^{s_j} - s_y,$$
#
# where $y$ is the character that really came next. Differentiate the right side. The derivative of the first term
# is $e^{s_k} / \sum_j e^{s_j} = p_k$, that of the second is $1$ for $k = y$ and $0$ otherwise:
#
# $$\frac{\partial\, \text{loss}}{\partial s_k} = p_k - [k = y].$$
#
# So the gradient is the prediction minus the truth. Its entries add up to zero. With the mean over $T N$ characters
# each is divided by $T N$. Subtracting $\max_j s_j$ from all logits changes nothing and keeps $e^{s}$ from overflowing.
#
# The loss in nats divided by $\log 2$ is in bits: how many yes/no answers one character still costs. A model that knows
# nothing needs $\log_2 V$ of them.

# %% [markdown]
# ## Code: the loss, then the model
#
# Twice: once with nothing but NumPy, once by rnnlab's function.


# %%
def softmax_cross_entropy(logits, targets):
    """Mean of -log softmax(logits)[target], and its gradient; logits (T, N, V), targets (T, N)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_p, targets[..., None], axis=-1)
    dlogits = np.exp(log_p)
    np.put_along_axis(dlogits, targets[..., None], np.exp(chosen) - 1, axis=-1)
    return -chosen.mean(), dlogits / targets.size


rng = np.random.default_rng(0)
logits, targets = 3 * rng.normal(size=(4, 2, V)), rng.integers(0, V, (4, 2))
loss, dlogits = softmax_cross_entropy(logits, targets)
loss_rl, dlogits_rl = rl.losses.cross_entropy(logits, targets)
print(f"loss {loss:.6f} by hand, {loss_rl:.6f} by rnnlab; entries of the gradient add up to {dlogits.sum():.1e}")
assert np.isclose(loss, loss_rl) and np.allclose(dlogits, dlogits_rl)
assert np.isfinite(softmax_cross_entropy(1000 * logits, targets)[0]), "large logits must not overflow"

# %% [markdown]
# The model is a chain of three layers. A character's number picks a row of the embedding table (that is the product of
# a one-hot vector with the table, without the multiplications). The LSTM reads the rows. A linear layer turns each
# hidden state into logits. `backward` is the same chain, read from below.


# %%
class CharacterModel:
    """Embedding, recurrent layer, softmax; inputs and targets are integers (T, N)."""

    def __init__(self, vocab_size, embedding_size, recurrent):
        self.embedding = rl.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent
        self.output = rl.Linear(recurrent.hidden_size, vocab_size)

    def init(self, rng):
        layers = {"embedding": self.embedding, "recurrent": self.recurrent, "output": self.output}
        return {name: layer.init(rng) for name, layer in layers.items()}

    def loss_and_grads(self, params, batch, state=None):
        inputs, targets = batch
        e, tape_e = self.embedding.forward(params["embedding"], inputs)
        y, state, tape_y = self.recurrent.forward(params["recurrent"], e, state)
        logits, tape_s = self.output.forward(params["output"], y)
        loss, dlogits = softmax_cross_entropy(logits, targets)

        dy, grads_s = self.output.backward(params["output"], tape_s, dlogits)
        de, _, grads_y = self.recurrent.backward(params["recurrent"], tape_y, dy)
        _, grads_e = self.embedding.backward(params["embedding"], tape_e, de)
        return loss, {"embedding": grads_e, "recurrent": grads_y, "output": grads_s}, state


# %% [markdown]
# The data: the text is cut into $N$ streams that run side by side. A batch is $T$ steps of all of them, and **its
# targets are its inputs one step later**. The next batch goes on where this one ended.

# %%
train_tokens, valid_tokens = rl.data.split(tokens, (0.9, 0.1))  # the past first: nothing is shuffled
streams = rl.data.streams(train_tokens, batch_size=4)
inputs, targets = next(rl.data.windows(streams, length=10))
print("streams", streams.shape, " inputs", inputs.shape, " targets", targets.shape)
print("reads   ", repr(vocabulary.decode(inputs[:, 0])))
print("predicts", repr(vocabulary.decode(targets[:, 0])))
assert (inputs[1:] == targets[:-1]).all()

# %% [markdown]
# rnnlab holds the same model ready-made. Loss and gradients are the same numbers.

# %%
by_hand = CharacterModel(V, 8, rl.LSTM(8, 16))
model = rl.models.LanguageModel(V, 8, rl.LSTM(8, 16))
params = by_hand.init(np.random.default_rng(1))
loss, grads, _ = by_hand.loss_and_grads(params, (inputs, targets))
loss_rl, grads_rl, _ = model.loss_and_grads(params, (inputs, targets))
print(f"loss {loss:.6f} and {loss_rl:.6f};  log V = {np.log(V):.6f}")
for layer, arrays in grads.items():
    for name, g in arrays.items():
        assert np.allclose(g, grads_rl[layer][name]), f"{layer}.{name} differs"
assert np.isclose(loss, loss_rl) and abs(loss - np.log(V)) < 0.3, "a new model should know next to nothing"

# %% [markdown]
# ## Check
#
# Two checks before any training. First the gradient, against central differences, with random biases (chapter 3 says
# why zeros would hide errors). Second: can the model learn **one batch by heart**? It should. Where it cannot,
# something is wrong with the model, the gradient or the optimizer, and a larger data set will not mend it.

# %%
rng = np.random.default_rng(2)
params["recurrent"]["bias"] = rng.normal(size=64)
params["output"]["bias"] = rng.normal(size=V)
report = rl.check_gradients(lambda p: by_hand.loss_and_grads(p, (inputs, targets))[:2], params)
print(f"gradient check passed: {report.passed}, largest relative error {report.max_relative_error:.1e}")
assert report.passed


# %%
def overfit(model, params, batch, steps):
    """Train on one batch, over and over; return the losses and the parameters."""
    optimizer = rl.optim.adam(0.02)
    opt_state, losses = optimizer.init(params), []
    for _ in range(steps):
        loss, grads, _ = model.loss_and_grads(params, batch)
        params, opt_state = optimizer.step(params, grads, opt_state)
        losses.append(loss)
    return losses, params


losses, _ = overfit(by_hand, by_hand.init(np.random.default_rng(3)), (inputs, targets), 200)
print(f"the same 40 characters, 200 times: {losses[0] / np.log(2):.2f} bits, then {losses[-1] / np.log(2):.3f}")
assert losses[-1] < 0.1 * losses[0]

# %% [markdown]
# ## Break it on purpose: targets that are not shifted
#
# The most frequent mistake in this model is one line of indexing: the targets are the inputs themselves. The gradient
# check passes (the gradient of the wrong loss is right), and the loss falls faster than ever. It is the *too good*
# loss that should warn you: the model only copies what it has just read.

# %%
batches = list(rl.data.windows(rl.data.streams(train_tokens, 32), 32))[:150]
optimizer = rl.optim.adam(0.01)
params = model.init(np.random.default_rng(4))
opt_state, copied = optimizer.init(params), []
for inputs, _ in batches:
    loss, grads, _ = model.loss_and_grads(params, (inputs, inputs))  # WRONG: must be (inputs, targets)
    params, opt_state = optimizer.step(params, grads, opt_state)
    copied.append(loss / np.log(2))
honest = model.loss(params, batches[-1])[0] / np.log(2)
print(f"bits per character on the wrong targets: {copied[-1]:.2f} after {len(batches)} steps")
print(f"the same parameters on the right ones:   {honest:.2f}; knowing nothing costs {np.log2(V):.2f}")
assert copied[-1] < 1.0 and honest > np.log2(V)

# %% [markdown]
# ## Baselines: what counting alone can do
#
# A loss says nothing without another one beside it. Count, in the training text, how often each character follows each
# context of the last `order` characters. Order 0 is the *unigram* model, order 1 the *bigram*, order 2 the *trigram*.
# Unseen pairs would cost infinitely many bits, so every count starts at a small number.


# %%
def ngram_bits(train, valid, order, start=0.01):
    """Bits per character of a model that counts what follows each context of `order` characters."""

    def contexts(tokens):
        ids = np.zeros(len(tokens) - order, dtype=int)
        for k in range(order):
            ids = ids * V + tokens[k : len(tokens) - order + k]
        return ids

    counts = np.full((V**order, V), start)
    np.add.at(counts, (contexts(train), train[order:]), 1)
    p = counts / counts.sum(axis=1, keepdims=True)
    return -np.log2(p[contexts(valid), valid[order:]]).mean()


baselines = {"uniform": np.log2(V)}
for order, name in enumerate(["unigram", "bigram", "trigram"]):
    baselines[name] = ngram_bits(train_tokens, valid_tokens, order)
for name, bits in baselines.items():
    print(f"{name:8s} {bits:.3f} bits per character")
assert baselines["uniform"] > baselines["unigram"] > baselines["bigram"] > baselines["trigram"]

# %% [markdown]
# ## Train
#
# An LSTM of 128 units, in float32 (a language model does not need the digits, and float32 is about twice as fast).
# Between batches the **state is carried, its gradient is not**: that is truncated backpropagation through time. And a small
# share of the streams, 5 percent at each batch, forgets its state and starts from zeros. Why, we shall see below.
#
# The norm of all gradients is clipped at 0.25, somewhat above its usual size: a safety net for the odd batch.

# %%
H, STEPS = 128, 1800
model = rl.models.LanguageModel(V, 32, rl.LSTM(32, H, forget_bias=1.0))
train_streams = rl.data.streams(train_tokens, 16)


def global_norm(grads):
    """The norm of all gradients as one long vector."""
    return np.sqrt(sum((g * g).sum() for layer in grads.values() for g in layer.values()))


# %%
def train(model, streams, steps, forget, rng, length=64, max_norm=0.25):
    """Truncated BPTT; return the parameters, and the loss (bits) and gradient norm of each step."""
    params = model.init(rng, dtype=np.float32)
    adam = rl.optim.adam(rl.optim.schedules.cosine(0.02, steps))
    optimizer = rl.optim.chain(rl.optim.clip_by_global_norm(max_norm), adam)
    opt_state, history = optimizer.init(params), []
    while len(history) < steps:
        state = None  # at the beginning of the streams nothing has been read
        for batch in rl.data.windows(streams, length):
            loss, grads, state = model.loss_and_grads(params, batch, state)
            state = rl.carry_state(state, keep=rng.random(streams.shape[1]) >= forget)
            params, opt_state = optimizer.step(params, grads, opt_state)
            history.append((loss / np.log(2), global_norm(grads)))
            if len(history) == steps:
                break
    return params, np.array(history)


params, history = train(model, train_streams, STEPS, 0.05, np.random.default_rng(5))
train_bits, norms = history.T
print(f"{STEPS} steps of 16 x 64 characters; norm of the gradient: median {np.median(norms):.2f}, ", end="")
print(f"largest {norms.max():.2f}; clipped in {np.mean(norms > 0.25):.1%} of the steps")
assert 0 < np.mean(norms > 0.25) < 0.3


# %%
def bits_per_character(model, params, tokens, carry=True, length=64):
    """Mean bits per character over 32 streams; with carry=False each window starts from nothing."""
    state, total, count = None, 0.0, 0
    for inputs, targets in rl.data.windows(rl.data.streams(tokens, 32), length):
        loss, state = model.loss(params, (inputs, targets), state if carry else None)
        total, count = total + loss * targets.size, count + targets.size
    return total / count / np.log(2)


valid_bits = bits_per_character(model, params, valid_tokens)
for name, bits in {**baselines, "LSTM": valid_bits}.items():
    print(f"{name:8s} {bits:.3f} bits per character, {2**bits:5.2f} equally likely choices")
assert valid_bits < baselines["trigram"], "the LSTM should beat counting three characters"

# %%
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(train_bits, color="0.75", linewidth=0.8)
ax.plot(np.arange(24, STEPS), np.convolve(train_bits, np.ones(25) / 25, mode="valid"), color="#0072B2")
for (name, bits), style in zip(baselines.items(), [":", "-.", "--", (0, (6, 1))], strict=True):
    ax.axhline(bits, color="#D55E00", linewidth=1, linestyle=style)
    ax.text(STEPS, bits + 0.04, f"{name} {bits:.2f}", ha="right", color="#D55E00", fontsize=9)
ax.plot(STEPS, valid_bits, "k*", markersize=9)
ax.text(STEPS, valid_bits + 0.1, f"LSTM, validation {valid_bits:.2f}", ha="right", fontsize=9)
ax.set(xlabel="step (blue: mean of 25)", ylabel="bits per character", ylim=(1.8, 6.4))
ax.set_title("The LSTM passes the bigram, then the trigram table")
plt.show()

# %% [markdown]
# ## Sample
#
# Read a prompt, draw a character from the softmax, feed it back, and so on. The logits are divided by a **temperature**
# first: below 1 the likely becomes likelier, above 1 everything comes closer to chance.


# %%
def sample(model, params, prompt, length, temperature, rng, forget=False):
    """Continue the prompt by `length` characters; temperature 0 always takes the most likely one."""
    ids, state = vocabulary.encode(prompt), None
    written = []
    for _ in range(length):
        logits, state = model.logits(params, ids[:, None], None if forget else state)
        s = logits[-1, 0].astype(np.float64)
        if temperature == 0:
            drawn = np.argmax(s)
        else:
            p = np.exp((s - s.max()) / temperature)
            drawn = rng.choice(V, p=p / p.sum())
        written.append(drawn)
        ids = np.array([drawn])  # from now on one character at a time: the state knows the rest
    return vocabulary.decode(written)


rng = np.random.default_rng(6)
for temperature in (0.5, 1.0):
    print(f"--- temperature {temperature}")
    print(sample(model, params, "ROMEO:\n", 300, temperature, rng))

# %% [markdown]
# ## Break the trained model on purpose
#
# **Temperature 0** always takes the likeliest character. The state moves on a short loop, and so does the text.

# %%
greedy = sample(model, params, "ROMEO:\n", 1500, 0, rng)
print(greedy[-300:])


def distinct_phrases(text, length=20):
    """The share of stretches of this length that occur only once."""
    phrases = [text[k : k + length] for k in range(len(text) - length)]
    return len(set(phrases)) / len(phrases)


drawn = sample(model, params, "ROMEO:\n", 1500, 1.0, rng)
print(f"\ndifferent stretches of 20 characters: {distinct_phrases(greedy):.0%} at temperature 0, ", end="")
print(f"{distinct_phrases(drawn):.0%} at temperature 1")
assert distinct_phrases(greedy) < 0.6 < 0.95 < distinct_phrases(drawn)

# %% [markdown]
# **State not carried.** Each window starts from zeros, as if nothing had been read. The shorter the window, the more that
# costs. Sampled like this, the model sees one character at a time and knows nothing of those before.

# %%
for length in (4, 16, 64):
    carried = bits_per_character(model, params, valid_tokens[:20_000], length=length)
    forgotten = bits_per_character(model, params, valid_tokens[:20_000], carry=False, length=length)
    print(f"windows of {length:2d}: {carried:.3f} bits carried, {forgotten:.3f} forgotten")
    assert forgotten > carried + 0.02
print("\nsampled without a state:", repr(sample(model, params, "R", 120, 1.0, rng, forget=True)))
alone = bits_per_character(model, params, valid_tokens[:20_000], carry=False, length=1)
print(f"with one character to go by it needs {alone:.2f} bits; counting pairs needs {baselines['bigram']:.2f}")
assert alone > baselines["bigram"] - 0.1, "from one character nobody does much better than the bigram table"

# %% [markdown]
# **State always carried.** Now the opposite: train without the 5 percent that start anew. Then the state is zero once
# in all, at the very first batch, and zero is a state like no other. The loss of the training looks fine. Every sample
# starts from zero.

# %%
short = {}
for forget in (0.05, 0.0):
    p, h = train(model, train_streams, 400, forget, np.random.default_rng(5))
    on, anew = (bits_per_character(model, p, valid_tokens, carry=carry, length=16) for carry in (True, False))
    short[forget] = anew - on
    print(f"{forget:4.0%} forgotten in training: {on:.2f} bits carried, {anew:.2f} in windows of 16 from zero", end="")
    print(f"; sample {sample(model, p, 'ROMEO:', 40, 0.5, np.random.default_rng(7))!r}")
assert short[0.0] > short[0.05] + 0.1, "a model that was never started anew starts badly"

# %% [markdown]
# ## Look inside: one unit along a text
#
# Each unit of the cell state $c$ is a number that the LSTM keeps up to date. Does one of them keep something that we can
# name? Take a property of the text, here *how many characters have passed since the line began*, and look for
# the unit that follows it most closely, on the first half of a piece of the validation text. Then judge it on the second
# half: with 128 units to choose from, one always fits the half it was chosen on.

# %%
piece = valid_tokens[:8000]
e, _ = model.embedding.forward(params["embedding"], piece[:, None])
_, _, tape = model.recurrent.forward(params["recurrent"], e)
c = tape.states[1][1:, :, 0]  # (T, H): the cell state behind each character
i, f, g, o = np.split(tape.gates[:, :, 0], 4, axis=1)  # each (T, H)
newlines = np.flatnonzero(piece == vocabulary.encode("\n")[0])
last = np.concatenate([[-1], newlines])[np.searchsorted(newlines, np.arange(len(piece)))]
since = np.arange(len(piece)) - last  # characters since the line began; 1 for its first
half = len(piece) // 2
r = np.array([np.corrcoef(c[:half, k], since[:half])[0, 1] for k in range(H)])
unit = int(np.argmax(np.abs(r)))
r_later = np.corrcoef(c[half:, unit], since[half:])[0, 1]
print(f"unit {unit}: correlation {r[unit]:.2f} where it was chosen, {r_later:.2f} on text it was not chosen on")
print(f"the median unit: {np.median(np.abs(r)):.2f}")
assert abs(r_later) > 0.4

# %%
shown = slice(newlines[20] - 3, newlines[20] + 112)
labels = [char if char != "\n" else "\\n" for char in vocabulary.decode(piece[shown])]
at = np.arange(len(labels))
fig, axes = plt.subplots(2, 1, figsize=(11, 4.2), sharex=True, layout="constrained")
axes[0].plot(at, np.sign(r[unit]) * c[shown, unit], color="#0072B2", label=f"cell state of unit {unit}")
axes[0].set_ylabel("c (sign chosen)")
axes[1].plot(at, f[shown, unit], color="#D55E00", marker=".", label="its forget gate")
axes[1].set(ylabel="forget gate", ylim=(-0.05, 1.05))
for ax in axes:
    for k in np.flatnonzero(piece[shown] == vocabulary.encode("\n")[0]):
        ax.axvline(k, color="0.6", linestyle=":", linewidth=1)
axes[1].set_xticks(at, labels, fontsize=7, family="monospace")
axes[0].set_title(f"Unit {unit} follows the place in the line (dotted: line ends)")
plt.show()

# %%
at_line_end, elsewhere = f[newlines[newlines >= half], unit].mean(), f[half:, unit].mean()
print(f"mean of the forget gate: {at_line_end:.2f} at line ends, {elsewhere:.2f} on the average")

# %% [markdown]
# ## Exercises
#
# **1.** Write `top_k(p, k)`: the probabilities when only the k likeliest candidates may be drawn.


# %%
def top_k(p, k):
    """Zero all but the k largest entries of p (V,), and scale the rest so that it adds up to 1."""
    ### BEGIN SOLUTION
    kept = np.zeros_like(p)
    largest = np.argsort(p)[-k:]
    kept[largest] = p[largest]
    return kept / kept.sum()
    ### END SOLUTION


# %%
p = np.array([0.1, 0.4, 0.2, 0.3])
assert np.allclose(top_k(p, 4), p), "with k = V nothing may change"
assert np.allclose(top_k(p, 2), [0, 4 / 7, 0, 3 / 7]), "keep the two largest, in their places, and rescale"
assert np.allclose(top_k(p, 1), [0, 1, 0, 0]), "k = 1 is temperature 0"
assert np.allclose(p, [0.1, 0.4, 0.2, 0.3]), "the argument must stay as it is"

# %% [markdown]
# **2.** How many bits does each place in a window cost when the state is not carried? Write `bits_by_place`.


# %%
def bits_by_place(model, params, tokens, length):
    """Mean bits at steps 1..length of windows that each start from zeros; shape (length,)."""
    ### BEGIN SOLUTION
    count = (len(tokens) - 1) // length
    inputs = tokens[: count * length].reshape(count, length).T
    targets = tokens[1 : count * length + 1].reshape(count, length).T
    logits, _ = model.logits(params, inputs)
    log_z = np.log(np.exp(logits).sum(axis=-1))
    chosen = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return (log_z - chosen).mean(axis=1) / np.log(2)
    ### END SOLUTION


# %%
places = bits_by_place(model, params, valid_tokens[:20_000], 20)
print(np.round(places[[0, 1, 2, 4, 9, 19]], 2))
assert places.shape == (20,), "one number a place"
assert np.isclose(places[0], alone, atol=0.1), "the first place has one character to go by, as above"
assert places[0] > places[2] > places[15:].mean(), "more context, fewer bits"

# %% [markdown]
# **3.** Somebody reports 0.2 bits per character on validation text after one minute of training. Name two mistakes that
# would explain it, and how you would tell them apart.
#
# <!-- ### BEGIN SOLUTION -->
# Targets not shifted: samples then repeat one character, and the loss on shifted targets is worse than uniform.
# Validation text that is also in the training text: the model samples well, and the loss jumps up on a text
# that was certainly never read. (A third: a sum divided by too large a count. Then even an untrained model is "good":
# its loss is not log V.)
# <!-- ### END SOLUTION -->
#
# **4.** Replace the LSTM by `rl.GRU(32, 128)` and train again. What must be changed in `train`, `sample` and
# `bits_per_character`?
#
# <!-- ### BEGIN SOLUTION -->
# Nothing: the state is passed along without being looked into, be it `h` or `(h, c)`. Only the look at a unit
# changes, since a GRU has no cell state.
# <!-- ### END SOLUTION -->
