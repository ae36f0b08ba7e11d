"""ResNet-FPN with P6 and P7 taken from P5 or from C5."""

from __future__ import annotations

import fvcore.nn.weight_init as weight_init
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from torch import Tensor, nn

from .resnet import build_resnet

__all__ = ["LastLevelP6", "build_point_resnet_fpn_backbone"]


class LastLevelP6(nn.Module):
    """One level on top of FPN, a strided convolution of ``in_feature``."""

    num_levels = 1

    def __init__(self, in_channels: int, out_channels: int, in_feature: str) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        weight_init.c2_xavier_fill(self.p6)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to one (N, out_channels, ⌈H/2⌉, ⌈W/2⌉)."""
        return [self.p6(x)]


@BACKBONE_REGISTRY.register()
def build_point_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """ResNet-FPN whose top levels are convolutions of P5 or C5.

    Raises:
        ValueError: ``MODEL.FPN.IN_FEATURES``, ``TOP_BLOCK_IN_FEATURE`` or ``NUM_TOP_LEVELS`` has
            a value that is not allowed.
    """
    options = cfg.MODEL.FPN
    if "res5" not in options.IN_FEATURES:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {list(options.IN_FEATURES)}; the levels above P5 need 'res5'"
        )
    bottom_up = build_resnet(cfg, input_shape)
    if options.TOP_BLOCK_IN_FEATURE == "p5":
        top_channels = options.OUT_CHANNELS
    elif options.TOP_BLOCK_IN_FEATURE == "res5":
        top_channels = bottom_up.output_shape()["res5"].channels
    else:
        raise ValueError(
            f"MODEL.FPN.TOP_BLOCK_IN_FEATURE is '{options.TOP_BLOCK_IN_FEATURE}'; "
            "it may be 'p5' or 'res5'"
        )
    top_blocks = {1: LastLevelP6, 2: LastLevelP6P7}
    if options.NUM_TOP_LEVELS not in top_blocks:
        raise ValueError(f"MODEL.FPN.NUM_TOP_LEVELS is {options.NUM_TOP_LEVELS}; it may be 1 or 2")
    top_block = top_blocks[options.NUM_TOP_LEVELS](
        top_channels, options.OUT_CHANNELS, options.TOP_BLOCK_IN_FEATURE
    )
    return FPN(
        bottom_up=bottom_up,
        in_features=options.IN_FEATURES,
        out_channels=options.OUT_CHANNELS,
        norm=options.NORM,
        top_block=top_block,
        fuse_type=options.FUSE_TYPE,
    )
