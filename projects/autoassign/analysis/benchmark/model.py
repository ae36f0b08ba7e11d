"""Parameters and FLOPs of a detector, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...modeling import evaluating

__all__ = ["DenseOutputs", "ModelRow", "count_model"]

_PARTS = ("backbone", "backbone.bottom_up", "head")


@dataclass(frozen=True)
class ModelRow:
    """One part of a detector.

    Attributes:
        part: name of the part.
        parameters: number of its parameters, trained or not.
        gflops: multiply-adds of one image, in 10⁹, as fvcore counts them.
    """

    part: str
    parameters: int
    gflops: float


class DenseOutputs(nn.Module):
    """Backbone and head of a detectron2 DenseDetector, without losses and NMS."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head
        self.in_features = detector.head_in_features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(images)
        outputs = self.head([features[name] for name in self.in_features])
        fields = outputs if isinstance(outputs, tuple | list) else vars(outputs)
        return tuple(x for x in tree_leaves(fields) if isinstance(x, Tensor))


def count_model(detector: nn.Module, image_size: tuple[int, int] = (800, 1344)) -> list[ModelRow]:
    """Bottom-up network, FPN (the rest of the backbone), head, and their total.

    Args:
        detector: a DenseDetector whose ``backbone`` has a ``bottom_up``.
        image_size: height and width in pixels, before the image is padded.
    """
    network = DenseOutputs(detector)
    divisor = max(1, network.backbone.size_divisibility)
    padded = [ceil(side / divisor) * divisor for side in image_size]
    image = torch.zeros(1, 3, *padded, device=next(detector.parameters()).device)
    analysis = FlopCountAnalysis(network, image)
    analysis.set_op_handle("torchvision::deform_conv2d", _deform_conv_flops)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    # Without gradients, frozen norms are counted wherever they are.
    with evaluating(network), torch.no_grad():
        flops = analysis.by_module()
    counts = {name: _parameters(network.get_submodule(name)) for name in _PARTS}
    backbone, bottom_up, head = _PARTS
    return [
        ModelRow("bottom-up", counts[bottom_up], flops[bottom_up] / 1e9),
        ModelRow(
            "FPN", counts[backbone] - counts[bottom_up], (flops[backbone] - flops[bottom_up]) / 1e9
        ),
        ModelRow("head", counts[head], flops[head] / 1e9),
        ModelRow("all", _parameters(detector), flops[""] / 1e9),
    ]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _deform_conv_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """As fvcore counts a convolution: the samples it interpolates are not counted."""
    weight, output = inputs[1].type().sizes(), outputs[0].type().sizes()
    return prod(output) * prod(weight[1:])
