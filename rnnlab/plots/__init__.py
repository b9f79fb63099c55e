"""The pictures of a comparison, one function each.

Every function takes the results of a comparison (what ``results.json`` holds) and, where it needs them, the traces of
its runs, and returns a `matplotlib.figure.Figure`; `save` writes one. Nothing here touches pyplot or global settings,
so the functions may be used in a notebook, in a thread or on a machine without a screen.

A trace is a dict with one run's ``arm``, ``learning_rate`` and ``seed``, its ``training_loss`` and ``gradient_norm``
at each step, the steps that are ``explosions``, ``spectral_norm`` and ``spectral_radius`` of the recurrent matrix at
the ``spectrum_steps``, and the gradient norm against distance in time, ``through_time_start`` and ``through_time_end``.
"""

from rnnlab.plots.drawing import replacing, save
from rnnlab.plots.pictures import (
    gradient_norm,
    gradient_through_time,
    learning_rate_sensitivity,
    spectrum,
    training_loss,
)

__all__ = [
    "gradient_norm",
    "gradient_through_time",
    "learning_rate_sensitivity",
    "replacing",
    "save",
    "spectrum",
    "training_loss",
]
