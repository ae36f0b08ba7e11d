"""From dense scores and distances to the detections of an image."""

from __future__ import annotations

import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .grid import Grid
from .predictions import decode

__all__ = ["detections"]


def detections(
    scores: Tensor,
    ltrb: Tensor,
    grid: Grid,
    image_size: tuple[int, int],
    *,
    score_thresh: float,
    topk_candidates: int,
    nms_thresh: float,
    max_detections: int,
) -> Instances:
    """Detections of one image: candidates of each level, then NMS within each class.

    Args:
        scores: (R, K) scores.
        ltrb: (R, 4) distances in pixels.
        grid: the locations.
        image_size: (height, width) of the image in pixels.
        score_thresh: least score of a detection, not included.
        topk_candidates: candidates of each level before NMS.
        nms_thresh: IoU above which NMS removes the lower-scored of one class.
        max_detections: detections kept after NMS.

    Returns:
        ``pred_boxes`` (xyxy in pixels, not clipped), ``scores`` and ``pred_classes``, by
        descending score.
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
    candidate_scores = torch.cat([x for x, _ in kept])
    index = torch.cat([x for _, x in kept])
    locations = torch.div(index, num_classes, rounding_mode="floor")
    boxes = decode(ltrb.index_select(0, locations), grid.locations.index_select(0, locations))
    classes = index % num_classes
    keep = batched_nms(boxes, candidate_scores, classes, nms_thresh)[:max_detections]
    return Instances(
        image_size,
        pred_boxes=Boxes(boxes[keep]),
        scores=candidate_scores[keep],
        pred_classes=classes[keep],
    )
