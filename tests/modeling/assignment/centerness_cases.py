"""Batches for the strategies that learn center-ness (FCOS, ATSS), and their losses done densely."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from assignment_cases import SIZES, STRIDES, Case, Object
from fvcore.nn import giou_loss
from torch import Tensor

from autoassign.modeling import Grid, GroundTruth, Predictions, make_grid
from autoassign.modeling.assignment import ATSS, FCOS

MIDDLE_GRID: Grid = make_grid(STRIDES, SIZES, torch.device("cpu"), 0.5)
CORNER_GRID: Grid = make_grid(STRIDES, SIZES, torch.device("cpu"))

CROWD: list[Object] = [
    (5 * (i % 9), 9 * (i // 9), 12 + i % 29, 10 + i % 23, i % 3) for i in range(40)
]
TINY: list[Object] = [(9, 9, 2, 2, 0), (89, 57, 1, 1, 2)]
ORDINARY: list[Object] = [(5, 5, 50, 40, 1), (20, 10, 45, 47, 1), (8, 3, 20, 53, 0)]
LARGE: list[Object] = [(-30, -20, 140, 100, 2), (0, 0, 95, 63, 1), (60, 30, 80, 70, 0)]


@dataclass(frozen=True)
class Outcome:
    losses: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    statistics: dict[str, Tensor]


@dataclass(frozen=True)
class Assigned:
    """What every location learns: (N, R) class, -1 for none, and (N, R, 4) box."""

    classes: Tensor
    boxes: Tensor


def run(
    strategy: FCOS | ATSS, case: Case, grid: Grid, dtype: torch.dtype = torch.float64
) -> Outcome:
    """Losses of the package, gradients of their sum, statistics."""
    leaves = _leaves(case, dtype)
    predictions = replace(case.predictions(leaves), extra={"ctr": leaves["ctr_logits"][..., None]})
    losses, statistics = strategy(predictions, grid, case.ground_truth(dtype))
    sum(losses.values()).backward()
    return Outcome(
        losses={name: loss.detach() for name, loss in losses.items()},
        gradients={name: leaf.grad for name, leaf in leaves.items()},
        statistics=statistics,
    )


def assigned_by(strategy: FCOS | ATSS, grid: Grid, gt: GroundTruth) -> Assigned:
    assignment = strategy.assign(no_predictions(gt, grid), grid, gt)
    positives = assignment.pairs.select(assignment.winners)
    shape = (len(gt.counts), grid.num_locations)
    classes = torch.full(shape, -1)
    classes.view(-1)[positives.batch_locations] = gt.classes[positives.objects]
    boxes = gt.boxes.new_zeros(*shape, 4)
    boxes.view(-1, 4)[positives.batch_locations] = gt.boxes[positives.objects]
    return Assigned(classes, boxes)


def no_predictions(gt: GroundTruth, grid: Grid) -> Predictions:
    """For strategies whose labels do not depend on the predictions."""
    shape = (len(gt.counts), grid.num_locations)
    return Predictions(cls_logits=gt.boxes.new_zeros(*shape, 3), ltrb=gt.boxes.new_ones(*shape, 4))


def dense_losses(
    case: Case, grid: Grid, assigned: Assigned, *, box_loss_weight: float = 1.0
) -> Outcome:
    """The losses of these labels from dense targets, and gradients of their sum."""
    leaves = _leaves(case, torch.float64)
    num_classes = leaves["cls_logits"].shape[-1]
    probability = leaves["cls_logits"].sigmoid()
    if "obj_logits" in leaves:
        probability = probability * leaves["obj_logits"].sigmoid()[..., None]
    is_positive = assigned.classes >= 0
    one_hot = F.one_hot(assigned.classes.clamp(min=0), num_classes) * is_positive[..., None]
    p_t = torch.where(one_hot == 1, probability, 1 - probability)
    alpha_t = torch.where(one_hot == 1, 0.25, 0.75)
    num_positives = max(1, int(is_positive.sum()))

    locations = grid.locations.double().expand(*is_positive.shape, 2)[is_positive]
    boxes = assigned.boxes[is_positive]
    left, top = (locations - boxes[:, :2]).unbind(dim=1)
    right, bottom = (boxes[:, 2:] - locations).unbind(dim=1)
    centerness = torch.sqrt(
        torch.minimum(left, right)
        / torch.maximum(left, right)
        * torch.minimum(top, bottom)
        / torch.maximum(top, bottom)
    )
    ltrb = leaves["ltrb"][is_positive]
    predicted = torch.cat((locations - ltrb[:, :2], locations + ltrb[:, 2:]), dim=1)
    box_sum = (centerness * giou_loss(predicted, boxes, eps=1e-12)).sum()
    centerness_loss = F.binary_cross_entropy(
        leaves["ctr_logits"][is_positive].sigmoid(), centerness, reduction="sum"
    )
    losses = {
        "loss_cls": (-alpha_t * (1 - p_t) ** 2 * p_t.log()).sum() / num_positives,
        "loss_box": box_loss_weight * box_sum / max(float(centerness.sum()), 1e-6),
        "loss_centerness": centerness_loss / num_positives,
    }
    sum(losses.values()).backward()
    return Outcome(
        losses={name: loss.detach() for name, loss in losses.items()},
        gradients={name: leaf.grad for name, leaf in leaves.items()},
        statistics={},
    )


def _leaves(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """Those of the case that these strategies use, and center-ness logits."""
    leaves = case.leaves(dtype)
    generator = torch.Generator().manual_seed(1)
    shape = case.cls_logits.shape[:2]
    ctr_logits = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    names = ("cls_logits", "ltrb", "obj_logits")
    return {
        **{name: leaves[name] for name in names if name in leaves},
        "ctr_logits": ctr_logits.requires_grad_(),
    }
