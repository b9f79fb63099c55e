"""One layer's forward and backward against the educational libraries a user would otherwise pick.

Same step, same shapes and same checks as `benchmarks.cells`; the peers are those that install from the package index:

- autograd differentiates NumPy programs: the cells are written as its own examples write them, one product a step;
- MyGrad has one recurrent layer, a GRU with the reset gate before the product, compiled by Numba;
- numpy-ml has an RNN and an LSTM cell, always in float64 (rnnlab then runs in float64 too). As published it cannot be
  imported on Python 3.10 or later, and its layers cannot be called; `numpy_ml_side` says how it runs here all the same.

A peer that is not installed is left out, with the reason on stderr.
"""

from __future__ import annotations

import collections
import collections.abc
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import rnnlab as rl
from benchmarks import cells, harness

Made = tuple[Any, Any]


class Peer(NamedTuple):
    """One comparison."""

    name: str
    modules: tuple[str, ...]
    layer: str
    dtype: str
    make: Callable[..., Made]


def layer_of(name: str, D: int, H: int) -> Any:
    """The rnnlab layer of a name: rnn, lstm, gru after, gru before."""
    cell, _, reset = name.partition(" ")
    return rl.GRU(D, H, reset=reset) if reset else cells.LAYERS[cell](D, H)


def problem(name: str, dtype: str, N: int, T: int, D: int, H: int) -> tuple[Any, Any, Any]:
    """As `benchmarks.cells.problem`, in any precision and for both GRUs."""
    params, x, dy = cells.problem(name.partition(" ")[0], N, T, D, H)
    wanted = layer_of(name, D, H).parameter_shapes()
    return {key: params[key].astype(dtype) for key in wanted}, x.astype(dtype), dy.astype(dtype)


def rnnlab_side(name: str, dtype: str, *shape: int) -> Made:
    """The layer's own forward and backward."""
    params, x, dy = problem(name, dtype, *shape)
    layer = layer_of(name, *shape[2:])

    def step() -> Any:
        y, _, tape = layer.forward(params, x)
        dx, _, grads = layer.backward(params, tape, dy)
        return y, dx, grads

    return step, lambda result: {"y": result[0], "dx": result[1], **result[2]}


# ----------------------------------------------------------------------------------- autograd


def autograd_side(name: str, dtype: str, *shape: int) -> Made:
    """``make_vjp`` of the loop over time; x goes in as a list, because indexing an array costs autograd T^2."""
    import autograd.numpy as anp
    from autograd import make_vjp

    params, x, dy = problem(name, dtype, *shape)
    N, T, _, H = shape

    def layer(arguments: Any) -> Any:
        params, xs = arguments
        h = c = np.zeros((N, H), dtype)
        ys = []
        for x in xs:
            h, c = autograd_step(anp, name, params, x, h, c)
            ys.append(h)
        return anp.stack(ys)

    def step() -> Any:
        vjp, y = make_vjp(layer)((params, list(x)))
        return y, *vjp(dy)

    return step, lambda result: {"y": result[0], "dx": np.stack(result[2]), **result[1]}


def autograd_step(anp: Any, name: str, params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """One step of a cell in autograd's NumPy: ``(h, c)`` after it."""
    H = h.shape[1]
    a = anp.dot(x, params["weight_ih"].T) + params["bias"]
    u = anp.dot(h, params["weight_hh"].T)
    if name == "rnn":
        return anp.tanh(a + u), c
    if name == "gru after":
        rz = 0.5 * (1 + anp.tanh(0.5 * (a[:, : 2 * H] + u[:, : 2 * H])))
        r, z = rz[:, :H], rz[:, H:]
        n = anp.tanh(a[:, 2 * H :] + r * (u[:, 2 * H :] + params["bias_hn"]))
        return (1 - z) * n + z * h, c
    a = a + u
    i, f, o = (0.5 * (1 + anp.tanh(0.5 * a[:, k * H : (k + 1) * H])) for k in (0, 1, 3))
    c = f * c + i * anp.tanh(a[:, 2 * H : 3 * H])
    return o * anp.tanh(c), c


# ------------------------------------------------------------------------------------- MyGrad


def mygrad_side(name: str, dtype: str, *shape: int) -> Made:
    """``mygrad.nnet.layers.gru``, its first use compiled before the clock runs."""
    import mygrad
    from mygrad.nnet.layers.gru import gru

    params, x, dy = problem(name, dtype, *shape)
    H = shape[3]
    blocks = {key: np.split(a, 3) for key, a in params.items()}
    order = [(key, gate) for gate in (1, 0, 2) for key in ("weight_ih", "weight_hh", "bias")]  # z, r, h
    arrays = [np.ascontiguousarray(blocks[key][gate].T) for key, gate in order]
    upstream = np.concatenate([np.zeros_like(dy[:1]), dy])  # of the initial state too

    def step() -> Any:
        tensors = [mygrad.tensor(a, copy=False) for a in (x, *arrays)]
        y = gru(*tensors, constant=False)
        y.backward(upstream.copy())  # it works in place
        return y, tensors

    def collect(result: Any) -> dict[str, np.ndarray]:
        y, (x, *tensors) = result
        grads = {place: tensor.grad.T for place, tensor in zip(order, tensors, strict=True)}
        joined = {key: np.concatenate([grads[key, gate] for gate in range(3)]) for key in params}
        assert all(a.shape[0] == 3 * H for a in joined.values())
        return {"y": y.data[1:], "dx": x.grad, **joined}

    return step, collect


# ----------------------------------------------------------------------------------- numpy-ml


def numpy_ml_cell(name: str, D: int, H: int) -> Any:
    """numpy-ml's cell; `collections.Hashable`, gone since Python 3.10, is lent to it for the import."""
    collections.Hashable = collections.abc.Hashable  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of gym and matplotlib
        from numpy_ml.neural_nets import layers
    cell = {"rnn": layers.RNNCell, "lstm": layers.LSTMCell}[name](n_out=H)
    cell.n_in = D
    cell._init_params()
    return cell


def numpy_ml_side(name: str, dtype: str, *shape: int) -> Made:
    """Its cell in the loops of its layer.

    The layer itself hands the cell an argument that the cell does not take. `flush_gradients`, its way to begin a new
    sequence, leaves an empty list where the next backward needs None.
    """
    params, x, dy = problem(name, dtype, *shape)
    cell = numpy_ml_cell(name, *shape[2:])
    cell.parameters.update(numpy_ml_parameters(name, params))

    def step() -> Any:
        cell.flush_gradients()
        cell.derived_variables.update(dLdA_accumulator=None, dLdC_accumulator=None)
        outputs = [cell.forward(x_t) for x_t in x]
        inputs = [cell.backward(dy_t) for dy_t in dy[::-1]]
        return outputs, inputs[::-1]

    def collect(result: Any) -> dict[str, np.ndarray]:
        y, dx = (np.stack([r if isinstance(r, np.ndarray) else r[0] for r in part]) for part in result)
        return {"y": y, "dx": dx, **numpy_ml_gradients(name, cell.gradients, shape[3])}

    return step, collect


def numpy_ml_parameters(name: str, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters in numpy-ml's names; an LSTM's matrices stand on ``[h, x]``."""
    W_ih, W_hh, b = params["weight_ih"], params["weight_hh"], params["bias"]
    if name == "rnn":
        return {"Waa": W_hh.T.copy(), "Wax": W_ih.T.copy(), "ba": b[:, None], "bx": np.zeros_like(b[:, None])}
    both = np.split(np.hstack([W_hh, W_ih]), 4)
    named = {f"W{gate}": W.T.copy() for gate, W in zip("ufco", both, strict=True)}
    return {**named, **{f"b{gate}": part[None] for gate, part in zip("ufco", np.split(b, 4), strict=True)}}


def numpy_ml_gradients(name: str, grads: dict[str, np.ndarray], H: int) -> dict[str, np.ndarray]:
    """numpy-ml's gradients in rnnlab's names."""
    if name == "rnn":
        return {"weight_ih": grads["Wax"].T, "weight_hh": grads["Waa"].T, "bias": grads["bx"][:, 0]}
    both = np.concatenate([grads[f"W{gate}"].T for gate in "ufco"])
    bias = np.concatenate([grads[f"b{gate}"][0] for gate in "ufco"])
    return {"weight_ih": both[:, H:], "weight_hh": both[:, :H], "bias": bias}


# ------------------------------------------------------------------------------- command line

PEERS = [
    Peer("autograd", ("autograd",), "rnn", "float32", autograd_side),
    Peer("autograd", ("autograd",), "gru after", "float32", autograd_side),
    Peer("autograd", ("autograd",), "lstm", "float32", autograd_side),
    Peer("MyGrad", ("mygrad", "numba"), "gru before", "float32", mygrad_side),
    Peer("numpy-ml", ("numpy_ml",), "rnn", "float64", numpy_ml_side),
    Peer("numpy-ml", ("numpy_ml",), "lstm", "float64", numpy_ml_side),
]


def installed(peers: Sequence[Peer]) -> list[Peer]:
    """Those that can be measured; the reason for each that is left out goes to stderr."""
    found, reasons = [], {}
    for peer in peers:
        try:
            harness.require(peer.modules)
            found.append(peer)
        except harness.BenchmarkError as error:
            reasons[peer.name] = str(error)
    if not found:
        harness.require(module for peer in peers for module in peer.modules)
    for name, reason in reasons.items():
        print(f"peers: {name} is left out: {reason}", file=sys.stderr)
    return found


def measure(peer: Peer, shapes: Sequence[Sequence[int]], options: Any) -> list[dict[str, Any]]:
    """The records of one comparison, a shape each; a shape the peer fails at is left out, with the reason on stderr."""
    records = []
    with harness.Sides({"rnnlab": rnnlab_side, peer.name: peer.make}, options.threads) as sides:
        for shape in shapes:
            sizes = dict(zip("NTDH", shape, strict=True))
            try:
                sides.load(peer.layer, peer.dtype, *shape)
                sides.check(["rnnlab", peer.name], cells.TOLERANCE)
                times = sides.time(*harness.timing(options))
                sides.check(["rnnlab", peer.name], cells.TOLERANCE)  # a step may spoil the next one's numbers
            except harness.BenchmarkError as error:
                print(f"peers: {peer.name}'s {peer.layer} at {shape} is left out: {error}", file=sys.stderr)
                continue
            measured = {"rnnlab_ms": times["rnnlab"], "peer_ms": times[peer.name]}
            records.append({"peer": peer.name, "layer": peer.layer, "dtype": peer.dtype, **sizes, **measured})
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a table."""
    headers = ["peer", "layer", "dtype", *"NTDH", "rnnlab ms", "peer ms", "peer / rnnlab"]
    return harness.format_table(headers, [[*r.values(), r["peer_ms"] / r["rnnlab_ms"]] for r in records])


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write."""
    parser = harness.argument_parser("peers", __doc__, rounds=3)
    parser.add_argument("--shapes", type=cells.shape_argument, nargs="+", default=cells.SHAPES, metavar="N,T,D,H")
    names = list(dict.fromkeys(peer.name for peer in PEERS))
    parser.add_argument("--peers", type=cells.names_argument(names), default=names, help=f"default {','.join(names)}")
    options = parser.parse_args(argv)
    wanted = [peer for peer in PEERS if peer.name in options.peers]
    records = [record for peer in installed(wanted) for record in measure(peer, options.shapes, options)]
    print(table(records))
    harness.write_json(options.json, records)


if __name__ == "__main__":
    sys.exit(harness.run(main))
