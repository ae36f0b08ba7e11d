"""Backbones whose pyramid has the levels P3 to P7."""

from .fpn import build_point_resnet_fpn_backbone

__all__ = ["build_point_resnet_fpn_backbone"]
