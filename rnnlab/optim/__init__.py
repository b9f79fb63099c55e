"""Optimizers as small parts, joined by `chain`: gradient transforms, an update, projections.

An update is an optimizer of its own; ``chain(clip_by_global_norm(5.0), sgd(1.0))`` is one with clipping.
"""

from rnnlab.optim import schedules
from rnnlab.optim.chain import Optimizer, chain
from rnnlab.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from rnnlab.optim.normalization import block_normalize_gradients, centralize_gradients, normalize_weight_gradients
from rnnlab.optim.parts import GradientTransform, Projection, Update
from rnnlab.optim.projection import project_spectral_norm
from rnnlab.optim.regularizers import l1, l2
from rnnlab.optim.updates import adagrad, adam, adamw, rmsprop, sgd

__all__ = [
    "GradientTransform",
    "Optimizer",
    "Projection",
    "Update",
    "adagrad",
    "adam",
    "adamw",
    "block_normalize_gradients",
    "centralize_gradients",
    "chain",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "l1",
    "l2",
    "normalize_weight_gradients",
    "project_spectral_norm",
    "rmsprop",
    "schedules",
    "sgd",
]
