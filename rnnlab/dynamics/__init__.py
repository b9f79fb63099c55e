"""Instruments: what happens to gradients through time, to the recurrent matrix, to the gates and to the weights.

Gradients
    `gradient_norm_through_time`
Jacobians of one step, and their products
    `step_jacobians` (by formula), `state_jacobian` (by any layer's backward), `jacobian_product`
Spectra of recurrent blocks and of Jacobians
    `recurrent_blocks`, `spectrum`, `spectral_norm`, `spectral_radius`
Gates
    `gate_values`, `gate_saturation`
Weights
    `weight_statistics`, `update_ratio`

`rnnlab.plots.dynamics` draws what they return.
"""

from rnnlab.dynamics.gradients import gradient_norm_through_time
from rnnlab.dynamics.jacobians import JacobianProduct, jacobian_product, state_jacobian, step_jacobians
from rnnlab.dynamics.spectra import Spectrum, spectral_norm, spectral_radius, spectrum
from rnnlab.dynamics.weights import WeightStatistics, update_ratio, weight_statistics
from rnnlab.gates import Saturation, gate_saturation, gate_values, recurrent_blocks

__all__ = [
    "JacobianProduct",
    "Saturation",
    "Spectrum",
    "WeightStatistics",
    "gate_saturation",
    "gate_values",
    "gradient_norm_through_time",
    "jacobian_product",
    "recurrent_blocks",
    "spectral_norm",
    "spectral_radius",
    "spectrum",
    "state_jacobian",
    "step_jacobians",
    "update_ratio",
    "weight_statistics",
]
