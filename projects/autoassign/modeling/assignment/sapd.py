"""SAPD: soft anchor-point detection (https://arxiv.org/abs/1911.12448)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, at_least, between, inside
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import FOCAL_ALPHA, focal_terms, iou_log_loss, negative_focal_loss
from ..pairs import Pairs
from ..predictions import Predictions
from .cores import core_pairs, level_losses, location_losses, with_least_distances
from .geometry import centerness, pair_levels, pair_ltrb, select_winners
from .hard import positive_statistics
from .interface import Explanation, LabelAssignment
from .level_selection import LevelSelection
from .workers import mean_over_workers

__all__ = ["SAPD"]


@dataclass(frozen=True)
class SoftAssignment:
    """What SAPD decides about the P pairs of cores and boxes; nothing carries a gradient.

    Attributes:
        pairs: each object with the locations of its core.
        losses: (P,) losses of the locations if they learned the object.
        center_weight: (P,) generalised center-ness of the location in the object's box.
        level_weight: (P,) weight of the object at the location's level; 0 on levels that do not
            learn it.
        winners: (Q,) ascending indices of the pairs that are learned, no two at one location.
        best_level: (M,) level of the least loss, -1 for objects without a pair.
    """

    pairs: Pairs
    losses: Tensor
    center_weight: Tensor
    level_weight: Tensor
    winners: Tensor
    best_level: Tensor

    @property
    def weights(self) -> Tensor:
        """(Q,) weights of the losses of the winners."""
        return (self.center_weight * self.level_weight)[self.winners]


@LABEL_ASSIGNMENT_REGISTRY.register()
class SAPD(LabelAssignment):
    """SAPD's soft-weighted anchor points and soft-selected pyramid levels.

    The locations of an object are those of its core, the box scaled to 0.2. Its loss at a level
    is the mean of focal loss + -log IoU over its locations there. It is learned at the three
    levels of least loss, each weighted by the probability that a small network gives the level
    from the object's pooled features; cross-entropy teaches this network the level of least loss.
    In the first half of the training an object is learned at the level of least loss alone. A
    location that several objects of its level claim learns the smallest.

    The loss of a positive location, class and box, is multiplied by the level's weight and by
    (min(l, r) / max(l, r) · min(t, b) / max(t, b))^η; the sum over all locations is divided by
    the sum of the weights of the positive ones.

    Where the paper is silent:

    * A location belongs to a core as in :class:`FSAF`, by its cell, as most cores of small
      objects contain no location.
    * Locations without center-ness weights give the loss of a level; on levels that do not learn
      an object its locations are background.
    * The probabilities are not normalized over the three levels, and no gradient flows through
      the weights. The cross-entropy is a mean over the objects, teaches the network from the
      first iteration on, and reaches the features.
    * The sum of weights that losses are divided by is at least 1.
    """

    needs_features = True
    head_options: ClassVar = {"LOCATION_OFFSET": 0.5, "OBJECTNESS": "none", "PRIOR_PROB": 0.01}

    @configurable
    def __init__(
        self,
        *,
        num_levels: int,
        feature_channels: int,
        hard_selection_iters: int,
        core_scale: float = 0.2,
        center_power: float = 1.0,
        topk_levels: int = 3,
        selection_loss_weight: float = 0.1,
    ) -> None:
        """See :meth:`default_options`; ``HARD_SELECTION_SHARE`` is given in iterations."""
        super().__init__()
        self.core_scale = core_scale
        self.center_power = center_power
        self.topk_levels = topk_levels
        self.selection_loss_weight = selection_loss_weight
        self.hard_selection_iters = hard_selection_iters
        self.selection = LevelSelection(num_levels=num_levels, feature_channels=feature_channels)

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Side of the core, whose locations are positive, as a share of the box's.
        node.CORE_SCALE = 0.2
        # η, the power of center-ness that weights locations; 0: one weight for all.
        node.CENTER_POWER = 1.0
        # Levels at which an object is learned.
        node.TOPK_LEVELS = 3
        # Factor of the loss of the network that selects levels.
        node.SELECTION_LOSS_WEIGHT = 0.1
        # Share of SOLVER.MAX_ITER in which an object is learned at one level alone.
        node.HARD_SELECTION_SHARE = 0.5
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {
            "CORE_SCALE": inside(0, 1),
            "CENTER_POWER": at_least(0),
            "TOPK_LEVELS": at_least(1),
            "SELECTION_LOSS_WEIGHT": at_least(0),
            "HARD_SELECTION_SHARE": between(0, 1),
        }

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        options = super().from_config(cfg)
        hard_selection_share = options.pop("hard_selection_share")
        return {
            **options,
            "num_levels": len(cfg.MODEL.POINT_HEAD.IN_FEATURES),
            "feature_channels": cfg.MODEL.FPN.OUT_CHANNELS,
            "hard_selection_iters": int(hard_selection_share * cfg.SOLVER.MAX_ITER),
        }

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_box``, ``loss_selection``; statistics."""
        predictions = with_least_distances(predictions, grid)
        level_logits = self.selection(predictions.features, grid, gt)
        is_hard = predictions.iteration < self.hard_selection_iters
        soft = self.assign(predictions, grid, gt, None if is_hard else level_logits)
        positives, weights = soft.pairs.select(soft.winners), soft.weights

        is_learnable = soft.best_level >= 0
        sums = torch.stack((weights.sum(), is_learnable.sum().to(weights)))
        weight_sum, num_learnable = mean_over_workers(sums).clamp(min=1)
        box_error = iou_log_loss(
            predictions.pair_boxes(grid, positives), gt.boxes.index_select(0, positives.objects)
        )
        selection_error = F.cross_entropy(
            level_logits, soft.best_level, ignore_index=-1, reduction="sum"
        )
        losses = {
            "loss_cls": _weighted_focal_loss(predictions, gt, positives, weights) / weight_sum,
            "loss_box": (weights * box_error).sum() / weight_sum,
            "loss_selection": self.selection_loss_weight * selection_error / num_learnable,
        }
        is_selected = level_logits.argmax(dim=1) == soft.best_level
        statistics = {
            **positive_statistics(soft.pairs, positives, gt),
            "selection_accuracy": is_selected.sum() / is_learnable.sum().clamp(min=1),
        }
        return losses, statistics

    @torch.no_grad()
    def assign(
        self,
        predictions: Predictions,
        grid: Grid,
        gt: GroundTruth,
        level_logits: Tensor | None,
    ) -> SoftAssignment:
        """Which locations learn which objects, and how much.

        The predicted boxes have areas. ``level_logits`` are the (M, L) of the selection network;
        None for hard selection.
        """
        pairs, _ = core_pairs(grid, gt, self.core_scale)
        ltrb = pair_ltrb(pairs, grid, gt)
        is_inside = (ltrb.amin(dim=1) > 0).nonzero().squeeze(1)
        pairs, ltrb = pairs.select(is_inside), ltrb[is_inside]
        losses = location_losses(pairs, predictions, grid, gt)
        means = level_losses(losses, pairs, grid, gt)  # (M, L)
        has_pairs = means.isfinite()
        if level_logits is None:
            k, weights = 1, torch.ones_like(means)
        else:
            k, weights = min(self.topk_levels, means.shape[1]), level_logits.softmax(dim=1)
        # Stable, so that of equal losses the finest level counts as less.
        is_chosen = means.argsort(dim=1, stable=True).argsort(dim=1) < k
        weights = weights.to(losses).masked_fill(~(is_chosen & has_pairs), 0)
        level_weight = weights[pairs.objects, pair_levels(pairs, grid)]
        areas = gt.areas.index_select(0, pairs.objects)
        return SoftAssignment(
            pairs=pairs,
            losses=losses,
            # geometry.centerness is the square root of what SAPD's power applies to.
            center_weight=centerness(ltrb) ** (2 * self.center_power),
            level_weight=level_weight,
            winners=select_winners(-areas, pairs, grid, gt, where=level_weight != 0),
            best_level=_best_level(means, has_pairs),
        )

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """Losses, both weights and their product at the winners, by soft selection."""
        predictions = with_least_distances(predictions, grid)
        level_logits = self.selection(predictions.features, grid, gt)
        soft = self.assign(predictions, grid, gt, level_logits)
        weight = torch.zeros_like(soft.losses)
        weight[soft.winners] = soft.weights
        maps = {
            "loss": soft.losses,
            "center weight": soft.center_weight,
            "level weight": soft.level_weight,
            "weight": weight,
        }
        return Explanation(pairs=soft.pairs, maps=maps, primary="weight")


def _best_level(means: Tensor, has_pairs: Tensor) -> Tensor:
    """(M,) level of the least of (M, L) losses, -1 where the object has none."""
    if len(means) == 0:
        return means.new_zeros(0, dtype=torch.long)
    return means.argmin(dim=1).masked_fill(~has_pairs.any(dim=1), -1)


def _weighted_focal_loss(
    predictions: Predictions, gt: GroundTruth, positives: Pairs, weights: Tensor
) -> Tensor:
    """Sum of the focal loss of all classes, weighted at the positives, elsewhere by 1."""
    is_background = torch.ones_like(predictions.cls_logits[..., 0])
    is_background.view(-1)[positives.batch_locations] = 0
    background = negative_focal_loss(
        predictions.cls_logits,
        predictions.obj_logits,
        is_background[..., None].expand_as(predictions.cls_logits),
    )
    positive, negative = focal_terms(predictions.location_logits(positives.batch_locations))
    own = gt.classes.index_select(0, positives.objects)[:, None]
    terms = negative.sum(dim=1) + (positive.gather(1, own) - negative.gather(1, own)).squeeze(1)
    return (1 - FOCAL_ALPHA) * background + (weights * terms).sum()
