"""TAL, TOOD's task-aligned assignment (https://arxiv.org/abs/2108.07755)."""

from __future__ import annotations

from typing import ClassVar

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, above, at_least
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..pairs import Pairs
from ..predictions import Predictions, decode
from .geometry import MIN_DISTANCE, nearest_first, pair_ltrb, select_winners
from .hard import Assignment, HardAssignment
from .segments import segment_max, segment_topk
from .tiles import Overlaps, object_overlaps

__all__ = ["TAL"]

# Share by which bounds are lowered, so that rounding never excludes a pair.
_MARGIN = 1e-3


@LABEL_ASSIGNMENT_REGISTRY.register()
class TAL(HardAssignment):
    """TOOD's assignment by task alignment: each object takes the 13 best aligned locations.

    The alignment of a location with an object is t = p^α · IoU^β, from the probability of the
    object's class and the IoU of the predicted box. Of the 13 locations with the greatest t > 0
    over all levels, those inside the box are positive. A location that is positive for several
    objects learns that of the greatest IoU; of equal ones the first object of the image. Of equal
    t the location nearer to the object's center is taken.

    The label is t scaled such that an object's greatest is its greatest IoU; it is the class
    target of the quality focal loss, whose factor |target - p|² is that of TOOD, and the weight
    of the box loss. TOOD's warm-up by ATSS and its task-aligned head are not part of this. The
    weights of the losses are TOOD's.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}
    cls_loss = "quality_focal"

    @configurable
    def __init__(
        self,
        *,
        topk: int = 13,
        alpha: float = 1.0,
        beta: float = 6.0,
        cls_loss_weight: float = 1.0,
        box_loss_weight: float = 2.0,
    ) -> None:
        """See :meth:`default_options`."""
        super().__init__()
        self.topk = topk
        self.alpha = alpha
        self.beta = beta
        self.cls_loss_weight = cls_loss_weight
        self.box_loss_weight = box_loss_weight

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Locations that an object takes at most, over all levels.
        node.TOPK = 13
        # Powers of the class probability and of the IoU in the alignment.
        node.ALPHA = 1.0
        node.BETA = 6.0
        node.CLS_LOSS_WEIGHT = 1.0
        # Factor of the GIoU loss.
        node.BOX_LOSS_WEIGHT = 2.0
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {
            "TOPK": at_least(1),
            "ALPHA": at_least(0),
            "BETA": above(0),
            "CLS_LOSS_WEIGHT": at_least(0),
            "BOX_LOSS_WEIGHT": at_least(0),
        }

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs, alignment, iou = self.aligned_pairs(predictions, grid, gt)
        is_inside = pair_ltrb(pairs, grid, gt).amin(dim=1) > MIN_DISTANCE
        winners = select_winners(iou, pairs, grid, gt, where=is_inside)
        labels = _scaled_alignment(
            alignment[winners], iou[winners], pairs.objects[winners], len(gt.boxes)
        )
        return Assignment(
            pairs=pairs,
            winners=winners,
            labels=labels,
            maps={"alignment": alignment, "IoU": iou},
            statistics={"mean_label": labels.sum() / max(1, len(winners))},
        )

    def aligned_pairs(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[Pairs, Tensor, Tensor]:
        """The pairs of the greatest t > 0 of each object, their (P,) t and (P,) IoUs."""
        boxes = decode(predictions.ltrb, grid.locations)
        # (M,) greatest class probability of the image
        probability = predictions.cls_logits.amax(dim=1)[gt.image_index, gt.classes].sigmoid()
        empty = gt.image_index[:0]
        parts = [Pairs.from_indices(empty, empty, gt.image_index, grid)]
        alignments, ious = [boxes.new_zeros(0)], [boxes.new_zeros(0)]
        for part in object_overlaps(boxes, gt, grid):
            least = self._least_iou(part, probability, predictions, grid, gt)
            row, column = (part.iou > least[:, None]).nonzero(as_tuple=True)
            pairs, iou = part.pairs(row, column, gt, grid), part.iou[row, column]
            alignment = self._alignment(pairs, iou, predictions, gt)
            ties = nearest_first(pairs, grid, gt)
            is_taken = segment_topk(alignment, pairs.objects, self.topk, ties=ties)
            taken = (is_taken & (alignment > 0)).nonzero().squeeze(1)
            parts.append(pairs.select(taken))
            alignments.append(alignment[taken])
            ious.append(iou[taken])
        pairs, order = Pairs.merge(parts, grid)
        return pairs, torch.cat(alignments)[order], torch.cat(ious)[order]

    def _least_iou(
        self,
        part: Overlaps,
        probability: Tensor,
        predictions: Predictions,
        grid: Grid,
        gt: GroundTruth,
    ) -> Tensor:
        """(C,) a bound for the IoUs of the best aligned pairs of each object.

        The t of the pairs of greatest IoU bound what has to be reached; with no IoU below the
        bound t can reach it, the class probability being at most the greatest of the image.
        """
        row, column = part.greatest(2 * self.topk)
        pairs = part.pairs(row, column, gt, grid)
        alignment = self._alignment(pairs, part.iou[row, column], predictions, gt)
        alignment = alignment.view(len(part.objects), -1)
        reached = alignment.topk(min(self.topk, alignment.shape[1]), dim=1).values[:, -1]
        tiny = torch.finfo(probability.dtype).tiny
        greatest = probability[part.objects].pow(self.alpha).clamp(min=tiny)
        return (reached / greatest).pow(1 / self.beta) * (1 - _MARGIN)

    def _alignment(
        self, pairs: Pairs, iou: Tensor, predictions: Predictions, gt: GroundTruth
    ) -> Tensor:
        """(P,) t of pairs."""
        probability = predictions.pair_logits(gt, pairs).sigmoid()
        return probability.pow(self.alpha) * iou.pow(self.beta)


def _scaled_alignment(alignment: Tensor, iou: Tensor, objects: Tensor, num_objects: int) -> Tensor:
    """(Q,) t of positives, scaled such that an object's greatest is its greatest IoU."""
    greatest = segment_max(alignment, objects, num_objects).index_select(0, objects)
    greatest_iou = segment_max(iou, objects, num_objects).index_select(0, objects)
    return alignment / greatest * greatest_iou
