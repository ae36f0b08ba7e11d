"""Task-aligned assignment (arXiv 2108.07755) on the whole matrix of locations and objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou


@dataclass(frozen=True)
class OracleLabels:
    """What every location of an image learns.

    Attributes:
        assigned: (R,) index of the object, -1 for none.
        labels: (R,) class target.
        margin: least relative difference of two numbers that a decision was made by.
    """

    assigned: Tensor
    labels: Tensor
    margin: float


def assign(
    probabilities: Tensor,
    predicted: Tensor,
    boxes: Tensor,
    classes: Tensor,
    locations: Tensor,
    *,
    topk: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> OracleLabels:
    """Labels of one image: (R, K), (R, 4) xyxy, (m, 4) xyxy, (m,), (R, 2)."""
    num_locations = len(locations)
    assigned = torch.full((num_locations,), -1)
    labels = torch.zeros(num_locations, dtype=torch.float64)
    iou = box_iou(predicted, boxes)
    margin = math.inf
    owners: dict[int, list[int]] = {}
    alignment = probabilities[:, classes] ** alpha * iou**beta
    for n, box in enumerate(boxes):
        order = alignment[:, n].argsort(descending=True).tolist()
        values = alignment[order, n].tolist()
        if len(order) > topk and values[topk] > 0:
            margin = min(margin, 1 - values[topk] / values[topk - 1])
        for j in order[:topk]:
            x, y = locations[j].tolist()
            x1, y1, x2, y2 = box.tolist()
            if alignment[j, n] > 0 and min(x - x1, y - y1, x2 - x, y2 - y) > 0.01:
                owners.setdefault(j, []).append(n)
    for j, objects in owners.items():
        objects.sort(key=lambda n: -iou[j, n].item())
        assigned[j] = objects[0]
        if len(objects) > 1:
            margin = min(margin, (1 - iou[j, objects[1]] / iou[j, objects[0]]).item())
    for n in range(len(boxes)):
        members = (assigned == n).nonzero().squeeze(1)
        if len(members):
            t = alignment[members, n]
            labels[members] = t / t.max() * iou[members, n].max()
    return OracleLabels(assigned, labels, margin)
