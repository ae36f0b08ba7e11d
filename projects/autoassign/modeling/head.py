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

from ..config import check_value, inside, one_of
from .grid import ANCHOR_SIDE
from .layers import FeatureAdaption, ModulatedDeformConv
from .predictions import ExtraOutput, Predictions

__all__ = ["PointHead"]

_OBJECTNESS = ("none", "implicit", "explicit")
_BOX_ACTIVATIONS = ("relu", "exp", "anchor")
# Clamp so that box areas do not overflow float32.
_MAX_LOG_PIXELS = math.log(1e5)
# With "anchor": what shifts and logarithms of sizes are multiplied by, and the largest such
# logarithm, as detectron2 and MMDetection have them.
_SHIFT_WEIGHT, _LOG_SIZE_WEIGHT = 0.1, 0.2
_MAX_LOG_SIZE = math.log(1000 / 16)
# Names of get_norm whose layers may be shared by all levels.
_NORMS = ("", "GN", "LN", "FrozenBN")


class PointHead(nn.Module):
    """Two towers shared over the levels; class logits, distances, objectness, extra outputs.

    The class logits come from one tower, all others from the other one. Distances in pixels are
    ReLU(scale of the level · convolution) · stride, or exp(scale of the level · convolution). Or
    the convolution predicts boxes relative to anchors, as ATSS's published weights do.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_classes: int,
        num_convs: int,
        norm: str,
        conv_bias: bool = True,
        deformable_last_conv: bool = False,
        prior_prob: float,
        box_bias: float,
        box_activation: str = "relu",
        objectness: str,
        extra_outputs: Sequence[ExtraOutput] = (),
    ) -> None:
        """
        Args:
            input_shape: channels and stride of the features of each level; equal channels.
            num_classes: K.
            num_convs: convolutions in each tower.
            norm: normalization of the towers, a name of :func:`detectron2.layers.get_norm`.
            conv_bias: whether the convolutions of the towers have biases.
            deformable_last_conv: make the last convolution of each tower a modulated deformable
                one (DCNv2).
            prior_prob: class probability every location starts with.
            box_bias: bias of the box predictor at the start: strides with "relu", the logarithm
                of pixels with "exp".
            box_activation: "relu", "exp" or "anchor".
            objectness: "none", or a logit that a target supervises ("explicit") or that none
                does ("implicit").
            extra_outputs: what else the label assignment asks for; the features may be adapted
                to the first one that guides them.

        Raises:
            ValueError: an option has a value that is not allowed.
        """
        super().__init__()
        channels = input_shape[0].channels
        check_value("MODEL.POINT_HEAD.OBJECTNESS", objectness, one_of(*_OBJECTNESS))
        check_value("MODEL.POINT_HEAD.BOX_ACTIVATION", box_activation, one_of(*_BOX_ACTIVATIONS))
        check_value("MODEL.POINT_HEAD.NORM", norm, one_of(*_NORMS))
        _check_numbers(num_classes, prior_prob, norm, channels)
        _check_num_convs(num_convs, deformable_last_conv)
        self.strides = tuple(shape.stride for shape in input_shape)
        self.box_activation = box_activation
        self.objectness = objectness
        self.cls_tower = _tower(channels, num_convs, norm, conv_bias, deformable_last_conv)
        self.box_tower = _tower(channels, num_convs, norm, conv_bias, deformable_last_conv)
        self.cls_score = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_pred = nn.Conv2d(channels, 4, 3, padding=1)
        self.obj_score = nn.Conv2d(channels, 1, 3, padding=1) if objectness != "none" else None
        self.extra_names = tuple(output.name for output in extra_outputs)
        _check_extra_names(self.extra_names)
        for output in extra_outputs:
            layer = nn.Conv2d(channels, output.channels, 3, padding=1)
            self.add_module(f"{output.name}_score", layer)
        guides = [output for output in extra_outputs if output.guides_features]
        self.guide = guides[0].name if guides else None
        if guides:
            self.cls_adaption = FeatureAdaption(channels, guides[0].channels)
            self.box_adaption = FeatureAdaption(channels, guides[0].channels)
        self.scales = nn.Parameter(torch.ones(len(self.strides)))

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ModulatedDeformConv | FeatureAdaption):
                module.reset_offsets()
        nn.init.constant_(
            self.cls_score.get_parameter("bias"), -math.log((1 - prior_prob) / prior_prob)
        )
        nn.init.constant_(self.box_pred.get_parameter("bias"), box_bias)
        for output in extra_outputs:
            nn.init.constant_(self.get_parameter(f"{output.name}_score.bias"), output.bias)

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        input_shape: Sequence[ShapeSpec],
        *,
        extra_outputs: Sequence[ExtraOutput] = (),
    ) -> dict[str, Any]:
        options = cfg.MODEL.POINT_HEAD
        return {
            "input_shape": input_shape,
            "num_classes": options.NUM_CLASSES,
            "num_convs": options.NUM_CONVS,
            "norm": options.NORM,
            "conv_bias": options.CONV_BIAS,
            "deformable_last_conv": options.DEFORMABLE_LAST_CONV,
            "prior_prob": options.PRIOR_PROB,
            "box_bias": options.BOX_BIAS,
            "box_activation": options.BOX_ACTIVATION,
            "objectness": options.OBJECTNESS,
            "extra_outputs": extra_outputs,
        }

    def forward(self, features: Sequence[Tensor]) -> Predictions:
        """Predictions from the features of every level, (N, C, Hi, Wi)."""
        cls_logits, ltrb, obj_logits = [], [], []
        extra: dict[str, list[Tensor]] = {name: [] for name in self.extra_names}
        for feature, stride, scale in zip(features, self.strides, self.scales, strict=True):
            cls_feature = self.cls_tower(feature)
            box_feature = self.box_tower(feature)
            for name, levels in extra.items():
                levels.append(self.get_submodule(f"{name}_score")(box_feature))
            if self.guide is not None:
                guide = extra[self.guide][-1]
                cls_feature = self.cls_adaption(cls_feature, guide)
                box_feature = self.box_adaption(box_feature, guide)
            cls_logits.append(self.cls_score(cls_feature))
            ltrb.append(self._distances(self.box_pred(box_feature) * scale, stride))
            if self.obj_score is not None:
                obj_logits.append(self.obj_score(box_feature))
        return Predictions.from_levels(
            cls_logits=cls_logits, ltrb=ltrb, obj_logits=obj_logits or None, extra=extra
        )

    def _distances(self, scaled: Tensor, stride: int) -> Tensor:
        """Distances in pixels; 512 strides of 128 pixels are more than float16 holds."""
        at_least_float32 = torch.promote_types(scaled.dtype, torch.float32)
        if self.box_activation == "exp":
            return scaled.to(at_least_float32).clamp(max=_MAX_LOG_PIXELS).exp()
        if self.box_activation == "anchor":
            shift, log_size = scaled.to(at_least_float32).split(2, dim=1)
            shift = shift * (_SHIFT_WEIGHT * ANCHOR_SIDE * stride)
            log_size = (log_size * _LOG_SIZE_WEIGHT).clamp(-_MAX_LOG_SIZE, _MAX_LOG_SIZE)
            half_size = log_size.exp() * (ANCHOR_SIDE * stride / 2)
            return torch.cat((half_size - shift, half_size + shift), dim=1)
        return F.relu(scaled).to(at_least_float32) * stride


def _check_numbers(num_classes: int, prior_prob: float, norm: str, channels: int) -> None:
    if num_classes < 1:
        raise ValueError(
            f"MODEL.POINT_HEAD.NUM_CLASSES is {num_classes}; it is at least 1 "
            "(autoassign.data.resolve_num_classes takes it from the data)"
        )
    check_value("MODEL.POINT_HEAD.PRIOR_PROB", prior_prob, inside(0, 1))
    if norm == "GN" and channels % 32:
        raise ValueError(
            f"MODEL.POINT_HEAD.NORM 'GN' has 32 groups; MODEL.FPN.OUT_CHANNELS {channels} "
            "is not a multiple of 32"
        )


def _check_extra_names(names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in ("cls", "obj", *names[:i]):
            raise ValueError(
                f"the label assignment has an extra output {name!r}: the name is taken by "
                "another output of the head"
            )


def _check_num_convs(num_convs: int, deformable_last_conv: bool) -> None:
    least = 1 if deformable_last_conv else 0
    if num_convs < least:
        raise ValueError(
            f"MODEL.POINT_HEAD.NUM_CONVS is {num_convs}; it is at least {least}"
            + (" with DEFORMABLE_LAST_CONV" if deformable_last_conv else "")
        )


def _tower(
    channels: int, num_convs: int, norm: str, bias: bool, deformable_last: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(num_convs):
        is_deformable = deformable_last and i == num_convs - 1
        conv = ModulatedDeformConv if is_deformable else nn.Conv2d
        layers.append(conv(channels, channels, 3, padding=1, bias=bias))
        if norm:
            layers.append(get_norm(norm, channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)
