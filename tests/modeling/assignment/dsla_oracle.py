"""DSLA in loops over images, locations and objects, in float64: slow, and as the paper says it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou


@dataclass(frozen=True)
class Options:
    radius: float | None = None
    relaxation: float | None = 0.2
    core_zone: bool = True
    iou_coupling: bool = True
    box_loss: str = "iou_log"
    cls_loss_weight: float = 2.0


def label_of(
    x: float, y: float, stride: int, level: int, num_levels: int, box: list[float], options: Options
) -> float:
    """Smooth label of one location for one object."""
    left, top, right, bottom = x - box[0], y - box[1], box[2] - x, box[3] - y
    if min(left, top, right, bottom) <= 0:
        return 0.0
    dx, dy = abs(x - (box[0] + box[2]) / 2), abs(y - (box[1] + box[3]) / 2)
    if options.radius is not None and max(dx, dy) >= options.radius * stride:
        return 0.0
    center = math.sqrt(
        min(left, right) / max(left, right, 0.01) * min(top, bottom) / max(top, bottom, 0.01)
    )
    if options.core_zone and dx <= stride / 2 and dy <= stride / 2:
        center = 1.0
    return center * scale_of(max(left, top, right, bottom), stride, level, num_levels, options)


def scale_of(size: float, stride: int, level: int, num_levels: int, options: Options) -> float:
    low = 0 if level == 0 else 4 * stride
    high = 10**8 if level == num_levels - 1 else 8 * stride
    if low <= size <= high:
        return 1.0
    if options.relaxation is None:
        return 0.0
    start, end = int(low * (1 - options.relaxation)), int(high * (1 + options.relaxation))
    if start < size < low:
        return (size - start) / (low - start)
    if high < size < end:
        return (end - size) / (end - high)
    return 0.0


def oracle(
    cls_logits: Tensor,
    ltrb: Tensor,
    obj_logits: Tensor | None,
    *,
    strides: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    boxes: list[Tensor],
    classes: list[Tensor],
    options: Options,
) -> tuple[Tensor, Tensor, list[list[tuple[int, float] | None]]]:
    """loss_cls, loss_box, and for every location of each image its (object, label) or None."""
    locations = [
        (float(x * s), float(y * s), s, level)
        for level, (s, (h, w)) in enumerate(zip(strides, sizes, strict=True))
        for y in range(h)
        for x in range(w)
    ]
    prob = cls_logits.sigmoid()
    if obj_logits is not None:
        prob = prob * obj_logits.sigmoid()[..., None]
    targets = torch.zeros_like(prob)
    box_loss, label_sum = ltrb.new_zeros(()), 0.0
    assigned = []
    for image, gt_boxes in enumerate(boxes):
        assigned.append([])
        for j, (x, y, stride, level) in enumerate(locations):
            labels = [
                label_of(x, y, stride, level, len(strides), box.tolist(), options)
                for box in gt_boxes
            ]
            best = max(labels, default=0.0)
            if best <= 0:
                assigned[-1].append(None)
                continue
            winner = labels.index(best)
            assigned[-1].append((winner, best))
            left, top, right, bottom = ltrb[image, j]
            predicted = torch.stack((x - left, y - top, x + right, y + bottom))[None]
            gt_box = gt_boxes[winner][None]
            iou = box_iou(predicted, gt_box)[0, 0]
            error = (
                -iou.clamp(min=1e-6).log()
                if options.box_loss == "iou_log"
                else 1 - generalized_box_iou(predicted, gt_box)[0, 0]
            )
            box_loss = box_loss + best * error
            label_sum += best
            targets[image, j, classes[image][winner]] = best * (
                iou.item() if options.iou_coupling else 1.0
            )
    bce = -(targets * prob.log() + (1 - targets) * (1 - prob).log())
    quality = ((targets - prob) ** 2 * bce).sum()
    loss_cls = options.cls_loss_weight * quality / max(1.0, targets.sum().item())
    return loss_cls, box_loss / max(1.0, label_sum), assigned
