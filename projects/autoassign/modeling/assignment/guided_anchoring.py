"""Guided Anchoring (https://arxiv.org/abs/1901.03278)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY
from ..grid import ANCHOR_SIDE, Grid
from ..ground_truth import GroundTruth
from ..losses import focal_terms, paired_iou
from ..pairs import Pairs, inside_mask, inside_pairs, nearest_pairs
from ..predictions import ExtraOutput, Predictions
from .anchor_bags import anchor_bags
from .geometry import nearest_first, select_winners
from .max_iou import MaxIoU
from .segments import segment_topk
from .tiles import object_overlaps
from .workers import mean_over_workers

__all__ = ["GuidedAnchoring"]

# A probability of 0.011: an untrained detector, too, has anchors at test time.
_LOCATION = ExtraOutput("anchor_location", bias=-4.5)
_SHAPE = ExtraOutput("anchor_shape", channels=2, guides_features=True)
# Factor of the shape loss; that of the location loss is 1 (Section 3.5).
_SHAPE_LOSS_WEIGHT = 0.1
# Sides of the center region and of the region around it as shares of the box's.
_CENTER_SHARE, _IGNORED_SHARE = 0.2, 0.5
# β of the smooth L1 of the bounded IoU loss (MMDetection).
_SMOOTH_L1_BETA = 0.2
# At test time, locations of a lower probability have no anchor (MMDetection).
_MIN_LOCATION_PROB = 0.01
# Clamp so that anchors do not overflow float32.
_MAX_LOG_SHAPE = 6.0
# Anchor shapes that stand for all when a location is matched with objects: RetinaNet's nine.
_SAMPLED_SIDE = 4
_SAMPLED_SCALES = (1, 2 ** (1 / 3), 2 ** (2 / 3))
_SAMPLED_RATIOS = (0.5, 1.0, 2.0)
_SAMPLED_MIN_IOU = 0.5


@LABEL_ASSIGNMENT_REGISTRY.register()
class GuidedAnchoring(MaxIoU):
    """Anchors whose locations and shapes are predicted, then max-IoU assignment on them.

    The head predicts, before all else, the probability that a location is an object's center and
    the shape of its anchor, of width 8 · stride · exp(dw) and height 8 · stride · exp(dh); the
    features for classes and boxes are adapted to the shape. Three parts make up the loss:

    * ``loss_location``, focal loss: on the level of an object's size the locations of its center
      region are positive, those around it have no loss, nor have both on the levels beside it.
    * ``loss_shape``, bounded IoU loss of width and height: a location is matched with the object
      that one of nine sampled anchors around it fits best, if the IoU is at least 0.5 or no other
      location has a greater one.
    * ``loss_cls`` and ``loss_box`` of :class:`MaxIoU`, with the predicted anchors; an object also
      has the location whose square anchor of 8 strides fits it best.

    Where the paper is silent, or here differs:

    * The anchors are for the labels and the features: boxes are predicted as distances, with GIoU
      loss, as with the other strategies here.
    * An object's level is the one whose stride is nearest to an eighth of √area, by logarithms.
      Its center region is at least a stride wide, so that small objects have one.
    * Both new losses are divided by the number of their positive locations, at least 1.
    * At test time a location with a probability below 0.01 detects nothing.
    """

    extra_outputs = (_LOCATION, _SHAPE)
    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}

    @configurable
    def __init__(self, *, negative_threshold: float = 0.5, positive_threshold: float = 0.5) -> None:
        """See :class:`MaxIoU`."""
        super().__init__(
            negative_threshold=negative_threshold, positive_threshold=positive_threshold
        )

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Predicted anchors with an IoU below this one are background.
        node.NEGATIVE_THRESHOLD = 0.5
        # Predicted anchors with an IoU from this one on are positive.
        node.POSITIVE_THRESHOLD = 0.5
        return node

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, statistics = super().losses(predictions, grid, gt)
        losses["loss_location"] = self.location_loss(predictions, grid, gt)
        losses["loss_shape"] = _SHAPE_LOSS_WEIGHT * self.shape_loss(predictions, grid, gt)
        return losses, statistics

    def scores(self, predictions: Predictions) -> Tensor:
        has_anchor = predictions.extra[_LOCATION.name].sigmoid() >= _MIN_LOCATION_PROB
        return super().scores(predictions) * has_anchor

    def candidates(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[Pairs, Tensor, Tensor]:
        sides = _anchor_sides(predictions, grid)
        locations = grid.locations.to(sides)
        anchors = torch.cat((locations - sides / 2, locations + sides / 2), dim=-1)
        best = anchor_bags(grid, gt, 1)
        parts = [best, *self._fitting(anchors, grid, gt)]
        # Each object's best location may be among those that fit it, too.
        pairs, _ = Pairs.merge(parts, grid)
        key = pairs.objects * grid.num_locations + pairs.locations
        is_first = torch.ones_like(key, dtype=torch.bool)
        is_first[1:] = key[1:] != key[:-1]
        pairs = pairs.select(is_first)
        boxes = anchors.flatten(0, 1).index_select(0, pairs.batch_locations)
        iou = paired_iou(boxes, gt.boxes.index_select(0, pairs.objects))
        return pairs, iou, pairs.locations == best.locations.index_select(0, pairs.objects)

    def _fitting(self, anchors: Tensor, grid: Grid, gt: GroundTruth) -> Iterator[Pairs]:
        """The pairs whose anchors, (N, R, 4), reach the lower threshold."""
        if len(gt.boxes) == 0:
            return
        low = self.negative_threshold
        areas = (anchors[..., 2:] - anchors[..., :2]).prod(dim=-1)
        # An anchor of another size than all objects reaches no threshold.
        wanted = (low * areas <= gt.areas.amax()) & (areas >= low * gt.areas.amin())
        for part in object_overlaps(anchors, gt, grid, wanted=wanted):
            row, column = (part.iou >= low).nonzero(as_tuple=True)
            yield part.pairs(row, column, gt, grid)

    def location_loss(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Tensor:
        """Focal loss of the location probabilities; a mean over workers in the denominator."""
        logits = predictions.extra[_LOCATION.name].squeeze(-1)
        is_center, is_ignored = center_regions(grid, gt)
        positive, negative = focal_terms(logits)
        negative = negative.masked_fill(is_ignored, 0)
        loss = torch.where(is_center, positive, negative).sum()
        return loss / mean_over_workers(is_center.sum().to(loss)).clamp(min=1)

    def shape_loss(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Tensor:
        """Bounded IoU loss of the anchors' sides (Eq. 6) at the matched locations."""
        pairs = matched_shapes(grid, gt)
        sides = _anchor_sides(predictions, grid).flatten(0, 1)
        sides = sides.index_select(0, pairs.batch_locations)
        gt_sides = (gt.boxes[:, 2:] - gt.boxes[:, :2]).index_select(0, pairs.objects)
        ratio = torch.minimum(sides, gt_sides) / torch.maximum(sides, gt_sides)
        loss = F.smooth_l1_loss(
            ratio, torch.ones_like(ratio), beta=_SMOOTH_L1_BETA, reduction="sum"
        )
        return loss / mean_over_workers(loss.new_full((), len(pairs))).clamp(min=1)


def _anchor_sides(predictions: Predictions, grid: Grid) -> Tensor:
    """(N, R, 2) width and height of the predicted anchors in pixels; differentiable."""
    log_shape = predictions.extra[_SHAPE.name].clamp(-_MAX_LOG_SHAPE, _MAX_LOG_SHAPE)
    return ANCHOR_SIDE * grid.location_strides.to(log_shape)[:, None] * log_shape.exp()


@torch.no_grad()
def center_regions(grid: Grid, gt: GroundTruth) -> tuple[Tensor, Tensor]:
    """(N, R) whether a location lies in a center region, and in a region around or beside one."""
    gt_boxes = gt.host_boxes
    sides = gt_boxes[:, 2:] - gt_boxes[:, :2]
    centers = ((gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2)[:, None]
    strides = sides.new_tensor(grid.strides)
    size = sides.prod(dim=1).sqrt()[:, None]
    level = (size / (ANCHOR_SIDE * strides)).log().abs().argmin(dim=1)
    steps = (torch.arange(len(strides)) - level[:, None]).abs()

    def mask(share: float, within: int) -> Tensor:
        reach = torch.maximum(share / 2 * sides[:, None], strides[:, None] / 2)
        # A region of negative size contains nothing.
        reach = torch.where((steps <= within)[..., None], reach, -1)
        boxes = torch.cat((centers - reach, centers + reach), dim=2)
        return inside_mask(boxes, gt.image_index, grid, len(gt.counts))

    return mask(_CENTER_SHARE, 0), mask(_IGNORED_SHARE, 1)


@torch.no_grad()
def matched_shapes(grid: Grid, gt: GroundTruth) -> Pairs:
    """The object whose shape each location learns, no two at one location."""
    fitting = inside_pairs(
        _fitting_boxes(gt.host_boxes, grid), gt.image_index, grid, fallback=False
    )
    # Overlap falls with the distance to the object's center in x and in y: the location with the
    # greatest IoU is the nearest one of some level.
    nearest = nearest_pairs(gt.boxes, gt.image_index, grid, 1)
    pairs, _ = Pairs.merge((fitting, nearest), grid)
    iou = _sampled_iou(pairs, grid, gt)
    is_best = segment_topk(iou, pairs.objects, 1, ties=nearest_first(pairs, grid, gt))
    is_match = is_best | (iou >= _SAMPLED_MIN_IOU)
    return pairs.select(select_winners(iou, pairs, grid, gt, where=is_match))


def _fitting_boxes(gt_boxes: Tensor, grid: Grid) -> Tensor:
    """(M, L, 4) boxes that hold the locations with a sampled anchor of a sufficient IoU.

    An IoU of 0.5 needs areas that differ by no more than twice, and a center inside the box.
    """
    areas = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)[:, None]
    least = (_SAMPLED_SIDE * gt_boxes.new_tensor(grid.strides)).square()
    greatest = least * _SAMPLED_SCALES[-1] ** 2
    can_fit = (least * _SAMPLED_MIN_IOU <= areas) & (greatest >= areas * _SAMPLED_MIN_IOU)
    centers = ((gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2)[:, None]
    nothing = torch.cat((centers + 1, centers - 1), dim=2)  # negative sides
    return torch.where(can_fit[..., None], gt_boxes[:, None], nothing)


def _sampled_iou(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P,) greatest IoU of the sampled anchors around each pair's location with its object."""
    boxes = gt.boxes.index_select(0, pairs.objects)
    locations = grid.locations.to(boxes).index_select(0, pairs.locations)
    side = _SAMPLED_SIDE * grid.location_strides.to(boxes).index_select(0, pairs.locations)
    greatest = torch.zeros_like(side)
    for scale, ratio in itertools.product(_SAMPLED_SCALES, _SAMPLED_RATIOS):
        half = scale / 2 * side
        reach = torch.stack((half / ratio**0.5, half * ratio**0.5), dim=1)
        anchors = torch.cat((locations - reach, locations + reach), dim=1)
        greatest = torch.maximum(greatest, paired_iou(anchors, boxes))
    return greatest
