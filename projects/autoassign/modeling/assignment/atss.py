"""ATSS: adaptive training sample selection (https://arxiv.org/abs/1912.02424)."""

from __future__ import annotations

from typing import ClassVar

from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, at_least
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import paired_iou
from ..pairs import Pairs, nearest_pairs
from ..predictions import Predictions
from .geometry import MIN_DISTANCE, pair_anchors, pair_ltrb, select_winners
from .hard import CENTERNESS, Assignment, HardAssignment

__all__ = ["ATSS"]


@LABEL_ASSIGNMENT_REGISTRY.register()
class ATSS(HardAssignment):
    """ATSS's labels, and FCOS's losses with another weight of the boxes.

    Every location has a square anchor of 8 strides around it, for the labels alone: boxes are
    predicted as distances. An object's candidates are, on each level, the k locations nearest to
    its center; positive are those inside the box whose anchor's IoU with it is at least mean +
    standard deviation of the IoUs of all its candidates. A location that is positive for several
    objects learns that of the greatest IoU; of equal ones the first object of the image wins. An
    object without a positive location is not learned, as published; the statistics count such
    objects.
    """

    extra_outputs = (CENTERNESS,)
    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}
    min_box_weight = 1e-6

    @configurable
    def __init__(self, *, topk: int = 9, box_loss_weight: float = 2.0) -> None:
        """See :meth:`default_options`."""
        super().__init__()
        self.topk = topk
        self.box_loss_weight = box_loss_weight

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Candidates of an object on each level: the locations nearest to its center.
        node.TOPK = 9
        # Factor of the GIoU loss.
        node.BOX_LOSS_WEIGHT = 2.0
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {"TOPK": at_least(1), "BOX_LOSS_WEIGHT": at_least(0)}

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs = nearest_pairs(gt.boxes, gt.image_index, grid, self.topk)
        iou = paired_iou(pair_anchors(pairs, grid, gt), gt.boxes.index_select(0, pairs.objects))
        is_positive = (iou >= self._threshold(iou, pairs, gt)) & (
            pair_ltrb(pairs, grid, gt).amin(dim=1) > MIN_DISTANCE
        )
        winners = select_winners(iou, pairs, grid, gt, where=is_positive)
        return Assignment(
            pairs=pairs,
            winners=winners,
            maps={"anchor IoU": iou},
            statistics={
                "mean_anchor_iou": iou.index_select(0, winners).sum() / max(1, len(winners))
            },
        )

    def _threshold(self, iou: Tensor, pairs: Pairs, gt: GroundTruth) -> Tensor:
        """(P,) mean + standard deviation of the IoUs of all candidates of each pair's object."""
        num_candidates = len(pairs) // max(1, len(gt.boxes))
        per_object = iou.view(len(gt.boxes), num_candidates)
        mean = per_object.mean(dim=1)
        # torch.std is NaN for a single candidate, and warns where there is no object.
        squared_error = (per_object - mean[:, None]).square().sum(dim=1)
        variance = squared_error / max(1, num_candidates - 1)
        return (mean + variance.sqrt()).index_select(0, pairs.objects)
