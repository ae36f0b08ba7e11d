"""FreeAnchor's losses (arXiv 1909.02466) on the whole matrix of objects and locations."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou


def deltas(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(..., 4) boxes relative to (R, 4) anchors: shifts and log scales over (.1, .1, .2, .2)."""
    size, anchor_size = boxes[..., 2:] - boxes[..., :2], anchors[:, 2:] - anchors[:, :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[:, :2] - anchors[:, 2:]) / 2 / anchor_size
    return torch.cat((shift / 0.1, (size / anchor_size).log() / 0.2), dim=-1)


def bag_of(box: Tensor, anchors: Tensor, size: int) -> list[int]:
    """Anchors of the greatest IoU, of equal ones the nearer to the center of the box."""
    iou = box_iou(anchors, box[None])[:, 0].tolist()
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    distance = (centers - (box[:2] + box[2:]) / 2).square().sum(dim=1).tolist()
    return sorted(range(len(iou)), key=lambda j: (-iou[j], distance[j], j))[:size]


def oracle(
    probabilities: Tensor,
    predicted: Tensor,
    boxes: list[Tensor],
    classes: list[Tensor],
    anchors: Tensor,
    bag_size: int = 50,
) -> tuple[Tensor, Tensor, list[list[list[int]]]]:
    """Positive loss, negative loss, and the bags of the objects of each image.

    Args:
        probabilities: (N, R, K).
        predicted: (N, R, 4) predicted boxes, xyxy.
        boxes: (m, 4) objects of each image.
        classes: (m,) their classes.
        anchors: (R, 4) anchors of the locations.
        bag_size: anchors of a bag.
    """
    positive, negative = probabilities.new_zeros(()), probabilities.new_zeros(())
    bags: list[list[list[int]]] = []
    for i, (gt_boxes, gt_classes) in enumerate(zip(boxes, classes, strict=True)):
        bags.append([])
        box_probability = torch.zeros_like(probabilities[i])  # P{j, c}
        for box, c in zip(gt_boxes, gt_classes.tolist(), strict=True):
            bag = bag_of(box, anchors, bag_size)
            bags[-1].append(bag)
            error = (deltas(predicted[i, bag], anchors[bag]) - deltas(box, anchors[bag])).abs()
            smooth = torch.where(error < 0.11, error**2 / 0.22, error - 0.055)
            matched = probabilities[i, bag, c] * (-0.75 * smooth.sum(dim=1)).exp()
            weight = 1 / (1 - matched)
            positive = positive - 0.5 * (weight / weight.sum() * matched).sum().log()

            iou = box_iou(predicted[i], box[None])[:, 0].detach()
            most = max(iou.max().item(), 0.6 + 1e-12)
            share = ((iou - 0.6) / (most - 0.6)).clamp(0, 1)
            box_probability[:, c] = torch.maximum(box_probability[:, c], share)
        q = probabilities[i] * (1 - box_probability)
        negative = negative + 0.5 * (q**2 * -(1 - q).log()).sum()
    num_objects = max(1, sum(map(len, boxes)))
    return positive / num_objects, negative / (bag_size * num_objects), bags
