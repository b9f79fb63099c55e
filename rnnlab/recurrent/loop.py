"""The time loop itself: what runs a cell's steps forward, and back through time (BPTT).

Arrays are features-first inside: a step is a matrix with one column a sequence, so that ``W @ h`` reads like the
equation, every gate is a contiguous block of rows, and the matrix product runs at its fastest. Whatever needs no
result of an earlier step is computed for many steps at once: the input product before the loop, the weight
gradients after it, and in backward the slopes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rnnlab.backend import Array
from rnnlab.cells.blocks import blocks
from rnnlab.kernels import has_kernels, on_device, product

__all__ = ["CHUNK", "COLUMNS", "Params", "Tape", "input_product", "steps_back", "steps_forward"]

Params = dict[str, Array]

CHUNK = 2**17  # how many numbers of slopes are computed at a time: half a megabyte in float32
DEVICE_CHUNK = 2**23  # the same on a GPU, which wants few and large operations: 32 megabytes in float32
COLUMNS = 128  # how many columns an input product should have: with fewer it does not reach its speed


class Tape(NamedTuple):
    """What forward remembers for backward."""

    params: Params
    x: Array  # (T, N, D), zero beyond lengths
    gates: Array  # (T, G*H, N)
    states: tuple[Array, ...]  # (T+1, H, N) each
    cache: tuple[Array, ...]  # (T, H, N) each
    valid: Array | None  # (T, N) booleans, or None when every sequence is full


def input_product(xp: Any, params: Params, x: Array, out: Array) -> None:
    """Set ``out (T, G*H, N)`` to ``W_ih x_t + b`` for every step."""
    W, (T, N, D) = params["weight_ih"], x.shape
    b = params["bias"][:, None, None] if "bias" in params else xp.zeros((1, 1, 1), out.dtype)
    if on_device(xp):
        product(xp, W, x.transpose(0, 2, 1), out)
        out += b[..., 0]
        return
    if 2 * N > COLUMNS:
        xp.matmul(W, x.transpose(0, 2, 1), out=out)
        out += b[..., 0]
        return
    together = min(T, -(-COLUMNS // (N or 1)))
    room = xp.empty((W.shape[0] * together * N,), out.dtype)
    for start in range(0, T, together or 1):
        a = out[start : start + together].transpose(1, 0, 2)  # one product for K steps: (G*H, K, N)
        columns = room[: a.size].reshape(W.shape[0], -1)
        xp.dot(W, x[start : start + together].reshape(-1, D).T, columns)
        xp.add(columns.reshape(a.shape), b, a)


def _step_by_step(arrays: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
    """Iterate over several arrays at once: half the time of looking each step up."""
    return zip(*arrays, strict=True) if arrays else itertools.repeat(())


def steps_forward(xp: Any, cell: Any, tape: Tape) -> None:
    """Run the cell over the steps; fills the tape, whose gates hold the input product."""
    if cell.kernels and has_kernels(xp, tape.gates.dtype):
        _launch_forward(xp, cell, tape)
        return
    work = cell.workspace(xp, tape.params, tape.gates.shape[2], tape.gates.dtype)
    inputs = zip(
        tape.gates,
        _step_by_step(blocks(tape.gates, cell.hidden_size)),
        _step_by_step([s[:-1] for s in tape.states]),
        _step_by_step([s[1:] for s in tape.states]),
        _step_by_step(tape.cache),
        strict=False,  # an empty cache has no end
    )
    for t, (a, gates, state, new, cache) in enumerate(inputs):
        cell.forward(xp, tape.params, a, gates, state, new, cache, work)
        if tape.valid is not None:  # a sequence that has ended keeps its state
            for s, s_new in zip(state, new, strict=True):
                xp.copyto(s_new, s, where=~tape.valid[t])


def _launch_forward(xp: Any, cell: Any, tape: Tape) -> None:
    """`steps_forward` on a GPU: each step is one product and one kernel, which also minds the sequences' lengths."""
    T, rows, N = tape.gates.shape
    room = xp.empty((rows, N), tape.gates.dtype)
    for t in range(T):
        state, new, cache = [s[t] for s in tape.states], [s[t + 1] for s in tape.states], [c[t] for c in tape.cache]
        alive = True if tape.valid is None else tape.valid[t]
        cell.launch_forward(xp, tape.params, tape.gates[t], state, new, cache, room, alive)


def steps_back(xp: Any, cell: Any, tape: Tape, dy: Array, dstate: list[Array]) -> Array:
    """Run the steps back.

    Parameters
    ----------
    xp : module
    cell : object
    tape : Tape
    dy : Array, shape (T, N, H)
    dstate : list of Array, shape (H, N)
        Gradient of the final state on entry; on return that of the initial state.

    Returns
    -------
    Array, shape (da_blocks * H, T * N)
        da: a row for each row of the weights, a column for each step of each sequence.
    """
    T, N, H = dy.shape
    rows = cell.da_blocks * H
    # A single sequence's steps lie one after the other as they are; of several, their columns are put side by side.
    da = xp.empty((T, rows, N), dy.dtype).transpose(1, 0, 2) if N == 1 else xp.empty((rows, T, N), dy.dtype)
    launch = cell.kernels and has_kernels(xp, dy.dtype)
    room = xp.zeros((H, N), dy.dtype) if launch else xp.empty((H, N), dy.dtype)
    together = max(1, (DEVICE_CHUNK if on_device(xp) else CHUNK) // (rows * N or 1))
    for stop in range(T, 0, -together):
        steps = slice(max(0, stop - together), stop)
        if launch:
            da[:, steps] = _launch_back(xp, cell, tape, dy, dstate, steps, room)
            continue
        # Slopes need no gradient of later steps: few large operations instead of many small ones, and yet so few
        # steps at a time that the slopes stay in the cache.
        slopes = cell.slopes(xp, tape, steps)
        inputs = zip(
            reversed(range(steps.start, stop)),
            dy[steps][::-1].transpose(0, 2, 1),
            slopes[::-1, :rows],
            _step_by_step(blocks(slopes[::-1], H)),
            _step_by_step(blocks(tape.gates[steps][::-1], H)),
            strict=True,
        )
        for t, dh, da_t, slopes_t, gates in inputs:
            dstate[0] += dh
            if tape.valid is None:
                cell.backward(xp, tape.params, da_t, slopes_t, gates, dstate, room)
                continue
            # The gradient of a sequence that has ended passes by the cell.
            ended, zero = ~tape.valid[t], xp.zeros((), dh.dtype)
            passing = [xp.where(ended, ds, zero) for ds in dstate]
            for ds in dstate:
                xp.copyto(ds, zero, where=ended)
            cell.backward(xp, tape.params, da_t, slopes_t, gates, dstate, room)
            for ds, ds_passing in zip(dstate, passing, strict=True):
                ds += ds_passing
        da[:, steps] = slopes[:, :rows].transpose(1, 0, 2)
    if launch:
        dstate[0] += room
    return da.reshape(rows, T * N)


def _launch_back(xp: Any, cell: Any, tape: Tape, dy: Array, dstate: list[Array], steps: slice, room: Array) -> Array:
    """Some steps back on a GPU, one kernel and one product each; return their ``da (rows, K, N)``.

    The gradient of a step's new state is the sum of three: ``dy``, ``dstate[0]`` and ``room``, the last being what
    the product of the step after has brought. So the kernel adds them up, and no kernel does nothing else.
    """
    T, N, H = dy.shape
    das = xp.empty((steps.stop - steps.start, cell.da_blocks * H, N), dy.dtype)
    for t in reversed(range(steps.start, steps.stop)):
        alive = True if tape.valid is None else tape.valid[t]
        cell.launch_backward(xp, tape, t, dy[t].T, das[t - steps.start], dstate, room, alive)
    return das.transpose(1, 0, 2)
