"""AutoAssign: differentiable label assignment (https://arxiv.org/abs/2007.03496)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from ..grid import Grid, Pairs, inside_pairs
from ..losses import negative_focal_loss
from .base import (
    LABEL_ASSIGNMENT_REGISTRY,
    LabelAssignment,
    mean_over_workers,
    segment_logsumexp,
    segment_max,
    segment_sum,
)
from .max_iou import max_iou
from .structures import GroundTruth, Predictions

__all__ = ["AutoAssign", "PairWeights"]

# τ of Eq. 9.
_TEMPERATURE = 1 / 3
# ε of the min-max normalisation of Eq. 11.
_EPS = 1e-12
# Least |σ|, in strides: at σ = 0 the prior has no value.
_MIN_SIGMA = 1e-2


@dataclass(frozen=True)
class PairWeights:
    """What AutoAssign decides about the P pairs of a batch; every tensor is (P,).

    Attributes:
        pairs: which object and location each entry speaks of.
        log_center: log G, the center prior (Eq. 2).
        log_joint: log P, the joint confidence of class and location (Eq. 7).
        log_positive: log w⁺, the positive weight (Eq. 10); w⁺ sums to 1 over each object.
    """

    pairs: Pairs
    log_center: Tensor
    log_joint: Tensor
    log_positive: Tensor

    @property
    def log_confidence(self) -> Tensor:
        """log C, the confidence weight (Eq. 9)."""
        return self.log_joint.exp() / _TEMPERATURE


@LABEL_ASSIGNMENT_REGISTRY.register()
class AutoAssign(LabelAssignment):
    """AutoAssign's losses, on the (object, location) pairs inside boxes.

    Two places depart from the original implementations. A location inside several objects of one
    class takes the greatest of their negative-weight terms, so that the best location of every
    object keeps zero negative weight whatever the order of objects. An object without a location
    inside its box is learned at its nearest location.
    """

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        location_weight: float = 5.0,
        pos_loss_weight: float = 0.25,
        neg_loss_weight: float = 0.75,
        center_loss_weight: float = 0.75,
    ) -> None:
        """
        Args:
            num_classes: K.
            location_weight: λ of the location confidence exp(-λ · GIoU loss).
            pos_loss_weight: factor of the positive loss.
            neg_loss_weight: factor of the negative loss.
            center_loss_weight: factor of the center loss.
        """
        super().__init__()
        self.location_weight = location_weight
        self.pos_loss_weight = pos_loss_weight
        self.neg_loss_weight = neg_loss_weight
        self.center_loss_weight = center_loss_weight
        # Mean and standard deviation of the center prior, (K, 2): x and y in strides.
        self.mu = nn.Parameter(torch.zeros(num_classes, 2))
        self.sigma = nn.Parameter(torch.ones(num_classes, 2))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        options = cfg.MODEL.LABEL_ASSIGNMENT.AUTOASSIGN
        return {
            "num_classes": cfg.MODEL.POINT_HEAD.NUM_CLASSES,
            "location_weight": options.LOCATION_WEIGHT,
            "pos_loss_weight": options.POS_LOSS_WEIGHT,
            "neg_loss_weight": options.NEG_LOSS_WEIGHT,
            "center_loss_weight": options.CENTER_LOSS_WEIGHT,
        }

    def forward(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_pos``, ``loss_neg``, ``loss_center``, and what the log shows of the assignment."""
        weights = self.pair_weights(predictions, grid, gt)
        objects = weights.pairs.objects
        center = weights.log_center.exp()
        center_sum = segment_sum(center, objects, len(gt.boxes))
        center_sum = segment_sum(center_sum, gt.image_index, len(gt.counts))
        counts = gt.objects_per_image.to(center_sum)
        num_objects, prior_sum = mean_over_workers(torch.stack((counts.sum(), center_sum.sum())))

        # -log Σ w⁺P of each object
        positive = -segment_logsumexp(
            weights.log_positive + weights.log_joint, objects, len(gt.boxes)
        )
        negative = negative_focal_loss(
            predictions.cls_logits,
            predictions.obj_logits,
            self.negative_weights(predictions, grid, gt, weights.pairs),
        )
        eps = torch.finfo(center_sum.dtype).eps
        center_ratio = counts / center_sum.clamp(min=eps)
        losses = {
            "loss_pos": self.pos_loss_weight * positive.sum() / num_objects.clamp(min=1),
            "loss_neg": self.neg_loss_weight * negative / prior_sum.clamp(min=1),
            "loss_center": self.center_loss_weight * center_ratio.mean(),
        }
        return losses, self._statistics(weights, gt)

    def pair_weights(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> PairWeights:
        """Center prior, confidence and positive weight of every pair, differentiable."""
        pairs = inside_pairs(gt.boxes, gt.image_index, grid)
        log_center = self._log_center(grid, gt, pairs)
        log_joint = self._log_joint(predictions, grid, gt, pairs)
        # w⁺ = CG / ΣCG, a softmax over each object's pairs of log CG: finite for every G.
        log_weight = log_joint.exp() / _TEMPERATURE + log_center
        log_total = segment_logsumexp(log_weight, pairs.objects, len(gt.boxes))
        return PairWeights(
            pairs=pairs,
            log_center=log_center,
            log_joint=log_joint,
            log_positive=log_weight - log_total.index_select(0, pairs.objects),
        )

    def _log_center(self, grid: Grid, gt: GroundTruth, pairs: Pairs) -> Tensor:
        """(P,) log of the Gaussian center prior of the object's class (Eq. 2)."""
        centers = (gt.boxes[:, :2] + gt.boxes[:, 2:]) / 2
        locations = grid.locations.index_select(0, pairs.locations)
        strides = grid.location_strides.index_select(0, pairs.locations)
        offset = (locations - centers.index_select(0, pairs.objects)) / strides[:, None]
        mu = self.mu.index_select(0, gt.classes)
        precision = 0.5 / self.sigma.index_select(0, gt.classes).square().clamp(min=_MIN_SIGMA**2)
        distance = (offset - mu.index_select(0, pairs.objects)).square()
        return -(distance * precision.index_select(0, pairs.objects)).sum(dim=1)

    def _log_joint(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth, pairs: Pairs
    ) -> Tensor:
        """(P,) log of class confidence × objectness × location confidence (Eq. 3 to 8)."""
        ltrb = predictions.ltrb.flatten(0, 1).index_select(0, pairs.batch_locations)
        boxes = decode(ltrb, grid.locations.index_select(0, pairs.locations))
        giou_loss = generalized_box_iou_loss(
            boxes, gt.boxes.index_select(0, pairs.objects), eps=torch.finfo(boxes.dtype).eps
        )
        cls_logits = predictions.cls_logits.transpose(1, 2).flatten()
        cls_logits = cls_logits.index_select(0, self._class_locations(predictions, gt, pairs))
        log_joint = F.logsigmoid(cls_logits) - self.location_weight * giou_loss
        if predictions.obj_logits is not None:
            obj_logits = predictions.obj_logits.flatten().index_select(0, pairs.batch_locations)
            log_joint = log_joint + F.logsigmoid(obj_logits)
        return log_joint

    @torch.no_grad()
    def negative_weights(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth, pairs: Pairs
    ) -> Tensor:
        """(N, R, K) w⁻ of Eq. 11: 1, but less where the predicted box fits an object of the class.

        Of several objects of one class around a location the least weight counts.
        """
        num_images, num_locations, num_classes = predictions.cls_logits.shape
        wanted = torch.zeros(num_images * num_locations, dtype=torch.bool, device=gt.boxes.device)
        wanted[pairs.batch_locations] = True
        boxes = decode(predictions.ltrb, grid.locations)
        iou = max_iou(boxes, wanted.view(num_images, num_locations), gt, grid)
        iou = iou.flatten().index_select(0, pairs.batch_locations)
        score = 1 / (1 - iou).clamp(min=_EPS)
        greatest = segment_max(score, pairs.objects, len(gt.boxes))
        least = -segment_max(-score, pairs.objects, len(gt.boxes))
        span = (greatest - least + _EPS).index_select(0, pairs.objects)
        weight = 1 - (score - least.index_select(0, pairs.objects) + _EPS) / span

        weights = weight.new_ones(num_images * num_classes * num_locations)
        index = self._class_locations(predictions, gt, pairs)
        weights.scatter_reduce_(0, index, weight, "amin")
        return weights.view(num_images, num_classes, num_locations).transpose(1, 2)

    @staticmethod
    def _class_locations(predictions: Predictions, gt: GroundTruth, pairs: Pairs) -> Tensor:
        """(P,) index of each pair's class at its location among (N, K, R) class logits."""
        _, num_locations, num_classes = predictions.cls_logits.shape
        # image · K · R + class · R + location, the image · R being in batch_locations
        shift = (gt.image_index * (num_classes - 1) + gt.classes) * num_locations
        return shift.index_select(0, pairs.objects) + pairs.batch_locations

    @torch.no_grad()
    def _statistics(self, weights: PairWeights, gt: GroundTruth) -> dict[str, Tensor]:
        greatest = segment_max(weights.log_positive, weights.pairs.objects, len(gt.boxes)).exp()
        return {
            "num_objects": gt.objects_per_image.sum(),
            "num_pairs": torch.tensor(len(weights.pairs.objects), device=gt.boxes.device),
            "num_objects_without_inside_location": weights.pairs.is_fallback.sum(),
            "mean_greatest_positive_weight": greatest.sum() / max(1, len(gt.boxes)),
            "mu_min": self.mu.min(),
            "mu_max": self.mu.max(),
            "sigma_min": self.sigma.min(),
            "sigma_max": self.sigma.max(),
        }


def decode(ltrb: Tensor, locations: Tensor) -> Tensor:
    """Boxes (..., 4), xyxy in pixels, of (..., 4) distances and (..., 2) locations in pixels."""
    return torch.cat((locations - ltrb[..., :2], locations + ltrb[..., 2:]), dim=-1)
