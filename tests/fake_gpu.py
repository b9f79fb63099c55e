"""A GPU's modules without a GPU, for the benchmark: the strict stand-in for CuPy with graphs, events and a clock of its
own, and of PyTorch as much as the benchmark uses, computed by rnnlab on NumPy arrays."""

from __future__ import annotations

import ctypes
import importlib.machinery
import sys
import time
import types

import numpy as np
import strict

import rnnlab as rl
from rnnlab.backend import tree_items
from rnnlab.capture import Captured

LAYERS = {"RNN": rl.RNN, "GRU": rl.GRU, "LSTM": rl.LSTM}


# --------------------------------------------------------------------------------------- CuPy


class Event:
    """A device's event: the time when it was recorded."""

    def __init__(self, enable_timing=True):
        self.at = None

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        assert self.at is not None

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


def products(xp, stream):
    """In the place of cuBLAS, which is allowed where CuPy's own products are not."""

    def product(a, b, out=None):
        result = strict.ndarray(np.matmul(a._a, b._a))
        if out is None:
            return result
        out._a[...] = result._a
        return out

    return product


def recorded(original):
    """Let a captured graph do what a graph does: compute again, and write where it wrote."""

    def record(self, stream, inputs):
        graph, result = original(self, stream, inputs)

        def launch():
            for (_, old), (_, new) in zip(tree_items(result), tree_items(self._run(inputs)), strict=True):
                old[...] = new

        graph.launch = launch
        return graph, result

    return record


class Driver:
    """What of ``libcuda.so.1`` is called; ``status`` is its answer."""

    status = 0

    def cuGraphGetNodes(self, graph, nodes, count):
        assert isinstance(graph, ctypes.c_void_p) and nodes is None
        count._obj.value = 140
        return self.status


# ------------------------------------------------------------------------------------- PyTorch


class Tensor:
    """An array, its gradient, and what computes that."""

    def __init__(self, a, back=None):
        self.a, self.back, self.grad, self.requires_grad, self.hook = a, back, None, False, lambda g: g

    def same(self):
        return self

    cuda = detach = cpu = same

    def numpy(self):
        return self.a

    def requires_grad_(self, on=True):
        self.requires_grad = on
        return self

    def register_hook(self, hook):
        self.hook = hook

    def copy_(self, other):
        self.a[...] = other.a

    def take(self, gradient):
        if self.requires_grad:
            self.grad = Tensor(self.hook(Tensor(gradient)).a)

    def backward(self):
        self.back(None)

    def __getitem__(self, key):
        def back(gradient):
            whole = np.zeros_like(self.a)
            whole[key] = gradient
            self.back(whole)

        return Tensor(self.a[key], back)

    def __float__(self):
        return float(self.a)


class Module:
    """A module with parameters."""

    def cuda(self):
        return self

    def parameters(self):
        return iter(self.weights)


class Recurrent(Module):
    """PyTorch's layer, with its two biases."""

    def __init__(self, layer):
        shapes = layer.parameter_shapes()
        biases = [shapes["bias"]] * 2
        self.layer = layer
        self.weights = [Tensor(np.zeros(s, "f")) for s in (shapes["weight_ih"], shapes["weight_hh"], *biases)]
        self.weights = [w.requires_grad_() for w in self.weights]
        self.bias_hh_l0 = self.weights[3]

    def __call__(self, x):
        W_ih, W_hh, bias, bias_hh = (w.a for w in self.weights)
        H, gru = W_hh.shape[1], isinstance(self.layer, rl.GRU)
        params = {"weight_ih": W_ih, "weight_hh": W_hh, "bias": bias.copy()}
        if gru:
            params["bias_hn"] = bias_hh[2 * H :]
        y, state, tape = self.layer.forward(params, x.a)

        def back(dy):
            dx, _, grads = self.layer.backward(params, tape, dy)
            of_hh = grads["bias"].copy()
            if gru:
                of_hh[2 * H :] = grads["bias_hn"]
            found = [dx, grads["weight_ih"], grads["weight_hh"], grads["bias"], of_hh]
            for weight, gradient in zip(self.weights, found[1:], strict=True):
                weight.take(gradient)
            return [Tensor(g) for g in found]

        return Tensor(y, back), state


class Linear(Module):
    """``y = x W^T + b``."""

    def __init__(self, D, K):
        self.layer = rl.Linear(D, K)
        self.weight, self.bias = (Tensor(np.zeros(s, "f")).requires_grad_() for s in ((K, D), (K,)))
        self.weights = [self.weight, self.bias]

    def __call__(self, x):
        params = {"weight": self.weight.a, "bias": self.bias.a}
        y, tape = self.layer.forward(params, x.a)

        def back(dy):
            dx, grads = self.layer.backward(params, tape, dy)
            self.weight.take(grads["weight"])
            self.bias.take(grads["bias"])
            x.back(dx)

        return Tensor(y, back)


class SGD:
    """Stochastic gradient descent."""

    def __init__(self, weights, lr):
        self.weights, self.rate = weights, lr

    def zero_grad(self):
        for w in self.weights:
            w.grad = None

    def step(self):
        for w in self.weights:
            w.a[...] -= np.float32(self.rate) * w.grad.a


def cross_entropy(logits, labels):
    loss, dlogits = rl.losses.cross_entropy(logits.a, labels.a)
    return Tensor(loss, lambda _: logits.back(dlogits))


def clip_grad_norm_(weights, limit):
    size = np.sqrt(sum(float((w.grad.a.astype(float) ** 2).sum()) for w in weights))
    for w in weights:
        w.grad.a *= np.float32(min(1.0, limit / size))


class Profile:
    """Sees three kernels and something that is none."""

    def __init__(self, activities):
        assert activities == ["cpu", "cuda"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def events(self):
        return [types.SimpleNamespace(device_type=kind) for kind in ("CUDA", "CUDA", "CPU", "CUDA")]


def torch(available=True):
    """The module ``torch``."""
    of, module = types.SimpleNamespace, types.ModuleType("torch")
    module.__spec__ = importlib.machinery.ModuleSpec("torch", None)
    module.__version__, module.from_numpy, module.no_grad = "0", Tensor, strict.contextlib.nullcontext
    module.cuda = of(is_available=lambda: available, Event=Event, synchronize=lambda: None)
    layers = {name: lambda D, H, make=make: Recurrent(make(D, H)) for name, make in LAYERS.items()}
    module.nn = of(**layers, Linear=Linear, functional=of(cross_entropy=cross_entropy))
    module.nn.utils = of(clip_grad_norm_=clip_grad_norm_)
    module.optim = of(SGD=SGD)
    module.autograd = of(grad=lambda y, inputs, dy: y.back(dy.a), DeviceType=of(CUDA="CUDA"))
    module.zeros_like = lambda t: Tensor(np.zeros_like(t.a))
    module.cat = lambda ts: Tensor(np.concatenate([t.a for t in ts]))
    module.profiler = of(profile=Profile, ProfilerActivity=of(CPU="cpu", CUDA="cuda"))
    module.backends = of(cuda=of(matmul=of(allow_tf32=None)), cudnn=of(allow_tf32=None, version=lambda: 0))
    return module


def install(monkeypatch):
    """Put both where they are imported; yields the driver."""
    driver = Driver()
    with strict.installed(monkeypatch):
        cuda = sys.modules["cupy"].cuda
        cuda.Event, cuda.get_elapsed_time = Event, Event.elapsed_time
    monkeypatch.setitem(sys.modules, "torch", torch())
    monkeypatch.setattr("rnnlab.capture.Products", products)
    monkeypatch.setattr(Captured, "_record", recorded(Captured._record))
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda name, *options: driver if "libcuda" in name else load(name, *options))
    return driver
