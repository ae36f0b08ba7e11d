"""FCOS in its improved form (https://arxiv.org/abs/1904.01355, https://arxiv.org/abs/2006.09214)."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ..grid import Grid, Pairs, inside_pairs
from .base import LABEL_ASSIGNMENT_REGISTRY, LabelAssignment
from .point_targets import (
    center_distance,
    center_sampling_radius,
    centerness,
    level_ranges,
    pair_ltrb,
    select_winners,
)
from .positives import centerness_losses, positive_statistics
from .structures import Explanation, GroundTruth, Predictions

__all__ = ["FCOS"]


@LABEL_ASSIGNMENT_REGISTRY.register()
class FCOS(LabelAssignment):
    """FCOS's labels and losses: center sampling, GIoU, center-ness beside the boxes.

    An object's candidates lie inside its box, near its center, on the levels whose range its
    greatest distance falls in (both ends included). A location that is a candidate of several
    objects learns the smallest; of equal areas the first object of the image wins. An object
    without a candidate is not learned, as published; the statistics count such objects.
    """

    uses_centerness = True

    @configurable
    def __init__(self, *, center_sampling_radius: float | None = 1.5) -> None:
        """
        Args:
            center_sampling_radius: candidates lie nearer than this to the object's center in x
                and y, in strides; None: anywhere inside the box.
        """
        super().__init__()
        self.center_sampling_radius = center_sampling_radius

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {
            "center_sampling_radius": center_sampling_radius(cfg, "FCOS"),
        }

    def forward(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_box``, ``loss_centerness``, and what the log shows."""
        pairs, _, winners = self.assign(grid, gt)
        positives = pairs.select(winners)
        losses, target = centerness_losses(predictions, grid, gt, positives)
        statistics = positive_statistics(gt, pairs, positives)
        statistics["mean_centerness"] = target.sum() / max(1, len(target))
        return losses, statistics

    @torch.no_grad()
    def assign(self, grid: Grid, gt: GroundTruth) -> tuple[Pairs, Tensor, Tensor]:
        """Which locations learn which objects.

        Returns:
            The P pairs inside boxes, (P,) whether each is a candidate, and (Q,) ascending indices
            of those that are learned.
        """
        pairs = inside_pairs(gt.boxes, gt.image_index, grid)
        ltrb = pair_ltrb(pairs, grid, gt)
        levels = grid.location_levels.index_select(0, pairs.locations)
        ranges = ltrb.new_tensor(level_ranges(grid.strides))
        low, high = ranges.index_select(0, levels).unbind(dim=1)
        size = ltrb.amax(dim=1)
        # The nearest location of an object that has none inside is no candidate.
        is_candidate = (ltrb.amin(dim=1) > 0) & (size >= low) & (size <= high)
        if self.center_sampling_radius is not None:
            is_candidate &= center_distance(pairs, grid, gt) < self.center_sampling_radius
        area = (gt.boxes[:, 2:] - gt.boxes[:, :2]).prod(dim=1).index_select(0, pairs.objects)
        winners = select_winners(
            (-area).masked_fill(~is_candidate, -torch.inf),
            pairs,
            len(gt.counts) * grid.num_locations,
        )
        return pairs, is_candidate, winners

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """The candidates, those that are learned, and the center-ness target of these."""
        pairs, is_candidate, winners = self.assign(grid, gt)
        target = centerness(pair_ltrb(pairs, grid, gt))
        label = torch.zeros_like(target)
        label[winners] = 1
        maps = {
            "candidate": is_candidate.to(target),
            "label": label,
            "center-ness": label * target,
        }
        return Explanation(pairs=pairs, maps=maps, primary="label")
