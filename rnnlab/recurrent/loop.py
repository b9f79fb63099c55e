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

__all__ = ["CHUNK", "COLUMNS", "Params", "Tape", "input_product", "steps_back", "steps_forward"]

Params = dict[str, Array]

CHUNK = 2**17  # how many numbers of slopes are computed at a time: half a megabyte in float32
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
    if 2 * N > COLUMNS:
        xp.matmul(W, x.transpose(0, 2, 1), out=out)
        out += b[..., 0]
        return
    together = min(T, -(-COLUMNS // (N or 1)))
    room = xp.empty((W.shape[0] * together * N,), out.dtype)
    for start in range(0, T, together or 1):
        a = out[start : start + together].transpose(1, 0, 2)  # one product for K steps: (G*H, K, N)
        product = room[: a.size].reshape(W.shape[0], -1)
        xp.dot(W, x[start : start + together].reshape(-1, D).T, product)
        xp.add(product.reshape(a.shape), b, a)


def _step_by_step(arrays: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
    """Iterate over several arrays at once: half the time of looking each step up."""
    return zip(*arrays, strict=True) if arrays else itertools.repeat(())


def steps_forward(xp: Any, cell: Any, tape: Tape) -> None:
    """Run the cell over the steps; fills the tape, whose gates hold the input product."""
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
    room = xp.empty((H, N), dy.dtype)
    together = max(1, CHUNK // (rows * N or 1))
    for stop in range(T, 0, -together):
        steps = slice(max(0, stop - together), stop)
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
    return da.reshape(rows, T * N)
