"""The sources that are converted: how each is recognized, and the config it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..weights_family import IMAGENET, MSRA
from . import detectron2_based, mmdetection
from .naming import Naming

__all__ = ["FAMILIES", "STYLES", "Family", "Tensors", "find_family"]

Tensors = Mapping[str, Tensor]
Options = dict[str, Any]

# Whose ImageNet weights the backbone began with: the order and scale of the channels, and the place
# of the strides in a ResNet.
STYLES: dict[str, Options] = {"caffe": MSRA.options, "pytorch": IMAGENET.options}


@dataclass(frozen=True)
class Family:
    """A detector of another tool.

    Attributes:
        name: tool and detector.
        naming: how its tensors are named.
        marks: tensors that tell it from the families after it.
        config_file: the shipped config of this detector.
        options: further options, as its tensors (by our names) and the text of its own config
            tell them; "" where the file has no config.
        style: "caffe" or "pytorch"; None if the family has both.
        caffe: overrides of the style "caffe".
        adapt: gives tensors another value or shape, in place, by our names.
    """

    name: str
    naming: Naming
    marks: tuple[str, ...]
    config_file: str
    options: Callable[[Tensors, str], Options] = lambda tensors, text: {}
    style: str | None = None
    caffe: Options = field(default_factory=dict)
    adapt: Callable[[dict[str, Tensor]], None] = lambda tensors: None


def find_family(names: set[str]) -> Family | None:
    """The first family whose marks are all among these names."""
    return next((family for family in FAMILIES if names.issuperset(family.marks)), None)


def _mmdet_options(tensors: Tensors, text: str, *, relu: bool = True) -> Options:
    """Whether there is a ReLU before P7: as the file says, else as published."""
    # MMDetection has none unless its config says so.
    relu = _says(text, "relu_before_extra_convs", default=relu and not text)
    return {"MODEL.FPN.TOP_BLOCK_RELU": relu}


def _mmdet_fcos_options(tensors: Tensors, text: str) -> Options:
    # MMDetection's improved FCOS alone has biases beside the norms of its towers.
    is_improved = "head.cls_tower.0.bias" in tensors
    for option in ("norm_on_bbox", "centerness_on_reg"):
        if not _says(text, option, default=is_improved):
            raise ValueError(
                "it is the first form of FCOS, with logarithms of distances and center-ness "
                f"beside the classes ({option}=False), which a PointHead does not have; the "
                "improved one is converted (center-normbbox-centeronreg-giou)"
            )
    return _mmdet_options(tensors, text)


def _mmdet_atss_options(tensors: Tensors, text: str) -> Options:
    options = _mmdet_options(tensors, text, relu=False)
    return options | {"MODEL.POINT_HEAD.BOX_ACTIVATION": "anchor"}


def _says(text: str, option: str, *, default: bool) -> bool:
    """The value of a Boolean option in the text of a MMDetection config."""
    found = re.search(rf"\b{option}=(True|False)", text)
    return found[1] == "True" if found else default


def _ones_as_scales(tensors: dict[str, Tensor]) -> None:
    tensors |= {f"head.scales.{n}": torch.ones(()) for n in range(5)}


# Of Detectron's Caffe weights; detectron2's have another.
_DETECTRON_MEAN: Options = {"MODEL.PIXEL_MEAN": [102.9801, 115.9465, 122.7717]}
_FCOS_CONFIG = "COCO-Detection/fcos_R_50_FPN_1x.yaml"
_DSLA_MARKS = ("bbox_head.conv_cls.weight", "bbox_head.conv_reg.weight", "bbox_head.scales.0.scale")
_AUTOASSIGN_CONFIG = "COCO-Detection/autoassign_R_50_FPN_1x.yaml"

FAMILIES = (
    Family(
        name="MMDetection's AutoAssign",
        naming=mmdetection.AUTOASSIGN,
        adapt=mmdetection.reorder_patch_merging,
        marks=("bbox_head.center_prior.mean", "bbox_head.conv_centerness.weight"),
        config_file=_AUTOASSIGN_CONFIG,
        options=_mmdet_options,
        caffe=_DETECTRON_MEAN,
    ),
    Family(
        name="MMDetection's FCOS",
        naming=mmdetection.FCOS,
        adapt=mmdetection.reorder_patch_merging,
        marks=("bbox_head.conv_cls.weight", "bbox_head.conv_centerness.weight"),
        config_file=_FCOS_CONFIG,
        options=_mmdet_fcos_options,
    ),
    Family(
        name="MMDetection's ATSS",
        naming=mmdetection.ATSS,
        adapt=mmdetection.reorder_patch_merging,
        marks=("bbox_head.atss_cls.weight", "bbox_head.atss_centerness.weight"),
        config_file="COCO-Detection/atss_R_50_FPN_1x.yaml",
        options=_mmdet_atss_options,
        style="pytorch",
    ),
    # Of DSLA's rows only R-50 has no biases beside the norms of its towers.
    Family(
        name="DSLA (center sampling, GIoU) in its fork of MMDetection",
        naming=mmdetection.DSLA,
        marks=(*_DSLA_MARKS, "bbox_head.cls_convs.0.conv.bias"),
        config_file="Base-DSLA-tricks.yaml",
        options=_mmdet_options,
        style="pytorch",
        adapt=mmdetection.reorder_patch_merging,
    ),
    Family(
        name="DSLA in its fork of MMDetection",
        naming=mmdetection.DSLA,
        marks=_DSLA_MARKS,
        config_file="COCO-Detection/dsla_R_50_FPN_1x.yaml",
        options=_mmdet_options,
        style="caffe",
        caffe=_DETECTRON_MEAN,
    ),
    Family(
        name="cvpods' AutoAssign",
        naming=detectron2_based.CVPODS_AUTOASSIGN,
        marks=("mu", "sigma", "head.obj_score.weight", "head.cls_subnet.0.weight"),
        config_file=_AUTOASSIGN_CONFIG,
        style="caffe",
    ),
    Family(
        name="AdelaiDet's FCOS",
        naming=detectron2_based.ADELAIDET_FCOS,
        marks=("proposal_generator.fcos_head.cls_logits.weight",),
        config_file=_FCOS_CONFIG,
        style="caffe",
    ),
    Family(
        name="detectron2's FCOS",
        naming=detectron2_based.DETECTRON2_FCOS,
        marks=("head.ctrness.weight", "head.cls_subnet.0.weight"),
        config_file=_FCOS_CONFIG,
        # Its own config asks for it.
        options=lambda tensors, text: {"MODEL.POINT_HEAD.SCORE_THRESH_TEST": 0.2},
        style="caffe",
        adapt=_ones_as_scales,
    ),
)
