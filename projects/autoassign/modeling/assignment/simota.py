"""SimOTA, YOLOX's assignment by cost and dynamic k (https://arxiv.org/abs/2107.08430)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, above, at_least, one_of
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import background_cost, paired_iou
from ..pairs import Pairs, cross_pairs, inside_mask
from ..predictions import Predictions, decode
from .geometry import (
    candidate_pairs,
    center_distance,
    nearest_first,
    pair_ltrb,
    select_winners,
)
from .hard import BOX_LOSSES, Assignment, HardAssignment
from .segments import segment_sum, segment_topk
from .tiles import object_overlaps

__all__ = ["SimOTA"]

# Added to the IoU before its logarithm (MMDetection).
_EPS = 1e-7


@dataclass(frozen=True)
class _Scene:
    """A batch with what the cost of any of its pairs is made of."""

    predictions: Predictions
    grid: Grid
    gt: GroundTruth
    # (N·R,) Σ_c BCE(p_c, 0) of each location
    background_cost: Tensor
    # (N, R) locations inside a box or a center square of their image
    is_candidate: Tensor
    iou_weight: float

    def cost(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(P,) costs and IoUs of the predicted boxes."""
        boxes = self.predictions.pair_boxes(self.grid, pairs)
        iou = paired_iou(boxes, self.gt.boxes.index_select(0, pairs.objects))
        # BCE(p, 1) = BCE(p, 0) - logit(p)
        class_cost = self.background_cost.index_select(
            0, pairs.batch_locations
        ) - self.predictions.pair_logits(self.gt, pairs)
        return class_cost - self.iou_weight * (iou + _EPS).log(), iou


@LABEL_ASSIGNMENT_REGISTRY.register()
class SimOTA(HardAssignment):
    """YOLOX's assignment: each object takes its k cheapest locations, with k from its IoUs.

    Candidates of an image are the locations inside any of its boxes, or inside the square of 2.5
    strides around the center of any. The cost of a candidate for an object is the cross-entropy
    of all its classes + 3 · -log IoU, and 1e5 where it is not inside both the object's box and
    its square. k is the sum of the 10 greatest IoUs of the object with the boxes predicted at all
    candidates, rounded down, at least 1. A location that several objects take goes to the object
    of the image it is cheapest for.

    The 1e5 only puts those pairs last; it is not added here, so that it costs no precision. They
    are looked at only for an object with fewer than k locations inside box and square.
    Of equal costs the location nearer to the object's center is taken, and a location goes to the
    first object. The class target is the IoU of the predicted box, as in YOLOX.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}

    @configurable
    def __init__(
        self,
        *,
        center_radius: float = 2.5,
        topk: int = 10,
        iou_cost_weight: float = 3.0,
        class_loss: str = "quality_focal",
        box_loss: str = "giou",
        class_loss_weight: float = 1.0,
        box_loss_weight: float = 2.0,
    ) -> None:
        """
        Args:
            center_radius: half the side of an object's center square, in strides.
            topk: how many of the greatest IoUs are added up to k.
            iou_cost_weight: factor of -log IoU in the cost.
            class_loss: "bce" or "quality_focal".
            box_loss: "giou" (1 - GIoU), "iou_square" (1 - IoU²) or "iou_log" (-log IoU).
            class_loss_weight: factor of the class loss.
            box_loss_weight: factor of the box loss.
        """
        super().__init__()
        self.center_radius = center_radius
        self.topk = topk
        self.iou_cost_weight = iou_cost_weight
        self.class_loss = class_loss
        self.box_loss = box_loss
        self.class_loss_weight = class_loss_weight
        self.box_loss_weight = box_loss_weight

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Half the side of the square around an object's center, in strides.
        node.CENTER_RADIUS = 2.5
        # k of an object is the sum of this many of its greatest IoUs.
        node.TOPK = 10
        # Factor of -log IoU in the cost.
        node.IOU_COST_WEIGHT = 3.0
        # "bce" (YOLOX) or "quality_focal".
        node.CLS_LOSS = "quality_focal"
        # "giou": 1 - GIoU. "iou_square": 1 - IoU² (YOLOX). "iou_log": -log IoU.
        node.BOX_LOSS = "giou"
        node.CLS_LOSS_WEIGHT = 1.0
        node.BOX_LOSS_WEIGHT = 2.0
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {
            "CENTER_RADIUS": above(0),
            "TOPK": at_least(1),
            "IOU_COST_WEIGHT": at_least(0),
            "CLS_LOSS": one_of("bce", "quality_focal"),
            "BOX_LOSS": one_of(*BOX_LOSSES),
            "CLS_LOSS_WEIGHT": at_least(0),
            "BOX_LOSS_WEIGHT": at_least(0),
        }

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        options = cfg.MODEL.LABEL_ASSIGNMENT.SIMOTA
        return {
            "center_radius": options.CENTER_RADIUS,
            "topk": options.TOPK,
            "iou_cost_weight": options.IOU_COST_WEIGHT,
            "class_loss": options.CLS_LOSS,
            "box_loss": options.BOX_LOSS,
            "class_loss_weight": options.CLS_LOSS_WEIGHT,
            "box_loss_weight": options.BOX_LOSS_WEIGHT,
        }

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        scene = self._scene(predictions, grid, gt)
        k = self._num_locations(scene)
        core = candidate_pairs(grid, gt, center_radius=self.center_radius)
        core = core.select(self._is_core(core, scene).nonzero().squeeze(1))
        cost, iou = scene.cost(core)
        is_taken = segment_topk(-cost, core.objects, k, ties=nearest_first(core, grid, gt))
        missing = k - segment_sum(torch.ones_like(core.objects), core.objects, len(k))
        outside = self._pairs_outside(scene, missing.clamp(min=0), core)

        takers = torch.cat((core.batch_locations[is_taken], outside.batch_locations))
        num_takers = takers.bincount(minlength=scene.is_candidate.numel())
        is_contested = num_takers > 1
        # A location with several takers goes to the object that it is cheapest for, whichever
        # took it.
        is_open = is_taken | is_contested[core.batch_locations]
        # Of pairs outside, those are contested where a pair inside is cheaper.
        is_open = torch.cat((is_open, ~is_contested[outside.batch_locations]))

        pairs, order = Pairs.merge((core, outside), grid)
        outside_cost, outside_iou = scene.cost(outside)
        cost = torch.cat((cost, outside_cost))[order]
        iou = torch.cat((iou, outside_iou))[order]
        values = -cost.masked_fill(~is_open[order], torch.inf)
        winners = select_winners(values, pairs, len(num_takers))
        return Assignment(
            pairs=pairs,
            winners=winners,
            class_targets=iou.index_select(0, winners),
            maps={"cost": cost, "IoU": iou},
            statistics={
                "mean_k": k.sum() / max(1, len(k)),
                "num_pairs_outside": k.new_tensor(len(outside)),
            },
        )

    def _scene(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> _Scene:
        centers = (gt.boxes[:, None, :2] + gt.boxes[:, None, 2:]) / 2
        reach = self.center_radius * grid.level_strides[:, None]
        squares = torch.cat((centers - reach, centers + reach), dim=2)  # (M, L, 4)
        num_images = len(gt.counts)
        return _Scene(
            predictions=predictions,
            grid=grid,
            gt=gt,
            background_cost=background_cost(
                predictions.cls_logits, predictions.obj_logits
            ).flatten(),
            is_candidate=inside_mask(gt.boxes, gt.image_index, grid, num_images)
            | inside_mask(squares, gt.image_index, grid, num_images),
            iou_weight=self.iou_cost_weight,
        )

    def _is_core(self, pairs: Pairs, scene: _Scene) -> Tensor:
        """(P,) whether the location lies inside both the box and the center square."""
        inside = pair_ltrb(pairs, scene.grid, scene.gt).amin(dim=1) > 0
        return inside & (center_distance(pairs, scene.grid, scene.gt) < self.center_radius)

    def _num_locations(self, scene: _Scene) -> Tensor:
        """(M,) k of each object."""
        gt = scene.gt
        total = gt.boxes.new_zeros(len(gt.boxes))
        boxes = decode(scene.predictions.ltrb, scene.grid.locations)
        for part in object_overlaps(boxes, gt, scene.grid, wanted=scene.is_candidate):
            greatest = part.iou.topk(min(self.topk, part.iou.shape[1]), dim=1).values
            total[part.objects] = greatest.sum(dim=1)
        return total.long().clamp(min=1)

    def _pairs_outside(self, scene: _Scene, missing: Tensor, core: Pairs) -> Pairs:
        """The cheapest pairs that are not inside both box and square, ``missing`` of each object.

        The predicted boxes that overlap an object are looked at first. A pair without overlap
        costs at least -log ε times its weight: only an object that finds too few cheaper ones is
        compared with all candidates of its image. A location that several objects take and that
        is inside for none goes to the object of the image that it is cheapest for.
        """
        grid, gt = scene.grid, scene.gt
        objects = missing.nonzero().squeeze(1)
        pairs = Pairs.from_indices(objects[:0], objects[:0], gt.image_index, grid)
        if len(objects) == 0:
            return pairs
        parts = [pairs]
        boxes = decode(scene.predictions.ltrb, grid.locations)
        for part in object_overlaps(boxes, gt, grid, wanted=scene.is_candidate, objects=objects):
            pairs, _ = part.pairs(gt, grid)
            parts.append(self._cheapest_outside(pairs, scene, missing))
        pairs, _ = Pairs.merge(parts, grid)

        cost, _ = scene.cost(pairs)
        is_cheap = cost < -self.iou_cost_weight * math.log(_EPS)
        num_cheap = segment_sum(is_cheap.to(missing), pairs.objects, len(missing))
        is_complete = num_cheap >= missing
        parts = [pairs.select(is_complete[pairs.objects].nonzero().squeeze(1))]
        others = (~is_complete).nonzero().squeeze(1)
        for pairs in cross_pairs(others, scene.is_candidate, gt.image_index, grid):
            parts.append(self._cheapest_outside(pairs, scene, missing))
        return _resolve_outside(Pairs.merge(parts, grid)[0], scene, core)

    def _cheapest_outside(self, pairs: Pairs, scene: _Scene, missing: Tensor) -> Pairs:
        pairs = pairs.select((~self._is_core(pairs, scene)).nonzero().squeeze(1))
        cost, _ = scene.cost(pairs)
        ties = nearest_first(pairs, scene.grid, scene.gt)
        is_kept = segment_topk(-cost, pairs.objects, missing, ties=ties)
        return pairs.select(is_kept.nonzero().squeeze(1))


def _resolve_outside(pairs: Pairs, scene: _Scene, core: Pairs) -> Pairs:
    """Let the cheapest object of the image have each location that several of the pairs take.

    Locations of ``core`` are left as they are: there the pairs inside compete too.
    """
    grid, gt = scene.grid, scene.gt
    num_batch_locations = scene.is_candidate.numel()
    is_contested = pairs.batch_locations.bincount(minlength=num_batch_locations) > 1
    is_contested[core.batch_locations] = False
    mask = is_contested.view_as(scene.is_candidate)
    objects = mask.any(dim=1)[gt.image_index].nonzero().squeeze(1)
    least = scene.background_cost.new_full((num_batch_locations,), torch.inf)
    cheapest = objects.new_full((num_batch_locations,), -1)
    for part in cross_pairs(objects, mask, gt.image_index, grid):
        cost, _ = scene.cost(part)
        index = select_winners(-cost, part, num_batch_locations)
        index = index[cost[index] < least[part.batch_locations[index]]]
        part = part.select(index)
        least[part.batch_locations] = cost[index]
        cheapest[part.batch_locations] = part.objects
    settled = (cheapest >= 0).nonzero().squeeze(1)
    chosen = Pairs.from_indices(
        cheapest[settled], settled % grid.num_locations, gt.image_index, grid
    )
    kept = pairs.select((~is_contested[pairs.batch_locations]).nonzero().squeeze(1))
    return Pairs.merge((kept, chosen), grid)[0]
