"""One time step of each recurrent cell, and right below it that step's backward.

Inside the time loop arrays are features-first: a state is ``(H, N)``, one column a sequence, so that
the code reads like the equations (``W @ h``) and every gate is one contiguous block of rows.

Backward is written in two parts. What is known without the gradient of later steps, the slopes, is
computed for many steps at once; a step back then multiplies them by ``dh'`` (and ``dc'``), which
makes them ``da``, and takes ``da`` through ``weight_hh``.

What `rnnlab.recurrent` asks of a cell (T steps, N sequences, H hidden units, G gates):

``gates``, ``states``
    The names of the gates in the order of their rows, and of the state arrays, ``h`` first.
``parameters(bias)``
    Parameters beyond ``weight_ih, weight_hh, bias``: name -> shape.
``da_blocks``
    How many blocks of H rows ``da`` has: G, or more where the product with ``weight_hh`` and that
    with ``weight_ih`` are reached by different gradients.
``allocate(xp, T, N, dtype)``
    The arrays that forward fills and backward reads: gates ``(T, G*H, N)``, one array
    ``(T+1, H, N)`` a state, and whatever else the cell remembers, ``(T, H, N)`` each.
``workspace(xp, params, N, dtype)``
    Room and constants that the steps of a forward pass share: handed to ``forward`` as ``work``.
``forward(xp, params, a, gates, state, new, cache, work)``
    One step. ``a (G*H, N)`` holds ``W_ih x + b`` on entry and the gates on return; ``gates`` are its
    blocks ``(H, N)``; ``new`` (the new state) and ``cache`` are written.
``slopes(xp, tape, steps)``
    A new array ``(K, B*H, N)`` for the K steps of a slice, B at least ``da_blocks``.
``backward(xp, params, da, slopes, gates, dstate, room)``
    One step back. ``slopes`` are blocks ``(H, N)``, the first ``da_blocks`` of which become, in
    place, ``da (da_blocks*H, N)``; ``dstate`` holds the gradient of the new state on entry, that of the
    state before on return; ``room`` is ``(H, N)``.
``weight_gradients(xp, da, tape)``
    After the loop: the gradients of ``weight_hh`` and of the cell's own parameters, each as one
    product over all steps. ``da (da_blocks*H, T*N)`` has a column for each step of each sequence; on
    return its first ``G*H`` rows hold the gradient that reaches ``W_ih x + b``.
``kernels``
    Whether the cell has its step as GPU kernels too: the two below. Their source stands at the head of
    each cell's file, in the names of the equations; ``alive (N,)``, or True, says which sequences go on.
``launch_forward(xp, params, a, state, new, cache, s, alive)``
    `forward`, with room ``s (G*H, N)`` for the product; a sequence that has ended keeps its state.
``launch_backward(xp, tape, t, dy, da, d, room, alive)``
    `slopes` and `backward` of step t. The gradient of the new h is ``dy + d[0] + room``; on return that of
    the h before is ``d[0] + room``, where ``room (H, N)`` is what came through ``weight_hh``.
"""

from rnnlab.cells.gru import GRUCell
from rnnlab.cells.lstm import LSTMCell
from rnnlab.cells.rnn import RNNCell

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]
