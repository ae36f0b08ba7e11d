"""Layers that detectron2 has only in its compiled extension, on torchvision's operators."""

from .deform_conv import ModulatedDeformConv

__all__ = ["ModulatedDeformConv"]
