"""Make layers.npz and losses.npz: what PyTorch computes for recurrent layers, a model and the losses.

Run it with a Python that has PyTorch (CPU is enough) and NumPy; rnnlab is not needed:

    python tests/vectors/make_layer_vectors.py

Everything is float64 and seeded. Inputs and parameters are multiples of 1/1024, so that float32 holds
them exactly and float32 results may be compared with the same vectors.

Keys are paths: ``lstm/small/inputs/params/weight_ih`` is a parameter of the case "small" of the layer
"lstm", ``lstm/small/ragged/grads/weight_ih`` its gradient when the sequences have lengths. Integers in
a path are places in a tuple. Parameters, states and gradients have rnnlab's names and layout, and
PyTorch's two biases are one: ``bias = bias_ih + bias_hh``. Their gradients are equal, so the gradient
of ``bias`` is that of ``bias_ih``.
"""

import copy
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = pathlib.Path(__file__).parent
SIZES = {  # T, N, D, H
    "small": (4, 3, 2, 3),
    "larger": (7, 4, 5, 4),
    "one_sequence": (5, 1, 1, 3),  # of one feature
    "one_unit": (5, 3, 2, 1),
}


def draw(rng, *shape, scale=0.5):
    """Draw normal numbers, rounded to multiples of 1/1024."""
    return torch.tensor(np.round(rng.normal(0.0, scale, shape) * 1024) / 1024)


def numpy(tensor):
    return tensor.detach().numpy().copy()


def flatten(tree, path=""):
    """Give {path/to/array: array} for nested dicts and tuples of tensors and arrays."""
    if isinstance(tree, dict):
        children = tree.items()
    elif isinstance(tree, tuple):
        children = enumerate(tree)
    else:
        return {path: numpy(tree) if isinstance(tree, torch.Tensor) else np.asarray(tree)}
    return {k: v for key, child in children for k, v in flatten(child, f"{path}/{key}".lstrip("/")).items()}


def map_tensors(function, tree):
    """Apply a function to every tensor of nested tuples."""
    return tuple(map_tensors(function, t) for t in tree) if isinstance(tree, tuple) else function(tree)


def leaves(tree):
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple) else [tree]


def leaf(tensor):
    return tensor.clone().requires_grad_(True)


# ------------------------------------------------------------------- layers, by PyTorch's own modules


class Module:
    """One of nn.RNN, nn.LSTM, nn.GRU with one layer, in one direction or two."""

    def __init__(self, rng, kind, D, H, bidirectional=False, **options):
        self.module = kind(D, H, bidirectional=bidirectional, **options).double()
        self.is_lstm, self.is_gru = kind is nn.LSTM, kind is nn.GRU
        self.bidirectional, self.H = bidirectional, H
        self.output_size = H * (1 + bidirectional)
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.copy_(draw(rng, *parameter.shape))

    def initial_state(self, rng, N):
        if self.bidirectional:
            return self._one_direction(rng, N), self._one_direction(rng, N)
        return self._one_direction(rng, N)

    def _one_direction(self, rng, N):
        h = draw(rng, N, self.H)
        return (h, draw(rng, N, self.H)) if self.is_lstm else h

    def forward(self, x, state, lengths):
        state = self._join(state)
        if lengths is None:
            y, state = self.module(x, state)
            return y, self._split(state)
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = self.module(packed, state)
        y, _ = pad_packed_sequence(y, total_length=len(x))
        return y, self._split(state)

    def _join(self, state):
        """Turn our state into PyTorch's, whose first axis is the direction."""
        directions = state if self.bidirectional else (state,)
        if self.is_lstm:
            return torch.stack([h for h, c in directions]), torch.stack([c for h, c in directions])
        return torch.stack(directions)

    def _split(self, state):
        directions = tuple(zip(*state, strict=True)) if self.is_lstm else tuple(state)
        return directions if self.bidirectional else directions[0]

    def params(self):
        return self._directions(lambda parameter: parameter, bias=lambda b_ih, b_hh: b_ih + b_hh)

    def grads(self):
        return self._directions(lambda parameter: parameter.grad, bias=lambda db_ih, db_hh: db_ih)

    def _directions(self, read, bias):
        forward = self._named("_l0", read, bias)
        if self.bidirectional:
            return {"forward": forward, "backward": self._named("_l0_reverse", read, bias)}
        return forward

    def _named(self, suffix, read, bias):
        found = {name: read(getattr(self.module, name + suffix)) for name in ("weight_ih", "weight_hh")}
        if not self.module.bias:
            return found
        b_ih, b_hh = (read(getattr(self.module, name + suffix)) for name in ("bias_ih", "bias_hh"))
        found["bias"] = bias(b_ih, b_hh)
        if self.is_gru:  # the reset gate multiplies bias_hh in the rows of n, which keeps them apart
            gates = 2 * self.H
            found["bias"] = torch.cat([found["bias"][:gates], b_ih[gates:]])
            found["bias_hn"] = b_hh[gates:]
        return found


class GRUBefore:
    """The GRU of Cho et al. 2014, which PyTorch lacks, as a plain loop for autograd.

    r = sigmoid(W_ir x + W_hr h + b_r),  z = sigmoid(W_iz x + W_hz h + b_z),
    n = tanh(W_in x + W_hn (r*h) + b_n),  h' = (1-z)*n + z*h.
    """

    def __init__(self, rng, D, H):
        self.H = self.output_size = H
        shapes = {"weight_ih": (3 * H, D), "weight_hh": (3 * H, H), "bias": (3 * H,)}
        self.leaves = {name: leaf(draw(rng, *shape)) for name, shape in shapes.items()}

    def initial_state(self, rng, N):
        return draw(rng, N, self.H)

    def forward(self, x, state, lengths):
        W_ir, W_iz, W_in = self.leaves["weight_ih"].chunk(3)
        W_hr, W_hz, W_hn = self.leaves["weight_hh"].chunk(3)
        b_r, b_z, b_n = self.leaves["bias"].chunk(3)
        h, y = state, []
        for t, x_t in enumerate(x):
            r = torch.sigmoid(x_t @ W_ir.T + h @ W_hr.T + b_r)
            z = torch.sigmoid(x_t @ W_iz.T + h @ W_hz.T + b_z)
            n = torch.tanh(x_t @ W_in.T + (r * h) @ W_hn.T + b_n)
            following = (1 - z) * n + z * h
            valid = torch.full((len(h), 1), True) if lengths is None else (t < lengths)[:, None]
            y.append(torch.where(valid, following, torch.zeros_like(h)))
            h = torch.where(valid, following, h)
        return torch.stack(y), h

    def params(self):
        return dict(self.leaves)

    def grads(self):
        return {name: tensor.grad for name, tensor in self.leaves.items()}


class Stack:
    """Layers one above the other."""

    def __init__(self, *layers):
        self.layers = layers

    def initial_state(self, rng, N):
        return tuple(layer.initial_state(rng, N) for layer in self.layers)

    def forward(self, x, state, lengths):
        final = []
        for layer, initial in zip(self.layers, state, strict=True):
            x, last = layer.forward(x, initial, lengths)
            final.append(last)
        return x, tuple(final)

    @property
    def output_size(self):
        return self.layers[-1].output_size

    def params(self):
        return {f"layer{k}": layer.params() for k, layer in enumerate(self.layers)}

    def grads(self):
        return {f"layer{k}": layer.grads() for k, layer in enumerate(self.layers)}


LAYERS = {
    "rnn_tanh": lambda rng, D, H: Module(rng, nn.RNN, D, H),
    "rnn_relu": lambda rng, D, H: Module(rng, nn.RNN, D, H, nonlinearity="relu"),
    "lstm": lambda rng, D, H: Module(rng, nn.LSTM, D, H),
    "lstm_no_bias": lambda rng, D, H: Module(rng, nn.LSTM, D, H, bias=False),
    "gru_after": lambda rng, D, H: Module(rng, nn.GRU, D, H),
    "gru_after_no_bias": lambda rng, D, H: Module(rng, nn.GRU, D, H, bias=False),
    "gru_before": GRUBefore,
    "bidirectional_lstm": lambda rng, D, H: Module(rng, nn.LSTM, D, H, bidirectional=True),
    "bidirectional_gru": lambda rng, D, H: Module(rng, nn.GRU, D, H, bidirectional=True),
    "stacked_lstm": lambda rng, D, H: Stack(Module(rng, nn.LSTM, D, H), Module(rng, nn.LSTM, H, H + 1)),
    "stacked_mixed": lambda rng, D, H: Stack(
        Module(rng, nn.GRU, D, H, bidirectional=True), Module(rng, nn.RNN, 2 * H, H + 1)
    ),
}
SIMPLE = ["rnn_tanh", "rnn_relu", "lstm", "gru_after", "gru_before"]  # in all sizes


def run(layer, inputs, lengths):
    """Run a copy of a layer forward and backward; give its outputs and gradients."""
    layer = copy.deepcopy(layer)
    x, state = leaf(inputs["x"]), map_tensors(leaf, inputs["state"])
    y, final = layer.forward(x, state, lengths)
    upstream = [inputs["dy"], *leaves(inputs["dstate"])]
    torch.autograd.backward([y, *leaves(final)], upstream)
    dstate = map_tensors(lambda tensor: tensor.grad, state)
    return {"y": y, "state": final, "dx": x.grad, "dstate": dstate, "grads": layer.grads()}


def ragged_lengths(T, N):
    """Give unsorted lengths that reach from 1 to T; one short of T if there is one sequence."""
    return torch.tensor([T - 1] if N == 1 else [2, T, 1, T - 1][:N])


def layer_case(rng, make, T, N, D, H):
    layer = make(rng, D, H)
    inputs = {
        "params": layer.params(),
        "x": draw(rng, T, N, D, scale=1.0),
        "state": layer.initial_state(rng, N),
        "dy": draw(rng, T, N, layer.output_size, scale=1.0),
        "dstate": layer.initial_state(rng, N),
    }
    lengths = ragged_lengths(T, N)
    full, ragged = run(layer, inputs, None), run(layer, inputs, lengths)
    return {"inputs": inputs, "full": full, "ragged": {"lengths": lengths, **ragged}}


# -------------------------------------------------------------------------------------- whole models


def language_model(rng):
    """Embedding, LSTM, Linear and cross entropy over two chunks, the state carried and detached."""
    T, N, V, E, H = 5, 3, 7, 4, 3
    embedding, output = nn.Embedding(V, E).double(), nn.Linear(H, V).double()
    recurrent = Module(rng, nn.LSTM, E, H)
    modules = {"embedding": embedding, "output": output}
    with torch.no_grad():
        for module in modules.values():
            for parameter in module.parameters():
                parameter.copy_(draw(rng, *parameter.shape))
    params = {name: dict(module.named_parameters()) for name, module in modules.items()}
    case = flatten({"params": {**params, "recurrent": recurrent.params()}}, "language_model")
    tokens = torch.tensor(rng.integers(0, V, (2 * T + 1, N)))
    state = (torch.zeros(N, H, dtype=torch.float64), torch.zeros(N, H, dtype=torch.float64))
    for chunk in range(2):
        inputs, targets = tokens[chunk * T : (chunk + 1) * T], tokens[chunk * T + 1 : (chunk + 1) * T + 1]
        for module in (embedding, output, recurrent.module):
            module.zero_grad()
        y, state = recurrent.forward(embedding(inputs), map_tensors(torch.detach, state), None)
        loss = functional.cross_entropy(output(y).reshape(-1, V), targets.reshape(-1))
        loss.backward()
        grads = {name: {k: p.grad for k, p in module.named_parameters()} for name, module in modules.items()}
        grads["recurrent"] = recurrent.grads()
        found = {"inputs": inputs, "targets": targets, "loss": loss, "state": state, "grads": grads}
        case |= flatten(found, f"language_model/chunks/{chunk}")
    return case


# -------------------------------------------------------------------------------------------- losses


def loss_case(prediction, targets, loss_of, mask=None):
    prediction = leaf(prediction)
    loss = loss_of(prediction, targets, mask)
    loss.backward()
    case = {"prediction": prediction, "targets": targets, "loss": loss, "dprediction": prediction.grad}
    return case if mask is None else {**case, "mask": mask}


def cross_entropy(logits, targets, mask):
    if mask is not None:
        targets = torch.where(mask, targets, -100)
    logits = logits.reshape(-1, logits.shape[-1])
    return functional.cross_entropy(logits, targets.reshape(-1), ignore_index=-100)


def elementwise(function):
    def loss_of(prediction, targets, mask):
        losses = function(prediction, targets, reduction="none")
        return losses.mean() if mask is None else losses[mask].mean()

    return loss_of


def loss_cases(rng):
    T, N, K = 4, 3, 5
    mask = torch.tensor(rng.random((T, N)) < 0.6)
    entries = torch.tensor(rng.random((T, N, K)) < 0.6)
    labels = torch.tensor(rng.integers(0, K, (T, N)))
    notes = torch.tensor((rng.random((T, N, K)) < 0.4).astype(float))
    values = draw(rng, T, N, K, scale=2.0)
    logits, large = draw(rng, T, N, K, scale=2.0), draw(rng, T, N, K, scale=600.0)
    values[0, 0, 0] = logits[0, 0, 0]  # where the absolute error has its corner
    probabilities = torch.tensor(rng.integers(0, 1025, (T, N, K)) / 1024)
    bce = elementwise(functional.binary_cross_entropy_with_logits)
    cases = {}
    for size, scores in {"": logits, "_large": large}.items():
        cases["cross_entropy" + size] = loss_case(scores, labels, cross_entropy)
        cases["cross_entropy_masked" + size] = loss_case(scores, labels, cross_entropy, mask)
        cases["binary_cross_entropy" + size] = loss_case(scores, notes, bce)
        cases["binary_cross_entropy_masked" + size] = loss_case(scores, notes, bce, entries)
    cases["binary_cross_entropy_masked_steps"] = loss_case(logits, notes, bce, mask)
    cases["cross_entropy_labels"] = loss_case(logits[0], labels[0], cross_entropy)
    cases["binary_cross_entropy_soft"] = loss_case(logits, probabilities, bce)
    for name, function in {
        "mean_squared_error": elementwise(functional.mse_loss),
        "mean_absolute_error": elementwise(functional.l1_loss),
    }.items():
        cases[name] = loss_case(logits, values, function)
        cases[name + "_masked"] = loss_case(logits, values, function, entries)
        cases[name + "_large"] = loss_case(large, values, function)
    return cases


def main():
    rng = np.random.default_rng(20240)
    layers = {}
    for name, make in LAYERS.items():
        sizes = SIZES if name in SIMPLE else ["small", "one_sequence"]
        for size in sizes:
            layers |= flatten(layer_case(rng, make, *SIZES[size]), f"{name}/{size}")
    np.savez_compressed(HERE / "layers.npz", **layers, **language_model(rng))
    np.savez_compressed(HERE / "losses.npz", **flatten(loss_cases(rng)))
    print(f"made with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
