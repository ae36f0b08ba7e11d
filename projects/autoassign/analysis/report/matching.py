"""Detections matched with objects by pycocotools, one by one."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

__all__ = ["IOU", "Matches", "coco_detections", "coco_objects", "match"]

# Of a detection and the object that it finds.
IOU = 0.5


@dataclass(frozen=True)
class Matches:
    """What COCO's evaluation makes of detections, by their ids and those of the objects.

    Attributes:
        found_by: object -> the detection that finds it.
        right: detections that find an object.
        ignored: detections that count neither for nor against the detector.
    """

    found_by: dict[int, int] = field(default_factory=dict)
    right: set[int] = field(default_factory=set)
    ignored: set[int] = field(default_factory=set)


def match(
    image_ids: set[Any], objects: list[dict[str, Any]], detections: list[dict[str, Any]]
) -> Matches:
    """Match each detection, by descending score, with an object of its class at :data:`IOU`.

    Args:
        image_ids: of the dataset.
        objects: as :func:`coco_objects` returns them.
        detections: as :func:`coco_detections` returns them.
    """
    categories = sorted({x["category_id"] for x in (*objects, *detections)})
    evaluation = COCOeval(
        _coco(image_ids, categories, objects), _coco(image_ids, categories, detections), "bbox"
    )
    evaluation.params.iouThrs = np.array([IOU])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        evaluation.evaluate()
    # Beyond the 100 detections of an image and class that COCO looks at, they are ignored.
    matches = Matches(ignored={x["id"] for x in detections})
    for image in filter(None, evaluation.evalImgs):
        rows = zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True)
        for detection, found, is_ignored in rows:
            if is_ignored:
                continue
            matches.ignored.remove(detection)
            if found:
                matches.right.add(detection)
                matches.found_by[int(found)] = detection
    return matches


def coco_objects(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The annotations in COCO's form, with classes as category ids; numbers from 1."""
    objects: list[dict[str, Any]] = []
    for record in records:
        for annotation in record.get("annotations", ()):
            box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYWH_ABS)
            x, y, width, height = (float(value) for value in box)
            objects.append(
                {
                    "id": len(objects) + 1,  # pycocotools takes 0 for "no match"
                    "image_id": record["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                }
            )
    return objects


def coco_detections(
    results: Sequence[Mapping[str, Any]], index_of_id: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Detections with classes as category ids; numbers from 1."""
    return [
        {
            "id": number,
            "image_id": x["image_id"],
            "category_id": index_of_id[x["category_id"]],
            "bbox": x["bbox"],
            "area": x["bbox"][2] * x["bbox"][3],
            "iscrowd": 0,
            "score": x["score"],
        }
        for number, x in enumerate(results, start=1)
    ]


def _coco(image_ids: set[Any], categories: list[int], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": category} for category in categories],
        # COCOeval adds keys.
        "annotations": [dict(x) for x in annotations],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
