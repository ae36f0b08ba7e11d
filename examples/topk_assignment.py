"""A label assignment outside the package, for `autoassign VERB --import topk_assignment`."""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable

from autoassign.config import Rule, at_least
from autoassign.modeling import Grid, GroundTruth, Predictions
from autoassign.modeling.assignment import (
    LABEL_ASSIGNMENT_REGISTRY,
    Assignment,
    HardAssignment,
    candidate_pairs,
    segment_topk,
    select_winners,
)
from autoassign.modeling.losses import paired_iou


@LABEL_ASSIGNMENT_REGISTRY.register()
class TopK(HardAssignment):
    """Each object is learned by the K locations inside its box that predict it best.

    The quality of a prediction is the probability of the object's class times the IoU of the box.
    Of several objects, a location learns the one that it predicts best.
    """

    @configurable
    def __init__(self, *, k: int = 9) -> None:
        """
        Args:
            k: locations per object.
        """
        super().__init__()
        self.k = k

    @classmethod
    def default_options(cls) -> CfgNode:
        return CfgNode({"K": 9})

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {"K": at_least(1)}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"k": cfg.MODEL.LABEL_ASSIGNMENT.TOPK.K}

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs = candidate_pairs(grid, gt)
        ious = paired_iou(
            predictions.pair_boxes(grid, pairs), gt.boxes.index_select(0, pairs.objects)
        )
        quality = predictions.pair_logits(gt, pairs).sigmoid() * ious
        is_candidate = segment_topk(quality, pairs.objects, len(gt.boxes), self.k)
        values = quality.masked_fill(~is_candidate, -torch.inf)
        return Assignment(
            pairs=pairs,
            winners=select_winners(values, pairs, len(gt.counts) * grid.num_locations),
            maps={"quality": quality, "candidate": is_candidate.to(quality)},
        )
