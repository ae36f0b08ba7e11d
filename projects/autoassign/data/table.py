"""Images and boxes as arrays, which all readers of annotations return."""

from __future__ import annotations

import dataclasses
import os
from array import array
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

__all__ = ["BoxTable", "TableBuilder"]


@dataclass(frozen=True, eq=False)
class BoxTable:
    """N images and their M objects, sorted by image.

    Arrays take less memory than dataset dicts, can be memory-mapped, and allow vectorized checks.

    Attributes:
        file_names: (N,) paths of the images, relative to ``image_root``.
        image_ids: (N,) integers or strings, all different.
        sizes: (N, 2) height and width in pixels; 0 where they are not known.
        image_index: (M,) each object's image, ascending.
        boxes: (M, 4) float64, xyxy in pixels.
        classes: (M,) index of the class.
        is_crowd: (M,) crowds are not trained on, and detections of them do not count.
        areas: (M,) square pixels by which COCO's metrics tell small objects from large ones; NaN
            for the area of the box.
        attributes: name -> (M,) further values of the objects.
        image_root: folder of the images.
    """

    file_names: np.ndarray
    image_ids: np.ndarray
    sizes: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    image_root: str = ""

    def __len__(self) -> int:
        return len(self.file_names)

    @cached_property
    def offsets(self) -> np.ndarray:
        """(N + 1,) the objects of image i are those from ``offsets[i]`` to ``offsets[i + 1]``."""
        return np.searchsorted(self.image_index, np.arange(len(self) + 1))

    def path(self, index: int) -> str:
        """The path of an image."""
        return os.path.join(self.image_root, str(self.file_names[index]))

    def paths(self) -> list[str]:
        """The paths of all images."""
        return [self.path(index) for index in range(len(self))]

    def record(self, index: int) -> dict[str, Any]:
        """One image as a detectron2 dataset dict."""
        return self._records(index, index + 1)[0]

    def records(self) -> list[dict[str, Any]]:
        """All images as detectron2 dataset dicts, made anew by each call."""
        return self._records(0, len(self))

    def _records(self, start: int, stop: int) -> list[dict[str, Any]]:
        rows = slice(self.offsets[start], self.offsets[stop])
        columns = {
            "bbox": self.boxes[rows].tolist(),
            "category_id": self.classes[rows].tolist(),
            "iscrowd": self.is_crowd[rows].astype(int).tolist(),
            **{name: values[rows].tolist() for name, values in self.attributes.items()},
        }
        keys = ("bbox_mode", *columns)
        annotations = [
            dict(zip(keys, (BoxMode.XYXY_ABS, *values), strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        ends = (self.offsets[start : stop + 1] - self.offsets[start]).tolist()
        return [
            {
                "file_name": os.path.join(self.image_root, name),
                "image_id": image_id,
                "height": height,
                "width": width,
                "annotations": annotations[first:last],
            }
            for name, image_id, (height, width), first, last in zip(
                self.file_names[start:stop].tolist(),
                self.image_ids[start:stop].tolist(),
                self.sizes[start:stop].tolist(),
                ends[:-1],
                ends[1:],
                strict=True,
            )
        ]

    def slice_images(self, start: int, stop: int) -> BoxTable:
        """The images from ``start`` to ``stop`` and their objects, as views of the arrays."""
        table = self.select_objects(slice(self.offsets[start], self.offsets[stop]))
        return dataclasses.replace(
            table,
            file_names=self.file_names[start:stop],
            image_ids=self.image_ids[start:stop],
            sizes=self.sizes[start:stop],
            image_index=table.image_index - start,
        )

    def select_images(self, keep: np.ndarray) -> BoxTable:
        """The images of an (N,) mask and their objects."""
        numbers = np.cumsum(keep) - 1
        table = self.select_objects(keep[self.image_index])
        return dataclasses.replace(
            table,
            file_names=self.file_names[keep],
            image_ids=self.image_ids[keep],
            sizes=self.sizes[keep],
            image_index=numbers[table.image_index],
        )

    def select_objects(self, rows: np.ndarray | slice) -> BoxTable:
        """All images, and the objects of an (M,) mask, of indices or of a slice."""
        return dataclasses.replace(
            self,
            image_index=self.image_index[rows],
            boxes=self.boxes[rows],
            classes=self.classes[rows],
            is_crowd=self.is_crowd[rows],
            areas=self.areas[rows],
            attributes={name: values[rows] for name, values in self.attributes.items()},
        )

    def count_objects(self, num_classes: int) -> np.ndarray:
        """(num_classes,) number of objects of each class, without crowds."""
        return np.bincount(self.classes[~self.is_crowd], minlength=num_classes)


class TableBuilder:
    """Collects images and objects, in any order, for a :class:`BoxTable`."""

    def __init__(self, attributes: tuple[str, ...] = ()) -> None:
        self._file_names: list[str] = []
        self._image_ids: list[int] | list[str] = []
        self._sizes = array("q")
        self._image_index = array("q")
        self._boxes = array("d")
        self._classes = array("q")
        self._is_crowd = array("b")
        self._areas = array("d")
        self._attributes = {name: array("q") for name in attributes}

    def add_image(self, file_name: str, image_id: Any, height: int = 0, width: int = 0) -> int:
        """Add an image; returns its index."""
        self._file_names.append(file_name)
        self._image_ids.append(image_id)
        self._sizes.extend((height, width))
        return len(self._file_names) - 1

    def add_object(
        self,
        image_index: int,
        class_index: int,
        box: tuple[float, float, float, float],
        *,
        is_crowd: bool = False,
        area: float = float("nan"),
        **attributes: int,
    ) -> None:
        """Add an object; ``box`` is xyxy."""
        self._image_index.append(image_index)
        self._classes.append(class_index)
        self._boxes.extend(box)
        self._is_crowd.append(is_crowd)
        self._areas.append(area)
        for name, values in self._attributes.items():
            values.append(attributes[name])

    def build(self, image_root: str = "") -> BoxTable:
        """The table. Objects of an image keep their order."""
        table = BoxTable(
            # Empty lists would become arrays of floats.
            file_names=np.array(self._file_names, dtype=None if self._file_names else str),
            image_ids=np.array(self._image_ids, dtype=None if self._image_ids else np.int64),
            sizes=np.array(self._sizes, dtype=np.int64).reshape(-1, 2),
            image_index=np.array(self._image_index, dtype=np.int64),
            boxes=np.array(self._boxes, dtype=np.float64).reshape(-1, 4),
            classes=np.array(self._classes, dtype=np.int64),
            is_crowd=np.array(self._is_crowd, dtype=bool),
            areas=np.array(self._areas, dtype=np.float64),
            attributes={
                name: np.array(values, dtype=np.int64) for name, values in self._attributes.items()
            },
            image_root=image_root,
        )
        return table.select_objects(np.argsort(table.image_index, kind="stable"))
