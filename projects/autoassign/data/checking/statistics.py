"""Counts and histograms of a dataset at the scale of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torchvision.ops import box_iou

from ..table import BoxTable

__all__ = ["Histogram", "InputScale", "Statistics", "measure"]

# Images that are measured at a time.
_CHUNK_SIZE = 1024
_OBJECTS_PER_IMAGE = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)


@dataclass(frozen=True)
class InputScale:
    """The size of training images and the strides of the levels that make predictions.

    Attributes:
        short_side: median of ``INPUT.MIN_SIZE_TRAIN``.
        max_side: limit of the long side.
        strides: ascending.
        offset: place of each level's first location, in strides.
    """

    short_side: float
    max_side: float
    strides: tuple[int, ...]
    offset: float

    @classmethod
    def from_config(cls, cfg: CfgNode) -> InputScale:
        head = cfg.MODEL.RETINANET if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else None
        levels = (head or cfg.MODEL.POINT_HEAD).IN_FEATURES
        return cls(
            short_side=float(np.median(cfg.INPUT.MIN_SIZE_TRAIN)),
            max_side=float(cfg.INPUT.MAX_SIZE_TRAIN),
            strides=tuple(sorted(2 ** int(name.removeprefix("p")) for name in levels)),
            offset=float(cfg.MODEL.POINT_HEAD.LOCATION_OFFSET),
        )

    def factors(self, sizes: np.ndarray) -> np.ndarray:
        """(N,) scale factors of images of (N, 2) height and width."""
        short, long = sizes.min(axis=1), sizes.max(axis=1)
        return np.asarray(np.minimum(self.short_side / short, self.max_side / long))

    def has_location(self, boxes: np.ndarray) -> np.ndarray:
        """(M,) whether a location of the finest level lies strictly inside each xyxy box."""
        stride = self.strides[0]
        first = np.floor(boxes[:, :2] / stride - self.offset) + 1
        return np.asarray(((first + self.offset) * stride < boxes[:, 2:]).all(axis=1))


class Histogram:
    """Counts of values in bins. Values outside count in the first or last bin."""

    def __init__(self, edges: Iterable[float]) -> None:
        self.edges = np.array(list(edges), dtype=np.float64)
        self.counts = np.zeros(len(self.edges) - 1, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        inside = np.clip(values, self.edges[0], self.edges[-1])
        self.counts += np.histogram(inside, self.edges)[0]

    def as_dict(self) -> dict[str, list[float]]:
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist()}


class Statistics:
    """Counts about one dataset. Crowds are counted only as crowds."""

    def __init__(self, class_names: list[str], scale: InputScale) -> None:
        self.class_names = class_names
        self.scale = scale
        self.num_images = 0
        self.num_empty_images = 0
        self.num_crowds = 0
        self.num_narrow = 0  # a side shorter than the finest stride
        self.num_without_location = 0
        self.num_overlapping = 0  # IoU of 0.5 or more with another object of the image
        self.objects_of_class = np.zeros(len(class_names), dtype=np.int64)
        self.images_of_class = np.zeros(len(class_names), dtype=np.int64)
        self.image_sides = Histogram(2.0 ** np.arange(4, 14.1, 0.25))  # longer one, as it is
        self.sizes = Histogram(2.0 ** np.arange(0, 11.1, 0.25))  # √area, resized
        self.aspects = Histogram(2.0 ** np.arange(-4, 4.1, 0.25))  # width / height
        self.objects_per_image = Histogram(_OBJECTS_PER_IMAGE)
        self.most_objects = 0

    @property
    def num_objects(self) -> int:
        return int(self.objects_of_class.sum())

    def add(self, table: BoxTable) -> None:
        """Count the images and objects of a table."""
        things = table.select_objects(~table.is_crowd)
        self.num_images += len(table)
        self.num_crowds += int(table.is_crowd.sum())
        counts = np.bincount(things.image_index, minlength=len(table))
        self.num_empty_images += int((counts == 0).sum())
        self.objects_per_image.add(counts)
        self.most_objects = max(self.most_objects, int(counts.max(initial=0)))
        self.image_sides.add(table.sizes.max(axis=1))
        self.objects_of_class += np.bincount(things.classes, minlength=len(self.class_names))
        pairs = np.unique(np.stack([things.classes, things.image_index]), axis=1)
        self.images_of_class += np.bincount(pairs[0], minlength=len(self.class_names))

        boxes = things.boxes * self.scale.factors(table.sizes)[things.image_index][:, None]
        sides = boxes[:, 2:] - boxes[:, :2]
        self.sizes.add(np.sqrt(sides.prod(axis=1)))
        self.aspects.add(sides[:, 0] / sides[:, 1])
        self.num_narrow += int((sides.min(axis=1, initial=np.inf) < self.scale.strides[0]).sum())
        self.num_without_location += int((~self.scale.has_location(boxes)).sum())
        for first, last in zip(things.offsets[:-1], things.offsets[1:], strict=True):
            if last - first > 1:
                self.num_overlapping += _count_overlapping(things.boxes[first:last])

    def as_dict(self) -> dict[str, Any]:
        """All counts, in JSON types."""
        return {
            "images": self.num_images,
            "images_without_objects": self.num_empty_images,
            "objects": self.num_objects,
            "crowds": self.num_crowds,
            "objects_with_a_side_below_the_finest_stride": self.num_narrow,
            "objects_without_a_location_inside": self.num_without_location,
            "objects_overlapping_another_by_half": self.num_overlapping,
            "most_objects_in_an_image": self.most_objects,
            "classes": [
                {"name": name, "objects": objects, "images": images}
                for name, objects, images in zip(
                    self.class_names,
                    self.objects_of_class.tolist(),
                    self.images_of_class.tolist(),
                    strict=True,
                )
            ],
            "longer_side_of_images": self.image_sides.as_dict(),
            "square_root_of_area_as_trained": self.sizes.as_dict(),
            "width_over_height": self.aspects.as_dict(),
            "objects_per_image": self.objects_per_image.as_dict(),
        }


def _count_overlapping(boxes: np.ndarray) -> int:
    """The number of (K, 4) boxes that overlap another with an IoU of at least 0.5."""
    tensor = torch.from_numpy(boxes)
    ious = box_iou(tensor, tensor).fill_diagonal_(0)
    return int((ious.amax(dim=1) >= 0.5).sum())


def measure(
    table: BoxTable,
    class_names: list[str],
    scale: InputScale,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda parts, total: parts,
) -> Statistics:
    """Measure a dataset in bounded memory.

    Args:
        table: with sizes of all images, its boxes cleaned.
        class_names: by index.
        scale: of training.
        progress: wraps the parts that are measured one after the other, given their number.
    """
    statistics = Statistics(class_names, scale)
    starts = range(0, len(table), _CHUNK_SIZE)
    for first in progress(starts, len(starts)):
        statistics.add(table.slice_images(first, min(first + _CHUNK_SIZE, len(table))))
    return statistics
