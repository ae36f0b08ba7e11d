"""Hard assignments: each location learns at most one object, and the losses that follow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import (
    bce_loss,
    focal_loss,
    giou_loss,
    iou_log_loss,
    iou_square_loss,
    quality_focal_loss,
)
from ..pairs import Pairs
from ..predictions import ExtraOutput, Predictions
from .geometry import centerness, pair_ltrb
from .interface import Explanation, LabelAssignment
from .workers import mean_over_workers

__all__ = [
    "BOX_LOSSES",
    "CENTERNESS",
    "CLASS_LOSSES",
    "Assignment",
    "HardAssignment",
    "positive_statistics",
]

# The head output of strategies that learn center-ness.
CENTERNESS = ExtraOutput("ctr")


# Sums over all locations and classes.
CLASS_LOSSES: dict[str, Callable[..., Tensor]] = {
    # Its targets are all 1.
    "focal": lambda cls, obj, index, _, ignore: focal_loss(cls, obj, index, ignore=ignore),
    "quality_focal": quality_focal_loss,
    "bce": bce_loss,
}
# (P,) losses of (P, 4) predicted and ground-truth boxes.
BOX_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "giou": giou_loss,
    "iou_log": iou_log_loss,
    "iou_square": iou_square_loss,
}


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Which locations learn which objects, and how much.

    Nothing here carries a gradient.

    Attributes:
        pairs: the P pairs that were considered.
        winners: (Q,) ascending indices of the pairs that are learned, no two at one location.
        labels: (Q,) in (0, 1], how much each location learns its object; None for 1.
        class_targets: (Q,) targets of the class loss; None for ``labels``.
        ignore: offsets of class logits without a loss, see
            :meth:`~autoassign.modeling.predictions.Predictions.logit_index`; or None.
        maps: (P,) values that led to the assignment, by name, for pictures.
        statistics: scalars for the log, by name.
    """

    pairs: Pairs
    winners: Tensor
    labels: Tensor | None = None
    class_targets: Tensor | None = None
    ignore: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


class HardAssignment(LabelAssignment):
    """Losses of strategies that give each location at most one object: subclasses assign.

    * ``loss_cls``: the class loss of all locations and classes, divided by the sum of the class
      targets (for the focal loss: the number of positives).
    * ``loss_box``: the box losses of the positives, weighted, divided by the sum of the weights.
    * ``loss_centerness``, where ``extra_outputs`` has :data:`CENTERNESS`: binary cross-entropy at
      the positives, divided by their number. The boxes are then weighted by center-ness, and the
      score is the geometric mean of class probability and center-ness, as in FCOS.

    Sums in denominators are means over workers.

    Attributes:
        cls_loss: a name in :data:`CLASS_LOSSES`.
        box_loss: a name in :data:`BOX_LOSSES`.
        cls_loss_weight: factor of ``loss_cls``.
        box_loss_weight: factor of ``loss_box``.
        min_box_weight: least denominator of ``loss_box``.
        eps: added to the denominators.
    """

    cls_loss: str = "focal"
    box_loss: str = "giou"
    cls_loss_weight: float = 1.0
    box_loss_weight: float = 1.0
    min_box_weight: ClassVar[float] = 1.0
    eps: ClassVar[float] = 0.0

    @abstractmethod
    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        """Decide which locations learn which objects; called under ``no_grad``."""

    def class_denominator(self, target_sum: Tensor, num_batch_locations: int) -> Tensor:
        """What the class loss is divided by.

        Args:
            target_sum: scalar, the sum of the class targets.
            num_batch_locations: N · R.
        """
        return target_sum.clamp(min=1) + self.eps

    @property
    def learns_centerness(self) -> bool:
        """Whether the head predicts center-ness, which then weights boxes and scores."""
        return CENTERNESS in self.extra_outputs

    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        assignment, targets, weights = self._assign(predictions, grid, gt)
        positives = assignment.pairs.select(assignment.winners)
        sums = torch.stack((weights.new_full((), len(weights)), targets.sum(), weights.sum()))
        num_positives, target_sum, weight_sum = mean_over_workers(sums)

        class_error = CLASS_LOSSES[self.cls_loss](
            predictions.cls_logits,
            predictions.obj_logits,
            predictions.logit_index(gt, positives),
            targets,
            ignore=assignment.ignore,
        )
        box_error = BOX_LOSSES[self.box_loss](
            predictions.pair_boxes(grid, positives), gt.boxes.index_select(0, positives.objects)
        )
        box_error = (weights * box_error).sum()
        losses = {
            "loss_cls": self.cls_loss_weight
            * (class_error / self.class_denominator(target_sum, predictions.ltrb[..., 0].numel())),
            "loss_box": self.box_loss_weight
            * (box_error / (weight_sum.clamp(min=self.min_box_weight) + self.eps)),
        }
        if self.learns_centerness:
            logits = predictions.extra[CENTERNESS.name].flatten()
            logits = logits.index_select(0, positives.batch_locations)
            error = F.binary_cross_entropy_with_logits(logits, weights, reduction="sum")
            losses["loss_centerness"] = error / num_positives.clamp(min=1)
        statistics = positive_statistics(assignment.pairs, positives, gt)
        return losses, {**statistics, **assignment.statistics}

    def scores(self, predictions: Predictions) -> Tensor:
        scores = super().scores(predictions)
        if not self.learns_centerness:
            return scores
        return (scores * predictions.extra[CENTERNESS.name].sigmoid()).sqrt()

    @torch.no_grad()
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """What the strategy computed, then labels, class targets and weights of the winners."""
        assignment, targets, weights = self._assign(predictions, grid, gt)
        labels = torch.ones_like(weights) if assignment.labels is None else assignment.labels
        winners = {"label": labels}
        if assignment.class_targets is not None:
            winners["class target"] = targets
        if self.learns_centerness:
            winners["center-ness"] = weights
        maps = dict(assignment.maps)
        for name, values in winners.items():
            maps[name] = values.new_zeros(len(assignment.pairs))
            maps[name][assignment.winners] = values
        return Explanation(pairs=assignment.pairs, maps=maps, primary="label")

    @torch.no_grad()
    def _assign(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[Assignment, Tensor, Tensor]:
        """The assignment, (Q,) class targets and (Q,) weights of the boxes."""
        assignment = self.assign(predictions, grid, gt)
        labels = assignment.labels
        if labels is None:
            labels = gt.boxes.new_ones(len(assignment.winners))
        targets = labels if assignment.class_targets is None else assignment.class_targets
        if self.learns_centerness:
            positives = assignment.pairs.select(assignment.winners)
            return assignment, targets, centerness(pair_ltrb(positives, grid, gt))
        return assignment, targets, labels


def positive_statistics(pairs: Pairs, positives: Pairs, gt: GroundTruth) -> dict[str, Tensor]:
    """Scalars for the log, of the pairs that were considered and of those that are learned."""
    is_learned = torch.zeros(len(gt.boxes), dtype=torch.bool, device=gt.boxes.device)
    is_learned[positives.objects] = True
    return {
        "num_objects": gt.objects_per_image.sum(),
        "num_pairs": gt.boxes.new_full((), len(pairs)),
        "num_positives": gt.boxes.new_full((), len(positives)),
        "num_objects_without_positive": (~is_learned).sum(),
    }
