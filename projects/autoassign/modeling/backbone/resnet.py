"""detectron2's ResNets, also narrow, deformable without a compiled operator, in any norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fvcore.nn.weight_init as weight_init
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, ResNet
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import Tensor, nn

from ...config import at_least, check_options, one_of
from ..layers import DeformConv, norm_layer

__all__ = ["DeformBottleneckBlock", "build_point_resnet_backbone"]

_BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_KERNEL_PLACES = 9


class DeformBottleneckBlock(BottleneckBlock):
    """A bottleneck block whose 3×3 convolution is deformable (DCN; ``modulated``: DCNv2).

    Parameters are named as those of detectron2's class of this name.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        norm: str | Callable[[int], nn.Module] = "BN",
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            bottleneck_channels: channels of the 3×3 convolution.
            norm: see :func:`detectron2.layers.get_norm`.
            deform_modulated: whether every sample has a learned mask too.
            deform_num_groups: groups of channels with shifts of their own.
            kwargs: see :class:`detectron2.modeling.backbone.resnet.BottleneckBlock`.
        """
        super().__init__(
            in_channels, out_channels, bottleneck_channels=bottleneck_channels, norm=norm, **kwargs
        )
        plain: Any = self.get_submodule("conv2")
        geometry = {
            "kernel_size": 3,
            "stride": plain.stride,
            "padding": plain.padding,
            "dilation": plain.dilation,
        }
        self.deform_modulated = deform_modulated
        self.num_shifts = 2 * _KERNEL_PLACES * deform_num_groups
        self.conv2_offset = Conv2d(
            bottleneck_channels,
            self.num_shifts + deform_modulated * _KERNEL_PLACES * deform_num_groups,
            **geometry,
        )
        self.conv2 = DeformConv(
            bottleneck_channels,
            bottleneck_channels,
            groups=plain.groups,
            bias=False,
            norm=plain.norm,
            **geometry,
        )
        weight_init.c2_msra_fill(self.conv2)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        out = F.relu_(self.conv1(x))
        offset, mask = self.conv2_offset(out).tensor_split((self.num_shifts,), dim=1)
        out = F.relu_(self.conv2(out, offset, mask.sigmoid() if self.deform_modulated else None))
        out = self.conv3(out)
        return F.relu_(out + (x if self.shortcut is None else self.shortcut(x)))


@BACKBONE_REGISTRY.register()
def build_point_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """detectron2's ResNet or ResNeXt by ``MODEL.RESNETS``.

    Beyond detectron2's own builder: any width also for depth 18 and 34, deformable convolution
    through torchvision, ``NORM`` "AffineBN". ``RES5_DILATION`` is 1: a pyramid needs the stride.

    Raises:
        ValueError: an option has a value that is not allowed.
    """
    options = cfg.MODEL.RESNETS
    _check(cfg)
    norm = norm_layer("MODEL.RESNETS.NORM", options.NORM)
    is_basic = options.DEPTH < 50
    in_channels, out_channels = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    stages = []
    for index, num_blocks in enumerate(_BLOCKS_PER_STAGE[options.DEPTH]):
        block: dict[str, Any] = {"block_class": BasicBlock}
        if not is_basic:
            block = _bottleneck(options, index)
        stages.append(
            ResNet.make_stage(
                num_blocks=num_blocks,
                stride_per_block=[1 if index == 0 else 2] + [1] * (num_blocks - 1),
                in_channels=in_channels,
                out_channels=out_channels,
                norm=norm,
                **block,
            )
        )
        in_channels, out_channels = out_channels, out_channels * 2
    stem = BasicStem(input_shape.channels, options.STEM_OUT_CHANNELS, norm=norm)
    return ResNet(
        stem,
        stages,
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def _bottleneck(options: CfgNode, index: int) -> dict[str, Any]:
    """Class and arguments of the blocks of a stage, counted from res2."""
    block = {
        "block_class": BottleneckBlock,
        "bottleneck_channels": options.NUM_GROUPS * options.WIDTH_PER_GROUP * 2**index,
        "num_groups": options.NUM_GROUPS,
        "stride_in_1x1": options.STRIDE_IN_1X1,
    }
    if options.DEFORM_ON_PER_STAGE[index]:
        block |= {
            "block_class": DeformBottleneckBlock,
            "deform_modulated": options.DEFORM_MODULATED,
            "deform_num_groups": options.DEFORM_NUM_GROUPS,
        }
    return block


def _check(cfg: CfgNode) -> None:
    options = cfg.MODEL.RESNETS
    rules = {
        "DEPTH": one_of(*_BLOCKS_PER_STAGE),
        "RES5_DILATION": one_of(1),
        "DEFORM_NUM_GROUPS": at_least(1),
    }
    check_options(options, rules, "MODEL.RESNETS.")
    check_options(cfg.MODEL.BACKBONE, {"FREEZE_AT": one_of(*range(6))}, "MODEL.BACKBONE.")
    if len(options.DEFORM_ON_PER_STAGE) != 4:
        raise ValueError(
            f"MODEL.RESNETS.DEFORM_ON_PER_STAGE is {options.DEFORM_ON_PER_STAGE}; it must be one "
            "True or False for each of res2, res3, res4 and res5"
        )
    if options.DEPTH < 50 and (any(options.DEFORM_ON_PER_STAGE) or options.NUM_GROUPS != 1):
        raise ValueError(
            f"MODEL.RESNETS.DEPTH is {options.DEPTH}; DEFORM_ON_PER_STAGE and NUM_GROUPS need "
            "bottleneck blocks, which depth 50 and more have"
        )
