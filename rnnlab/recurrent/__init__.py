"""Recurrent layers: one time loop for every cell, forward over a sequence and back through time (BPTT).

`base` holds what a caller sees, `loop` the time loop, `layers` the three layers.

Memory, counted in numbers of the arrays' dtype, for T steps, N sequences, D inputs, H hidden units:

===========  =========================================  =====================================
layer        tape (kept from forward to backward)       backward adds, besides dx and grads
===========  =========================================  =====================================
RNN          (T+1) N H                                  2 T N H
LSTM         5 T N H + 2 (T+1) N H                      5 T N H
GRU after    4 T N H + (T+1) N H                        5 T N H
GRU before   4 T N H + (T+1) N H                        4 T N H
===========  =========================================  =====================================

Backward also holds the slopes of a chunk of steps, at most 1.25 ``CHUNK`` numbers (more only where one step has
more). Forward also returns ``y`` (T N H); before that, it holds the input product of about ``COLUMNS`` columns.
The tape refers to ``x`` and to the parameters and does not copy them: leave them as they are until backward has
run. With ``lengths``, x is copied (T N D), and so is ``dy`` in backward (T N H). `Recurrent.tape_size` is the
middle column.
"""

from rnnlab.recurrent.base import Recurrent, carry_state, valid_steps
from rnnlab.recurrent.layers import GRU, LSTM, RNN
from rnnlab.recurrent.loop import CHUNK, Tape

__all__ = ["CHUNK", "GRU", "LSTM", "RNN", "Recurrent", "Tape", "carry_state", "valid_steps"]
