"""FSAF's losses (arXiv 1903.00621) in loops over images, locations and objects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou


@dataclass(frozen=True)
class OracleResult:
    """Losses, and for each image and location what it learns.

    Attributes:
        loss_cls: scalar.
        loss_box: scalar.
        assigned: object of the image, -1 for none, of each location of each image.
        levels: level that each object of each image is learned at, -1 for none.
    """

    loss_cls: Tensor
    loss_box: Tensor
    assigned: list[list[int]]
    levels: list[list[int]]


def share_in_core(x: float, y: float, stride: int, box: list[float]) -> float:
    """Share of the location's cell that lies inside the box scaled to 0.2."""
    share = 1.0
    for center, low, high in ((x, box[0], box[2]), (y, box[1], box[3])):
        middle, half = (low + high) / 2, 0.2 * (high - low) / 2
        overlap = min(center + stride / 2, middle + half) - max(center - stride / 2, middle - half)
        share *= max(overlap, 0.0) / stride
    return share


def oracle(
    cls_logits: Tensor,
    ltrb: Tensor,
    *,
    locations: list[tuple[float, float, int, int]],
    boxes: list[Tensor],
    classes: list[Tensor],
) -> OracleResult:
    """The losses of a batch.

    Args:
        cls_logits: (N, R, K).
        ltrb: (N, R, 4) in pixels.
        locations: x, y, stride and level of each location.
        boxes: (m, 4) objects of each image.
        classes: (m,) their classes.
    """
    class_sum, box_sum = cls_logits.new_zeros(()), cls_logits.new_zeros(())
    num_positives = num_negatives = 0
    all_assigned, all_levels = [], []
    for i, (gt_boxes, gt_classes) in enumerate(zip(boxes, classes, strict=True)):
        areas = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1).tolist()
        probability = cls_logits[i].sigmoid()
        target = torch.zeros_like(probability)
        counted = torch.ones_like(probability)
        assigned = [-1] * len(locations)
        for j, (x, y, stride, _) in enumerate(locations):
            touched = [
                n
                for n, box in enumerate(gt_boxes.tolist())
                if share_in_core(x, y, stride, box) > 0.01
            ]
            point = torch.tensor([x, y]).to(gt_boxes)
            inside = [
                n
                for n in touched
                if (gt_boxes[n, :2] < point).all() and (point < gt_boxes[n, 2:]).all()
            ]
            winner = min(inside, key=lambda n: (areas[n], n), default=-1)
            others = [gt_classes[n].item() for n in touched if n != winner]
            counted[j, others] = 0
            if winner >= 0 and gt_classes[winner].item() not in others:
                assigned[j] = winner
                target[j, gt_classes[winner]] = 1
        p_t = torch.where(target == 1, probability, 1 - probability)
        alpha = torch.where(target == 1, 0.25, 0.75)
        class_error = counted * alpha * (1 - p_t) ** 2 * -p_t.log()

        box_error = {}
        for j, n in enumerate(assigned):
            if n >= 0:
                x, y, stride, _ = locations[j]
                left, top, right, bottom = ltrb[i, j].clamp(min=1e-4 * 4 * stride)
                predicted = torch.stack((x - left, y - top, x + right, y + bottom))
                iou = box_iou(predicted[None], gt_boxes[n][None])[0, 0]
                box_error[j] = -iou.clamp(min=1e-6).log()

        levels = [-1] * len(gt_boxes)
        for n in range(len(gt_boxes)):
            means = {}
            for level in sorted({place[3] for place in locations}):
                members = [j for j, m in enumerate(assigned) if m == n and locations[j][3] == level]
                if members:
                    means[level] = sum(
                        class_error[j].sum().item() + box_error[j].item() for j in members
                    ) / len(members)
            if means:
                levels[n] = min(means, key=means.__getitem__)
        for j, n in enumerate(assigned):
            if n < 0:
                num_negatives += 1
            elif locations[j][3] == levels[n]:
                num_positives += 1
                box_sum = box_sum + box_error[j]
            else:
                counted[j, gt_classes[n]] = 0
        class_sum = class_sum + (class_error * counted).sum()
        all_assigned.append(assigned)
        all_levels.append(levels)
    divisor = num_positives or max(1, num_negatives)
    return OracleResult(class_sum / divisor, box_sum / divisor, all_assigned, all_levels)
