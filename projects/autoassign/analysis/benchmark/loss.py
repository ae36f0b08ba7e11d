"""Time and memory of a label assignment's losses, forward and backward."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from ...config import load_config, strategy_options
from ...modeling import GroundTruth, LabelAssignment, Predictions, build_label_assignment, make_grid
from .inputs import LossInputs, make_loss_inputs

__all__ = ["LossCase", "LossRow", "loss_of", "measure_loss"]


@dataclass(frozen=True)
class LossCase:
    """A strategy with the head options of its recipe.

    Attributes:
        assignment: the strategy.
        has_objectness: whether it is given objectness logits.
        offset: of the locations, in strides.
        feature_channels: of the features that it sees; 0 if it asks for none.
    """

    assignment: LabelAssignment
    has_objectness: bool
    offset: float
    feature_channels: int

    @classmethod
    def build(cls, strategy: str, num_classes: int, feature_channels: int = 256) -> LossCase:
        """The registered strategy of this name, for a pyramid of so many channels."""
        cfg = load_config(opts=strategy_options(strategy))
        cfg.MODEL.FPN.OUT_CHANNELS = feature_channels
        head = cfg.MODEL.POINT_HEAD
        head.NUM_CLASSES = num_classes
        assignment = build_label_assignment(cfg)
        return cls(
            assignment=assignment,
            has_objectness=head.OBJECTNESS != "none",
            offset=head.LOCATION_OFFSET,
            feature_channels=feature_channels if assignment.needs_features else 0,
        )


# Enough repetitions for a steady median, as far as the time allows.
_MAX_REPEATS = 15
_MAX_SECONDS = 6.0
_NUM_CLASSES = 80


@dataclass(frozen=True)
class LossRow:
    """One measurement; times are medians of runs that alternate with the floor's.

    Attributes:
        strategy: name of the label assignment.
        objects: objects in each of the two images.
        box_scale: factor on the size of ordinary predicted boxes.
        box_size: least and greatest side of the objects in pixels.
        forward_seconds: from the head's output to the losses.
        backward_seconds: from the losses to the gradients of the head's output.
        floor_seconds: forward and backward of the negative focal term alone, by autograd.
        peak_mb: growth of the process's peak resident memory in the first run, in MiB.
    """

    strategy: str
    objects: int
    box_scale: float
    box_size: tuple[float, float]
    forward_seconds: float
    backward_seconds: float
    floor_seconds: float
    peak_mb: float


def measure_loss(
    strategy: str,
    num_objects: int,
    box_scale: float = 1.0,
    box_size: tuple[float, float] = (10.0, 120.0),
) -> LossRow:
    """One row. Run in a fresh process: ``ru_maxrss`` never decreases."""
    case = LossCase.build(strategy, _NUM_CLASSES)
    tiny = make_loss_inputs(2, image_size=(128, 128), feature_channels=case.feature_channels)
    _time(lambda: loss_of(case, tiny))
    inputs = make_loss_inputs(
        num_objects, box_scale=box_scale, box_size=box_size, feature_channels=case.feature_channels
    )
    before = _peak_memory_mb()
    _time(lambda: loss_of(case, inputs))
    peak_mb = _peak_memory_mb() - before

    losses: list[tuple[float, float]] = []
    floors: list[float] = []
    start = time.perf_counter()
    while len(losses) < _MAX_REPEATS and time.perf_counter() - start < _MAX_SECONDS:
        floors.append(sum(_time(lambda: _floor(case, inputs))))
        losses.append(_time(lambda: loss_of(case, inputs)))
    forward, backward = zip(*losses, strict=True)
    return LossRow(
        strategy=strategy,
        objects=num_objects,
        box_scale=box_scale,
        box_size=box_size,
        forward_seconds=median(forward),
        backward_seconds=median(backward),
        floor_seconds=median(floors),
        peak_mb=peak_mb,
    )


def loss_of(case: LossCase, inputs: LossInputs) -> Tensor:
    """The sum of a strategy's losses on these inputs."""
    grid = make_grid(
        inputs.strides,
        tuple((x.shape[2], x.shape[3]) for x in inputs.cls_logits),
        inputs.cls_logits[0].device,
        case.offset,
    )
    gt = GroundTruth(
        boxes=torch.cat(inputs.gt_boxes),
        classes=torch.cat(inputs.gt_classes),
        counts=tuple(len(x) for x in inputs.gt_boxes),
    )
    extra = {
        output.name: [level.expand(-1, output.channels, -1, -1) for level in inputs.extra_logits]
        for output in case.assignment.extra_outputs
    }
    predictions = Predictions.from_levels(
        cls_logits=inputs.cls_logits,
        ltrb=inputs.ltrb,
        obj_logits=inputs.obj_logits if case.has_objectness else None,
        extra=extra,
    )
    predictions = replace(predictions, features=tuple(inputs.features))
    losses, _ = case.assignment(predictions, grid, gt)
    return torch.stack(list(losses.values())).sum()


def _floor(case: LossCase, inputs: LossInputs) -> Tensor:
    """What any loss over all locations and classes costs: the negative focal term, unweighted."""
    total = torch.zeros(())
    for cls_logits, obj_logits in zip(inputs.cls_logits, inputs.obj_logits, strict=True):
        probability = cls_logits.sigmoid()
        if case.has_objectness:
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
