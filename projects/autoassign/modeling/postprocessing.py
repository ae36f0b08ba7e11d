"""From dense scores and distances to the detections of an image."""

from __future__ import annotations

import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .grid import Grid
from .predictions import decode

__all__ = ["candidates", "suppress"]


def candidates(
    scores: Tensor,
    ltrb: Tensor,
    grid: Grid,
    image_size: tuple[int, int],
    *,
    score_thresh: float,
    topk_candidates: int,
) -> Instances:
    """The best predictions of each level of one image.

    Args:
        scores: (R, K) scores.
        ltrb: (R, 4) distances in pixels.
        grid: the locations.
        image_size: (height, width) of the image in pixels.
        score_thresh: least score of a candidate, not included.
        topk_candidates: greatest number of candidates of a level.

    Returns:
        ``pred_boxes`` (xyxy in pixels, not clipped), ``scores`` and ``pred_classes``.
    """
    num_classes = scores.shape[1]
    kept = []
    for start, level in zip(grid.level_starts, scores.split(grid.level_lengths), strict=True):
        level_scores = level.flatten()
        index = (level_scores > score_thresh).nonzero().squeeze(1)
        level_scores = level_scores.index_select(0, index)
        if len(index) > topk_candidates:
            level_scores, order = level_scores.topk(topk_candidates)
            index = index.index_select(0, order)
        kept.append((level_scores, index + start * num_classes))
    index = torch.cat([x for _, x in kept])
    locations = torch.div(index, num_classes, rounding_mode="floor")
    boxes = decode(ltrb.index_select(0, locations), grid.locations.index_select(0, locations))
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes),
        scores=torch.cat([x for x, _ in kept]),
        pred_classes=index % num_classes,
    )


def suppress(candidates: Instances, *, nms_thresh: float, max_detections: int) -> Instances:
    """The detections of one image: NMS of its candidates within each class.

    Args:
        candidates: see :func:`candidates`.
        nms_thresh: IoU above which NMS removes the lower-scored of one class.
        max_detections: detections kept after NMS.

    Returns:
        The candidates kept, by descending score.
    """
    keep = batched_nms(
        candidates.pred_boxes.tensor, candidates.scores, candidates.pred_classes, nms_thresh
    )
    return candidates[keep[:max_detections]]
