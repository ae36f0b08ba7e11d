"""What a label assignment decides about the objects of one image, as plain arrays for pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from .assignment import Explanation, LabelAssignment
from .detector import PointDetector
from .grid import Grid
from .ground_truth import GroundTruth
from .predictions import Predictions

__all__ = [
    "ImageExplanation",
    "ObjectMaps",
    "Peak",
    "check_finite",
    "evaluating",
    "explain_image",
    "predict",
    "rgb_image",
]


class Peak(NamedTuple):
    """The location of an object's greatest primary value."""

    level: int  # 0 for the finest
    x: float  # pixels of the network's input
    y: float
    value: float


@dataclass(frozen=True)
class ObjectMaps:
    """The maps of one object, level by level.

    Attributes:
        index: of the object among the instances of the image.
        box: (4,) xyxy in pixels of the network's input.
        class_index: the class of the object.
        maps: name -> one (Hi, Wi) float array for each level, finest first; NaN at the locations
            that make no pair with the object.
        primary: the one of ``maps`` that says how much each location learns the object.
        peak: where the primary map is greatest, the first of equal ones; None where it is 0
            everywhere.
    """

    index: int
    box: np.ndarray
    class_index: int
    maps: dict[str, list[np.ndarray]]
    primary: str
    peak: Peak | None

    @property
    def level_shares(self) -> np.ndarray:
        """(L,) share of each level in the sum of the primary map; zeros where that is 0."""
        sums = np.array([np.nansum(level, dtype=np.float64) for level in self.maps[self.primary]])
        return sums / sums.sum() if sums.sum() > 0 else sums


@dataclass(frozen=True)
class ImageExplanation:
    """The label assignment of one image.

    Attributes:
        image: (H, W, 3) uint8, RGB, the network's input without padding.
        strides: stride of each level in pixels, finest first.
        offset: place of each level's first location, in strides.
        level_sizes: (height, width) of each level.
        objects: the objects that were asked for.
    """

    image: np.ndarray
    strides: tuple[int, ...]
    offset: float
    level_sizes: tuple[tuple[int, int], ...]
    objects: list[ObjectMaps]


@torch.no_grad()
def explain_image(
    model: PointDetector,
    batched_input: Mapping[str, Any],
    *,
    objects: Sequence[int] | None = None,
    input_format: str = "BGR",
    label_assignment: LabelAssignment | None = None,
) -> ImageExplanation:
    """Explain how the objects of one image are assigned.

    The numbers are those of ``label_assignment.explain``, which the losses are made of. The
    network runs as in evaluation; the model is left as it was, in training mode or not.

    Args:
        model: the detector.
        batched_input: ``image`` (3, H, W) and ``instances`` with ``gt_boxes`` and ``gt_classes``,
            as a dataset mapper returns them in training.
        objects: indices of the instances whose maps are returned; None for all. All of them
            take part in the assignment.
        input_format: order of the image's channels, ``INPUT.FORMAT``.
        label_assignment: applied to the model's predictions; None for the model's own.

    Raises:
        ValueError: there is no such object, an object's class is not one of the model's, or a map
            has a value that is not finite.
    """
    instances = batched_input["instances"]
    num_objects = len(instances)
    chosen = list(range(num_objects)) if objects is None else list(objects)
    wrong = [index for index in chosen if not 0 <= index < num_objects]
    if wrong:
        raise ValueError(f"there is no object {wrong[0]}: the image has {num_objects} objects")
    label_assignment = label_assignment or model.label_assignment
    predictions, grid = predict(model, batched_input)
    num_classes = predictions.num_classes
    if num_objects and int(instances.gt_classes.max()) >= num_classes:
        raise ValueError(
            f"an object has class {int(instances.gt_classes.max())}, but the model has "
            f"{num_classes} classes"
        )
    gt = GroundTruth.from_instances([instances]).to(model.device)
    explanation = label_assignment.explain(predictions, grid, gt)
    for name, values in explanation.maps.items():
        check_finite(name, values)
    return ImageExplanation(
        image=rgb_image(batched_input["image"], input_format),
        strides=grid.strides,
        offset=grid.offset,
        level_sizes=grid.sizes,
        objects=_objects_maps(explanation, grid, instances, chosen),
    )


def _objects_maps(
    explanation: Explanation, grid: Grid, instances: Instances, chosen: Sequence[int]
) -> list[ObjectMaps]:
    objects = explanation.pairs.objects.cpu().numpy()
    locations = explanation.pairs.locations.cpu().numpy()
    maps = {name: values.cpu().numpy() for name, values in explanation.maps.items()}
    result = []
    for index in chosen:
        of_object = np.flatnonzero(objects == index)
        places = locations[of_object]
        result.append(
            ObjectMaps(
                index=index,
                box=instances.gt_boxes.tensor[index].cpu().numpy(),
                class_index=int(instances.gt_classes[index]),
                maps={
                    name: _per_level(values[of_object], places, grid)
                    for name, values in maps.items()
                },
                primary=explanation.primary,
                peak=_peak(maps[explanation.primary][of_object], places, grid),
            )
        )
    return result


def _per_level(values: np.ndarray, places: np.ndarray, grid: Grid) -> list[np.ndarray]:
    """The values at these locations as one (Hi, Wi) array for each level, NaN elsewhere."""
    flat = np.full(grid.num_locations, np.nan, np.float32)
    flat[places] = values
    levels = np.split(flat, grid.level_starts[1:])
    return [level.reshape(size) for level, size in zip(levels, grid.sizes, strict=True)]


def _peak(values: np.ndarray, places: np.ndarray, grid: Grid) -> Peak | None:
    if not len(values) or values.max() <= 0:
        return None
    place = int(places[values.argmax()])
    x, y = grid.locations[place].tolist()
    return Peak(int(grid.location_levels[place]), x, y, float(values.max()))


def check_finite(name: str, values: Tensor) -> None:
    """
    Raises:
        ValueError: a value is NaN, which a picture would show as nothing, or infinite.
    """
    if not values.isfinite().all():
        raise ValueError(f"the {name} is not finite: have the weights diverged?")


@torch.no_grad()
def predict(model: PointDetector, batched_input: Mapping[str, Any]) -> tuple[Predictions, Grid]:
    """The dense predictions for one image, as in evaluation, with features, and their locations."""
    with evaluating(model):
        images = model.preprocess_image([dict(batched_input)])
        features, predictions = model.predict(images.tensor)
    return replace(predictions, features=tuple(features)), model.grid(features)


def rgb_image(image: Tensor, input_format: str) -> np.ndarray:
    """(H, W, 3) RGB of a (3, H, W) image in the order of ``INPUT.FORMAT``."""
    array = image.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(array[:, :, ::-1] if input_format == "BGR" else array)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; on exit, every module gets its previous mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
