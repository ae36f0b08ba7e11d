"""ATSS's assignment (arXiv 1912.02424) in loops over objects and locations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class OracleLabels:
    """What every location of an image learns.

    Attributes:
        assigned: index of the object, -1 for none.
        margin: least difference of two numbers that a decision was made by: where it is about 0,
            rounding decides.
    """

    assigned: list[int]
    margin: float


def assign(
    boxes: list[Box],
    strides: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    k: int,
) -> OracleLabels:
    """Labels of one image, whose locations lie at multiples of the strides."""
    levels, num_locations = [], 0
    for stride, (height, width) in zip(strides, sizes, strict=True):
        places = [
            (column * stride, row * stride) for row in range(height) for column in range(width)
        ]
        levels.append([(num_locations + i, x, y, stride) for i, (x, y) in enumerate(places)])
        num_locations += len(places)

    assigned, greatest = [-1] * num_locations, [0.0] * num_locations
    margin = math.inf
    for n, box in enumerate(boxes):
        x1, y1, x2, y2 = box
        ious = {}
        inside = set()
        for level in levels:
            for j, x, y, stride in nearest(level, box, k):
                ious[j] = iou((x - 4 * stride, y - 4 * stride, x + 4 * stride, y + 4 * stride), box)
                if min(x - x1, y - y1, x2 - x, y2 - y) > 0.01:
                    inside.add(j)
        mean = fmean(ious.values())
        deviation = math.sqrt(sum((x - mean) ** 2 for x in ious.values()) / (len(ious) - 1))
        for j in inside:
            margin = min(margin, abs(ious[j] - mean - deviation))
            if ious[j] < mean + deviation:
                continue
            if assigned[j] >= 0 and boxes[assigned[j]] != box:
                margin = min(margin, abs(ious[j] - greatest[j]))
            if ious[j] > greatest[j]:
                assigned[j], greatest[j] = n, ious[j]
    return OracleLabels(assigned, margin)


def nearest(
    level: list[tuple[int, int, int, int]], box: Box, k: int
) -> list[tuple[int, int, int, int]]:
    """The k locations nearest to the center of the box, of equally near ones the first."""
    center_x, center_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return sorted(level, key=lambda at: ((at[1] - center_x) ** 2 + (at[2] - center_y) ** 2, at[0]))[
        :k
    ]


def iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (areas - overlap)
