"""FSAF: feature selective anchor-free module (https://arxiv.org/abs/1903.00621)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, inside
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import iou_log_loss, logits_with_objectness
from ..pairs import Pairs, inside_pairs
from ..predictions import Predictions
from .geometry import pair_levels, pair_ltrb, select_winners
from .hard import Assignment, HardAssignment
from .interface import Explanation
from .segments import segment_mean

__all__ = ["FSAF"]

# A location belongs to a core that covers more than this share of its cell (MMDetection).
_MIN_SHARE = 0.01
# Least distance, in strides (MMDetection).
_MIN_DISTANCE = 4e-4
_FOCAL_ALPHA = 0.25


@LABEL_ASSIGNMENT_REGISTRY.register()
class FSAF(HardAssignment):
    """FSAF's online selection: each object is learned at the level where its loss is least.

    A location's cell is the square of one stride around it. A location belongs to an object if
    it lies inside the box and more than 0.01 of its cell inside the core, the box scaled to 0.2;
    on every level. Of several objects it learns the smallest; of equal areas the first object of
    the image. Each object is then learned at the level where focal loss + -log IoU, averaged over
    its locations, is least; of equal ones the finest.

    Some entries of class logits have no loss: at a location whose cell touches the core of an
    object that it does not learn, the entry of that object's class; at a location on a level that
    was not selected, the entry of its object's class. If the two are of one class, the location
    learns neither. Where no location is positive the class loss is divided by the number of
    locations.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}
    box_loss = "iou_log"

    @configurable
    def __init__(self, *, core_scale: float = 0.2) -> None:
        """
        Args:
            core_scale: side of the core as a share of the box's.
        """
        super().__init__()
        self.core_scale = core_scale

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Side of the core, whose locations are positive, as a share of the box's.
        node.CORE_SCALE = 0.2
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {"CORE_SCALE": inside(0, 1)}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"core_scale": cfg.MODEL.LABEL_ASSIGNMENT.FSAF.CORE_SCALE}

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return super().losses(_with_least_distances(predictions, grid), grid, gt)

    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """Shares of cells inside cores, the losses that chose the levels, and the labels."""
        return super().explain(_with_least_distances(predictions, grid), grid, gt)

    def class_denominator(self, target_sum: Tensor, num_batch_locations: int) -> Tensor:
        return target_sum.clamp(min=1).masked_fill(target_sum == 0, num_batch_locations)

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs, share = self._core_pairs(grid, gt)
        is_inside = pair_ltrb(pairs, grid, gt).amin(dim=1) > 0
        areas = gt.areas.index_select(0, pairs.objects)
        num_batch_locations = len(gt.counts) * grid.num_locations
        smallest = select_winners(
            -areas.masked_fill(~is_inside, torch.inf), pairs, num_batch_locations
        )
        is_smallest = torch.zeros_like(is_inside)
        is_smallest[smallest] = True
        shadowed = pairs.select((~is_smallest).nonzero().squeeze(1))

        classes = gt.classes.index_select(0, pairs.objects)
        learned_class = torch.full((num_batch_locations,), -1, device=classes.device)
        learned_class[pairs.batch_locations[smallest]] = classes[smallest]
        is_alike = learned_class[pairs.batch_locations] == classes
        learns_neither = torch.zeros_like(learned_class, dtype=torch.bool)
        learns_neither[pairs.batch_locations[is_alike & ~is_smallest]] = True
        candidates = smallest[~learns_neither[pairs.batch_locations[smallest]]]

        losses = _location_losses(pairs.select(candidates), shadowed, predictions, grid, gt)
        is_selected = _at_level_of_least_loss(losses, pairs.select(candidates), grid, gt)
        not_selected = pairs.select(candidates[~is_selected])
        pair_losses = torch.zeros_like(share)
        pair_losses[candidates] = losses
        return Assignment(
            pairs=pairs,
            winners=candidates[is_selected],
            ignore=torch.cat(
                (predictions.logit_index(gt, shadowed), predictions.logit_index(gt, not_selected))
            ),
            maps={"core share": share, "loss": pair_losses},
        )

    def _core_pairs(self, grid: Grid, gt: GroundTruth) -> tuple[Pairs, Tensor]:
        """Pairs whose location's cell touches the object's core, and the shares of the cells."""
        centers = (gt.boxes[:, :2] + gt.boxes[:, 2:]) / 2
        reach = self.core_scale * (gt.boxes[:, 2:] - gt.boxes[:, :2]) / 2
        half_cell = grid.level_strides[:, None] / 2
        cells = torch.cat(
            (
                (centers - reach)[:, None] - half_cell,
                (centers + reach)[:, None] + half_cell,
            ),
            dim=2,
        )  # (M, L, 4)
        pairs = inside_pairs(cells, gt.image_index, grid, fallback="none")

        strides = grid.location_strides.index_select(0, pairs.locations)[:, None]
        locations = grid.locations.index_select(0, pairs.locations)
        centers = centers.index_select(0, pairs.objects)
        reach = reach.index_select(0, pairs.objects)
        overlap = torch.minimum(locations + strides / 2, centers + reach) - torch.maximum(
            locations - strides / 2, centers - reach
        )
        share = (overlap.clamp(min=0) / strides).prod(dim=1)
        touching = (share > _MIN_SHARE).nonzero().squeeze(1)
        return pairs.select(touching), share[touching]


def _with_least_distances(predictions: Predictions, grid: Grid) -> Predictions:
    least = (_MIN_DISTANCE * grid.location_strides)[:, None].to(predictions.ltrb)
    return replace(predictions, ltrb=torch.maximum(predictions.ltrb, least))


def _location_losses(
    positives: Pairs, shadowed: Pairs, predictions: Predictions, grid: Grid, gt: GroundTruth
) -> Tensor:
    """(Q,) focal loss of all classes + -log IoU at positive pairs, of different locations.

    The entries of the ``shadowed`` pairs have no loss.
    """
    num_locations = grid.num_locations
    image = torch.div(positives.batch_locations, num_locations, rounding_mode="floor")
    logits = predictions.cls_logits[image, positives.locations]  # (Q, K)
    if predictions.obj_logits is not None:
        obj_logits = predictions.obj_logits[image, positives.locations]
        logits = logits_with_objectness(logits, obj_logits[:, None])
    negative = (1 - _FOCAL_ALPHA) * logits.sigmoid().square() * F.softplus(logits)

    row = torch.full((predictions.ltrb[..., 0].numel(),), -1, device=logits.device)
    row[positives.batch_locations] = torch.arange(len(positives), device=logits.device)
    shadow_row = row[shadowed.batch_locations]
    has_row = shadow_row >= 0
    negative[shadow_row[has_row], gt.classes[shadowed.objects][has_row]] = 0
    classes = gt.classes.index_select(0, positives.objects)[:, None]
    negative.scatter_(1, classes, 0)

    own = logits.gather(1, classes).squeeze(1)
    positive = _FOCAL_ALPHA * (-own).sigmoid().square() * F.softplus(-own)
    boxes = predictions.pair_boxes(grid, positives)
    box_loss = iou_log_loss(boxes, gt.boxes.index_select(0, positives.objects))
    return negative.sum(dim=1) + positive + box_loss


def _at_level_of_least_loss(
    losses: Tensor, positives: Pairs, grid: Grid, gt: GroundTruth
) -> Tensor:
    """(Q,) whether the level of each pair is that of the least mean loss of its object."""
    num_levels = len(grid.strides)
    levels = pair_levels(positives, grid)
    segments = positives.objects * num_levels + levels
    num_segments = len(gt.boxes) * num_levels
    mean = segment_mean(losses, segments, num_segments)
    is_empty = torch.ones_like(mean, dtype=torch.bool)
    is_empty[segments] = False
    mean = mean.masked_fill(is_empty, torch.inf).view(-1, num_levels)
    best = mean.argmin(dim=1) if len(mean) else segments
    return levels == best.index_select(0, positives.objects)
