"""Overlap of boxes in COCO's form."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["pairwise_iou"]


def pairwise_iou(boxes: ArrayLike, others: ArrayLike) -> np.ndarray:
    """IoU of (N, 4) and (M, 4) boxes, xywh: (N, M) in float64; 0 where both have no area."""
    boxes = np.asarray(boxes, dtype=np.float64)[:, None]
    others = np.asarray(others, dtype=np.float64)[None]
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    intersections = (high - low).clip(min=0).prod(axis=-1)
    unions = boxes[..., 2:].prod(axis=-1) + others[..., 2:].prod(axis=-1) - intersections
    return intersections / np.maximum(unions, np.finfo(np.float64).tiny)
