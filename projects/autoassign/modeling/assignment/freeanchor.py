"""FreeAnchor: learning to match anchors (https://arxiv.org/abs/1909.02466)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, at_least, inside
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import class_logits_at, negative_focal_loss
from ..pairs import Pairs
from ..predictions import Predictions, decode
from .anchor_bags import anchor_bags
from .geometry import pair_anchors
from .interface import Explanation, LabelAssignment
from .segments import segment_logsumexp, segment_max
from .tiles import object_overlaps
from .workers import mean_over_workers

__all__ = ["FreeAnchor"]

# What the shifts and the log scales of a box relative to its anchor are divided by.
_SHIFT_SCALE, _SIZE_SCALE = 0.1, 0.2
# β of the smooth L1 distance of two boxes, and its factor in the location confidence.
_SMOOTH_L1_BETA = 0.11
_LOCATION_WEIGHT = 0.75
# Least side of a predicted box as a share of its anchor's: smaller ones have no logarithm.
_MIN_RATIO = 1e-3
# Least 1 - P.
_EPS = 1e-12


@LABEL_ASSIGNMENT_REGISTRY.register()
class FreeAnchor(LabelAssignment):
    """FreeAnchor's losses: an object is matched with the best of a bag of anchors.

    The bag of an object has the 50 anchors (squares of 8 strides) of greatest IoU with it, over
    all levels; of equal IoUs the nearer to the object's center. The positive loss of an object is
    -log Σ w P over its bag, P being class probability times location confidence and w the
    mean-max weights 1 / (1 - P), normalized: a mean at first, later the maximum. The negative
    loss is a focal loss, with each probability multiplied by that of being no match: 1 - P{j, c},
    from how the IoU of the predicted box with an object compares with the object's greatest.

    The positive loss is computed from logarithms, so that it has a gradient however small P is.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.02}

    @configurable
    def __init__(
        self,
        *,
        bag_size: int = 50,
        box_iou_threshold: float = 0.6,
        pos_loss_weight: float = 0.5,
        neg_loss_weight: float = 0.5,
    ) -> None:
        """See :meth:`default_options`."""
        super().__init__()
        self.bag_size = bag_size
        self.box_iou_threshold = box_iou_threshold
        self.pos_loss_weight = pos_loss_weight
        self.neg_loss_weight = neg_loss_weight

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Anchors in the bag of an object.
        node.BAG_SIZE = 50
        # IoU of a predicted box with an object above which it is less of a negative.
        node.BOX_IOU_THRESHOLD = 0.6
        node.POS_LOSS_WEIGHT = 0.5
        node.NEG_LOSS_WEIGHT = 0.5
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {
            "BAG_SIZE": at_least(1),
            "BOX_IOU_THRESHOLD": inside(0, 1),
            "POS_LOSS_WEIGHT": at_least(0),
            "NEG_LOSS_WEIGHT": at_least(0),
        }

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_pos``, ``loss_neg``; statistics."""
        pairs, log_joint, log_weight = self.bag_weights(predictions, grid, gt)
        positive = -segment_logsumexp(log_weight + log_joint, pairs.objects, len(gt.boxes))
        negative = negative_focal_loss(
            predictions.cls_logits,
            predictions.obj_logits,
            self.negative_weights(predictions, grid, gt),
        )
        num_objects = gt.objects_per_image.sum()
        divisor = mean_over_workers(num_objects.to(gt.boxes)).clamp(min=1)
        losses = {
            "loss_pos": self.pos_loss_weight * positive.sum() / divisor,
            "loss_neg": self.neg_loss_weight * negative / (self.bag_size * divisor),
        }
        greatest = segment_max(log_joint, pairs.objects, len(gt.boxes)).exp()
        statistics = {
            "num_objects": num_objects,
            "num_pairs": gt.boxes.new_full((), len(pairs)),
            "mean_greatest_joint_confidence": greatest.sum() / max(1, len(gt.boxes)),
        }
        return losses, statistics

    def bag_weights(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[Pairs, Tensor, Tensor]:
        """The P pairs of the bags, their (P,) log P and (P,) log w; differentiable."""
        pairs = anchor_bags(grid, gt, self.bag_size)
        anchors = pair_anchors(pairs, grid, gt)
        error = F.smooth_l1_loss(
            _deltas(predictions.pair_boxes(grid, pairs), anchors),
            _deltas(gt.boxes.index_select(0, pairs.objects), anchors),
            beta=_SMOOTH_L1_BETA,
            reduction="none",
        )
        log_location = -_LOCATION_WEIGHT * error.sum(dim=1)
        log_joint = F.logsigmoid(predictions.pair_logits(gt, pairs)) + log_location
        # w = 1 / (1 - P), then normalized
        log_weight = -(-torch.expm1(log_joint)).clamp(min=_EPS).log()
        log_total = segment_logsumexp(log_weight, pairs.objects, len(gt.boxes))
        return pairs, log_joint, log_weight - log_total.index_select(0, pairs.objects)

    @torch.no_grad()
    def negative_weights(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Tensor:
        """(N, R, K) 1 - P{j, c}: less than 1 where the predicted box fits an object of class c.

        Of several objects of one class the least counts.
        """
        num_images, num_locations, num_classes = predictions.cls_logits.shape
        weights = predictions.cls_logits.new_ones(num_images * num_classes * num_locations)
        threshold = self.box_iou_threshold
        for part in object_overlaps(decode(predictions.ltrb, grid.locations), gt, grid):
            row, column = (part.iou > threshold).nonzero(as_tuple=True)
            pairs = part.pairs(row, column, gt, grid)
            greatest = part.iou.amax(dim=1)[row]
            match = (part.iou[row, column] - threshold) / (greatest - threshold)
            index = predictions.logit_index(gt, pairs)
            weights.scatter_reduce_(0, index, 1 - match, "amin")
        return weights.view(num_images, num_classes, num_locations).transpose(1, 2)

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """P, w and 1 - P{j, c} of every pair of the bags."""
        pairs, log_joint, log_weight = self.bag_weights(predictions, grid, gt)
        negative = self.negative_weights(predictions, grid, gt)
        maps = {
            "joint confidence": log_joint.exp(),
            "positive weight": log_weight.exp(),
            "negative weight": class_logits_at(negative, predictions.logit_index(gt, pairs)),
        }
        return Explanation(pairs=pairs, maps=maps, primary="positive weight")


def _deltas(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(P, 4) shifts and log scales of boxes relative to the anchors of the same rows."""
    size, anchor_size = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    ratio = (size / anchor_size).clamp(min=_MIN_RATIO)
    return torch.cat((shift / anchor_size / _SHIFT_SCALE, ratio.log() / _SIZE_SCALE), dim=1)
