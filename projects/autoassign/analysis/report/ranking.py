"""Which images went well and which did not: matches by pycocotools, counted image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .matching import Matches, coco_detections, coco_objects, match

__all__ = ["Detection", "ImageScore", "Ranking", "TrueObject", "best_threshold", "rank_images"]


@dataclass(frozen=True)
class TrueObject:
    """An object of the ground truth.

    Attributes:
        box: x, y, width and height in pixels of the image.
        class_index: its class.
        found: a detection above the threshold matches it.
        counted: it has to be found; a crowd has not.
    """

    box: tuple[float, ...]
    class_index: int
    found: bool
    counted: bool


@dataclass(frozen=True)
class Detection:
    """A detection above the threshold.

    Attributes:
        box: x, y, width and height in pixels of the image.
        class_index: its class.
        score: its score.
        right: it matches an object.
        counted: it is right or wrong; one that lies in a crowd is neither.
    """

    box: tuple[float, ...]
    class_index: int
    score: float
    right: bool
    counted: bool


@dataclass(frozen=True)
class ImageScore:
    """How well the objects of an image were found."""

    record: Mapping[str, Any]
    objects: list[TrueObject]
    detections: list[Detection]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Objects found, objects missed, wrong detections."""
        found = sum(x.found for x in self.objects if x.counted)
        missed = sum(not x.found for x in self.objects if x.counted)
        return found, missed, sum(not x.right for x in self.detections if x.counted)

    @property
    def f1(self) -> float | None:
        """2 · found / (2 · found + missed + wrong); None where there is nothing to count."""
        found, missed, wrong = self.counts
        total = 2 * found + missed + wrong
        return 2 * found / total if total else None


@dataclass(frozen=True)
class Ranking:
    """The images of a dataset, the worst one first.

    Attributes:
        threshold: least score of the detections that count.
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
    image_ids = {record["image_id"] for record in records}
    for result in results:
        if result["image_id"] not in image_ids:
            raise ValueError(f"the dataset has no image {result['image_id']!r}")
        if result["category_id"] not in index_of_id:
            raise ValueError(f"the dataset has no category {result['category_id']!r}")
    objects = coco_objects(records)
    detections = coco_detections(results, index_of_id)
    matches = match(image_ids, objects, detections)
    counted = [x for x in detections if x["id"] not in matches.ignored]
    threshold = best_threshold(
        np.array([x["score"] for x in counted]),
        np.array([x["id"] in matches.right for x in counted], bool),
        sum(not x["iscrowd"] for x in objects),
    )
    shown = [x for x in detections if x["score"] >= threshold]
    scores = _image_scores(records, objects, shown, matches)
    ranked = [x for x in scores if x.f1 is not None]
    ranked.sort(key=lambda x: (x.f1 or 0, -sum(x.counts[1:]), x.counts[0]))
    return Ranking(threshold, ranked, len(scores) - len(ranked))


def _image_scores(
    records: Sequence[Mapping[str, Any]],
    objects: list[dict[str, Any]],
    shown: list[dict[str, Any]],
    matches: Matches,
) -> list[ImageScore]:
    scores = {record["image_id"]: ImageScore(record, [], []) for record in records}
    shown_ids = {x["id"] for x in shown}
    for x in objects:
        found = matches.found_by.get(x["id"]) in shown_ids
        scores[x["image_id"]].objects.append(
            TrueObject(tuple(x["bbox"]), x["category_id"], found, not x["iscrowd"])
        )
    for x in sorted(shown, key=lambda x: -x["score"]):
        scores[x["image_id"]].detections.append(
            Detection(
                box=tuple(x["bbox"]),
                class_index=x["category_id"],
                score=x["score"],
                right=x["id"] in matches.right,
                counted=x["id"] not in matches.ignored,
            )
        )
    return list(scores.values())


def best_threshold(scores: np.ndarray, right: np.ndarray, num_objects: int) -> float:
    """The score from which on detections give the greatest F1, the highest of equal ones.

    Args:
        scores: (D,) of the detections.
        right: (D,) whether each matches an object.
        num_objects: that there are to find.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    f1 = 2 * right.cumsum() / (np.arange(1, len(scores) + 1) + num_objects)
    # Equal scores go together.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    return float(scores[f1.argmax()])
