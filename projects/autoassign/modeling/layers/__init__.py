"""Layers that neither torch nor detectron2 has without its compiled extension."""

from .deform_conv import DeformConv, FeatureAdaption, ModulatedDeformConv
from .norm import NORMS, AffineBatchNorm2d, convert_batch_norms, norm_layer

__all__ = [
    "NORMS",
    "AffineBatchNorm2d",
    "DeformConv",
    "FeatureAdaption",
    "ModulatedDeformConv",
    "convert_batch_norms",
    "norm_layer",
]
