"""PointHead: the towers and predictors of a detector with one prediction per location."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, get_norm
from torch import Tensor, nn

__all__ = ["PointHead"]

_OBJECTNESS = ("none", "implicit")
# Those of detectron2's get_norm whose statistics the levels may share.
_NORMS = ("", "GN", "LN", "FrozenBN")


class PointHead(nn.Module):
    """Two towers shared over the levels; class logits, box distances, objectness logits.

    The class logits come from one tower, the distances and the objectness from the other.
    Distances in pixels are ReLU(scale of the level · convolution) · stride.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_classes: int,
        num_convs: int,
        norm: str,
        prior_prob: float,
        box_bias: float,
        objectness: str,
    ) -> None:
        """
        Args:
            input_shape: channels and stride of the features of each level; equal channels.
            num_classes: K.
            num_convs: convolutions in each tower.
            norm: normalisation of the towers, a name of :func:`detectron2.layers.get_norm`.
            prior_prob: class probability every location starts with.
            box_bias: bias of the box predictor at the start, in strides.
            objectness: "none" or "implicit": a logit that no target supervises directly.

        Raises:
            ValueError: an option has a value that is not allowed.
        """
        super().__init__()
        if objectness not in _OBJECTNESS:
            raise ValueError(
                f"MODEL.POINT_HEAD.OBJECTNESS is '{objectness}'; "
                f"it may be one of: {', '.join(_OBJECTNESS)}"
            )
        if num_classes < 1:
            raise ValueError(
                f"MODEL.POINT_HEAD.NUM_CLASSES is {num_classes}; it is at least 1 "
                "(autoassign.data.resolve_num_classes takes it from the data)"
            )
        if not 0 < prior_prob < 1:
            raise ValueError(
                f"MODEL.POINT_HEAD.PRIOR_PROB is {prior_prob}; it lies between 0 and 1"
            )
        if norm not in _NORMS:
            raise ValueError(
                f"MODEL.POINT_HEAD.NORM is '{norm}'; it may be one of: "
                + ", ".join(f"'{name}'" for name in _NORMS)
            )
        channels = input_shape[0].channels
        if norm == "GN" and channels % 32:
            raise ValueError(
                f"MODEL.POINT_HEAD.NORM 'GN' has 32 groups; MODEL.FPN.OUT_CHANNELS {channels} "
                "is not a multiple of 32"
            )
        self.strides = tuple(shape.stride for shape in input_shape)
        self.cls_tower = _tower(channels, num_convs, norm)
        self.box_tower = _tower(channels, num_convs, norm)
        self.cls_score = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_pred = nn.Conv2d(channels, 4, 3, padding=1)
        self.obj_score = nn.Conv2d(channels, 1, 3, padding=1) if objectness != "none" else None
        self.scales = nn.Parameter(torch.ones(len(self.strides)))

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(
            self.cls_score.get_parameter("bias"), -math.log((1 - prior_prob) / prior_prob)
        )
        nn.init.constant_(self.box_pred.get_parameter("bias"), box_bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        options = cfg.MODEL.POINT_HEAD
        return {
            "input_shape": input_shape,
            "num_classes": options.NUM_CLASSES,
            "num_convs": options.NUM_CONVS,
            "norm": options.NORM,
            "prior_prob": options.PRIOR_PROB,
            "box_bias": options.BOX_BIAS,
            "objectness": options.OBJECTNESS,
        }

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """Predictions of every level.

        Args:
            features: (N, C, Hi, Wi) of each level.

        Returns:
            cls_logits: (N, K, Hi, Wi) of each level.
            ltrb: (N, 4, Hi, Wi) of each level, distances in pixels, >= 0.
            obj_logits: (N, 1, Hi, Wi) of each level, or None without objectness.
        """
        cls_logits, ltrb, obj_logits = [], [], []
        for feature, stride, scale in zip(features, self.strides, self.scales, strict=True):
            cls_logits.append(self.cls_score(self.cls_tower(feature)))
            box_feature = self.box_tower(feature)
            in_strides = F.relu(self.box_pred(box_feature) * scale)
            # 512 strides of 128 pixels are more than float16 holds.
            ltrb.append(
                in_strides.to(torch.promote_types(in_strides.dtype, torch.float32)) * stride
            )
            if self.obj_score is not None:
                obj_logits.append(self.obj_score(box_feature))
        return cls_logits, ltrb, obj_logits or None


def _tower(channels: int, num_convs: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        if norm:
            layers.append(get_norm(norm, channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)
