"""SAPD's losses (arXiv 1911.12448) in loops over images, objects, levels and locations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fsaf_oracle import share_in_core
from torch import Tensor
from torchvision.ops import box_iou


@dataclass(frozen=True)
class OracleResult:
    """Losses, and for each image and location what it learns.

    Attributes:
        losses: scalars by name, without the factor 0.1 of the selection.
        assigned: object of the image, -1 for none, of each location of each image.
        weights: weight of the losses of each location of each image, 0 for none.
        best_levels: level of least loss of each object of each image, -1 for none.
    """

    losses: dict[str, Tensor]
    assigned: list[list[int]]
    weights: list[list[float]]
    best_levels: list[list[int]]


def bilinear(height: int, width: int, y: float, x: float) -> dict[tuple[int, int], float]:
    """Weights of the entries that a place lies between, none a whole entry outside."""
    if not (-1 <= y <= height and -1 <= x <= width):
        return {}
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    weights: dict[tuple[int, int], float] = {}
    for row, share_y in ((int(y), 1 - y % 1), (min(int(y) + 1, height - 1), y % 1)):
        for column, share_x in ((int(x), 1 - x % 1), (min(int(x) + 1, width - 1), x % 1)):
            weights[row, column] = weights.get((row, column), 0) + share_y * share_x
    return weights


def pooled(feature: Tensor, box: list[float], stride: int) -> Tensor:
    """(C, 7, 7) means of 2 × 2 samples in each of 7 × 7 bins of a box; RoIAlign."""
    x1, y1, x2, y2 = (side / stride - 0.5 for side in box)
    bin_height, bin_width = (y2 - y1) / 7, (x2 - x1) / 7
    height, width = feature.shape[1:]
    weights = [[0.0] * (height * width) for _ in range(49)]
    for number in range(49):
        i, j = divmod(number, 7)
        for v, u in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
            places = bilinear(height, width, y1 + (i + v) * bin_height, x1 + (j + u) * bin_width)
            for (row, column), weight in places.items():
                weights[number][row * width + column] += weight / 4
    return (feature.flatten(1) @ torch.tensor(weights, dtype=feature.dtype).T).view(-1, 7, 7)


def level_logits(network: Mapping[str, Tensor], values: Tensor) -> Tensor:
    """(L,) logits of (L · C, 7, 7) pooled features."""
    for number in (0, 2, 4):
        weight, bias = network[f"convs.{number}.weight"], network[f"convs.{number}.bias"]
        values = F.relu(F.conv2d(values, weight, bias))
    return network["level_score.weight"] @ values[:, 0, 0] + network["level_score.bias"]


def oracle(
    cls_logits: Tensor,
    ltrb: Tensor,
    *,
    features: list[Tensor],
    network: Mapping[str, Tensor],
    locations: list[tuple[float, float, int, int]],
    boxes: list[Tensor],
    classes: list[Tensor],
    eta: float = 1.0,
    is_hard: bool = False,
) -> OracleResult:
    """The losses of a batch.

    Args:
        cls_logits: (N, R, K).
        ltrb: (N, R, 4) in pixels.
        features: (N, C, Hi, Wi) of each level.
        network: tensors of the selection network.
        locations: x, y, stride and level of each location.
        boxes: (m, 4) objects of each image.
        classes: (m,) their classes.
        eta: power of center-ness.
        is_hard: whether one level learns an object, with weight 1.
    """
    strides = sorted({place[2] for place in locations})
    num_classes = cls_logits.shape[2]
    class_sum, box_sum, selection_sum = (cls_logits.new_zeros(()) for _ in range(3))
    weight_sum, num_learnable = 0.0, 0
    all_assigned, all_weights, all_levels = [], [], []
    for i, (gt_boxes, gt_classes) in enumerate(zip(boxes, classes, strict=True)):

        def class_error(j: int, label: int, i: int = i) -> Tensor:
            probability = cls_logits[i, j].sigmoid()
            is_label = torch.arange(num_classes) == label
            p_t = torch.where(is_label, probability, 1 - probability)
            return (torch.where(is_label, 0.25, 0.75) * (1 - p_t) ** 2 * -p_t.log()).sum()

        def box_error(j: int, box: Tensor, i: int = i) -> Tensor:
            x, y, stride, _ = locations[j]
            left, top, right, bottom = ltrb[i, j].clamp(min=1e-4 * 4 * stride)
            predicted = torch.stack((x - left, y - top, x + right, y + bottom))
            return -box_iou(predicted[None], box[None])[0, 0].clamp(min=1e-6).log()

        claims: dict[int, list[tuple[float, int, float]]] = {}
        levels = []
        for n, box in enumerate(gt_boxes):
            x1, y1, x2, y2 = box.tolist()
            members: dict[int, list[int]] = {}
            for j, (x, y, stride, level) in enumerate(locations):
                is_inside = x1 < x < x2 and y1 < y < y2
                if is_inside and share_in_core(x, y, stride, box.tolist()) > 0.01:
                    members.setdefault(level, []).append(j)
            loss_of = {
                level: sum(
                    (class_error(j, gt_classes[n].item()) + box_error(j, box)).item() for j in some
                )
                / len(some)
                for level, some in members.items()
            }
            values = torch.cat(
                [pooled(x[i], box.tolist(), s) for x, s in zip(features, strides, strict=True)]
            )
            logits = level_logits(network, values)
            if not loss_of:
                levels.append(-1)
                continue
            ranking = sorted(loss_of, key=lambda level: (loss_of[level], level))
            levels.append(ranking[0])
            num_learnable += 1
            selection_sum = selection_sum - logits.log_softmax(dim=0)[ranking[0]]
            for level in ranking[: 1 if is_hard else 3]:
                level_weight = 1.0 if is_hard else logits.softmax(dim=0)[level].item()
                for j in members[level]:
                    x, y = locations[j][:2]
                    across, along = sorted((x - x1, x2 - x)), sorted((y - y1, y2 - y))
                    center = across[0] / max(across[1], 0.01) * (along[0] / max(along[1], 0.01))
                    area = (x2 - x1) * (y2 - y1)
                    claims.setdefault(j, []).append((area, n, level_weight * center**eta))

        assigned, weights = [-1] * len(locations), [0.0] * len(locations)
        for j in range(len(locations)):
            if j not in claims:
                class_sum = class_sum + class_error(j, -1)
                continue
            _, n, weight = min(claims[j])
            assigned[j], weights[j] = n, weight
            weight_sum += weight
            class_sum = class_sum + weight * class_error(j, gt_classes[n].item())
            box_sum = box_sum + weight * box_error(j, gt_boxes[n])
        all_assigned.append(assigned)
        all_weights.append(weights)
        all_levels.append(levels)
    divisor = max(1.0, weight_sum)
    assert math.isfinite(divisor)
    return OracleResult(
        losses={
            "loss_cls": class_sum / divisor,
            "loss_box": box_sum / divisor,
            "loss_selection": selection_sum / max(1, num_learnable),
        },
        assigned=all_assigned,
        weights=all_weights,
        best_levels=all_levels,
    )
