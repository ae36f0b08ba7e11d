"""COCO annotation files, by COCO and by annotation tools."""

from __future__ import annotations

import math
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..json_stream import json_encoding, read_lists
from ..table import BoxTable
from .coco_values import as_box, as_crowd, as_file_name, as_id, as_size, as_text, polygon_box
from .faults import Entry, Faults, Repairs, describe

__all__ = ["Category", "CocoFile", "read_coco_json"]

_LISTS = ("images", "annotations", "categories")
_MAX_AREA = 1e12
_BOX_AND_AREA = struct.Struct("5d")


@dataclass(frozen=True)
class Category:
    """A class of a COCO file."""

    id: int
    name: str
    supercategory: str = ""


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file.

    Attributes:
        table: file names are those of the file; classes are indices into ``categories``.
        categories: by ascending id.
        repairs: counts of what was repaired.
        is_strict: whether COCO evaluation can use the file itself, because nothing was repaired.
    """

    table: BoxTable
    categories: tuple[Category, ...]
    repairs: Repairs
    is_strict: bool


def read_coco_json(path: Path) -> CocoFile:
    """Read a COCO annotation file of any size.

    Masks, keypoints and other fields are not kept. Repaired are numbers written as text and text
    written as numbers, missing sizes, areas and ``iscrowd``, missing boxes of polygons, missing
    and repeated ids of annotations, and images listed twice.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, lacks a list or a field, has an invalid value, has one id for
            two images or categories, or refers to an image or a category it does not have. The
            message names file, field and entry for all kinds of faults.
    """
    reader = _Reader(path)
    found = read_lists(
        path,
        {
            "images": reader.add_image,
            "annotations": reader.add_annotation,
            "categories": reader.add_category,
        },
    )
    for key in _LISTS:
        if key not in found:
            raise ValueError(f"{path} has no list {key!r}; COCO format needs {', '.join(_LISTS)}")
    return reader.finish()


class _Numbers(dict[int | str, int]):
    """Numbers ids 0, 1, 2, ... in the order in which they are seen, as ids or as references."""

    def __missing__(self, key: int | str) -> int:
        self[key] = len(self)
        return self[key]


class _Reader:
    """Collects the entries of the three lists, in any order, in little memory."""

    def __init__(self, path: Path) -> None:
        self._faults = Faults(path)
        self._repairs = Repairs()
        self._is_strict = json_encoding(path) == "utf-8"  # pycocotools reads no other
        self._images = _Numbers()
        self._image_entries: dict[int, tuple[str, int, int]] = {}
        self._category_numbers = _Numbers()
        self._categories: dict[int, Category] = {}
        self._object_images = array("q")
        self._object_categories = array("q")
        self._boxes_and_areas = array("d")
        self._is_crowd = array("b")
        self._annotation_ids = array("q")

    def add_image(self, index: int, entry: Any) -> None:
        checked = Entry("images", index, entry, self._faults)
        image_id = checked.read("id", as_id)
        values = (
            checked.read("file_name", as_file_name),
            checked.read("height", as_size, 0),
            checked.read("width", as_size, 0),
        )
        if image_id is None:
            return
        if type(entry["id"]) is not int:
            self._repair("ids of images of another type")
        for field, size in zip(("height", "width"), values[1:], strict=True):
            if size == 0:
                self._repair("missing sizes of images")
            elif type(entry[field]) is not int:
                self._repair("sizes of images of another type")
        number = self._images[image_id]
        known = self._image_entries.setdefault(number, values)
        if known is not values:
            if known != values:
                checked.fault("repeated id", f"has the id of another image, {describe(known[0])}")
            self._repair("images listed twice")

    def add_category(self, index: int, entry: Any) -> None:
        checked = Entry("categories", index, entry, self._faults)
        category_id = checked.read("id", as_id)
        name = checked.read("name", as_text)
        if category_id is None:
            return
        if type(entry["id"]) is not int or name != entry.get("name"):
            self._repair("ids and names of categories of another type")
        parent = entry.get("supercategory")
        category = Category(
            category_id if isinstance(category_id, int) else -1,
            name,
            parent if isinstance(parent, str) else "",
        )
        known = self._categories.setdefault(self._category_numbers[category_id], category)
        if known is not category:
            if known.name != name:
                checked.fault(
                    "repeated id", f"has the id of another category, {describe(known.name)}"
                )
            self._repair("categories listed twice")

    def add_annotation(self, index: int, entry: Any) -> None:
        # The fast path for the millions of regular entries of a large file.
        try:
            area, crowd = entry["area"], entry["iscrowd"]
            image, category = entry["image_id"], entry["category_id"]
            packed = _BOX_AND_AREA.pack(*entry["bbox"], area)
            regular = (
                type(image) is type(category) is type(crowd) is int
                and 0 <= crowd <= 1
                and type(area) in (int, float)
                and 0 <= area <= _MAX_AREA
                and "ignore" not in entry
            )
            if regular:
                self._annotation_ids.append(entry["id"])
        except (TypeError, KeyError, OverflowError, struct.error):
            regular = False
        if regular:
            self._object_images.append(self._images[image])
            self._object_categories.append(self._category_numbers[category])
            self._boxes_and_areas.frombytes(packed)
            self._is_crowd.append(crowd)
        else:
            self._add_irregular_annotation(index, entry)

    def _add_irregular_annotation(self, index: int, entry: Any) -> None:
        self._is_strict = False
        checked = Entry("annotations", index, entry, self._faults)
        image = checked.read("image_id", as_id)
        category = checked.read("category_id", as_id)
        is_crowd = checked.read("iscrowd", as_crowd, False)
        is_ignored = checked.read("ignore", as_crowd, False)
        box = self._read_box(checked)
        # Faulty entries too, so that positions in these columns are positions in the list.
        self._object_images.append(-1 if image is None else self._images[image])
        self._object_categories.append(-1 if category is None else self._category_numbers[category])
        self._boxes_and_areas.extend((*(box or (0, 0, 0, 0)), self._read_area(checked)))
        self._is_crowd.append(bool(is_crowd or is_ignored))
        if checked.is_faulty:
            return
        if type(entry.get("id")) is not int:
            self._repair("ids of annotations missing or of another type")
        if type(entry["image_id"]) is not int or type(entry["category_id"]) is not int:
            self._repair("ids in annotations of another type")
        if type(entry.get("iscrowd", 0)) is not int:
            self._repair("values of iscrowd of another type")
        if is_ignored and not is_crowd:
            self._repair("objects marked 'ignore', taken as crowds")

    def _read_box(self, checked: Entry) -> tuple[float, float, float, float] | None:
        if checked.get("bbox") in (None, []) and checked.get("segmentation"):
            self._repair("boxes taken from polygons")
            return checked.read("segmentation", polygon_box)
        box = checked.read("bbox", as_box)
        if box is not None and any(isinstance(x, str) for x in checked.get("bbox")):
            self._repair("boxes of another type")
        return box

    def _read_area(self, checked: Entry) -> float:
        """The area; NaN, which means that of the box, if there is no valid one."""
        area = checked.get("area", math.nan)
        if type(area) in (int, float) and not area < 0 and not area > _MAX_AREA:
            return float(area)
        self._repair("areas of another type")
        return math.nan

    def _repair(self, what: str) -> None:
        self._repairs[what] += 1
        self._is_strict = False

    def finish(self) -> CocoFile:
        self._check_references("image_id", self._object_images, self._images, self._image_entries)
        self._check_references(
            "category_id", self._object_categories, self._category_numbers, self._categories
        )
        for key, entries in (("images", self._image_entries), ("categories", self._categories)):
            if not entries:
                self._faults.add(key, f"the list {key!r} is empty")
        self._faults.raise_if_any()
        ids = np.array(self._annotation_ids, dtype=np.int64)
        num_repeated = len(ids) - len(np.unique(ids))
        if num_repeated:
            self._repairs["repeated ids of annotations"] = num_repeated
            self._is_strict = False
        if len(ids) and ids.min() <= 0:
            self._is_strict = False  # evaluation takes an id of 0 for "unmatched"
        categories, class_of_number = self._sorted_categories()
        return CocoFile(
            table=self._table(class_of_number),
            categories=categories,
            repairs=self._repairs,
            is_strict=self._is_strict,
        )

    def _check_references(
        self, field: str, references: array[int], numbers: _Numbers, entries: dict[int, Any]
    ) -> None:
        if len(entries) == len(numbers):
            return
        unknown = {number: key for key, number in numbers.items() if number not in entries}
        key = "images" if field == "image_id" else "categories"
        for index, reference in enumerate(references):
            if reference in unknown:
                self._faults.add(
                    f"unknown {field}",
                    f"annotations: field {field!r} of entry number {index} is "
                    f"{describe(unknown[reference])}, which is not in {key!r}",
                )

    def _sorted_categories(self) -> tuple[tuple[Category, ...], np.ndarray]:
        """The categories by ascending id, and the class index of each number."""
        numbers = list(self._categories)
        if any(isinstance(key, str) for key in self._category_numbers):
            # Ids of the file's order replace those that are not integers.
            categories = [
                Category(number, x.name, x.supercategory)
                for number, x in enumerate(self._categories.values())
            ]
        else:
            categories = list(self._categories.values())
        order = sorted(range(len(categories)), key=lambda i: categories[i].id)
        class_of_number = np.zeros(len(self._category_numbers), dtype=np.int64)
        class_of_number[[numbers[i] for i in order]] = np.arange(len(order))
        return tuple(categories[i] for i in order), class_of_number

    def _table(self, class_of_number: np.ndarray) -> BoxTable:
        numbers = np.array(list(self._image_entries), dtype=np.int64)
        names, heights, widths = zip(*self._image_entries.values(), strict=True)
        # The images are in the order of their list, which need not be that of the numbers.
        index_of_number = np.zeros(len(self._images), dtype=np.int64)
        index_of_number[numbers] = np.arange(len(numbers))
        image_index = index_of_number[np.array(self._object_images, dtype=np.int64)]
        order = np.argsort(image_index, kind="stable")
        ids = list(self._images)
        image_ids = [ids[number] for number in numbers.tolist()]
        if not all(type(x) is int and abs(x) < 2**63 for x in image_ids):
            image_ids = list(range(1, len(numbers) + 1))
        values = np.frombuffer(self._boxes_and_areas, dtype=np.float64).reshape(-1, 5)
        boxes = values[order, :4]
        with np.errstate(invalid="ignore"):  # infinite boxes, which the cleaning drops
            boxes[:, 2:] += boxes[:, :2]
        categories = np.array(self._object_categories, dtype=np.int64)
        return BoxTable(
            file_names=np.array(names),
            image_ids=np.array(image_ids, dtype=np.int64),
            sizes=np.array([heights, widths], dtype=np.int64).T,
            image_index=image_index[order],
            boxes=boxes,
            classes=class_of_number[categories][order],
            is_crowd=np.array(self._is_crowd, dtype=bool)[order],
            areas=values[order, 4],
        )
