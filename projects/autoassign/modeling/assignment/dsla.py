"""DSLA: dynamic smooth label assignment (https://arxiv.org/abs/2208.00817)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, above, at_least, inside, one_of
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import paired_iou
from ..pairs import Pairs
from ..predictions import Predictions
from .geometry import (
    candidate_pairs,
    center_distance,
    center_sampling,
    centerness,
    level_ranges,
    pair_ltrb,
    pair_ranges,
    select_winners,
)
from .hard import BOX_LOSSES, Assignment, HardAssignment

__all__ = ["DSLA"]


@LABEL_ASSIGNMENT_REGISTRY.register()
class DSLA(HardAssignment):
    """DSLA's smooth labels and losses.

    The label of a candidate is center score × scale score. A location learns the object of its
    greatest label; of equal labels the first object of the image wins. An object without a
    location inside its box is not learned, as published; the statistics count such objects.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}
    cls_loss = "quality_focal"
    # What the original adds to its denominators: seen in the ninth digit of the reference losses.
    eps = torch.finfo(torch.float32).eps

    @configurable
    def __init__(
        self,
        *,
        center_sampling_radius: float | None = 1.5,
        relaxation: float | None = 0.2,
        core_zone: bool = True,
        iou_coupling: bool = True,
        box_loss: str = "iou_log",
        cls_loss_weight: float = 2.0,
    ) -> None:
        """See :meth:`default_options`.

        A radius or a relaxation of None switches that part off.
        """
        super().__init__()
        self.center_sampling_radius = center_sampling_radius
        self.relaxation = relaxation
        self.core_zone = core_zone
        self.iou_coupling = iou_coupling
        self.box_loss = box_loss
        self.cls_loss_weight = cls_loss_weight

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Candidates lie within this radius of the object's center, in strides; False: anywhere
        # inside the box (the published R-50 run).
        node.CENTER_SAMPLING = True
        node.CENTER_SAMPLING_RADIUS = 1.5
        # The three parts of the method: label 1 within half a stride of the center; size ranges
        # of the levels widened by this share, with a ramp; class target = label × IoU.
        node.CORE_ZONE = True
        node.INTERVAL_RELAXATION = True
        node.RELAXATION = 0.2
        node.IOU_COUPLING = True
        # "iou_log": -log IoU. "giou": 1 - GIoU.
        node.BOX_LOSS = "iou_log"
        node.CLS_LOSS_WEIGHT = 2.0
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {
            "CENTER_SAMPLING_RADIUS": above(0),
            "RELAXATION": inside(0, 1),
            "BOX_LOSS": one_of(*BOX_LOSSES),
            "CLS_LOSS_WEIGHT": at_least(0),
        }

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        options = cfg.MODEL.LABEL_ASSIGNMENT[cls.__name__.upper()]
        return {
            **center_sampling(options),
            "relaxation": options.RELAXATION if options.INTERVAL_RELAXATION else None,
            "core_zone": options.CORE_ZONE,
            "iou_coupling": options.IOU_COUPLING,
            "box_loss": options.BOX_LOSS,
            "cls_loss_weight": options.CLS_LOSS_WEIGHT,
        }

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs, center_score, scale_score = self.pair_scores(grid, gt)
        pair_labels = center_score * scale_score
        winners = select_winners(pair_labels, pairs, grid, gt, where=pair_labels > 0)
        labels = pair_labels.index_select(0, winners)
        targets = labels
        if self.iou_coupling:
            positives = pairs.select(winners)
            gt_boxes = gt.boxes.index_select(0, positives.objects)
            targets = labels * paired_iou(predictions.pair_boxes(grid, positives), gt_boxes)
        count = max(1, len(winners))
        return Assignment(
            pairs=pairs,
            winners=winners,
            labels=labels,
            class_targets=targets,
            maps={"center score": center_score, "scale score": scale_score},
            statistics={
                "mean_label": labels.sum() / count,
                "mean_class_target": targets.sum() / count,
            },
        )

    def pair_scores(self, grid: Grid, gt: GroundTruth) -> tuple[Pairs, Tensor, Tensor]:
        """P pairs, their (P,) center scores, 0 where not a candidate, and (P,) scale scores."""
        pairs = candidate_pairs(
            grid,
            gt,
            center_radius=self.center_sampling_radius,
            size_ranges=self._relaxed_ranges(grid),
        )
        ltrb = pair_ltrb(pairs, grid, gt)
        center_score = centerness(ltrb)
        distance = center_distance(pairs, grid, gt)
        if self.core_zone:
            center_score = center_score.masked_fill(distance <= 0.5, 1)
        is_candidate = ltrb.amin(dim=1) > 0
        if self.center_sampling_radius is not None:
            is_candidate &= distance < self.center_sampling_radius
        scale_score = self._scale_score(ltrb.amax(dim=1), pairs, grid)
        return pairs, center_score * is_candidate, scale_score

    def _relaxed_ranges(self, grid: Grid) -> list[tuple[float, float]]:
        """The size range of each level in pixels, widened by the relaxation."""
        ranges = level_ranges(grid.strides)
        if self.relaxation is None:
            return ranges
        # The original rounds the widened bounds down to whole pixels.
        return [
            (int(low * (1 - self.relaxation)), int(high * (1 + self.relaxation)))
            for low, high in ranges
        ]

    def _scale_score(self, size: Tensor, pairs: Pairs, grid: Grid) -> Tensor:
        """(P,) 1 where the size in pixels lies in the level's range, ramps beside it, then 0."""
        ranges = level_ranges(grid.strides)
        low, high = pair_ranges(ranges, pairs, grid, size.dtype).unbind(dim=1)
        if self.relaxation is None:
            return ((size >= low) & (size <= high)).to(size)
        relaxed = self._relaxed_ranges(grid)
        start, end = pair_ranges(relaxed, pairs, grid, size.dtype).unbind(dim=1)
        rising = torch.where(size >= low, 1, (size - start) / (low - start))
        falling = torch.where(size <= high, 1, (end - size) / (end - high))
        return torch.minimum(rising, falling).clamp(min=0)
