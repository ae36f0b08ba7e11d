"""What the losses need at some pairs, and the losses and statistics of hard labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from ..grid import Grid, Pairs
from ..losses import focal_loss
from .base import mean_over_workers
from .point_targets import centerness, pair_ltrb
from .structures import GroundTruth, Predictions, decode

__all__ = [
    "centerness_losses",
    "class_index",
    "giou_loss",
    "positive_statistics",
    "predicted_boxes",
]

# Least Σ of the center-ness targets that the box loss is divided by.
_MIN_CENTERNESS_SUM = 1e-6


def centerness_losses(
    predictions: Predictions,
    grid: Grid,
    gt: GroundTruth,
    positives: Pairs,
    *,
    box_loss_weight: float = 1.0,
) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of FCOS and ATSS.

    ``loss_cls``: focal loss, and ``loss_centerness``: binary cross-entropy of the center-ness at
    the positives, both divided by the number of positives. ``loss_box``: GIoU loss of the
    positives weighted by their center-ness targets, divided by the sum of these targets. The
    denominators are means over workers; every worker must call this.

    Args:
        predictions: with center-ness.
        grid: the locations of an image.
        gt: the objects.
        positives: the Q pairs that are learned, no two at one location.
        box_loss_weight: factor of ``loss_box``.

    Returns:
        The losses, and (Q,) center-ness targets.

    Raises:
        ValueError: the predictions have no center-ness.
    """
    if predictions.ctr_logits is None:
        raise ValueError("the strategy learns center-ness, and the head does not predict it")
    target = centerness(pair_ltrb(positives, grid, gt))
    sums = torch.stack((target.new_tensor(len(target)), target.sum()))
    num_positives, target_sum = mean_over_workers(sums)
    num_positives = num_positives.clamp(min=1)

    focal = focal_loss(
        predictions.cls_logits, predictions.obj_logits, class_index(predictions, gt, positives)
    )
    box_error = giou_loss(
        predicted_boxes(predictions, grid, positives),
        gt.boxes.index_select(0, positives.objects),
    )
    box_error = (target * box_error).sum() / target_sum.clamp(min=_MIN_CENTERNESS_SUM)
    ctr_logits = predictions.ctr_logits.flatten().index_select(0, positives.batch_locations)
    centerness_error = F.binary_cross_entropy_with_logits(ctr_logits, target, reduction="sum")
    losses = {
        "loss_cls": focal / num_positives,
        "loss_box": box_loss_weight * box_error,
        "loss_centerness": centerness_error / num_positives,
    }
    return losses, target


def class_index(predictions: Predictions, gt: GroundTruth, pairs: Pairs) -> Tensor:
    """(P,) place of each pair's class at its location among the (N·K·R) class logits in memory."""
    _, num_locations, num_classes = predictions.cls_logits.shape
    # image · K · R + class · R + location, the image · R being in batch_locations
    shift = (gt.image_index * (num_classes - 1) + gt.classes) * num_locations
    return shift.index_select(0, pairs.objects) + pairs.batch_locations


def predicted_boxes(predictions: Predictions, grid: Grid, pairs: Pairs) -> Tensor:
    """(P, 4) boxes predicted at each pair's location, xyxy in pixels; differentiable."""
    ltrb = predictions.ltrb.flatten(0, 1).index_select(0, pairs.batch_locations)
    return decode(ltrb, grid.locations.index_select(0, pairs.locations))


def giou_loss(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """(P,) 1 - GIoU of the (P, 4) boxes of the same row, xyxy in pixels; differentiable."""
    return generalized_box_iou_loss(boxes, gt_boxes, eps=torch.finfo(boxes.dtype).eps)


@torch.no_grad()
def positive_statistics(gt: GroundTruth, pairs: Pairs, positives: Pairs) -> dict[str, Tensor]:
    """What the log shows of any assignment of hard labels.

    Args:
        gt: the objects.
        pairs: the pairs that were looked at.
        positives: those that are learned.
    """
    is_learned = torch.zeros(len(gt.boxes), dtype=torch.bool, device=gt.boxes.device)
    is_learned[positives.objects] = True
    return {
        "num_objects": gt.objects_per_image.sum(),
        "num_pairs": torch.tensor(len(pairs.objects), device=gt.boxes.device),
        "num_positives": torch.tensor(len(positives.objects), device=gt.boxes.device),
        "num_objects_without_positive": (~is_learned).sum(),
    }
