"""A split of a user's dataset in COCO's JSON format."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import BoxMode

from .paths import dataset_name, dataset_root, split_list

__all__ = ["CocoSplit", "coco_splits", "read_coco_json"]

# The fields an entry of each list must have. `iscrowd` and `area` may be absent.
_REQUIRED_FIELDS = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
}
_TYPE_NAMES = {int: "an integer", str: "a string", list: "a list"}


@dataclass
class CocoSplit:
    """One annotation file and the folder of its images."""

    name: str
    source: Path
    image_root: Path

    @cached_property
    def annotations(self) -> dict[str, Any]:
        """The content of the annotation file."""
        return read_coco_json(self.source)

    @property
    def json_file(self) -> str:
        """The file that COCO evaluation reads, where :meth:`ground_truth` has no other."""
        return str(self.source)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata to set once the split is loaded, as detectron2 has it for COCO."""
        categories = self._categories
        return {
            "image_root": str(self.image_root),
            "thing_classes": [category["name"] for category in categories],
            "thing_dataset_id_to_contiguous_id": {
                category["id"]: index for index, category in enumerate(categories)
            },
        }

    @property
    def _categories(self) -> list[dict]:
        return sorted(self.annotations["categories"], key=lambda category: category["id"])

    def load(self) -> list[dict]:
        """Return detectron2 dataset dicts; annotations carry the ``id`` of their entry.

        detectron2's load_coco_json leaves out objects whose mask it cannot use. Here boxes are
        all that counts, and masks and keypoints are not looked at.

        Raises:
            ValueError: see :func:`read_coco_json`.
        """
        class_index = {category["id"]: i for i, category in enumerate(self._categories)}
        records = {
            image["id"]: {
                "file_name": str(self.image_root / image["file_name"]),
                "image_id": image["id"],
                "height": image["height"],
                "width": image["width"],
                "annotations": [],
            }
            for image in self.annotations["images"]
        }
        for annotation in self.annotations["annotations"]:
            records[annotation["image_id"]]["annotations"].append(
                {
                    "id": annotation["id"],
                    "bbox": annotation["bbox"],
                    "bbox_mode": BoxMode.XYWH_ABS,
                    "category_id": class_index[annotation["category_id"]],
                    "iscrowd": annotation.get("iscrowd", 0),
                }
            )
        return list(records.values())

    def ground_truth(self, records: list[dict]) -> dict[str, Any] | None:
        """Return the annotation file's content as COCO evaluation should see it.

        That is without the images and boxes that ``records``, the dataset dicts after cleaning,
        no longer have, with their clipped boxes, with the ``iscrowd`` and ``area`` that the
        evaluation insists on, and without an annotation id of 0, which it takes for "unmatched".

        Returns:
            None where the file itself already is that.
        """
        original = self.annotations
        image_ids = {record["image_id"] for record in records}
        kept = {a["id"]: a for record in records for a in record["annotations"]}
        images = [image for image in original["images"] if image["id"] in image_ids]
        annotations = [
            _evaluated(annotation, kept[annotation["id"]])
            for annotation in original["annotations"]
            if annotation["id"] in kept
        ]
        if 0 in kept:
            annotations = [{**a, "id": i} for i, a in enumerate(annotations, start=1)]
        if images == original["images"] and annotations == original["annotations"]:
            return None
        return {**original, "images": images, "annotations": annotations}


def _evaluated(original: dict, cleaned: dict) -> dict:
    """Return the entry ``original`` with the box of its ``cleaned`` annotation."""
    if cleaned["bbox_mode"] == BoxMode.XYWH_ABS:
        return {"iscrowd": 0, "area": original["bbox"][2] * original["bbox"][3], **original}
    box = np.array([cleaned["bbox"]])
    x, y, width, height = BoxMode.convert(box, cleaned["bbox_mode"], BoxMode.XYWH_ABS)[0].tolist()
    return {
        "iscrowd": 0,
        **original,
        "bbox": [x, y, width, height],
        # The area may be that of a mask, smaller than the box.
        "area": min(original.get("area", width * height), width * height),
    }


def coco_splits(custom: CfgNode) -> tuple[list[CocoSplit], list[CocoSplit]]:
    """Return the training and the test splits that ``cfg.DATASETS.CUSTOM`` names.

    A split is called after the root folder and its annotation file, or the file's path where
    several annotation files have the same name.

    Raises:
        FileNotFoundError: the root folder, an annotation file or an image folder is missing.
        ValueError: the number of image folders fits neither one for all nor one for each.
    """
    root = dataset_root(custom)
    pairs = {key: _pair_paths(custom, root, key) for key in ("TRAIN", "TEST")}
    json_files = {json_file for key in pairs for json_file, _ in pairs[key]}
    stems = Counter(json_file.stem for json_file in json_files)

    def split(json_file: Path, image_root: Path) -> CocoSplit:
        label = json_file.stem
        if stems[label] > 1:
            label = os.path.relpath(json_file.with_suffix(""), root)
        return CocoSplit(dataset_name(root, label), json_file, image_root)

    train, test = ([split(*pair) for pair in pairs[key]] for key in ("TRAIN", "TEST"))
    return train, test


def _pair_paths(custom: CfgNode, root: Path, key: str) -> list[tuple[Path, Path]]:
    json_files = [root / path for path in split_list(custom[key])]
    if not json_files:
        return []
    # Without a folder, file names are relative to the root.
    image_roots = [root / path for path in split_list(custom[f"{key}_IMAGES"])] or [root]
    if len(image_roots) == 1:
        image_roots *= len(json_files)
    if len(image_roots) != len(json_files):
        raise ValueError(
            f"DATASETS.CUSTOM.{key}_IMAGES names {len(image_roots)} folders for the "
            f"{len(json_files)} annotation files of DATASETS.CUSTOM.{key}: "
            "name one for all of them, or one for each"
        )
    pairs = list(zip(json_files, image_roots, strict=True))
    for json_file, image_root in pairs:
        if not json_file.is_file():
            raise FileNotFoundError(f"DATASETS.CUSTOM.{key}: {json_file} does not exist")
        if not image_root.is_dir():
            raise FileNotFoundError(f"DATASETS.CUSTOM.{key}_IMAGES: {image_root} is not a folder")
    return pairs


def read_coco_json(path: Path) -> dict[str, Any]:
    """Read a COCO annotation file and make sure that it is one.

    Raises:
        ValueError: it is not JSON, lacks a list or a field, has a field of the wrong type or an
            id twice, or refers to an image or a category it does not have. File, field and the
            entry's id are named.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not in COCO format: its top level is not an object")
    for key, fields in _REQUIRED_FIELDS.items():
        if not isinstance(content.get(key), list):
            raise ValueError(
                f"{path} has no list {key!r}; COCO format needs {', '.join(_REQUIRED_FIELDS)}"
            )
        for index, entry in enumerate(content[key]):
            _check_fields(f"{path}: {key}", index, entry, fields)
        _check_unique_ids(path, key, content[key])
    for key in ("images", "categories"):
        if not content[key]:
            raise ValueError(f"{path}: the list {key!r} is empty")
    _check_values(path, content)
    return content


def _check_fields(where: str, index: int, entry: Any, fields: dict[str, type]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}[{index}] is not an object")
    entry_name = f"the entry with id {entry['id']}" if "id" in entry else f"entry number {index}"
    for field, kind in fields.items():
        if field not in entry:
            raise ValueError(f"{where}: {entry_name} has no field {field!r}")
        if not isinstance(entry[field], kind):
            raise ValueError(
                f"{where}: field {field!r} of {entry_name} is {entry[field]!r}, "
                f"not {_TYPE_NAMES[kind]}"
            )


def _check_unique_ids(path: Path, key: str, entries: list[dict]) -> None:
    for entry_id, count in Counter(entry["id"] for entry in entries).most_common(1):
        if count > 1:
            raise ValueError(f"{path}: {key}: {count} entries have the id {entry_id}")


def _check_values(path: Path, content: dict[str, Any]) -> None:
    for image in content["images"]:
        for field in ("height", "width"):
            if image[field] <= 0:
                raise ValueError(
                    f"{path}: images: field {field!r} of the entry with id {image['id']} is "
                    f"{image[field]}, not positive"
                )
    ids = {key: {entry["id"] for entry in content[key]} for key in ("images", "categories")}
    for annotation in content["annotations"]:
        where = f"{path}: annotations: the entry with id {annotation['id']}"
        box = annotation["bbox"]
        if len(box) != 4 or not all(isinstance(number, int | float) for number in box):
            raise ValueError(f"{where}: field 'bbox' is {box}, not four numbers")
        for field in ("area", "iscrowd"):
            if not isinstance(annotation.get(field, 0), int | float):
                raise ValueError(f"{where}: field {field!r} is {annotation[field]}, not a number")
        for field, key in (("image_id", "images"), ("category_id", "categories")):
            if annotation[field] not in ids[key]:
                raise ValueError(
                    f"{where}: field {field!r} is {annotation[field]}, which is not in {key!r}"
                )
        if annotation.get("ignore", 0):
            raise ValueError(f"{where}: field 'ignore' is not supported; 'iscrowd' is")
