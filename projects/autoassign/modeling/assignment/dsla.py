"""DSLA: dynamic smooth label assignment (https://arxiv.org/abs/2208.00817)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config.checks import check_choice
from ..grid import Grid, Pairs, inside_pairs
from ..losses import paired_iou, quality_focal_loss
from .base import LABEL_ASSIGNMENT_REGISTRY, LabelAssignment, mean_over_workers
from .point_targets import (
    center_distance,
    center_sampling_radius,
    centerness,
    level_ranges,
    pair_ltrb,
    select_winners,
)
from .positives import class_index, giou_loss, positive_statistics, predicted_boxes
from .structures import Explanation, GroundTruth, Predictions

__all__ = ["DSLA", "SmoothLabels"]

_BOX_LOSSES = ("iou_log", "giou")
# Least IoU of the logarithmic IoU loss.
_MIN_IOU = 1e-6
# What the original adds to its denominators: seen in the ninth digit of the reference losses.
_DENOMINATOR_EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class SmoothLabels:
    """The labels of the P pairs of a batch; every tensor is (P,), without gradient.

    Attributes:
        pairs: which object and location each entry speaks of.
        center_score: how central the location is; 0 where it is not a candidate.
        scale_score: how well the level suits the object's size.
    """

    pairs: Pairs
    center_score: Tensor
    scale_score: Tensor

    @property
    def label(self) -> Tensor:
        """The smooth label, center score × scale score."""
        return self.center_score * self.scale_score


@LABEL_ASSIGNMENT_REGISTRY.register()
class DSLA(LabelAssignment):
    """DSLA's smooth labels and losses, on the (object, location) pairs inside boxes.

    A location learns the object of its greatest label; of equal labels the first object of the
    image wins. An object without a location inside its box is not learned, as published; the
    statistics count such objects.
    """

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
        """
        Args:
            center_sampling_radius: candidates lie nearer than this to the object's center in x
                and y, in strides; None: anywhere inside the box.
            relaxation: share by which the size range of a level is widened with a ramp; None:
                sizes outside the range score 0.
            core_zone: center score 1 within half a stride of the object's center.
            iou_coupling: multiply the class target by the IoU of the predicted box.
            box_loss: "iou_log" (-log IoU) or "giou" (1 - GIoU).
            cls_loss_weight: factor of the class loss.

        Raises:
            ValueError: an option has a value that is not allowed.
        """
        super().__init__()
        check_choice("MODEL.LABEL_ASSIGNMENT.DSLA.BOX_LOSS", box_loss, _BOX_LOSSES)
        if relaxation is not None and not 0 < relaxation < 1:
            raise ValueError(
                f"MODEL.LABEL_ASSIGNMENT.DSLA.RELAXATION is {relaxation}; it lies between 0 and 1 "
                "(INTERVAL_RELAXATION False switches it off)"
            )
        self.center_sampling_radius = center_sampling_radius
        self.relaxation = relaxation
        self.core_zone = core_zone
        self.iou_coupling = iou_coupling
        self.box_loss = box_loss
        self.cls_loss_weight = cls_loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        options = cfg.MODEL.LABEL_ASSIGNMENT.DSLA
        return {
            "center_sampling_radius": center_sampling_radius(cfg, "DSLA"),
            "relaxation": options.RELAXATION if options.INTERVAL_RELAXATION else None,
            "core_zone": options.CORE_ZONE,
            "iou_coupling": options.IOU_COUPLING,
            "box_loss": options.BOX_LOSS,
            "cls_loss_weight": options.CLS_LOSS_WEIGHT,
        }

    def forward(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_box``, and what the log shows of the assignment."""
        labels = self.smooth_labels(grid, gt)
        winners = self.positives(labels, predictions)
        positives = labels.pairs.select(winners)
        label = labels.label.index_select(0, winners)

        boxes = predicted_boxes(predictions, grid, positives)
        gt_boxes = gt.boxes.index_select(0, positives.objects)
        iou = paired_iou(boxes, gt_boxes)
        target = label * iou.detach() if self.iou_coupling else label
        if self.box_loss == "iou_log":
            box_error = -iou.clamp(min=_MIN_IOU).log()
        else:
            box_error = giou_loss(boxes, gt_boxes)
        sums = mean_over_workers(torch.stack((label.sum(), target.sum())))
        label_sum, target_sum = sums.clamp(min=1) + _DENOMINATOR_EPS
        index = class_index(predictions, gt, positives)
        quality = quality_focal_loss(predictions.cls_logits, predictions.obj_logits, index, target)
        losses = {
            "loss_cls": self.cls_loss_weight * quality / target_sum,
            "loss_box": (label * box_error).sum() / label_sum,
        }
        statistics = positive_statistics(gt, labels.pairs, positives)
        count = max(1, len(label))
        statistics["mean_label"] = label.sum() / count
        statistics["mean_class_target"] = target.sum() / count
        return losses, statistics

    @torch.no_grad()
    def smooth_labels(self, grid: Grid, gt: GroundTruth) -> SmoothLabels:
        """Center and scale score of every pair inside a box."""
        pairs = inside_pairs(gt.boxes, gt.image_index, grid)
        ltrb = pair_ltrb(pairs, grid, gt)
        center_score = centerness(ltrb)
        distance = center_distance(pairs, grid, gt)
        if self.core_zone:
            center_score = center_score.masked_fill(distance <= 0.5, 1)
        # The nearest location of an object that has none inside is no candidate.
        is_candidate = ltrb.amin(dim=1) > 0
        if self.center_sampling_radius is not None:
            is_candidate &= distance < self.center_sampling_radius
        return SmoothLabels(
            pairs=pairs,
            center_score=center_score * is_candidate,
            scale_score=self._scale_score(ltrb.amax(dim=1), pairs, grid),
        )

    def _scale_score(self, size: Tensor, pairs: Pairs, grid: Grid) -> Tensor:
        """(P,) 1 where the size in pixels lies in the level's range, ramps beside it, then 0."""
        ranges = level_ranges(grid.strides)
        levels = grid.location_levels.index_select(0, pairs.locations)
        low, high = size.new_tensor(ranges).index_select(0, levels).unbind(dim=1)
        if self.relaxation is None:
            return ((size >= low) & (size <= high)).to(size)
        # The original rounds the widened bounds down to whole pixels.
        relaxed = [
            (int(low * (1 - self.relaxation)), int(high * (1 + self.relaxation)))
            for low, high in ranges
        ]
        start, end = size.new_tensor(relaxed).index_select(0, levels).unbind(dim=1)
        rising = torch.where(size >= low, 1, (size - start) / (low - start))
        falling = torch.where(size <= high, 1, (end - size) / (end - high))
        return torch.minimum(rising, falling).clamp(min=0)

    @torch.no_grad()
    def positives(self, labels: SmoothLabels, predictions: Predictions) -> Tensor:
        """(Q,) indices of the pairs that are learned: the greatest label of each location."""
        label = labels.label
        return select_winners(
            label.masked_fill(label <= 0, -torch.inf),
            labels.pairs,
            predictions.ltrb[..., 0].numel(),
        )

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """Center score, scale score, the label after objects have competed, the class target."""
        labels = self.smooth_labels(grid, gt)
        pairs, winners = labels.pairs, self.positives(labels, predictions)
        label = torch.zeros_like(labels.label)
        label[winners] = labels.label[winners]
        iou = paired_iou(predicted_boxes(predictions, grid, pairs), gt.boxes[pairs.objects])
        maps = {
            "center score": labels.center_score,
            "scale score": labels.scale_score,
            "label": label,
            "class target": label * iou if self.iou_coupling else label,
        }
        return Explanation(pairs=pairs, maps=maps, primary="label")
