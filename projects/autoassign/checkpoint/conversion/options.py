"""The options of a detector, as the names and shapes of its tensors tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["options_from_tensors"]

_BOTTOM_UP = "backbone.bottom_up."
# Blocks of each stage, and whether they are bottlenecks, to MODEL.RESNETS.DEPTH.
_RESNET_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
# Channels and blocks of each stage to MODEL.SWIN.SIZE.
_SWIN_SIZES: dict[tuple[int, tuple[int, ...]], str] = {
    (96, (2, 2, 6, 2)): "T",
    (96, (2, 2, 18, 2)): "S",
    (128, (2, 2, 18, 2)): "B",
}
_OFFSETS_OF_3X3 = 18


def options_from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Config keys and values that a model needs to have these tensors.

    Args:
        tensors: of a whole :class:`~autoassign.PointDetector`, by our names.

    Raises:
        ValueError: there is no detector with these tensors.
    """
    try:
        is_swin = f"{_BOTTOM_UP}patch_embed.proj.weight" in tensors
        bottom_up = _swin_options(tensors) if is_swin else _resnet_options(tensors)
        return bottom_up | _pyramid_options(tensors, is_swin) | _head_options(tensors)
    except KeyError as error:
        raise ValueError(f"a detector needs a tensor {error.args[0]}, and there is none") from error


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules a list has: the numbers that follow ``prefix`` in the names."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _resnet_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = [f"{_BOTTOM_UP}res{n}." for n in (2, 3, 4, 5)]
    blocks = tuple(_count(tensors, stage) for stage in stages)
    last_of_block = "conv3" if f"{stages[0]}0.conv3.weight" in tensors else "conv2"
    is_bottleneck = last_of_block == "conv3"
    depth = _RESNET_DEPTHS.get((blocks, is_bottleneck))
    if depth is None:
        kind = "bottleneck" if is_bottleneck else "basic"
        raise ValueError(f"there is no ResNet with {blocks} {kind} blocks")
    options: dict[str, Any] = {
        "MODEL.RESNETS.DEPTH": depth,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": len(tensors[f"{_BOTTOM_UP}stem.conv1.weight"]),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": len(tensors[f"{stages[0]}0.{last_of_block}.weight"]),
    }
    if is_bottleneck:
        channels, channels_of_group = tensors[f"{stages[0]}0.conv2.weight"].shape[:2]
        options |= {
            "MODEL.RESNETS.NUM_GROUPS": channels // channels_of_group,
            "MODEL.RESNETS.WIDTH_PER_GROUP": channels_of_group,
        }
    offsets = [tensors.get(f"{stage}0.conv2_offset.bias") for stage in stages]
    widths = {len(bias) for bias in offsets if bias is not None}
    if widths:
        options |= {
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [bias is not None for bias in offsets],
            "MODEL.RESNETS.DEFORM_MODULATED": widths != {_OFFSETS_OF_3X3},
        }
    return options


def _swin_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    channels = len(tensors[f"{_BOTTOM_UP}patch_embed.proj.weight"])
    blocks = tuple(_count(tensors, f"{_BOTTOM_UP}layers.{n}.blocks.") for n in range(4))
    size = _SWIN_SIZES.get((channels, blocks))
    if size is None:
        raise ValueError(f"there is no Swin with {channels} channels and {blocks} blocks")
    return {
        "MODEL.FPN.BOTTOM_UP": "build_swin_backbone",
        "MODEL.FPN.IN_FEATURES": ["p1", "p2", "p3"],
        "MODEL.SWIN.SIZE": size,
    }


def _pyramid_options(tensors: Mapping[str, Tensor], is_swin: bool) -> dict[str, Any]:
    num_top_levels = _count(tensors, "backbone.top_block.")
    channels = len(tensors["backbone.fpn_output3.weight"])
    options: dict[str, Any] = {
        "MODEL.FPN.OUT_CHANNELS": channels,
        "MODEL.FPN.NUM_TOP_LEVELS": num_top_levels,
        "MODEL.POINT_HEAD.IN_FEATURES": [f"p{n}" for n in range(3, 6 + num_top_levels)],
    }
    if tensors["backbone.top_block.p6.weight"].shape[1] != channels:
        options["MODEL.FPN.TOP_BLOCK_IN_FEATURE"] = "p3" if is_swin else "res5"
    return options


def _head_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    # Convolution, norm and ReLU, which has no tensor.
    num_convs = _count(tensors, "head.cls_tower.") // 2
    last = f"head.cls_tower.{3 * (num_convs - 1)}."
    return {
        "MODEL.POINT_HEAD.NUM_CLASSES": len(tensors["head.cls_score.bias"]),
        "MODEL.POINT_HEAD.NUM_CONVS": num_convs,
        "MODEL.POINT_HEAD.CONV_BIAS": "head.cls_tower.0.bias" in tensors,
        "MODEL.POINT_HEAD.DEFORMABLE_LAST_CONV": f"{last}offset_mask.weight" in tensors,
    }
