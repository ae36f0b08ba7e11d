"""Parameters and FLOPs of a detector, part by part."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from ...modeling import Predictions

__all__ = ["ModelRow", "count_model"]


@dataclass(frozen=True)
class ModelRow:
    """One part of a detector.

    Attributes:
        part: name of the submodule.
        parameters: number of its parameters, trained or not.
        gflops: multiply-adds of one image, in 10⁹, as fvcore counts them.
    """

    part: str
    parameters: int
    gflops: float


def count_model(model: nn.Module, image_size: tuple[int, int] = (800, 1344)) -> list[ModelRow]:
    """Bottom-up network, FPN (the rest of the backbone), head, and their total.

    Args:
        model: a detector with a ``backbone``, which has a ``bottom_up``, and a ``head``.
        image_size: height and width in pixels, multiples of the backbone's size divisibility.
    """
    model.eval()
    backbone, head = model.get_submodule("backbone"), model.get_submodule("head")
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, *image_size, device=device)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about shapes that stay constant
        features = backbone(image)
        levels = [features[name] for name in model.head_in_features]  # type: ignore[union-attr]
        flops = {
            "backbone": _flops(backbone, image),
            "backbone.bottom_up": _flops(backbone.get_submodule("bottom_up"), image),
            "head": _flops(_HeadTensors(head), levels),
        }
    counts = {name: _parameters(model.get_submodule(name)) for name in flops}
    fpn = "backbone", "backbone.bottom_up"
    return [
        ModelRow("bottom-up", counts[fpn[1]], flops[fpn[1]]),
        ModelRow("FPN", counts[fpn[0]] - counts[fpn[1]], flops[fpn[0]] - flops[fpn[1]]),
        ModelRow("head", counts["head"], flops["head"]),
        ModelRow("all", _parameters(model), flops["backbone"] + flops["head"]),
    ]


class _HeadTensors(nn.Module):
    """A head whose output is a tuple of tensors, as torch's tracer wants it."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        output = self.head(features)
        if not isinstance(output, Predictions):
            return output
        tensors = (output.cls_logits, output.ltrb, output.obj_logits, *output.extra.values())
        return tuple(x for x in tensors if x is not None)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _flops(module: nn.Module, inputs: object) -> float:
    analysis = FlopCountAnalysis(module, (inputs,))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis.total() / 1e9
