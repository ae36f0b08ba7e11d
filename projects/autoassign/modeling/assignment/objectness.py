"""Explicit objectness: a logit supervised by whether a location lies inside any box."""

from __future__ import annotations

import torch
from fvcore.nn import sigmoid_focal_loss_jit
from torch import Tensor

from ..grid import Grid
from ..ground_truth import GroundTruth
from ..pairs import inside_pairs
from .workers import mean_over_workers

__all__ = ["explicit_objectness_loss"]


def explicit_objectness_loss(obj_logits: Tensor, grid: Grid, gt: GroundTruth) -> Tensor:
    """Focal loss of the objectness, whose label is 1 at every location inside a box.

    An object without a location inside has its nearest one labelled.

    Source of the label: AutoAssign (arXiv 2007.03496), Table 4, "explicit". The paper gives no
    loss; focal loss with its usual constants keeps the many locations outside boxes in check.

    Args:
        obj_logits: (N, R) objectness logits.
        grid: the locations of an image.
        gt: the objects.

    Returns:
        Scalar, the sum over all locations divided by the number of positive ones, a mean over
        workers (every worker must call it).
    """
    pairs = inside_pairs(gt.host_boxes, gt.image_index, grid)
    labels = torch.zeros_like(obj_logits).flatten()
    labels[pairs.batch_locations] = 1
    num_positives = mean_over_workers(labels.sum()).clamp(min=1)
    loss = sigmoid_focal_loss_jit(
        obj_logits.flatten(), labels, alpha=0.25, gamma=2, reduction="sum"
    )
    return loss / num_positives
