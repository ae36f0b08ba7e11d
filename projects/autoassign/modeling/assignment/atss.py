"""ATSS: adaptive training sample selection (https://arxiv.org/abs/1912.02424)."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ..grid import Grid, Pairs
from ..losses import paired_iou
from .base import LABEL_ASSIGNMENT_REGISTRY, LabelAssignment
from .point_targets import centerness, pair_ltrb, select_winners
from .positives import centerness_losses, positive_statistics
from .structures import Explanation, GroundTruth, Predictions

__all__ = ["ATSS", "nearest_pairs"]

# Side of the square anchor at every location, in strides.
_ANCHOR_SIDE = 8
# A positive location lies at least this far inside the box, in pixels (MMDetection).
_MIN_DISTANCE = 0.01


@LABEL_ASSIGNMENT_REGISTRY.register()
class ATSS(LabelAssignment):
    """ATSS's labels, and FCOS's losses with another weight of the boxes.

    Every location has a square anchor of 8 strides around it, for the labels alone: boxes are
    predicted as distances. An object's candidates are, on each level, the k locations nearest to
    its center; positive are those inside the box whose anchor's IoU with it is at least mean +
    standard deviation of the IoUs of all its candidates. A location that is positive for several
    objects learns that of the greatest IoU; of equal ones the first object of the image wins. An
    object without a positive location is not learned, as published; the statistics count such
    objects.
    """

    uses_centerness = True

    @configurable
    def __init__(self, *, topk: int = 9, box_loss_weight: float = 2.0) -> None:
        """
        Args:
            topk: k, candidates of an object on each level.
            box_loss_weight: factor of the GIoU loss.

        Raises:
            ValueError: there is no candidate.
        """
        super().__init__()
        if topk < 1:
            raise ValueError(f"MODEL.LABEL_ASSIGNMENT.ATSS.TOPK is {topk}; it is at least 1")
        self.topk = topk
        self.box_loss_weight = box_loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        options = cfg.MODEL.LABEL_ASSIGNMENT.ATSS
        return {"topk": options.TOPK, "box_loss_weight": options.BOX_LOSS_WEIGHT}

    def forward(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_box``, ``loss_centerness``, and what the log shows."""
        pairs, iou, winners = self.assign(grid, gt)
        positives = pairs.select(winners)
        losses, target = centerness_losses(
            predictions, grid, gt, positives, box_loss_weight=self.box_loss_weight
        )
        statistics = positive_statistics(gt, pairs, positives)
        count = max(1, len(target))
        statistics["mean_centerness"] = target.sum() / count
        statistics["mean_anchor_iou"] = iou.index_select(0, winners).sum() / count
        return losses, statistics

    @torch.no_grad()
    def assign(self, grid: Grid, gt: GroundTruth) -> tuple[Pairs, Tensor, Tensor]:
        """Which locations learn which objects.

        Returns:
            The P pairs of objects and candidates, (P,) IoUs of their anchors, and (Q,) ascending
            indices of those that are learned.
        """
        pairs = nearest_pairs(gt, grid, self.topk)
        centers = grid.locations.index_select(0, pairs.locations)
        reach = _ANCHOR_SIDE / 2 * grid.location_strides.index_select(0, pairs.locations)[:, None]
        anchors = torch.cat((centers - reach, centers + reach), dim=1).to(gt.boxes)
        iou = paired_iou(anchors, gt.boxes.index_select(0, pairs.objects))

        num_candidates = sum(min(h * w, self.topk) for h, w in grid.sizes)
        iou_of_object = iou.view(len(gt.boxes), num_candidates)
        mean = iou_of_object.mean(dim=1, keepdim=True)
        # Of a single candidate torch's std is not a number, and without an object it warns.
        variance = (iou_of_object - mean).square().sum(dim=1) / max(1, num_candidates - 1)
        threshold = (mean.squeeze(1) + variance.sqrt()).index_select(0, pairs.objects)
        distance = pair_ltrb(pairs, grid, gt).amin(dim=1)
        is_positive = (iou >= threshold) & (distance > _MIN_DISTANCE)
        winners = select_winners(
            iou.masked_fill(~is_positive, -torch.inf), pairs, len(gt.counts) * grid.num_locations
        )
        return pairs, iou, winners

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """IoU of the candidates' anchors, those that are learned, their center-ness target."""
        pairs, iou, winners = self.assign(grid, gt)
        label = torch.zeros_like(iou)
        label[winners] = 1
        maps = {
            "anchor IoU": iou,
            "label": label,
            "center-ness": label * centerness(pair_ltrb(pairs, grid, gt)),
        }
        return Explanation(pairs=pairs, maps=maps, primary="label")


@torch.no_grad()
def nearest_pairs(gt: GroundTruth, grid: Grid, k: int) -> Pairs:
    """The k locations of each level that are nearest to the center of each object.

    Of equally near locations the one of the lower index is taken; a level of fewer than k
    locations gives all. The cost is that of k × k locations for each object and level.

    Args:
        gt: the objects.
        grid: the locations of an image.
        k: at least 1.
    """
    centers = (gt.boxes[:, :2] + gt.boxes[:, 2:]) / 2
    per_level = [
        start + _nearest(centers / stride - grid.offset, size, k)
        for start, stride, size in zip(grid.level_starts, grid.strides, grid.sizes, strict=True)
    ]
    locations = torch.cat(per_level, dim=1)  # (M, candidates)
    batch_locations = locations + gt.image_index[:, None] * grid.num_locations
    objects = torch.arange(len(gt.boxes), device=gt.boxes.device)
    return Pairs(
        objects=objects.repeat_interleave(locations.shape[1]),
        locations=locations.flatten(),
        batch_locations=batch_locations.flatten(),
        is_fallback=torch.zeros_like(objects, dtype=torch.bool),
    )


def _nearest(places: Tensor, size: tuple[int, int], k: int) -> Tensor:
    """(M, min(k, H · W)) ascending indices of the locations nearest to each place on a level.

    A location whose column is not among the k nearest columns has k locations of its own row that
    are nearer, and so for rows: the k nearest locations lie in k columns and k rows.

    Args:
        places: (M, 2) column and row, in strides from the first location.
        size: (height, width) of the level.
        k: at least 1.
    """
    height, width = size
    columns = _nearest_indices(places[:, 0], width, k)
    rows = _nearest_indices(places[:, 1], height, k)
    column_gap = (columns - places[:, :1]).square()
    row_gap = (rows - places[:, 1:]).square()
    gap = (row_gap[:, :, None] + column_gap[:, None]).flatten(1)
    locations = (rows[:, :, None] * width + columns[:, None]).flatten(1)
    order = gap.argsort(dim=1, stable=True)[:, :k]
    return locations.gather(1, order).sort(dim=1).values


def _nearest_indices(places: Tensor, length: int, k: int) -> Tensor:
    """(M, min(k, length)) the ascending indices 0..length-1 nearest to each place."""
    count = min(k, length)
    first = (places - count / 2).ceil().clamp(0, length - count).long()
    return first[:, None] + torch.arange(count, device=places.device)
