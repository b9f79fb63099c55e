"""The gradient checker: which parameter, gate and index is wrong, and which usual mistake fits the numbers."""

from rnnlab.gradcheck.all_cells import check_all_cells
from rnnlab.gradcheck.check import check_gradients
from rnnlab.gradcheck.layers import LayerCheck, LayerReport, check_layer
from rnnlab.gradcheck.report import ArrayResult, GradientCheckError, GradientReport, Worst

__all__ = [
    "ArrayResult",
    "GradientCheckError",
    "GradientReport",
    "LayerCheck",
    "LayerReport",
    "Worst",
    "check_all_cells",
    "check_gradients",
    "check_layer",
]
