# ruff: noqa: E501
"""A catalogue of planted bugs: usual mistakes in hand-written backpropagation, put into the real source.

Each replaces one expression in a file of rnnlab. The expression must occur exactly once, so that the
catalogue breaks loudly when that file changes: then the entry wants rewriting, not deleting.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import rnnlab as rl
from rnnlab.backend import tree_map
from rnnlab.cells import LSTMCell


class Bug(NamedTuple):
    """A mistake: in words, the module, what stands there, what stands there instead, and what shows it."""

    words: str
    module: str
    right: str
    wrong: str
    subject: str  # a key of SUBJECTS


def mutant(bug: Bug) -> types.ModuleType:
    """The module with the bug in it; the real one is left alone."""
    return load(bug.module, lambda source: source.replace(bug.right, bug.wrong), bug)


def load(name: str, change: Callable[[str], str] = lambda source: source, bug: Bug | None = None) -> types.ModuleType:
    """The module executed once more, from its changed source."""
    original = importlib.import_module(f"rnnlab.{name}")
    with open(original.__file__, encoding="utf-8") as file:
        source = file.read()
    if bug is not None:
        found = source.count(bug.right)
        assert found == 1, f"{name}: {bug.right!r} of the bug {bug.words!r} occurs {found} times; rewrite the entry"
        assert change(source) != source
    module = types.ModuleType(f"{original.__name__}_with_a_bug")
    exec(compile(change(source), original.__file__, "exec"), module.__dict__)
    return module


# ------------------------------------------------------------------- what is checked of a module


def _cell(make_layer: Callable[[], Any], make_cell: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    def check(module: Any) -> Any:
        layer = make_layer()
        layer.cell = make_cell(module, layer.hidden_size)
        return rl.check_layer(layer)

    return check


def _layer(make_layer: Callable[[Any], Any], **options: Any) -> Callable[[Any], Any]:
    return lambda module: rl.check_layer(make_layer(module), **options)


def _loss(name: str, targets: str) -> Callable[[Any], Any]:
    """Check the sum of a loss without a mask and one with a mask, of different arrays."""
    rng = np.random.default_rng(5)
    params = {"plain": rng.standard_normal((4, 3, 5)), "masked": rng.standard_normal((4, 3, 5))}
    mask = np.arange(4)[:, None] < np.array([4, 2, 1])
    draw = {
        "classes": lambda: rng.integers(0, 5, (4, 3)),
        "bits": lambda: rng.random((4, 3, 5)).round(),
        "values": lambda: rng.standard_normal((4, 3, 5)),
    }[targets]
    target, masked_target = draw(), draw()

    def check(module: Any) -> Any:
        def function(params: Any) -> Any:
            plain, dplain = getattr(module, name)(params["plain"], target)
            masked, dmasked = getattr(module, name)(params["masked"], masked_target, mask)
            return plain + 2 * masked, {"plain": dplain, "masked": 2 * dmasked}

        return rl.check_gradients(function, params)

    return check


def _model(make_model: Callable[[Any], Any], make_batch: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def check(module: Any) -> Any:
        rng = np.random.default_rng(6)
        model, batch = make_model(module), make_batch(rng)
        params = tree_map(lambda p: p + 0.3 * rng.standard_normal(p.shape), model.init(rng))
        return rl.check_gradients(lambda p: model.loss_and_grads(p, batch)[:2], params)

    return check


def _roll(rng: Any) -> Any:
    return (rng.random((6, 3, 4)) < 0.5).astype(float), np.array([6, 3, 1])


def _layer_that_runs(loop: Any) -> Any:
    """An LSTM whose steps are run by another version of `rnnlab.recurrent.loop`."""
    base = load("recurrent.base")
    for name in ("input_product", "steps_back", "steps_forward"):
        setattr(base, name, getattr(loop, name))
    return base.Recurrent(LSTMCell(4), 3, 4)


# name -> (module -> report)
SUBJECTS: dict[str, Callable[[Any], Any]] = {
    "rnn": _cell(lambda: rl.RNN(3, 4), lambda m, H: m.RNNCell(H, rl.activations.get("tanh"))),
    "lstm": _cell(lambda: rl.LSTM(3, 4), lambda m, H: m.LSTMCell(H)),
    "gru-after": _cell(lambda: rl.GRU(3, 4, reset="after"), lambda m, H: m.GRUCell(H, "after")),
    "gru-before": _cell(lambda: rl.GRU(3, 4, reset="before"), lambda m, H: m.GRUCell(H, "before")),
    "loop": _layer(lambda m: _layer_that_runs(m)),
    "layer": _layer(lambda m: m.Recurrent(LSTMCell(4), 3, 4)),
    "bidirectional": _layer(lambda m: m.Bidirectional(rl.GRU(3, 4), rl.GRU(3, 4))),
    "stacked": _layer(lambda m: m.Stacked([rl.RNN(3, 4), rl.RNN(4, 4)])),
    "linear": _layer(lambda m: m.Linear(3, 4)),
    "embedding": _layer(lambda m: m.Embedding(4, 3), x=np.array([[0, 3, 1], [3, 3, 1]])),
    "cross_entropy": _loss("cross_entropy", "classes"),
    "binary_cross_entropy": _loss("binary_cross_entropy", "bits"),
    "mean_squared_error": _loss("mean_squared_error", "values"),
    "mean_absolute_error": _loss("mean_absolute_error", "values"),
    "forecaster": _model(
        lambda m: m.Forecaster(rl.GRU(3, 4), horizon=2, num_targets=3),
        lambda rng: (rng.standard_normal((5, 4, 3)), rng.standard_normal((2, 4, 3))),
    ),
    "piano_roll": _model(lambda m: m.PianoRollModel(rl.RNN(4, 5), num_notes=4), _roll),
}
MODULES = {
    "rnn": "cells.rnn",
    "lstm": "cells.lstm",
    "gru-after": "cells.gru",
    "gru-before": "cells.gru",
    "loop": "recurrent.loop",
    "layer": "recurrent.base",
    "bidirectional": "combinators",
    "stacked": "combinators",
    "linear": "layers",
    "embedding": "layers",
    "cross_entropy": "losses",
    "binary_cross_entropy": "losses",
    "mean_squared_error": "losses",
    "mean_absolute_error": "losses",
    "forecaster": "models",
    "piano_roll": "models",
}

# --------------------------------------------------------------------------------- the catalogue

RNN_BUGS = [
    Bug("slope of the state before instead of the state after", "cells.rnn", "tape.gates[steps]", "tape.states[0][steps]", "rnn"),
    Bug("slope forgotten", "cells.rnn", "return self.activation.slope(h_new)", "return h_new * 0 + 1", "rnn"),
    Bug("value instead of slope", "cells.rnn", "self.activation.slope(h_new)", "self.activation.value(h_new)", "rnn"),
    Bug("weight transposed", "cells.rnn", 'xp.dot(params["weight_hh"].T, da, dh)', 'xp.dot(params["weight_hh"], da, dh)', "rnn"),
    Bug("recurrent path cut", "cells.rnn", 'xp.dot(params["weight_hh"].T, da, dh)', "dh *= 0", "rnn"),
    Bug("weight gradient one step late", "cells.rnn", "as_columns(h[:-1])", "as_columns(h[1:])", "rnn"),
    Bug("weight gradient transposed", "cells.rnn", "product(xp, da, as_columns(h[:-1]).T)", "product(xp, as_columns(h[:-1]), da.T)", "rnn"),
    Bug("recurrence adds to dh", "cells.rnn", 'xp.dot(params["weight_hh"].T, da, dh)', 'dh += xp.dot(params["weight_hh"].T, da, room)', "rnn"),
]  # fmt: skip

LSTM_BUGS = [
    Bug("no sigmoid slope at the input gate", "cells.lstm", "xp.subtract(i, s_i, s_i)", "s_i[...] = 1", "lstm"),
    Bug("half a sigmoid slope at the forget gate", "cells.lstm", "xp.subtract(f, s_f, s_f)", "s_f[...] = f", "lstm"),
    Bug("slope of the wrong gate", "cells.lstm", "xp.subtract(o, s_o, s_o)", "s_o[...] = f * (1 - f)", "lstm"),
    Bug("sigmoid slope at the candidate", "cells.lstm", "xp.subtract(1, s_g, s_g)", "xp.subtract(g, s_g, s_g)", "lstm"),
    Bug("tanh slope without the square", "cells.lstm", "xp.multiply(tanh_c, tanh_c, s_c)", "s_c[...] = tanh_c", "lstm"),
    Bug("tanh slope of c itself", "cells.lstm", "xp.multiply(tanh_c, tanh_c, s_c)", "xp.multiply(c, c, s_c)", "lstm"),
    Bug("output gate forgotten on the way to c", "cells.lstm", "s_c *= o", "pass", "lstm"),
    Bug("cell gradient not carried", "cells.lstm", "dc *= f", "dc *= 0", "lstm"),
    Bug("cell gradient carried undiminished", "cells.lstm", "dc *= f", "pass", "lstm"),
    Bug("cell gradient carried by the wrong gate", "cells.lstm", "dc *= f", "dc *= gates[0]", "lstm"),
    Bug("cell gradient of the step after overwritten", "cells.lstm", "dc += s_c", "dc[...] = s_c", "lstm"),
    Bug("cell of the wrong step", "cells.lstm", "tape.states[1][steps]", "tape.states[1][1:][steps]", "lstm"),
    Bug("gates i and f swapped", "cells.lstm", "s_i, s_f, s_g, s_o, s_c = blocks(slopes, H)", "s_f, s_i, s_g, s_o, s_c = blocks(slopes, H)", "lstm"),
    Bug("input gate times itself", "cells.lstm", "s_i *= g ", "s_i *= i ", "lstm"),
    Bug("c instead of tanh(c)", "cells.lstm", "s_o *= tanh_c", "s_o *= c", "lstm"),
    Bug("output gate's path to h cut", "cells.lstm", 'xp.dot(params["weight_hh"].T, da, dh)',
        'xp.dot(params["weight_hh"][: 3 * self.hidden_size].T, da[: 3 * self.hidden_size], dh)', "lstm"),
    Bug("output gate takes the gradient of c", "cells.lstm", "da_o *= dh", "da_o *= dc", "lstm"),
    Bug("cell gradient used before the output's part has come", "cells.lstm", "dc += s_c\n        da_o *= dh\n        da_i *= dc", "da_i *= dc\n        dc += s_c\n        da_o *= dh", "lstm"),
    Bug("weight gradient one step late", "cells.lstm", "as_columns(tape.states[0][:-1])", "as_columns(tape.states[0][1:])", "lstm"),
]  # fmt: skip

GRU_BUGS = [
    Bug("z the wrong way round", "cells.gru", "xp.subtract(h, n, s_z)", "xp.subtract(n, h, s_z)", "gru-after"),
    Bug("half a sigmoid slope at z", "cells.gru", "s_z *= s_n ", "pass ", "gru-before"),
    Bug("missing 1-z", "cells.gru", "s_n *= xp.subtract(1,", "s_n[...] = xp.subtract(1,", "gru-after"),
    Bug("z instead of 1-z", "cells.gru", "s_n *= xp.subtract(1,", "s_n[...] = z * xp.subtract(1,", "gru-before"),
    Bug("tanh slope forgotten", "cells.gru", "s_n *= xp.subtract(1, xp.multiply(n, n, s_r), s_r)", "pass", "gru-after"),
    Bug("direct path by 1-z", "cells.gru", "dh *= gates[1]", "dh *= 1 - gates[1]", "gru-after"),
    Bug("direct path cut", "cells.gru", "dh *= z", "dh *= 0", "gru-before"),
    Bug("gates z and r swapped", "cells.gru", "s_r, s_z, *s_u, s_n = blocks", "s_z, s_r, *s_u, s_n = blocks", "gru-after"),
    Bug("r acts on h instead of u", "cells.gru", "s_r *= u", "s_r *= h", "gru-after"),
    Bug("r factor forgotten", "cells.gru", "xp.multiply(s_n, r, s_u[0])", "s_u[0][...] = s_n", "gru-after"),
    Bug("no sigmoid slope at r", "cells.gru", "xp.subtract(1, r, s_r)\n        s_r *= r\n", "s_r[...] = 1\n", "gru-after"),
    Bug("bias_hn gets the gradient of bias", "cells.gru", "da[2 * H : 3 * H].sum(axis=1)", "da[3 * H :].sum(axis=1)", "gru-after"),
    Bug("W_in gets the gradient of W_hn", "cells.gru", "da[2 * H : 3 * H] = da[3 * H :]", "pass", "gru-after"),
    Bug("candidate's path to h cut", "cells.gru", "xp.dot(W_hh.T, da[: 3 * self.hidden_size], room)",
        "xp.dot(W_hh[: 2 * self.hidden_size].T, da[: 2 * self.hidden_size], room)", "gru-after"),
    Bug("r factor forgotten on the way to h", "cells.gru", "dv *= r\n", "pass\n", "gru-before"),
    Bug("r*h instead of h", "cells.gru", "s_r *= h ", "s_r *= u ", "gru-before"),
    Bug("h instead of r*h", "cells.gru", "as_columns(cache)", "as_columns(h[:-1])", "gru-before"),
    Bug("W_hn transposed", "cells.gru", "xp.dot(W_n.T, da_n, room)", "xp.dot(W_n, da_n, room)", "gru-before"),
    Bug("gates' path to h cut", "cells.gru", "dh += xp.dot(W_rz.T, da[: 2 * H], room)", "pass", "gru-before"),
]  # fmt: skip

LOOP_BUGS = [
    Bug("dy of the step before", "recurrent.loop", "dy[steps][::-1].transpose(0, 2, 1)", "dy[steps].transpose(0, 2, 1)", "loop"),
    Bug("dy adds nothing but at the end", "recurrent.loop", "dstate[0] += dh\n", "dstate[0] += dh * (t == T - 1)\n", "loop"),
    Bug("time runs forward in backward", "recurrent.loop", "range(T, 0, -together)", "range(min(T, 1), T + 1)", "loop"),
    Bug("gates of the mirrored step", "recurrent.loop", "tape.gates[steps][::-1]", "tape.gates[steps]", "loop"),
    Bug("gradient of a sequence that has ended lost", "recurrent.loop", "ds += ds_passing", "pass", "loop"),
    Bug("gradient of a sequence that has ended enters the cell", "recurrent.loop", "xp.copyto(ds, zero, where=ended)", "pass", "loop"),
    Bug("states go on beyond the length", "recurrent.loop", "xp.copyto(s_new, s, where=~tape.valid[t])", "pass", "loop"),
    Bug("the last steps of a sequence are left out", "recurrent.loop", "for stop in range(T, 0, -together):", "for stop in range(T - 1, 0, -together):", "loop"),
    Bug("bias gradient averaged", "recurrent.base", "da.sum(axis=1)", "da.mean(axis=1)", "layer"),
    Bug("padding reaches y", "recurrent.base", "xp.copyto(y, xp.zeros((), dtype), where=~valid[:, :, None])", "pass", "layer"),
    Bug("padding of dy enters", "recurrent.base", "dy = xp.where(tape.valid[:, :, None], dy, xp.zeros((), dtype))", "pass", "layer"),
    Bug("dstate scaled", "recurrent.base", "self._pack([ds.T.copy() for ds in d])", "self._pack([ds.T / T for ds in d])", "layer"),
    Bug("weight gradient from dx", "recurrent.base", "product(xp, da, tape.x.reshape(T * N, D))", "product(xp, da, dx.reshape(T * N, D))", "layer"),
    Bug("batch and time swapped in dx", "recurrent.base", "product(xp, da.T, tape.params[\"weight_ih\"]).reshape(T, N, D)",
        "product(xp, da.T, tape.params[\"weight_ih\"]).reshape(N, T, D).transpose(1, 0, 2)", "layer"),
]  # fmt: skip

COMBINATOR_BUGS = [
    Bug("dy of the backward layer not reversed", "combinators", "reverse_sequences(dy[:, :, H:], tape.valid)", "dy[:, :, H:]", "bidirectional"),
    Bug("dx of the backward layer not reversed", "combinators", "dx_f + reverse_sequences(dx_b, tape.valid)", "dx_f + dx_b", "bidirectional"),
    Bug("padding reversed too", "combinators", "dx_f + reverse_sequences(dx_b, tape.valid)", "dx_f + reverse_sequences(dx_b)", "bidirectional"),
    Bug("dx of one direction only", "combinators", "dx_f + reverse_sequences(dx_b, tape.valid)", "dx_f", "bidirectional"),
    Bug("both directions take the same half of dy", "combinators", "dy[:, :, H:]", "dy[:, :, :H]", "bidirectional"),
    Bug("dstates swapped", "combinators", "return dx, (dstate_f, dstate_b)", "return dx, (dstate_b, dstate_f)", "bidirectional"),
    Bug("grads swapped", "combinators", '{"forward": grads_f, "backward": grads_b}', '{"forward": grads_b, "backward": grads_f}', "bidirectional"),
    Bug("final state's gradient of the top layer everywhere", "combinators", "dy, dfinals[k])", "dy, dfinals[-1])", "stacked"),
    Bug("final state's gradient dropped", "combinators", "dy, dfinals[k])", "dy, None)", "stacked"),
]  # fmt: skip

LAYER_BUGS = [
    Bug("bias gradient averaged", "layers", "rows.sum(axis=0)", "rows.mean(axis=0)", "linear"),
    Bug("weight gradient from y", "layers", "product(xp, rows.T, x.reshape(-1, self.input_size))", "rows.T @ (rows @ params['weight'])", "linear"),
    Bug("a repeated symbol counts once", "layers", "scatter_add(weight, tape.reshape(-1), dy.reshape(-1, self.embedding_size))",
        "weight[tape.reshape(-1)] = dy.reshape(-1, self.embedding_size)", "embedding"),
]  # fmt: skip

LOSS_BUGS = [
    Bug("one-hot forgotten", "losses", "dlogits[entry, targets] -= 1", "pass", "cross_entropy"),
    Bug("one-hot added", "losses", "dlogits[entry, targets] -= 1", "dlogits[entry, targets] += 1", "cross_entropy"),
    Bug("softmax not normalized", "losses", "p /= total", "pass", "cross_entropy"),
    Bug("mask ignored in the gradient", "losses", "dlogits *= keep[:, None]", "pass", "cross_entropy"),
    Bug("sum instead of mean in the gradient", "losses", "dlogits /= count", "pass", "cross_entropy"),
    Bug("gradient averaged over time steps only", "losses", "dlogits /= count", "dlogits /= shape[0]", "cross_entropy"),
    Bug("gradient averaged over masked entries too", "losses", "dlogits /= count", "dlogits /= targets.size", "cross_entropy"),
    Bug("loss averaged over masked entries too", "losses", "return losses.sum() / count, dlogits", "return losses.sum() / targets.size, dlogits", "cross_entropy"),
    Bug("sigmoid slope taken twice", "losses", "_mean(losses, p - targets,", "_mean(losses, (p - targets) * p * (1 - p),", "binary_cross_entropy"),
    Bug("sign of the gradient", "losses", "_mean(losses, p - targets,", "_mean(losses, targets - p,", "binary_cross_entropy"),
    Bug("factor 2 forgotten", "losses", "2 * error, keep", "error, keep", "mean_squared_error"),
    Bug("gradient averaged over masked entries too", "losses", "slopes / count", "slopes / slopes.size", "mean_squared_error"),
    Bug("gradient of the square", "losses", "_mean(sign * error, sign, keep", "_mean(sign * error, error, keep", "mean_absolute_error"),
]  # fmt: skip

MODEL_BUGS = [
    Bug("horizon and batch swapped", "models", "dprediction.transpose(1, 0, 2).reshape(flat.shape)", "dprediction.reshape(flat.shape)", "forecaster"),
    Bug("sum over notes forgotten in the gradient", "models", "dlogits = dlogits * K", "pass", "piano_roll"),
]  # fmt: skip

BUGS = RNN_BUGS + LSTM_BUGS + GRU_BUGS + LOOP_BUGS + COMBINATOR_BUGS + LAYER_BUGS + LOSS_BUGS + MODEL_BUGS


def names(bugs: list[Bug]) -> list[str]:
    """Test ids."""
    return [f"{bug.subject}: {bug.words}" for bug in bugs]
