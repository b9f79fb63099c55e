"""The pictures, one function each.

Every function takes results, not layers or runs, and returns a `matplotlib.figure.Figure`; `save` writes one. Nothing
here touches pyplot or global settings, so the functions may be used in a notebook, in a thread or on a machine without
a screen.

Those of a comparison take what its ``results.json`` holds and, where they need them, the traces of its runs. A trace is
a dict with one run's ``arm``, ``learning_rate`` and ``seed``, its ``training_loss`` and ``gradient_norm`` at each step,
the steps that are ``explosions``, ``spectral_norm`` and ``spectral_radius`` of the recurrent matrix at the
``spectrum_steps``, and the gradient norm against distance in time, ``through_time_start`` and ``through_time_end``.

Those of `rnnlab.plots.dynamics` draw what the instruments of `rnnlab.dynamics` return, by name.
"""

from rnnlab.plots.drawing import replacing, save
from rnnlab.plots.dynamics import (
    gradient_norm_against_distance,
    jacobian_matrix,
    product_of_jacobians,
    saturation_shares,
    singular_values_and_eigenvalues,
    statistics_of_weights,
)
from rnnlab.plots.pictures import (
    gradient_norm,
    gradient_through_time,
    learning_rate_sensitivity,
    spectrum,
    training_loss,
)

__all__ = [
    "gradient_norm",
    "gradient_norm_against_distance",
    "gradient_through_time",
    "jacobian_matrix",
    "learning_rate_sensitivity",
    "product_of_jacobians",
    "replacing",
    "saturation_shares",
    "save",
    "singular_values_and_eigenvalues",
    "spectrum",
    "statistics_of_weights",
    "training_loss",
]
