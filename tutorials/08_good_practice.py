# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 8. Good practice, tested
#
# Everybody who trains recurrent networks is told the same things: initialize orthogonally, use dropout, decay the
# learning rate, take Adam. Here each piece of advice is written down as a claim and tested with three seeds; some
# hold and some do not. Afterwards you can set up such a test for a claim of your own, with `rl.fit` and `rl.Monitor`.
#
# Needed from before: vanishing gradients (4), the GRU (6), clipping (7). The experiments are small, so that they run
# in half a minute. A verdict is about these tasks and sizes; the way to reach it is what carries over.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small products: two threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import rnnlab as rl
from rnnlab.data.batches import Drawn, Streams

optim, initializers = rl.optim, rl.initializers
SEEDS = range(3)

# %% [markdown]
# ## When does a claim hold?
#
# A claim says that A is better than B. We train both with the seeds 0, 1, 2. A seed fixes the initial weights and the
# order of the data, so the runs come in pairs, and the differences
#
# $$d_k = \text{loss}_B(k) - \text{loss}_A(k), \qquad k = 0, 1, 2$$
#
# are what counts: noise that both share cancels. Before looking we say which gain would matter. The rule is simple and
# strict:
#
# - all three $d_k$ above the margin: **holds**;
# - all three below minus the margin: **refuted**, the opposite is true;
# - else: **not shown**.
#
# "A is as good as B" is tested with a margin below 0: it holds if A loses by less than that with every seed.
#
# If A and B were equally good and the signs of the $d_k$ mere chance, all three would be positive with a probability of
# $1/8$. Three seeds are the least for a lesson, not enough for a paper: with ten seeds it would be $1/1024$.
#
# ## In code

# %%
findings = []


def judge(claim, losses_a, losses_b, margin):
    """Compare paired losses, note the verdict and print it."""
    d = np.asarray(losses_b, float) - np.asarray(losses_a, float)
    verdict = "holds" if (d > margin).all() else "refuted" if (d < -abs(margin)).all() else "not shown"
    numbers = f"{np.mean(losses_a):.3f} against {np.mean(losses_b):.3f}; gain {d.min():+.3f} to {d.max():+.3f}"
    findings.append((claim, verdict, numbers))
    print(f"{claim}\n    {verdict}: {numbers}")
    return verdict


# %% [markdown]
# ## Check the judge, and break it
#
# Two methods that are equal by construction: losses drawn from one distribution. How often does the rule call one of
# them better? With three seeds and no margin in a quarter of the cases (either sign). With *one* seed always: whoever
# compares single runs always finds a winner. And a margin of one standard deviation helps more than two seeds more.

# %%
rng = np.random.default_rng(0)
print("share of comparisons of a method with itself that find a winner")
for num_seeds, margin in ((1, 0.0), (3, 0.0), (3, 1.0), (5, 0.0)):
    d = rng.normal(size=(10000, num_seeds)) - rng.normal(size=(10000, num_seeds))
    winner = ((d > margin).all(axis=1) | (d < -margin).all(axis=1)).mean()
    print(f"    {num_seeds} seeds, margin {margin:.0f} standard deviations: {winner:.3f}")
    assert abs(winner - 2 * 0.5**num_seeds) < 0.02 or (margin and winner < 0.05)

# %% [markdown]
# ## Initialization
#
# **Claim 1.** *Orthogonal recurrent weights let a tanh network learn a longer memory than small random ones.*
# **Claim 2.** *A gated network does not need that: it learns from small random weights as well.*
#
# The reason for the first: the gradient is multiplied by W_hh at each step back. An orthogonal matrix keeps its
# length, small random numbers shrink it to nothing. The task is the temporal order of 30 symbols, with Adam. Guessing
# costs $\log 4 = 1.386$.

# %%
TIME_STEPS = 30
order = Drawn(lambda rng: rl.data.temporal_order(rng, 32, TIME_STEPS, np.float32), num_batches=200)
order_test = rl.data.temporal_order(np.random.default_rng(99), 256, TIME_STEPS, np.float32)


def order_losses(cell, init_hh):
    """The test losses of three seeds on the temporal-order task."""
    model = rl.models.SequenceClassifier(cell(6, 24, init_hh=init_hh), num_classes=4)
    runs = [rl.fit(model, order, optim.adam(0.005), epochs=1, seed=seed) for seed in SEEDS]
    return np.array([float(model.loss(run.params, order_test)[0]) for run in runs])


inits = {
    "normal, 0.01": initializers.normal(0.01),
    "Glorot": initializers.glorot(),
    "orthogonal": initializers.orthogonal(),
    "2 x orthogonal": initializers.orthogonal(2.0),
}
by_init = {cell.__name__: {name: order_losses(cell, init) for name, init in inits.items()} for cell in (rl.RNN, rl.GRU)}

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (cell, losses), color, marker in zip(by_init.items(), ("#D55E00", "#0072B2"), "os", strict=True):
    for k, values in enumerate(losses.values()):
        label = cell if k == 0 else None
        ax.semilogy(np.full(3, k + 0.1 * (marker == "s")), values, marker, color=color, label=label)
ax.axhline(np.log(4), color="0.5", ls=":")
ax.set_xticks(range(len(inits)), inits)
ax.set(
    xlabel="initial W_hh", ylabel="test loss (nats)", title="The tanh network needs the right scale, the GRU forgives"
)
ax.legend()
plt.show()

# %% [markdown]
# The dotted line is guessing. The GRU forgives matrices that are too large, but not ones that are next to nothing: with
# normal(0.01) even its open gates have nothing to pass on.

# %%
rnn, gru = by_init["RNN"], by_init["GRU"]
claim = "1. RNN: orthogonal beats normal(0.01)"
assert judge(claim, rnn["orthogonal"], rnn["normal, 0.01"], 0.1) == "holds"
judge("   RNN: orthogonal beats 2 x orthogonal", rnn["orthogonal"], rnn["2 x orthogonal"], 0.1)
judge("   RNN: orthogonal beats Glorot", rnn["orthogonal"], rnn["Glorot"], 0.1)
assert judge("2. GRU: normal(0.01) is as good as orthogonal", gru["normal, 0.01"], gru["orthogonal"], -0.1) != "holds"
assert judge("   GRU: Glorot is as good as orthogonal", gru["Glorot"], gru["orthogonal"], -0.1) == "holds"

# %% [markdown]
# ## A network that overfits
#
# For the next claims we need a network that can learn its text by heart: 4000 characters of Shakespeare, a GRU of 48
# units, 25 epochs. Validation and test text come from later plays.

# %%
text = rl.data.shakespeare()
vocabulary = rl.data.Vocabulary(text)
tokens = vocabulary.encode(text)
MARGIN = 0.01  # nats a character: one percent of perplexity
little, much = tokens[:4000], tokens[:60_000]
valid, test = Streams(tokens[200_000:204_000], 40, 50), Streams(tokens[300_000:304_000], 40, 50)


def language_model(dropout=0.0):
    """A small character model."""
    return rl.models.LanguageModel(len(vocabulary), 16, rl.GRU(16, 48), dropout=dropout)


def overfit(optimizer, dropout=0.0, epochs=25, **options):
    """Train on the little text with each seed, validating after every epoch."""
    source = Streams(little, 20, 20)
    model = language_model(dropout)
    return [rl.fit(model, source, optimizer, epochs=epochs, seed=s, valid=valid, **options) for s in SEEDS]


def best(runs):
    """The lowest validation loss of each run."""
    return np.array([run.curve("validation_loss")[1].min() for run in runs])


def last(runs):
    """The validation loss at the end of each run."""
    return np.array([run.curve("validation_loss")[1][-1] for run in runs])


plain = overfit(optim.adam(0.01))
print("best validation loss", best(plain).round(3), " at the end", last(plain).round(3))
assert (last(plain) > best(plain) + 0.1).all(), "the network must overfit, or there is nothing to cure"

# %% [markdown]
# ## Early stopping
#
# **Claim 3.** *The parameters of the best epoch on the validation text are better on new text than the last ones.*
# **Claim 4.** *Stopping after 5 epochs without a new best loses nothing, and saves time.*
#
# `rl.fit(..., valid=..., patience=5)` does it, and `result.params` are those of the best epoch in any case.


# %%
def test_losses(trees, model):
    """The loss of several parameter trees on the test text."""
    return np.array([rl.evaluate(model, params, test) for params in trees])


model = language_model()
at_best, at_end = (test_losses([getattr(run, kind) for run in plain], model) for kind in ("params", "last_params"))
assert judge("3. Best epoch beats last epoch on test text", at_best, at_end, 0.05) == "holds"

patient = overfit(optim.adam(0.01), patience=5)
saved = 1 - np.array([len(run.history) for run in patient]) / np.array([len(run.history) for run in plain])
assert judge("4. A patience of 5 is as good as all 25 epochs", best(patient), best(plain), -MARGIN) != "refuted"
print(f"    steps saved: {saved.min():.0%} to {saved.max():.0%}")
assert saved.max() > 0.15

# %% [markdown]
# ## Dropout
#
# **Claim 5.** *Dropout lowers the validation loss of a network that overfits.* **Claim 6.** *Half is a good rate.*
# **Claim 7.** *Dropout also helps where there is much text and little training.*
#
# `LanguageModel(dropout=...)` drops after the embedding and before the softmax, never on the way from one time step to
# the next (Zaremba et al. 2014). It acts only where an `rng` is passed: in training, not in validation. It slows
# learning, so these runs get 40 epochs instead of 25: else we would compare patience.

# %%
dropped = {rate: overfit(optim.adam(0.01), dropout=rate, epochs=40) for rate in (0.2, 0.5)}
for rate, runs in dropped.items():
    at = [1 + int(run.curve("validation_loss")[1].argmin()) for run in runs]
    print(f"dropout {rate}: best epochs {at} of 40")
looks = {"no dropout": ("k", "-", plain), "dropout 0.2": ("#0072B2", "--", dropped[0.2])}
looks["dropout 0.5"] = ("#D55E00", ":", dropped[0.5])


def draw_validation(looks, title):
    """The validation loss over the epochs, a line a seed."""
    fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for name, (color, style, runs) in looks.items():
        for k, run in enumerate(runs):
            losses = run.curve("validation_loss")[1]
            ax.plot(np.arange(1, len(losses) + 1), losses, style, color=color, label=name if k == 0 else None)
    ax.set(xlabel="epoch", ylabel="validation loss (nats/character)", title=title, ylim=(None, 3.6))
    ax.legend()
    plt.show()


draw_validation(looks, "Dropout slows overfitting; the lowest point moves little")

# %% [markdown]
# The large gain is at the end of the training. At the best epoch it is small: most of what dropout saves here, early
# stopping saves too.

# %%
assert judge("5. Overfitting: dropout 0.2 ends lower", last(dropped[0.2]), last(plain), MARGIN) == "holds"
judge("   ... and its best epoch is lower", best(dropped[0.2]), best(plain), MARGIN)
judge("6. Dropout 0.5 has a lower best epoch than none", best(dropped[0.5]), best(plain), MARGIN)


# %%
def train_much(make, rate, steps=125, dropout=0.0, monitors=()):
    """Train on the long text, less than an epoch of it, with each seed."""
    source, model = Streams(much, 16, 20), language_model(dropout)
    options = {"steps": steps, "valid": valid, "on_nonfinite": "skip"}
    return [rl.fit(model, source, make(rate), seed=s, callbacks=monitors[s : s + 1], **options) for s in SEEDS]


without, with_dropout = (last(train_much(optim.adam, 0.01, dropout=rate)) for rate in (0.0, 0.2))
assert judge("7. Much text: dropout 0.2 is lower than none", with_dropout, without, MARGIN) != "holds"

# %% [markdown]
# ## Weight decay
#
# **Claim 8.** *Adding $\lambda w$ to the gradient (l2) and shrinking the weights before the step (decoupled) are the
# same.* For SGD this is one line:
#
# $$w - \eta(g + \lambda w) = (1 - \eta\lambda) w - \eta g$$
#
# For Adam it is not: there $\lambda w$ is divided by the running root mean square too, so weights with large gradients
# decay less (Loshchilov and Hutter 2019). Both shown on one parameter whose two elements have very different gradients.


# %%
def ten_steps(optimizer, shrink=1.0):
    """Ten steps with the gradient (100, 0.01), each after a shrinking of the weights."""
    w, grad = np.ones(2), np.array([100.0, 0.01])
    state = optimizer.init(w)
    for _ in range(10):
        w, state = optimizer.step(w * shrink, grad, state)
    return w


RATE, DECAY = 0.01, 1.0
sgd_l2 = ten_steps(optim.chain(optim.l2(DECAY), optim.sgd(RATE)))
sgd_decoupled = ten_steps(optim.sgd(RATE), shrink=1 - RATE * DECAY)
adam_l2 = ten_steps(optim.chain(optim.l2(DECAY), optim.adam(RATE)))
adam_decoupled = ten_steps(optim.adamw(RATE, weight_decay=DECAY))
print("SGD ", sgd_l2, sgd_decoupled, "\nAdam", adam_l2, adam_decoupled)
assert np.allclose(sgd_l2, sgd_decoupled) and np.allclose(adam_decoupled, ten_steps(optim.adam(RATE), 1 - RATE * DECAY))
assert abs(adam_l2 - adam_decoupled).max() > 0.05
gap = abs(adam_l2 - adam_decoupled).max()
findings.append(("8. l2 and decoupled decay are the same", "refuted", f"SGD: yes, Adam: they differ by {gap:.2f}"))

# %% [markdown]
# **Claim 9.** *Weight decay lowers the validation loss of a network that overfits.* **Claim 10.** *With Adam,
# decoupled decay is better than l2.* Each kind has its own three strengths; the best of the three stands for it.

# %%
kinds = {
    "l2": {s: overfit(optim.chain(optim.l2(s), optim.adam(0.01))) for s in (3e-4, 1e-3, 3e-3)},
    "decoupled": {s: overfit(optim.adamw(0.01, weight_decay=s)) for s in (0.3, 1.0, 2.0)},
}
chosen = {}
for kind, by_strength in kinds.items():
    for strength, runs in by_strength.items():
        print(f"{kind:10} {strength:<7g} best {best(runs).round(3)}  at the end {last(runs).round(3)}")
    chosen[kind] = min(by_strength.values(), key=lambda runs: best(runs).mean())
looks = {"none": ("k", "-", plain), "l2": ("#0072B2", "--", chosen["l2"])}
looks["decoupled"] = ("#D55E00", ":", chosen["decoupled"])
draw_validation(looks, "Weight decay, each kind at its best strength")

# %%
claim = "9. Overfitting: l2 ends lower than no decay"
assert judge(claim, last(chosen["l2"]), last(plain), MARGIN) == "holds"
judge("   ... and its best epoch is lower", best(chosen["l2"]), best(plain), MARGIN)
assert judge("   decoupled decay ends lower than none", last(chosen["decoupled"]), last(plain), MARGIN) == "holds"
judge("   ... and its best epoch is lower", best(chosen["decoupled"]), best(plain), MARGIN)
claim = "10. Adam: decoupled has a lower best epoch than l2"
assert judge(claim, best(chosen["decoupled"]), best(chosen["l2"]), MARGIN) != "holds"

# %% [markdown]
# ## Learning rates: adaptive, and decaying
#
# **Claim 11.** *Adam reaches a lower loss than SGD.* **Claim 12.** *Adam reaches a lower loss than RMSProp.*
# **Claim 13.** *Adam needs less tuning than SGD.* **Claim 14.** *A rate that decays ends lower than a constant one.*
#
# Every method has a grid of rates of its own, and the best rate of each is compared. SGD is clipped at norm 1. The
# decaying rate is half a cosine wave that ends at 0. 125 steps on 60 000 characters.

# %%
STEPS = 125
clip, cosine = optim.clip_by_global_norm(1.0), optim.schedules.cosine
sgd_rates, adam_rates = np.geomspace(0.3, 30, 5), np.geomspace(1e-3, 1e-1, 5)
methods = {
    "SGD": (lambda rate: optim.chain(clip, optim.sgd(rate)), sgd_rates),
    "RMSProp": (optim.rmsprop, adam_rates),
    "Adam": (optim.adam, adam_rates),
    "Adam, cosine": (lambda rate: optim.adam(cosine(rate, STEPS)), adam_rates),
}
sweep, monitors = {}, {}
for name, (make, rates) in methods.items():
    for rate in rates:
        monitors[name, rate] = [rl.Monitor(["update_ratio"], every=10, max_share=None) for _ in SEEDS]
        sweep[name, rate] = last(train_much(make, rate, STEPS, monitors=monitors[name, rate]))

# %%
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
looks = (("k", "o-"), ("#009E73", "^-"), ("#0072B2", "s-"), ("#0072B2", "s:"))
styles = dict(zip(methods, looks, strict=True))
for name, (_, rates) in methods.items():
    values = np.array([sweep[name, rate] for rate in rates])
    color, style = styles[name]
    ax.semilogx(rates, values.mean(axis=1).clip(None, 4), style, color=color, label=name)
    ax.semilogx(np.repeat(rates, 3), values.ravel().clip(None, 4), ".", color=color)
ax.set(xlabel="learning rate (at the start)", ylabel="validation loss (nats/character)")
ax.set_title("Each method at its own rates; losses above 4 are drawn at 4")
ax.legend()
plt.show()


# %%
def at_best_rate(name):
    """The losses of the three seeds at the rate with the lowest mean, and that rate."""
    rate = min(methods[name][1], key=lambda r: sweep[name, r].mean())
    return sweep[name, rate], rate


def usable(name):
    """By which factor the rates may differ that end within 0.3 nats of the method's own best."""
    lowest = at_best_rate(name)[0].mean()
    good = [rate for rate in methods[name][1] if sweep[name, rate].mean() < lowest + 0.3]
    return max(good) / min(good)


results = {name: at_best_rate(name)[0] for name in methods}
assert judge("11. Adam beats clipped SGD, each at its best rate", results["Adam"], results["SGD"], MARGIN) != "refuted"
assert judge("12. Adam beats RMSProp, each at its best rate", results["Adam"], results["RMSProp"], MARGIN) != "holds"
span = {name: usable(name) for name in methods}
verdict = "holds" if span["Adam"] > span["SGD"] else "not shown"
numbers = f"usable rates span a factor of {span['Adam']:.0f} against {span['SGD']:.0f}"
findings.append(("13. Adam needs less tuning than SGD", verdict, numbers))
print(findings[-1])

# %%
judge("14. Adam: cosine beats constant, each at its best rate", results["Adam, cosine"], results["Adam"], MARGIN)
top = adam_rates[-1]
claim = f"    ... at a rate that is too large ({top:.1g})"
assert judge(claim, sweep["Adam, cosine", top], sweep["Adam", top], MARGIN) == "holds"
low = adam_rates[0]
assert (
    judge(f"    ... at a rate that is too small ({low:.1g})", sweep["Adam, cosine", low], sweep["Adam", low], MARGIN)
    == "refuted"
)

# %% [markdown]
# ## Watching a run
#
# `rl.Monitor` is a callback of `rl.fit` that records what you name every so many steps. Three claims about reading it.
#
# **Claim 15.** *The best rate is the one at which each step changes the weights by about a thousandth.* The monitors of
# the sweep kept $\|W_{new} - W\| / \|W\|$ of the recurrent matrix.


# %%
def update_ratios(name, rate):
    """The median over the steps of the update ratio of weight_hh, for each seed."""
    return np.array([np.median(m.column("update_ratio.recurrent.weight_hh")) for m in monitors[name, rate]])


fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name in ("SGD", "RMSProp", "Adam"):
    color, style = styles[name]
    rates = methods[name][1]
    ratios = np.array([update_ratios(name, rate).mean() for rate in rates])
    ax.semilogx(ratios, [min(sweep[name, rate].mean(), 4) for rate in rates], style, color=color, label=name)
ax.axvline(1e-3, color="0.5", ls=":")
ax.set(xlabel="update ratio of W_hh, median over the steps", ylabel="validation loss (nats)")
ax.set_title("The best runs change W_hh by more than a thousandth a step")
ax.legend()
plt.show()

# %%
ratio = {name: update_ratios(name, at_best_rate(name)[1]) for name in ("SGD", "RMSProp", "Adam")}
middle = np.array(list(ratio.values()))
verdict = "holds" if (abs(np.log10(middle / 1e-3)) < 0.5).all() else "refuted"
numbers = ", ".join(f"{name} {values.min():.0e} to {values.max():.0e}" for name, values in ratio.items())
findings.append(("15. The best rate has an update ratio near 1e-3", verdict, numbers))
print(findings[-1])
assert verdict == "refuted" and (middle > 3e-3).all()

# %% [markdown]
# In 125 steps a good run has to move fast. The rule of thumb speaks of long trainings; here it would make you choose a
# rate more than ten times too small. What the picture does show: the three methods, whose rates differ a hundredfold,
# have their best runs at similar update ratios. It is a better unit for a step than the rate is.
#
# **Claim 16.** *A spike of the gradient's norm warns of a rise of the loss.* A spike is a norm above 3 times the median
# of the run; the rise is the mean loss of the 5 steps after it, less that of the 5 before. We compare with the other
# steps. And to be a warning, the rise must come *after* the spike: we compare with the loss at the spike itself, which
# is measured before the large gradient has moved anything.

# %%
short = Drawn(lambda rng: rl.data.temporal_order(rng, 32, 20, np.float32), num_batches=300)
jumpy = rl.models.SequenceClassifier(rl.RNN(6, 24), num_classes=4)
runs = [rl.fit(jumpy, short, optim.sgd(0.1), epochs=1, seed=seed) for seed in SEEDS]


def around(run):
    """For each step the losses of the 5 before to the 5 after, less the mean before; and whether it is a spike."""
    norms, losses = run.curve("gradient_norm")[1], run.curve("training_loss")[1]
    at = np.arange(5, len(losses) - 5)
    near = np.array([losses[k - 5 : k + 6] - losses[k - 5 : k].mean() for k in at])
    return near, norms[at] > 3 * np.median(norms)


pieces = [around(run) for run in runs]
after_spike, after_other = (
    np.array([near[spike == kind, 6:].mean() for near, spike in pieces]) for kind in (True, False)
)
share = np.array([(near[spike, 6:].mean(axis=1) > 0).mean() for near, spike in pieces])
at_spike = np.array([near[spike, 5].mean() for near, spike in pieces])
claim = "16. The loss is higher after a spike than before, not elsewhere"
assert judge(claim, after_other, after_spike, 0.01) == "holds"  # B less A: so much more does it rise at spikes
claim = "   ... and that rise comes after the spike, not with it"
assert judge(claim, at_spike, after_spike, 0.01) != "holds"
print(f"    spikes followed by a rise: {share.min():.0%} to {share.max():.0%}")

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for k, (near, spike) in enumerate(pieces):
    labels = ("around a spike", "around other steps") if k == 0 else (None, None)
    ax.plot(range(-5, 6), near[spike].mean(axis=0), "o-", color="#D55E00", label=labels[0])
    ax.plot(range(-5, 6), near[~spike].mean(axis=0), "s--", color="0.4", label=labels[1])
ax.axvline(0, color="0.5", ls=":")
ax.set(xlabel="steps from the spike of the gradient's norm", ylabel="loss less its mean before (nats)")
ax.set_title("The loss is up already where the gradient is large")
ax.legend()
plt.show()

# %% [markdown]
# The loss has risen by the time the gradient is large: the wall was reached by the steps before. (A part may be the
# batch: a hard one has a high loss and a large gradient at once.) So the norm is no early warning. What it tells is
# when to clip, since the large step is still to be taken.
#
# **Claim 17.** *A network whose gates are saturated from the start learns badly.* **Claim 18.** *If the share of
# saturated gates grows in training, something is wrong.* A gate is called saturated below 0.1 or above 0.9. We saturate
# the gates of a GRU by input weights that are 20 times too large.


# %%
def watched_gru(gain):
    """Three seeds of a GRU: the test losses, and the saturated share of the gates over the steps."""
    layer = rl.GRU(6, 24, init_ih=initializers.glorot(gain))
    model = rl.models.SequenceClassifier(layer, num_classes=4)
    losses, shares = [], []
    for seed in SEEDS:
        watch = rl.Monitor(["saturation"], every=40, max_share=None)
        run = rl.fit(model, order, optim.adam(0.005), epochs=1, seed=seed, callbacks=[watch])
        losses.append(float(model.loss(run.params, order_test)[0]))
        columns = [watch.column(f"saturation_{end}.{gate}") for gate in "rz" for end in ("low", "high")]
        shares.append(sum(columns) / 2)  # of the two gates together
    return np.array(losses), np.array(shares), watch.column("step")


good_losses, good_shares, at = watched_gru(1.0)
bad_losses, bad_shares, _ = watched_gru(20.0)
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(at, good_shares.T, color="#0072B2")
ax.plot(at, bad_shares.T, "--", color="#D55E00")
ax.text(at[-1], good_shares[:, -1].max() + 0.03, f"usual start: loss {good_losses.mean():.3f}", ha="right")
ax.text(at[-1], bad_shares[:, -1].min() - 0.08, f"20 times as large: loss {bad_losses.mean():.3f}", ha="right")
ax.set(xlabel="step", ylabel="share of saturated gates", ylim=(0, 1), title="Saturated gates stay saturated")
plt.show()

# %%
claim = "17. Gates not saturated at the start learn better"
assert judge(claim, good_losses, bad_losses, 0.02) == "holds"
growth = good_shares[:, -1] - good_shares[:, 0]
verdict = "refuted" if (growth > 0.01).all() and (good_losses < 0.1).all() else "not shown"
numbers = f"share {good_shares[:, 0].mean():.2f} to {good_shares[:, -1].mean():.2f}, loss {good_losses.mean():.3f}"
findings.append(("18. A growing saturated share means trouble", verdict, numbers))
print(findings[-1])
assert verdict == "refuted"

# %% [markdown]
# ## What is left of the advice
#
# All numbers are those computed above.

# %%
print(f"{'claim':62}{'verdict':11}numbers")
for claim, verdict, numbers in findings:
    print(f"{claim:62}{verdict:11}{numbers}")
verdicts = [verdict for _, verdict, _ in findings]
counts = {verdict: verdicts.count(verdict) for verdict in ("holds", "refuted", "not shown")}
print(counts)
assert min(counts.values()) > 0, "of each kind there is some"

# %% [markdown]
# To take home: start orthogonal and with gates that are open half way; keep the best epoch; give a network that
# overfits a little dropout or decay, and one that does not overfit none; sweep the rate of *every* method that you
# compare. Whether to take Adam or RMSProp, l2 or decoupled decay, is a smaller question than the rate itself.

# %% [markdown]
# ## Exercises
#
# **1.** Early stopping by hand. Given the validation losses of all epochs, after how many epochs does a training stop
# that waits for `patience` epochs without a new best?


# %%
def epochs_trained(losses, patience):
    """The number of epochs until patience validations in a row brought no new best."""
    ### BEGIN SOLUTION
    lowest, waited = np.inf, 0
    for epoch, loss in enumerate(losses, 1):
        lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
        if waited == patience:
            return epoch
    return len(losses)
    ### END SOLUTION


# %%
assert epochs_trained([3.0, 2.0, 2.5, 1.0, 1.5, 1.5, 0.5], patience=2) == 6, "a new best sets the waiting back to 0"
assert epochs_trained([3.0, 2.0, 1.0], patience=2) == 3, "without two bad epochs all are trained"
for full, early in zip(plain, patient, strict=True):
    stopped = len(early.curve("validation_loss")[1])
    assert epochs_trained(full.curve("validation_loss")[1], 5) == stopped, f"rl.fit stopped after {stopped} epochs"
print("right")

# %% [markdown]
# **2.** A schedule of your own: rise linearly to `rate` during the first `warmup` steps, then fall like a cosine to 0
# at step `steps`. Any function of the step is a schedule.


# %%
def warmup_cosine(rate, warmup, steps):
    """A schedule: step -> learning rate."""

    ### BEGIN SOLUTION
    def schedule(step):
        if step < warmup:
            return rate * (step + 1) / warmup
        share = min(step - warmup, steps - warmup) / (steps - warmup)
        return rate * (1 + np.cos(np.pi * share)) / 2

    return schedule
    ### END SOLUTION


# %%
mine = warmup_cosine(0.1, 10, 100)
library = optim.schedules.linear_warmup(10, then=cosine(0.1, 90))
for step in (0, 9, 10, 55, 100, 200):
    assert np.isclose(mine(step), library(step), atol=1e-12), f"step {step}: {mine(step)} instead of {library(step)}"
print("right; it can be given to an optimizer:", optim.adam(mine).learning_rate({"step": 4, "observed": {}}))

# %% [markdown]
# **3.** How many seeds do you need? Write the probability that a method compared with its equal wins with all `n` seeds
# or loses with all, and find the least `n` for which it is below 5 %.


# %%
def false_winner(n):
    """The probability that all n differences of two equal methods have one sign."""
    ### BEGIN SOLUTION
    return 2 * 0.5**n
    ### END SOLUTION


# %%
assert false_winner(1) == 1 and np.isclose(false_winner(3), 0.25), "compare with the table at the top"
enough = next(n for n in range(1, 20) if false_winner(n) < 0.05)
assert enough == 6
print(f"{enough} seeds, if the sign is all that is looked at")

# %% [markdown]
# **4.** In words: a paper reports that a new optimizer is better than SGD; SGD ran at a rate of 0.05 and the new one at
# the best of six rates, one seed each. Name two reasons, each with a number from this notebook, not to believe it yet.

# %% [markdown]
# <!-- ### BEGIN SOLUTION -->
# First, the rate was searched for one side only: claim 11 to 13 show that the rate changes the loss by more than the
# method does. Second, a single seed: two equal methods differ in every single comparison (first line of the table at
# the top), and whoever takes the best of six runs picks the luckiest.
# <!-- ### END SOLUTION -->
