"""How much memory a training step needs, and a clear word before one that cannot fit.

The counts follow the code: what `rnnlab.recurrent` says of a layer's tape and backward, with the gradients and results
that are alive at the same time. Parameters and the batch, which the caller holds, are not counted, nor is dropout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnlab.backend import Array, Tree, namespace, tree_items
from rnnlab.combinators import Bidirectional, Stacked
from rnnlab.kernels import on_device
from rnnlab.models import Forecaster, LanguageModel, PianoRollModel, SequenceClassifier
from rnnlab.recurrent import CHUNK, Recurrent

__all__ = ["check_memory", "check_step", "memory_needed"]


class Cost(NamedTuple):
    """Numbers that a layer holds, beside its parameters, x and dy."""

    tape: int
    y: int
    forward: int  # the most during forward, tape and y included
    backward: int  # the most during backward, dx and gradients included, the tape not
    dx: int
    grads: int


def memory_needed(model: Any, T: int, N: int, dtype: Any = np.float64) -> int:
    """Return how many bytes forward and backward take at most, beside the parameters and the batch.

    Parameters
    ----------
    model : layer or model
        One of this package's recurrent layers, of their combinations, or of its models.
    T, N : int
        Steps and sequences.
    dtype : dtype

    Returns
    -------
    int
        Without dropout, lengths and a mask. For a layer, ``dy`` is the caller's; for a model it is counted.

    Raises
    ------
    TypeError
        The model is none of this package.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from rnnlab.memory import memory_needed
    >>> round(memory_needed(rl.LSTM(256, 512), T=100, N=64, dtype=np.float32) / 1e6)
    175
    """
    numbers: int = _numbers(model, T, N)
    return numbers * int(np.dtype(dtype).itemsize)


def check_memory(model: Any, T: int, N: int, dtype: Any, free: int, needed: Callable[..., int] = memory_needed) -> None:
    """Raise MemoryError if a step needs more than what is free, with the largest T and N that would fit.

    Parameters
    ----------
    model, T, N, dtype
        As `memory_needed` takes them.
    free : int
        Bytes; of a GPU: ``cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()``.
    needed : callable
        What says how much a step takes.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from rnnlab.memory import check_memory
    >>> check_memory(rl.GRU(1, 256), T=784, N=64, dtype=np.float32, free=10**9)
    >>> check_memory(rl.GRU(1, 256), T=784, N=64, dtype=np.float32, free=10**8)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    MemoryError: a step of GRU(...) with T = 784 and N = 64 in float32 needs 566 MB, and 100 MB are free; T = 137 or ...
    """
    wanted = needed(model, T, N, dtype)
    if wanted <= free:
        return
    most_T = _largest(lambda t: needed(model, t, N, dtype) <= free, T)
    most_N = _largest(lambda n: needed(model, T, n, dtype) <= free, N)
    would = [f"{name} = {most}" for name, most in (("T", most_T), ("N", most_N)) if most]
    advice = f"{' or '.join(would)} would fit" if would else "no smaller T or N alone would fit"
    name = f"{type(model).__name__} with {model.recurrent!r}" if hasattr(model, "recurrent") else repr(model)
    raise MemoryError(
        f"a step of {name} with T = {T} and N = {N} in {np.dtype(dtype)} needs {_bytes(wanted)}, "
        f"and {_bytes(free)} are free; {advice}"
    )


def check_step(model: Any, params: Tree, batch: Sequence[Array]) -> None:
    """Do `check_memory` for a step on this batch with what a GPU has free; nothing for NumPy, or a model not ours.

    Parameters
    ----------
    model : object
    params : Tree
    batch : tuple
        Its first array begins with the axes T and N.

    Examples
    --------
    >>> import numpy as np, rnnlab as rl
    >>> from rnnlab.memory import check_step
    >>> model, rng = rl.models.LanguageModel(7, 3, rl.GRU(3, 4)), np.random.default_rng(0)
    >>> check_step(model, model.init(rng), (rng.integers(0, 7, (5, 2)), rng.integers(0, 7, (5, 2))))
    """
    xp = namespace(params=params)
    if not on_device(xp) or _numbers.dispatch(type(model)) is _numbers.dispatch(object):
        return
    free = xp.cuda.runtime.memGetInfo()[0] + xp.get_default_memory_pool().free_bytes()
    (T, N), (_, first) = batch[0].shape[:2], next(tree_items(params))
    check_memory(model, T, N, first.dtype, free)


def _largest(fits: Callable[[int], bool], bound: int) -> int:
    """Return the largest count below ``bound`` that fits, 0 if none does."""
    low, high = 0, bound  # low fits (or is 0), high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


# ------------------------------------------------------------------------------------- layers


@functools.singledispatch
def _cost(layer: Any, T: int, N: int) -> Cost:
    raise TypeError(f"model must be a layer or model of rnnlab; got {type(layer).__name__}")


@_cost.register
def _(layer: Recurrent, T: int, N: int) -> Cost:
    D, H, G = layer.input_size, layer.hidden_size, len(layer.cell.gates)
    TNH, da_blocks = T * N * H, layer.cell.da_blocks
    tape, da, weights = layer.tape_size(T, N), da_blocks * TNH, G * H * (H + D)
    together = min(T, max(1, CHUNK // (da_blocks * H * N or 1)))
    kept, worked = (5, 5) if G == 4 else (da_blocks, da_blocks) if G == 3 else (1, 2 if layer.cell.kernels else 3)
    # A chunk's slopes are let go when the next ones are there.
    slopes = N * H * max(worked * together, kept * together + worked * min(together, T - together))
    columns = 0 if N == 1 else TNH
    backward = da + max(slopes, columns + G * H * H, T * N * D + weights)
    return Cost(tape, TNH, tape + TNH, backward, T * N * D, weights)


@_cost.register
def _(layer: Stacked, T: int, N: int) -> Cost:
    costs = [_cost(part, T, N) for part in layer.layers]
    kept = forward = 0
    for c in costs:
        forward = max(forward, kept + c.forward)
        kept += c.tape + c.y
    backward = grads = dy = 0
    for c in reversed(costs):
        backward = max(backward, grads + dy + c.backward)
        grads, dy = grads + c.grads, c.dx
    last = costs[-1].y
    return Cost(kept - last, last, forward, backward, dy, grads)


@_cost.register
def _(layer: Bidirectional, T: int, N: int) -> Cost:
    f, b = _cost(layer.forward_layer, T, N), _cost(layer.backward_layer, T, N)
    tape, y = f.tape + b.tape, f.y + b.y
    forward = max(f.forward, f.tape + f.y + b.forward, tape + 2 * y)
    grads = f.grads + b.grads
    reversed_x = b.dx  # a view of x, which a product copies
    backward = max(f.backward, f.dx + f.grads + b.backward + reversed_x, grads + f.dx + b.dx + f.dx)
    return Cost(tape, y, forward, backward, f.dx, grads)


# ------------------------------------------------------------------------------------- models


@functools.singledispatch
def _numbers(model: Any, T: int, N: int) -> int:
    c: Cost = _cost(model, T, N)
    return max(c.forward, c.tape + c.y + c.backward)


@_numbers.register
def _(model: LanguageModel, T: int, N: int) -> int:
    c, V, E = _cost(model.recurrent, T, N), model.output.output_size, model.embedding.embedding_size
    e, logits, weights = T * N * E, T * N * V, V * (model.output.input_size + 1)
    alive = e + c.tape + c.y
    most = max(e + c.forward, alive + 3 * logits)  # the logits, the shifted ones, and p
    alive += 2 * logits + c.y + weights  # and dy
    embedding = V * E + e + 3 * min(V, T * N) * E
    return max(most, alive + c.backward, alive + c.grads + c.dx + embedding)


@_numbers.register(SequenceClassifier)
@_numbers.register(Forecaster)
def _(model: Any, T: int, N: int) -> int:
    c: Cost = _cost(model.recurrent, T, N)
    output = model.output
    head = 4 * N * output.output_size + output.output_size * (output.input_size + 1)
    return int(max(c.forward, c.tape + 2 * c.y + head + c.backward))


@_numbers.register
def _(model: PianoRollModel, T: int, N: int) -> int:
    T -= 1  # the last frame is only predicted
    c, K = _cost(model.recurrent, T, N), model.num_notes
    logits, weights = T * N * K, K * (model.output.input_size + 1)
    alive = c.tape + c.y
    return max(c.forward, alive + 7 * logits, alive + 2 * logits + c.y + weights + c.backward)
