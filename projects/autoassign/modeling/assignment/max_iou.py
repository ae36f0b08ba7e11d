"""RetinaNet's assignment by the greatest IoU (https://arxiv.org/abs/1708.02002)."""

from __future__ import annotations

from typing import ClassVar

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, between
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import paired_iou
from ..pairs import Pairs
from ..predictions import Predictions
from .anchor_bags import anchor_bags, anchors_above
from .geometry import pair_anchors, select_winners
from .hard import Assignment, HardAssignment
from .segments import segment_max

__all__ = ["MaxIoU"]


@LABEL_ASSIGNMENT_REGISTRY.register()
class MaxIoU(HardAssignment):
    """RetinaNet's labels on one square anchor for each location; focal loss and GIoU loss.

    RetinaNet has nine anchors at each location and a smooth L1 loss of their deltas; here the
    anchor is the square of 8 strides, for the labels alone, and boxes are predicted as distances.
    detectron2's own RetinaNet runs with configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml.

    A location is positive for an object if its anchor's IoU with the object is at least 0.5, or
    if no anchor has a greater one (of equal ones the nearest to the object's center). It learns
    the object of the greatest IoU among these. A location that is not positive, but has an IoU of
    at least 0.4 with an object, has no class loss; the others are background. An object whose best
    anchor fits another object better may have no location; the statistics count such objects.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}

    @configurable
    def __init__(self, *, negative_threshold: float = 0.4, positive_threshold: float = 0.5) -> None:
        """See :meth:`default_options`.

        Raises:
            ValueError: the second threshold is less than the first.
        """
        super().__init__()
        if negative_threshold > positive_threshold:
            raise ValueError(
                f"MODEL.LABEL_ASSIGNMENT.{type(self).__name__.upper()}.NEGATIVE_THRESHOLD is "
                f"{negative_threshold}; it must be at most POSITIVE_THRESHOLD, {positive_threshold}"
            )
        self.negative_threshold = negative_threshold
        self.positive_threshold = positive_threshold

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Anchors with an IoU below this one are background.
        node.NEGATIVE_THRESHOLD = 0.4
        # Anchors with an IoU from this one on are positive.
        node.POSITIVE_THRESHOLD = 0.5
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {"NEGATIVE_THRESHOLD": between(0.01, 1), "POSITIVE_THRESHOLD": between(0.01, 1)}

    def candidates(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[Pairs, Tensor, Tensor]:
        """P pairs, (P,) IoUs of their anchors, and (P,) which is the best of its object.

        All pairs that reach the lower threshold are among them, and the best one of each object.
        """
        best = anchor_bags(grid, gt, 1)
        best_iou = paired_iou(pair_anchors(best, grid, gt), gt.boxes)
        pairs, iou = anchors_above(grid, gt, best_iou.clamp(max=self.negative_threshold).cpu())
        return pairs, iou, pairs.locations == best.locations.index_select(0, pairs.objects)

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs, iou, is_best = self.candidates(predictions, grid, gt)
        is_positive = is_best | (iou >= self.positive_threshold)
        winners = select_winners(iou, pairs, grid, gt, where=is_positive)
        greatest = segment_max(iou, pairs.batch_locations, len(gt.counts) * grid.num_locations)
        greatest[pairs.batch_locations[winners]] = 0
        is_ignored = greatest >= self.negative_threshold
        return Assignment(
            pairs=pairs,
            winners=winners,
            ignore=_all_classes(is_ignored.nonzero().squeeze(1), predictions),
            maps={"anchor IoU": iou},
        )


def _all_classes(batch_locations: Tensor, predictions: Predictions) -> Tensor:
    """Offsets of the class logits of all classes at (Q,) locations, see ``logit_index``."""
    num_locations, num_classes = predictions.cls_logits.shape[1:]
    image = torch.div(batch_locations, num_locations, rounding_mode="floor")
    first = image * num_locations * (num_classes - 1) + batch_locations
    classes = torch.arange(num_classes, device=first.device)
    return (first[:, None] + classes * num_locations).flatten()
