"""ResNets, also in the narrow widths that detectron2 does not build."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import ResNet, build_resnet_backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem

__all__ = ["build_resnet"]

_BASIC_BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def build_resnet(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """detectron2's ResNet; for depth 18 and 34 also with other widths than 64 channels in res2.

    These narrow ones are plain: no groups, dilation or deformable convolution.
    """
    options = cfg.MODEL.RESNETS
    if options.DEPTH not in _BASIC_BLOCKS_PER_STAGE or options.RES2_OUT_CHANNELS == 64:
        return build_resnet_backbone(cfg, input_shape)
    stem = BasicStem(input_shape.channels, options.STEM_OUT_CHANNELS, norm=options.NORM)
    stages = []
    in_channels, out_channels = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    for index, num_blocks in enumerate(_BASIC_BLOCKS_PER_STAGE[options.DEPTH]):
        first_stride = 1 if index == 0 else 2
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                num_blocks,
                stride_per_block=[first_stride] + [1] * (num_blocks - 1),
                in_channels=in_channels,
                out_channels=out_channels,
                norm=options.NORM,
            )
        )
        in_channels, out_channels = out_channels, out_channels * 2
    resnet = ResNet(stem, stages, out_features=options.OUT_FEATURES)
    return resnet.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
