"""Guided Anchoring's losses (arXiv 1901.03278) in loops over images, objects and locations."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fvcore.nn import giou_loss
from torch import Tensor
from torchvision.ops import box_iou


@dataclass(frozen=True)
class OracleResult:
    """Losses by name, without the factor 0.1 of the shapes, and what each location learns.

    Attributes:
        losses: scalars.
        assigned: object of the image, -1 for none, of each location of each image.
        shapes: the same for the shape of the anchor.
        centers: 1, 0 or -1 (no loss) of each location of each image.
    """

    losses: dict[str, Tensor]
    assigned: list[list[int]]
    shapes: list[list[int]]
    centers: list[list[int]]


def square(x: float, y: float, width: float, height: float) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def iou_of(one: list[float], other: list[float]) -> float:
    return box_iou(*(torch.tensor([b], dtype=torch.float64) for b in (one, other))).item()


def best_place(ious: list[float], box: list[float], locations: list) -> int:
    """The location of the greatest IoU, of equal ones the nearest to the box center."""
    center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return min(
        (j for j, value in enumerate(ious) if value >= max(ious) - 1e-12),
        key=lambda j: (round(math.dist(center, locations[j][:2]) ** 2, 6), j),
    )


def winners(claims: dict[int, list[tuple[float, int]]], number: int) -> list[int]:
    return [min(claims[j])[1] if j in claims else -1 for j in range(number)]


def center_labels(boxes: list[list[float]], locations: list) -> list[int]:
    strides = sorted({place[2] for place in locations})
    labels = [0] * len(locations)
    for share, within, label in ((0.5, 1, -1), (0.2, 0, 1)):
        for x1, y1, x2, y2 in boxes:
            size = math.sqrt((x2 - x1) * (y2 - y1))
            level = min(range(len(strides)), key=lambda i: abs(math.log(size / (8 * strides[i]))))
            for j, (x, y, stride, of_level) in enumerate(locations):
                reach = [max(share * side, stride) / 2 for side in (x2 - x1, y2 - y1)]
                is_near = abs(x - (x1 + x2) / 2) < reach[0] and abs(y - (y1 + y2) / 2) < reach[1]
                if is_near and abs(of_level - level) <= within:
                    labels[j] = label
    return labels


def sampled_iou(place: tuple[float, float, int, int], box: list[float]) -> float:
    """The greatest IoU of nine anchors around a location: three scales, three ratios."""
    x, y, stride, _ = place
    return max(
        iou_of(square(x, y, side / ratio**0.5, side * ratio**0.5), box)
        for octave, ratio in itertools.product(range(3), (0.5, 1, 2))
        for side in [4 * stride * 2 ** (octave / 3)]
    )


def shape_labels(boxes: list[list[float]], locations: list) -> list[int]:
    claims: dict[int, list[tuple[float, int]]] = {}
    for n, box in enumerate(boxes):
        ious = [sampled_iou(place, box) for place in locations]
        best = best_place(ious, box, locations)
        for j, value in enumerate(ious):
            if value >= 0.5 or j == best:
                claims.setdefault(j, []).append((-round(value, 12), n))
    return winners(claims, len(locations))


def oracle(
    cls_logits: Tensor,
    ltrb: Tensor,
    anchor_location: Tensor,
    anchor_shape: Tensor,
    *,
    locations: list[tuple[float, float, int, int]],
    boxes: list[Tensor],
    classes: list[Tensor],
) -> OracleResult:
    """The losses of a batch.

    Args:
        cls_logits: (N, R, K).
        ltrb: (N, R, 4) in pixels.
        anchor_location: (N, R, 1) logits.
        anchor_shape: (N, R, 2) logarithms of width and height, relative to 8 strides.
        locations: x, y, stride and level of each location.
        boxes: (m, 4) objects of each image.
        classes: (m,) their classes.
    """
    sums = {name: cls_logits.new_zeros(()) for name in ("cls", "box", "location", "shape")}
    counts = dict.fromkeys(sums, 0)
    results: tuple[list, list, list] = ([], [], [])
    for i, (gt_boxes, gt_classes) in enumerate(zip(boxes, classes, strict=True)):
        rows = gt_boxes.tolist()
        claims: dict[int, list[tuple[float, int]]] = {}
        anchors = [
            square(x, y, *(8 * stride * anchor_shape[i, j].exp()).tolist())
            for j, (x, y, stride, _) in enumerate(locations)
        ]
        for n, box in enumerate(rows):
            fixed = [iou_of(square(x, y, 8 * s, 8 * s), box) for x, y, s, _ in locations]
            best = best_place(fixed, box, locations)
            for j, anchor in enumerate(anchors):
                value = iou_of(anchor, box)
                if value >= 0.5 or j == best:
                    claims.setdefault(j, []).append((-value, n))
        assigned = winners(claims, len(locations))
        shapes, centers = shape_labels(rows, locations), center_labels(rows, locations)

        for j, (x, y, stride, _) in enumerate(locations):
            probability = cls_logits[i, j].sigmoid()
            label = gt_classes[assigned[j]].item() if assigned[j] >= 0 else -1
            is_label = torch.arange(len(probability)) == label
            p_t = torch.where(is_label, probability, 1 - probability)
            alpha = torch.where(is_label, 0.25, 0.75)
            sums["cls"] = sums["cls"] + (alpha * (1 - p_t) ** 2 * -p_t.log()).sum()
            if assigned[j] >= 0:
                counts["cls"] += 1
                left, top, right, bottom = ltrb[i, j]
                predicted = torch.stack((x - left, y - top, x + right, y + bottom))
                error = giou_loss(predicted[None], gt_boxes[assigned[j]][None], eps=1e-16)
                sums["box"] = sums["box"] + error.sum()
            if centers[j] >= 0:
                counts["location"] += centers[j]
                p = anchor_location[i, j, 0].sigmoid()
                p_t, alpha = (p, 0.25) if centers[j] else (1 - p, 0.75)
                sums["location"] = sums["location"] + alpha * (1 - p_t) ** 2 * -p_t.log()
            if shapes[j] >= 0:
                counts["shape"] += 1
                x1, y1, x2, y2 = rows[shapes[j]]
                for side, log_side in zip((x2 - x1, y2 - y1), anchor_shape[i, j], strict=True):
                    predicted_side = 8 * stride * log_side.exp()
                    ratio = torch.minimum(predicted_side / side, side / predicted_side)
                    one = torch.ones_like(ratio)
                    sums["shape"] = sums["shape"] + F.smooth_l1_loss(ratio, one, beta=0.2)
        for collected, row in zip(results, (assigned, shapes, centers), strict=True):
            collected.append(row)
    counts["box"] = counts["cls"]
    losses = {f"loss_{name}": total / max(1, counts[name]) for name, total in sums.items()}
    return OracleResult(losses, *results)
