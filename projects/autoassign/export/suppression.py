"""Non-maximum suppression within each class, in PyTorch, TorchScript and ONNX."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

__all__ = ["OPSET", "keep_per_class", "keep_per_class_op", "register_onnx_symbolic"]

# The version of ONNX's operators that is written.
OPSET = 17


def keep_per_class(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes remain. TorchScript compiles this function, loops included.

    Args:
        boxes: (N, C, 4) candidates of each image, xyxy.
        scores: (N, C); 0 for what is no candidate.
        classes: (N, C) int64.
        iou_threshold: of two boxes of one class with a greater IoU the lower-scored one goes.

    Returns:
        (N, C) bool.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(scores.shape[0]):
        is_candidate = scores[image] > 0
        for index in torch.unique(classes[image][is_candidate]):
            of_class = torch.nonzero((classes[image] == index) & is_candidate)[:, 0]
            kept = nms(boxes[image][of_class], scores[image][of_class], iou_threshold)
            keep[image, of_class[kept]] = True
    return keep


@torch.library.custom_op("autoassign::keep_per_class", mutates_args=())
def keep_per_class_op(
    boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float, num_classes: int
) -> Tensor:
    """:func:`keep_per_class` as a single node of a traced graph, which ONNX gets a node for."""
    return keep_per_class(boxes, scores, classes, iou_threshold)


def register_onnx_symbolic() -> None:
    """Tell PyTorch's exporter how ONNX says :func:`keep_per_class_op`.

    ONNX's NonMaxSuppression takes the scores of all classes of all images, and returns which
    (image, class, box) remain; a candidate has a score in its own class, and 0 in the others.
    """
    torch.onnx.register_custom_op_symbolic("autoassign::keep_per_class", _symbolic, OPSET)


def _symbolic(g: Any, boxes: Any, scores: Any, classes: Any, iou: Any, num_classes: Any) -> Any:
    def constant(value: Any, dtype: torch.dtype) -> Any:
        return g.op("Constant", value_t=torch.tensor(value, dtype=dtype))

    def value_of(node: Any, kind: str) -> Any:
        return torch.onnx.symbolic_helper._get_const(node, kind, kind)

    one_hot = g.op(
        "OneHot",
        classes,
        constant([value_of(num_classes, "i")], torch.int64),
        constant([0.0, 1.0], torch.float32),
        axis_i=1,
    )
    # (N, K, C)
    scores_per_class = g.op("Mul", one_hot, g.op("Unsqueeze", scores, constant([1], torch.int64)))
    selected = g.op(
        "NonMaxSuppression",
        boxes,
        scores_per_class,
        constant([torch.iinfo(torch.int32).max], torch.int64),
        constant([value_of(iou, "f")], torch.float32),
        constant([0.0], torch.float32),  # scores are greater than this
    )
    image_and_box = g.op("Gather", selected, constant([0, 2], torch.int64), axis_i=1)
    num_selected = g.op("Shape", g.op("Gather", selected, constant(0, torch.int64), axis_i=1))
    ones = g.op("Expand", constant([1.0], torch.float32), num_selected)
    zeros = g.op("ConstantOfShape", g.op("Shape", scores))
    kept = g.op("ScatterND", zeros, image_and_box, ones)
    return g.op("Cast", kept, to_i=torch.onnx.TensorProtoDataType.BOOL)
