"""Which images went well and which did not: matches of COCO's evaluation, counted by image."""

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

__all__ = ["IOU", "ImageScore", "MatchedBox", "Ranking", "best_threshold", "rank_images"]

# Of a detection and the object that it finds.
IOU = 0.5


@dataclass(frozen=True)
class MatchedBox:
    """An object, or a detection above the threshold.

    Attributes:
        box: x, y, width and height in pixels of the image.
        class_index: its class.
        score: of a detection; None for an object.
        matched: an object that is found, or a detection that finds one.
        counted: False for a crowd, and for a detection inside one.
    """

    box: tuple[float, ...]
    class_index: int
    score: float | None
    matched: bool
    counted: bool

    @property
    def kind(self) -> str:
        """One of "found", "missed", "wrong" and "crowd"."""
        if not self.counted:
            return "crowd"
        if self.matched:
            return "found"
        return "missed" if self.score is None else "wrong"


@dataclass(frozen=True)
class ImageScore:
    """How well the objects of an image were found; detections by descending score."""

    record: Mapping[str, Any]
    objects: list[MatchedBox] = field(default_factory=list)
    detections: list[MatchedBox] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Objects found, objects missed, wrong detections."""
        objects = [x.kind for x in self.objects]
        wrong = sum(x.kind == "wrong" for x in self.detections)
        return objects.count("found"), objects.count("missed"), wrong

    @property
    def f1(self) -> float | None:
        """2 · found / (2 · found + missed + wrong); None if there is nothing to count."""
        found, missed, wrong = self.counts
        total = 2 * found + missed + wrong
        return 2 * found / total if total else None


@dataclass(frozen=True)
class Ranking:
    """The images of a dataset, the worst one first.

    Attributes:
        threshold: the lowest score of the detections that count.
        images: by F1; of equal ones, those with more errors are worse, and those with more
            objects found are better.
        num_unranked: images with neither an object nor a detection above the threshold.
    """

    threshold: float
    images: list[ImageScore]
    num_unranked: int


def rank_images(
    records: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    index_of_id: Mapping[int, int],
) -> Ranking:
    """Match detections with objects as COCO's evaluation does at IoU 0.5, and rank the images.

    The score threshold is the one with the greatest F1 over the whole dataset. A detection is
    matched after those of its class with higher scores, so a threshold changes no match above it.

    Args:
        records: dataset dicts.
        results: detections in COCO's result format.
        index_of_id: category id in ``results`` -> class.

    Raises:
        ValueError: a detection is of an image or a category that the dataset does not have.
    """
    scores = {record["image_id"]: ImageScore(record) for record in records}
    for result in results:
        if result["image_id"] not in scores:
            raise ValueError(f"the dataset has no image {result['image_id']!r}")
        if result["category_id"] not in index_of_id:
            raise ValueError(f"the dataset has no category {result['category_id']!r}")
    objects = _coco_objects(records)
    detections = _coco_detections(results, index_of_id)
    found_by, ignored = _match(list(scores), objects, detections)
    finding = set(found_by.values())
    counted = [x for x in detections if x["id"] not in ignored]
    threshold = best_threshold(
        np.array([x["score"] for x in counted]),
        np.array([x["id"] in finding for x in counted], bool),
        sum(not x["iscrowd"] for x in objects),
    )
    above = {x["id"] for x in detections if x["score"] >= threshold}
    for x in objects:
        is_found = found_by.get(x["id"]) in above
        scores[x["image_id"]].objects.append(
            MatchedBox(tuple(x["bbox"]), x["category_id"], None, is_found, not x["iscrowd"])
        )
    for x in sorted(detections, key=lambda x: -x["score"]):
        if x["id"] in above:
            is_right, is_counted = x["id"] in finding, x["id"] not in ignored
            scores[x["image_id"]].detections.append(
                MatchedBox(tuple(x["bbox"]), x["category_id"], x["score"], is_right, is_counted)
            )
    ranked = [x for x in scores.values() if x.f1 is not None]
    ranked.sort(key=lambda x: (x.f1 or 0, -sum(x.counts[1:]), x.counts[0]))
    return Ranking(threshold, ranked, len(scores) - len(ranked))


def best_threshold(scores: np.ndarray, right: np.ndarray, num_objects: int) -> float:
    """The score from which on detections give the greatest F1, the highest of equal ones.

    Args:
        scores: (D,) of the detections.
        right: (D,) whether each finds an object.
        num_objects: the number of objects to find.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    f1 = 2 * right.cumsum() / (np.arange(1, len(scores) + 1) + num_objects)
    # A threshold cannot separate equal scores.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    return float(scores[f1.argmax()])


def _match(
    image_ids: list[Any], objects: list[dict[str, Any]], detections: list[dict[str, Any]]
) -> tuple[dict[int, int], set[int]]:
    """Object -> the detection that finds it, and the detections that do not count, all by ids."""
    categories = sorted({x["category_id"] for x in (*objects, *detections)})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation = COCOeval(
            _coco(image_ids, categories, objects), _coco(image_ids, categories, detections), "bbox"
        )
        evaluation.params.iouThrs = np.array([IOU])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    found_by: dict[int, int] = {}
    # COCO ignores what exceeds 100 detections of an image and class.
    ignored = {x["id"] for x in detections}
    for image in filter(None, evaluation.evalImgs):
        rows = zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True)
        for detection, found, is_ignored in rows:
            if not is_ignored:
                ignored.remove(detection)
                if found:
                    found_by[int(found)] = detection
    return found_by, ignored


def _coco_objects(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The annotations in COCO's format, with classes as category ids."""
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


def _coco_detections(
    results: Sequence[Mapping[str, Any]], index_of_id: Mapping[int, int]
) -> list[dict[str, Any]]:
    return [
        {
            **x,
            "id": number,
            "category_id": index_of_id[x["category_id"]],
            "area": x["bbox"][2] * x["bbox"][3],
            "iscrowd": 0,
        }
        for number, x in enumerate(results, start=1)
    ]


def _coco(image_ids: list[Any], categories: list[int], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": category} for category in categories],
        "annotations": [dict(x) for x in annotations],  # COCOeval adds keys
    }
    coco.createIndex()
    return coco
