"""FPN over any bottom-up, with P6 and P7 taken from its last P or its last C."""

from __future__ import annotations

from itertools import pairwise

import fvcore.nn.weight_init as weight_init
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from torch import Tensor, nn

from ...config import check_options, check_value, one_of
from .checkpointing import checkpoint_activations

__all__ = ["LastLevelP6", "LastLevelP6P7WithoutReLU", "build_point_fpn_backbone"]


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


class LastLevelP6P7WithoutReLU(LastLevelP6P7):
    """detectron2's two levels, the upper one a convolution of P6 as it is."""

    def forward(self, c5: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to P6 and P7, each half as wide and high as the one before."""
        p6 = self.p6(c5)
        return [p6, self.p7(p6)]


@BACKBONE_REGISTRY.register()
def build_point_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """FPN over the backbone that ``MODEL.FPN.BOTTOM_UP`` names, with one or two levels on top.

    ``MODEL.FPN.IN_FEATURES`` names features of the bottom-up, finest first; empty means all.

    Raises:
        ValueError: an option has a value that is not allowed, or the strides of the features do
            not double from one to the next.
    """
    options = cfg.MODEL.FPN
    check_options(options, {"NUM_TOP_LEVELS": one_of(1, 2)}, "MODEL.FPN.")
    bottom_up = _build_bottom_up(cfg, input_shape)
    if cfg.MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS:
        checkpoint_activations(bottom_up)
    shapes = bottom_up.output_shape()
    in_features = _in_features(options, shapes)
    last_c = in_features[-1]
    last_p = f"p{shapes[last_c].stride.bit_length() - 1}"
    top_in_feature = options.TOP_BLOCK_IN_FEATURE
    check_value("MODEL.FPN.TOP_BLOCK_IN_FEATURE", top_in_feature, one_of(last_p, last_c))
    return FPN(
        bottom_up=bottom_up,
        in_features=in_features,
        out_channels=options.OUT_CHANNELS,
        norm=options.NORM,
        top_block=_top_block_class(options)(
            shapes[last_c].channels if top_in_feature == last_c else options.OUT_CHANNELS,
            options.OUT_CHANNELS,
            top_in_feature,
        ),
        fuse_type=options.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()
def build_point_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """:func:`build_point_fpn_backbone` under its name in configs and weights of version 0.1."""
    return build_point_fpn_backbone(cfg, input_shape)


def _top_block_class(options: CfgNode) -> type[nn.Module]:
    if options.NUM_TOP_LEVELS == 1:
        return LastLevelP6
    return LastLevelP6P7 if options.TOP_BLOCK_RELU else LastLevelP6P7WithoutReLU


def _build_bottom_up(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    name = cfg.MODEL.FPN.BOTTOM_UP
    if name not in BACKBONE_REGISTRY:
        known = ", ".join(sorted(x for x, _ in BACKBONE_REGISTRY))
        raise ValueError(f"MODEL.FPN.BOTTOM_UP is '{name}'; registered backbones are: {known}")
    return BACKBONE_REGISTRY.get(name)(cfg, input_shape)


def _in_features(options: CfgNode, shapes: dict[str, ShapeSpec]) -> list[str]:
    names = list(options.IN_FEATURES) or list(shapes)
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {names}; {options.BOTTOM_UP} gives {list(shapes)}"
        )
    strides = [shapes[name].stride for name in names]
    if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {names} with strides {strides}; each must be twice the one "
            "before"
        )
    return names
