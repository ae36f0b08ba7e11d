"""FSAF: feature selective anchor-free module (https://arxiv.org/abs/1903.00621)."""

from __future__ import annotations

from typing import ClassVar

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, inside
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..predictions import Predictions
from .cores import core_pairs, level_losses, location_losses, with_least_distances
from .geometry import pair_levels, pair_ltrb, select_winners
from .hard import Assignment, HardAssignment
from .interface import Explanation

__all__ = ["FSAF"]


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
        """See :meth:`default_options`."""
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

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return super().losses(with_least_distances(predictions, grid), grid, gt)

    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """Shares of cells inside cores, the losses that chose the levels, and the labels."""
        return super().explain(with_least_distances(predictions, grid), grid, gt)

    def class_denominator(self, target_sum: Tensor, num_batch_locations: int) -> Tensor:
        return target_sum.clamp(min=1).masked_fill(target_sum == 0, num_batch_locations)

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs, share = core_pairs(grid, gt, self.core_scale)
        is_inside = pair_ltrb(pairs, grid, gt).amin(dim=1) > 0
        areas = gt.areas.index_select(0, pairs.objects)
        smallest = select_winners(-areas, pairs, grid, gt, where=is_inside)
        is_smallest = torch.zeros_like(is_inside)
        is_smallest[smallest] = True
        shadowed = pairs.select(~is_smallest)

        classes = gt.classes.index_select(0, pairs.objects)
        learned_class = classes.new_full((len(gt.counts) * grid.num_locations,), -1)
        learned_class[pairs.batch_locations[smallest]] = classes[smallest]
        is_alike = learned_class[pairs.batch_locations] == classes
        learns_neither = torch.zeros_like(learned_class, dtype=torch.bool)
        learns_neither[pairs.batch_locations[is_alike & ~is_smallest]] = True
        candidates = smallest[~learns_neither[pairs.batch_locations[smallest]]]

        positives = pairs.select(candidates)
        losses = location_losses(positives, predictions, grid, gt, ignored=shadowed)
        means = level_losses(losses, positives, grid, gt)
        best = means.argmin(dim=1) if len(means) else positives.objects
        is_selected = pair_levels(positives, grid) == best.index_select(0, positives.objects)
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
