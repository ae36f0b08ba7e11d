"""From dense scores and distances to the detections of an image."""

from __future__ import annotations

from collections.abc import Sequence

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
    image_sizes: Sequence[tuple[int, int]],
    *,
    score_thresh: float,
    topk_candidates: int,
) -> list[Instances]:
    """The best predictions of each level of each image.

    What a GPU has found is waited for twice, whatever the number of images.

    Args:
        scores: (N, R, K) scores.
        ltrb: (N, R, 4) distances in pixels.
        grid: the locations.
        image_sizes: (height, width) of each image in pixels.
        score_thresh: least score of a candidate, not included.
        topk_candidates: greatest number of candidates of a level.

    Returns:
        ``pred_boxes`` (xyxy in pixels, not clipped), ``scores`` and ``pred_classes`` of each image.
    """
    num_images, num_locations, num_classes = scores.shape
    flat = scores.flatten()
    index = (flat > score_thresh).nonzero().squeeze(1)
    kept = [
        _best_of_level(flat.index_select(0, x), x, topk_candidates)
        for x in _split_by_level(index, grid, num_images, num_classes)
    ]
    index = torch.cat([x for _, x in kept])
    locations = torch.div(index, num_classes, rounding_mode="floor")
    boxes = decode(
        ltrb.flatten(0, 1).index_select(0, locations),
        grid.locations.index_select(0, locations % num_locations),
    )
    num_levels = len(grid.strides)
    numbers = [len(x) for _, x in kept]
    per_image = [sum(numbers[i : i + num_levels]) for i in range(0, len(numbers), num_levels)]
    return [
        Instances(size, pred_boxes=Boxes(boxes_i), scores=scores_i, pred_classes=classes_i)
        for size, boxes_i, scores_i, classes_i in zip(
            image_sizes,
            boxes.split(per_image),
            torch.cat([x for x, _ in kept]).split(per_image),
            (index % num_classes).split(per_image),
            strict=True,
        )
    ]


def _split_by_level(
    index: Tensor, grid: Grid, num_images: int, num_classes: int
) -> tuple[Tensor, ...]:
    """Ascending indices into (N, R, K), those of each level of each image apart: N · L of them."""
    starts = [
        (image * grid.num_locations + start) * num_classes
        for image in range(num_images)
        for start in grid.level_starts
    ]
    bounds = torch.tensor(starts[1:], dtype=torch.long).to(index.device, non_blocking=True)
    return index.tensor_split(torch.searchsorted(index, bounds).tolist())


def _best_of_level(scores: Tensor, index: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The ``number`` greatest scores and their indices; all, in their order, if they are fewer."""
    if len(scores) <= number:
        return scores, index
    best, order = scores.topk(number)
    return best, index.index_select(0, order)


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
