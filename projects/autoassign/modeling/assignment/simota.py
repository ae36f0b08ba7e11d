"""SimOTA, YOLOX's assignment by cost and dynamic k (https://arxiv.org/abs/2107.08430)."""

from __future__ import annotations

from typing import ClassVar

import torch
from detectron2.config import CfgNode, configurable

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, above, at_least, one_of
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..pairs import Pairs
from ..predictions import Predictions
from .geometry import nearest_first, select_winners
from .hard import BOX_LOSSES, Assignment, HardAssignment
from .segments import segment_sum, segment_topk
from .simota_costs import CandidateCosts

__all__ = ["SimOTA"]


@LABEL_ASSIGNMENT_REGISTRY.register()
class SimOTA(HardAssignment):
    """YOLOX's assignment: each object takes its k cheapest locations, with k from its IoUs.

    Candidates of an image are the locations inside any of its boxes, or inside the square of 2.5
    strides around the center of any. The cost of a candidate for an object is the cross-entropy
    of all its classes + 3 · -log IoU, and 1e5 where it is not inside both the object's box and
    its square. k is the sum of the 10 greatest IoUs of the object with the boxes predicted at all
    candidates, rounded down, at least 1. A location that several objects take goes to the object
    of the image it is cheapest for. Of equal costs the location nearer to the object's center is
    taken, and a location goes to the first object. The class target is the IoU of the predicted
    box, as in YOLOX.

    No matrix of locations and objects is built: see :class:`CandidateCosts`.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}

    @configurable
    def __init__(
        self,
        *,
        center_radius: float = 2.5,
        topk: int = 10,
        iou_cost_weight: float = 3.0,
        cls_loss: str = "quality_focal",
        box_loss: str = "giou",
        cls_loss_weight: float = 1.0,
        box_loss_weight: float = 2.0,
    ) -> None:
        """See :meth:`default_options`."""
        super().__init__()
        self.center_radius = center_radius
        self.topk = topk
        self.iou_cost_weight = iou_cost_weight
        self.cls_loss = cls_loss
        self.box_loss = box_loss
        self.cls_loss_weight = cls_loss_weight
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
            "IOU_COST_WEIGHT": above(0),
            "CLS_LOSS": one_of("bce", "quality_focal"),
            "BOX_LOSS": one_of(*BOX_LOSSES),
            "CLS_LOSS_WEIGHT": at_least(0),
            "BOX_LOSS_WEIGHT": at_least(0),
        }

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        costs = CandidateCosts(
            predictions=predictions,
            grid=grid,
            gt=gt,
            center_radius=self.center_radius,
            topk=self.topk,
            iou_weight=self.iou_cost_weight,
        )
        k = costs.num_taken()
        inside = costs.inside_pairs()
        cost, iou = costs.cost(inside)
        is_taken = segment_topk(-cost, inside.objects, k, ties=nearest_first(inside, grid, gt))
        num_inside = segment_sum(torch.ones_like(inside.objects), inside.objects, len(k))
        outside = costs.outside_pairs((k - num_inside).clamp(min=0), inside)

        takers = torch.cat((inside.batch_locations[is_taken], outside.batch_locations))
        num_takers = takers.bincount(minlength=len(gt.counts) * grid.num_locations)
        is_contested = num_takers > 1
        # A location with several takers goes to the object that it is cheapest for, whichever
        # took it: if any of its pairs is inside, to one of those.
        is_open = torch.cat(
            (
                is_taken | is_contested[inside.batch_locations],
                ~is_contested[outside.batch_locations],
            )
        )
        pairs, order = Pairs.merge((inside, outside), grid)
        outside_cost, outside_iou = costs.cost(outside)
        cost = torch.cat((cost, outside_cost))[order]
        iou = torch.cat((iou, outside_iou))[order]
        winners = select_winners(-cost, pairs, grid, gt, where=is_open[order])
        return Assignment(
            pairs=pairs,
            winners=winners,
            class_targets=iou.index_select(0, winners),
            maps={"cost": cost, "IoU": iou},
            statistics={
                "mean_k": k.sum() / max(1, len(k)),
                "num_pairs_outside": k.new_full((), len(outside)),
            },
        )
