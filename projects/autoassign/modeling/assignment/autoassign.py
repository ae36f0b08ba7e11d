"""AutoAssign: differentiable label assignment (https://arxiv.org/abs/2007.03496)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, at_least, one_of
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import class_logits_at, giou_loss, negative_focal_loss
from ..pairs import Pairs, inside_pair_chunks
from ..predictions import Predictions, decode
from .autoassign_pairs import PairTerms, PairValues, PairWeights, gather
from .geometry import pair_offsets
from .greatest_overlap import max_iou
from .interface import Explanation, LabelAssignment
from .segments import segment_logsumexp, segment_max, segment_sum
from .workers import mean_over_workers

__all__ = ["AutoAssign"]

# τ of Eq. 9.
_TEMPERATURE = 1 / 3
# ε of the min-max normalization of Eq. 11.
_EPS = 1e-12
# Least |σ|, in strides: at σ = 0 the prior has no value.
_MIN_SIGMA = 1e-2

# Pairs processed at a time: few enough for a CPU's cache, enough to fill a GPU.
_PAIRS_AT_ONCE_CPU = 2**16
_PAIRS_AT_ONCE_GPU = 2**22

_CENTER_WEIGHTINGS = ("none", "fixed", "shared", "category")
_CONFIDENCE_WEIGHTINGS = ("none", "classification", "localization", "joint")


@LABEL_ASSIGNMENT_REGISTRY.register()
class AutoAssign(LabelAssignment):
    """AutoAssign's losses, on the (object, location) pairs inside boxes.

    Two places depart from the original implementations. A location inside several objects of one
    class takes the greatest of their negative-weight terms, so that the best location of every
    object keeps zero negative weight in any order of the objects. An object without a location
    inside its box is learned at its nearest location.

    The weightings can be switched off one by one, for the ablations of the paper (Tables 2 to 4).
    Disabled weightings are 1 in w⁺ = C·G / ΣC·G, which is still normalized: with center and
    confidence weighting off, w⁺ is 1 / |S| for each of the |S| locations inside a box, and an
    object's loss is -log of its mean P. So the positive loss of an object does not
    depend on its size. The negative loss is divided by ΣG as always: with center weighting off
    that is the number of all pairs, many times the sum of a Gaussian, and the negatives weigh
    less accordingly. With negative weighting off too, this is the paper's baseline (17.7 AP
    published). The confidence that is left out of C stays in P, without which boxes or classes
    would not be learned.
    """

    head_options: ClassVar = {"OBJECTNESS": "implicit", "PRIOR_PROB": 0.02}
    no_weight_decay = frozenset({"mu", "sigma"})

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        location_weight: float = 5.0,
        pos_loss_weight: float = 0.25,
        neg_loss_weight: float = 0.75,
        center_loss_weight: float = 0.75,
        center_weighting: str = "category",
        confidence_weighting: str = "joint",
        negative_weighting: bool = True,
    ) -> None:
        """See :meth:`default_options`."""
        super().__init__()
        self.location_weight = location_weight
        self.pos_loss_weight = pos_loss_weight
        self.neg_loss_weight = neg_loss_weight
        self.center_loss_weight = center_loss_weight
        self.center_weighting = center_weighting
        self.confidence_weighting = confidence_weighting
        self.negative_weighting = negative_weighting
        self.num_classes = num_classes
        # Mean and standard deviation of the center prior, (K or 1, 2): x and y in strides.
        if self.learns_prior:
            num_priors = num_classes if center_weighting == "category" else 1
            self.mu = nn.Parameter(torch.zeros(num_priors, 2))
            self.sigma = nn.Parameter(torch.ones(num_priors, 2))
        else:
            self.register_buffer("mu", torch.zeros(1, 2), persistent=False)
            self.register_buffer("sigma", torch.ones(1, 2), persistent=False)

    @property
    def learns_prior(self) -> bool:
        """Whether μ and σ are parameters."""
        return self.center_weighting in ("shared", "category")

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # λ of the location confidence exp(-λ · GIoU loss).
        node.LOCATION_WEIGHT = 5.0
        node.POS_LOSS_WEIGHT = 0.25
        node.NEG_LOSS_WEIGHT = 0.75
        node.CENTER_LOSS_WEIGHT = 0.75
        # The center prior G: "none" (1), "fixed" (a Gaussian with μ = 0, σ = 1), or learned:
        # "shared" by all classes or for each "category". Only a learned G has a center loss.
        node.CENTER_WEIGHTING = "category"
        # What the confidence weight C is made of: "none" (C = 1), the "classification" or the
        # "localization" confidence alone, or their "joint" product.
        node.CONFIDENCE_WEIGHTING = "joint"
        # False: w⁻ is 1 everywhere.
        node.NEGATIVE_WEIGHTING = True
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        weights = ("LOCATION_WEIGHT", "POS_LOSS_WEIGHT", "NEG_LOSS_WEIGHT", "CENTER_LOSS_WEIGHT")
        return {
            **{name: at_least(0) for name in weights},
            "CENTER_WEIGHTING": one_of(*_CENTER_WEIGHTINGS),
            "CONFIDENCE_WEIGHTING": one_of(*_CONFIDENCE_WEIGHTINGS),
        }

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {**super().from_config(cfg), "num_classes": cfg.MODEL.POINT_HEAD.NUM_CLASSES}

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_pos``, ``loss_neg``, ``loss_center`` if the prior is learned; statistics."""
        at_once = _PAIRS_AT_ONCE_CPU if gt.boxes.device.type == "cpu" else _PAIRS_AT_ONCE_GPU
        chunks = inside_pair_chunks(gt.host_boxes, gt.image_index, grid, max_pairs=at_once)
        positive, center_sum, greatest = PairTerms.apply(
            self.weigh,
            chunks,
            grid,
            gt,
            predictions.cls_logits,
            predictions.obj_logits,
            predictions.ltrb,
            *self._object_priors(gt),
        )
        center_sum = segment_sum(center_sum, gt.image_index, len(gt.counts))
        counts = gt.objects_per_image.to(center_sum)
        num_objects, prior_sum = mean_over_workers(torch.stack((counts.sum(), center_sum.sum())))
        weights = self.negative_weights(predictions, grid, gt, [pairs for _, pairs in chunks])
        negative = negative_focal_loss(predictions.cls_logits, predictions.obj_logits, weights)
        losses = {
            "loss_pos": self.pos_loss_weight * positive / num_objects.clamp(min=1),
            "loss_neg": self.neg_loss_weight * negative / prior_sum.clamp(min=1),
        }
        if self.learns_prior:
            eps = torch.finfo(center_sum.dtype).eps
            center_ratio = counts / center_sum.clamp(min=eps)
            losses["loss_center"] = self.center_loss_weight * center_ratio.mean()
        return losses, self._statistics(chunks, greatest, gt)

    def pair_weights(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> PairWeights:
        """Center prior, confidence and positive weight of every pair, without gradient."""
        ((objects, pairs),) = inside_pair_chunks(gt.host_boxes, gt.image_index, grid)
        with torch.no_grad():
            values = gather(predictions, gt, objects, pairs, *self._object_priors(gt))
            log_center, log_joint, log_confidence = self.weigh(values, objects, pairs, grid, gt)
            # w⁺ = CG / ΣCG, a softmax over each object's pairs of log CG: finite for every G.
            log_weight = log_confidence + log_center
            log_total = segment_logsumexp(log_weight, pairs.objects, len(gt.boxes))
        return PairWeights(
            pairs=pairs,
            log_center=log_center,
            log_joint=log_joint,
            log_confidence=log_confidence,
            log_positive=log_weight - log_total.index_select(0, pairs.objects),
        )

    def weigh(
        self, values: PairValues, objects: slice, pairs: Pairs, grid: Grid, gt: GroundTruth
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(P,) log G, log P and log C of the pairs of some objects; differentiable.

        See :class:`PairWeights`. The gradient is that with respect to ``values``.
        """
        log_center = self._log_center(values, pairs.objects - objects.start, pairs, grid, gt)
        log_cls = F.logsigmoid(values.cls_logits)  # Eq. 3
        if values.log_objectness is not None:
            log_cls = log_cls + values.log_objectness
        boxes = decode(values.ltrb, grid.locations.index_select(0, pairs.locations))
        box_error = giou_loss(boxes, gt.boxes.index_select(0, pairs.objects))
        log_loc = -self.location_weight * box_error  # Eq. 4-8
        log_confidence = self._log_confidence_weight(log_cls, log_loc)
        return log_center, log_cls + log_loc, log_confidence

    def _object_priors(self, gt: GroundTruth) -> tuple[Tensor, Tensor]:
        """(M, 2) μ and σ of the class of each object."""
        mu = self.mu.expand(self.num_classes, 2).index_select(0, gt.classes)
        sigma = self.sigma.expand(self.num_classes, 2).index_select(0, gt.classes)
        return mu, sigma

    def _log_center(
        self, values: PairValues, segments: Tensor, pairs: Pairs, grid: Grid, gt: GroundTruth
    ) -> Tensor:
        """(P,) log of the Gaussian center prior of the object's class (Eq. 2)."""
        offset = pair_offsets(pairs, grid, gt)
        if self.center_weighting == "none":
            return offset.new_zeros(len(pairs))
        precision = 0.5 / values.sigma.square().clamp(min=_MIN_SIGMA**2)
        distance = (offset - values.mu.index_select(0, segments)).square()
        return -(distance * precision.index_select(0, segments)).sum(dim=1)

    def _log_confidence_weight(self, log_cls: Tensor, log_loc: Tensor) -> Tensor:
        """(P,) log C = confidence / τ (Eq. 9)."""
        if self.confidence_weighting == "none":
            return torch.zeros_like(log_cls)
        log_confidence = {
            "classification": log_cls,
            "localization": log_loc,
            "joint": log_cls + log_loc,
        }[self.confidence_weighting]
        return log_confidence.exp() / _TEMPERATURE

    @torch.no_grad()
    def negative_weights(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth, chunks: Sequence[Pairs]
    ) -> Tensor | None:
        """(N, R, K) w⁻ of Eq. 11: 1, but less where the predicted box fits an object of the class.

        Of several objects of one class around a location the least weight counts. ``chunks`` are
        all pairs inside boxes, those of an object in one chunk. None, for 1 everywhere, where
        negative weighting is off.
        """
        if not self.negative_weighting:
            return None
        num_images, num_locations, num_classes = predictions.cls_logits.shape
        wanted = torch.zeros(num_images * num_locations, dtype=torch.bool, device=gt.boxes.device)
        for pairs in chunks:
            wanted[pairs.batch_locations] = True
        boxes = decode(predictions.ltrb, grid.locations)
        iou = max_iou(boxes, wanted.view(num_images, num_locations), gt, grid).flatten()
        score = 1 / (1 - iou).clamp(min=_EPS)
        weights = score.new_ones(num_images * num_classes * num_locations)
        for pairs in chunks:
            values = score.index_select(0, pairs.batch_locations)
            greatest = segment_max(values, pairs.objects, len(gt.boxes))
            least = -segment_max(-values, pairs.objects, len(gt.boxes))
            span = (greatest - least + _EPS).index_select(0, pairs.objects)
            weight = 1 - (values - least.index_select(0, pairs.objects) + _EPS) / span
            weights.scatter_reduce_(0, predictions.logit_index(gt, pairs), weight, "amin")
        return weights.view(num_images, num_classes, num_locations).transpose(1, 2)

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """G, C, w⁺ and w⁻ of every pair (Eq. 2, 9, 10, 11)."""
        weights = self.pair_weights(predictions, grid, gt)
        pairs = weights.pairs
        negative = torch.ones_like(weights.log_center)
        dense = self.negative_weights(predictions, grid, gt, [pairs])
        if dense is not None:
            negative = class_logits_at(dense, predictions.logit_index(gt, pairs))
        maps = {
            "center weight": weights.log_center.exp(),
            "confidence weight": weights.log_confidence.exp(),
            "positive weight": weights.log_positive.exp(),
            "negative weight": negative,
        }
        return Explanation(pairs=pairs, maps=maps, primary="positive weight")

    @torch.no_grad()
    def _statistics(
        self, chunks: Sequence[tuple[slice, Pairs]], greatest: Tensor, gt: GroundTruth
    ) -> dict[str, Tensor]:
        num_pairs = sum(len(pairs) for _, pairs in chunks)
        statistics = {
            "num_objects": gt.objects_per_image.sum(),
            "num_pairs": gt.boxes.new_full((), num_pairs),
            "num_objects_without_inside_location": chunks[0][1].is_fallback.sum(),
            "mean_greatest_positive_weight": greatest.sum() / max(1, len(gt.boxes)),
        }
        if self.learns_prior:
            statistics |= {
                "mu_min": self.mu.min(),
                "mu_max": self.mu.max(),
                "sigma_min": self.sigma.min(),
                "sigma_max": self.sigma.max(),
            }
        return statistics
