"""SimOTA's assignment (arXiv 2107.08430) on the whole matrix of locations and objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou


@dataclass(frozen=True)
class OracleLabels:
    """What every location of an image learns.

    Attributes:
        assigned: (R,) index of the object, -1 for none.
        iou: (R,) IoU of the predicted box with that object, 0 for none.
        margin: least difference of two numbers that a decision was made by; objects of exactly
            the same cost are told apart by their order.
    """

    assigned: Tensor
    iou: Tensor
    margin: float


def assign(
    probabilities: Tensor,
    predicted: Tensor,
    boxes: Tensor,
    classes: Tensor,
    locations: Tensor,
    strides: Tensor,
    *,
    radius: float = 2.5,
    topk: int = 10,
    iou_weight: float = 3.0,
) -> OracleLabels:
    """Labels of one image.

    Args:
        probabilities: (R, K) class probabilities, float64.
        predicted: (R, 4) predicted boxes, xyxy.
        boxes: (m, 4) objects, xyxy.
        classes: (m,) their classes.
        locations: (R, 2) x and y.
        strides: (R,) stride of each location.
        radius: half the side of the center squares, in strides.
        topk: number of IoUs that are added up.
        iou_weight: factor of the IoU cost.
    """
    num_locations, num_objects = len(locations), len(boxes)
    assigned = torch.full((num_locations,), -1)
    if num_objects == 0:
        return OracleLabels(assigned, torch.zeros(num_locations).double(), math.inf)

    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    low, high = locations[:, None] - boxes[:, :2], boxes[:, 2:] - locations[:, None]
    in_box = torch.cat((low, high), dim=2).amin(dim=2) > 0  # (R, m)
    offset = (locations[:, None] - centers).abs()
    in_square = offset.amax(dim=2) < radius * strides[:, None]
    candidates = (in_box | in_square).any(dim=1).nonzero().squeeze(1).tolist()

    iou = box_iou(predicted, boxes)
    one_hot = F.one_hot(classes, probabilities.shape[1]).double()
    class_cost = torch.stack(
        [
            F.binary_cross_entropy(
                probabilities, one_hot[n].expand_as(probabilities), reduction="none"
            ).sum(dim=1)
            for n in range(num_objects)
        ],
        dim=1,
    )
    cost = class_cost - iou_weight * (iou + 1e-7).log()
    outside = ~(in_box & in_square)
    distance = offset.square().sum(dim=2)

    margin = math.inf
    takers: dict[int, list[int]] = {}
    for n in range(num_objects):
        best = sorted((iou[j, n].item() for j in candidates), reverse=True)[:topk]
        total = sum(best)
        margin = min(margin, abs(total - round(total)) if total > 0.5 else math.inf)
        order = sorted(
            candidates,
            key=lambda j: (outside[j, n], cost[j, n].item(), distance[j, n].item(), j),
        )
        k = max(1, math.floor(total))
        if len(order) > k and outside[order[k - 1], n] == outside[order[k], n]:
            margin = min(margin, (cost[order[k], n] - cost[order[k - 1], n]).item())
        for j in order[:k]:
            takers.setdefault(j, []).append(n)
    for j, objects in takers.items():
        if len(objects) == 1:
            assigned[j] = objects[0]
            continue
        order = sorted(range(num_objects), key=lambda n: (outside[j, n], cost[j, n].item(), n))
        assigned[j] = order[0]
        if outside[j, order[0]] == outside[j, order[1]]:
            difference = (cost[j, order[1]] - cost[j, order[0]]).item()
            margin = min(margin, difference or math.inf)
    matched = iou.gather(1, assigned.clamp(min=0)[:, None]).squeeze(1)
    return OracleLabels(assigned, matched * (assigned >= 0), margin)
