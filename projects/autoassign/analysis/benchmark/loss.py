"""Time and memory of a label assignment's losses, forward and backward."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from ...modeling.assignment import (
    ATSS,
    DSLA,
    FCOS,
    AutoAssign,
    GroundTruth,
    LabelAssignment,
    Predictions,
)
from ...modeling.grid import make_grid
from .inputs import LossInputs, make_loss_inputs

__all__ = ["STRATEGIES", "LossRow", "measure"]


class Strategy(NamedTuple):
    """A label assignment with the predictions and locations of its recipe.

    Attributes:
        build: from the number of classes.
        objectness: whether it is given objectness logits. Center-ness logits it is given if it
            learns them.
        offset: of the locations, in strides.
    """

    build: Callable[[int], LabelAssignment]
    objectness: bool = False
    offset: float = 0.0


STRATEGIES: dict[str, Strategy] = {
    "AutoAssign": Strategy(
        lambda num_classes: AutoAssign(num_classes=num_classes), objectness=True
    ),
    "DSLA": Strategy(lambda num_classes: DSLA()),
    "FCOS": Strategy(lambda num_classes: FCOS(), offset=0.5),
    "ATSS": Strategy(lambda num_classes: ATSS()),
}
# Enough repetitions for a steady median, as far as the time allows.
_MAX_REPEATS = 15
_MAX_SECONDS = 6.0


@dataclass(frozen=True)
class LossRow:
    """One measurement; times are medians of runs that alternate with the floor's.

    Attributes:
        strategy: name of the label assignment.
        objects: objects in each of the two images.
        box_scale: factor on the size of ordinary predicted boxes.
        forward_seconds: from the head's output to the losses.
        backward_seconds: from the losses to the gradients of the head's output.
        floor_seconds: forward and backward of the negative focal term alone, by autograd.
        peak_mb: growth of the process's peak resident memory in the first run, in MiB.
    """

    strategy: str
    objects: int
    box_scale: float
    forward_seconds: float
    backward_seconds: float
    floor_seconds: float
    peak_mb: float


def measure(strategy: str, num_objects: int, box_scale: float) -> LossRow:
    """One row; call it in a process of its own, which has not forgotten an earlier peak."""
    recipe = STRATEGIES[strategy]
    tiny = make_loss_inputs(2, image_size=(128, 128))
    assignment = recipe.build(tiny.num_classes)
    _time(lambda: _loss(assignment, recipe, tiny))
    inputs = make_loss_inputs(num_objects, box_scale=box_scale)
    before = _peak_memory_mb()
    _time(lambda: _loss(assignment, recipe, inputs))
    peak_mb = _peak_memory_mb() - before

    losses: list[tuple[float, float]] = []
    floors: list[float] = []
    start = time.perf_counter()
    while len(losses) < _MAX_REPEATS and time.perf_counter() - start < _MAX_SECONDS:
        floors.append(sum(_time(lambda: _floor(recipe, inputs))))
        losses.append(_time(lambda: _loss(assignment, recipe, inputs)))
    forward, backward = zip(*losses, strict=True)
    return LossRow(
        strategy=strategy,
        objects=num_objects,
        box_scale=box_scale,
        forward_seconds=median(forward),
        backward_seconds=median(backward),
        floor_seconds=median(floors),
        peak_mb=peak_mb,
    )


def _loss(assignment: LabelAssignment, recipe: Strategy, inputs: LossInputs) -> Tensor:
    grid = make_grid(
        inputs.strides,
        tuple((x.shape[2], x.shape[3]) for x in inputs.cls_logits),
        inputs.cls_logits[0].device,
        recipe.offset,
    )
    gt = GroundTruth(
        boxes=torch.cat(inputs.gt_boxes),
        classes=torch.cat(inputs.gt_classes),
        counts=tuple(len(x) for x in inputs.gt_boxes),
    )
    predictions = Predictions.from_levels(
        inputs.cls_logits,
        inputs.ltrb,
        inputs.obj_logits if recipe.objectness else None,
        inputs.ctr_logits if assignment.uses_centerness else None,
    )
    losses, _ = assignment(predictions, grid, gt)
    return torch.stack(list(losses.values())).sum()


def _floor(recipe: Strategy, inputs: LossInputs) -> Tensor:
    """What any loss over all locations and classes costs: the negative focal term, unweighted."""
    total = torch.zeros(())
    for cls_logits, obj_logits in zip(inputs.cls_logits, inputs.obj_logits, strict=True):
        probability = cls_logits.sigmoid()
        if recipe.objectness:
            probability = probability * obj_logits.sigmoid()
        total = total - (probability.square() * torch.log(1 - probability)).sum()
    return total


def _time(compute: Callable[[], Tensor]) -> tuple[float, float]:
    """Seconds of the forward and of the backward pass."""
    start = time.perf_counter()
    total = compute()
    middle = time.perf_counter()
    total.backward()
    return middle - start, time.perf_counter() - middle


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
