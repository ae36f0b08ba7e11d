"""AP of PASCAL VOC: of 2007 (mean of eleven precisions) and of 2012 (area under the curve)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from detectron2.utils.logger import create_small_table

from .coco import FastCOCOEvaluator

__all__ = ["VOCEvaluator", "average_precision", "first_matches"]

_IOU_THRESHOLDS = tuple(range(50, 100, 5))
# What the challenges of the two years report.
_TASKS = {"voc07": True, "voc12": False}


class VOCEvaluator(FastCOCOEvaluator):
    """COCO's metrics, and those of the PASCAL VOC challenges of 2007 and 2012.

    The tasks "voc07" and "voc12" have AP50, the challenges' own metric, AP75, and AP, the mean
    over the IoUs 0.5, 0.55, ..., 0.95 as detectron2's PascalVOCDetectionEvaluator defines it.
    Objects whose ``iscrowd`` is 1 are the difficult ones: detections of them do not count. A
    detection is compared with the object that it overlaps most, difficult or not; at a threshold
    that its IoU reaches, it is right if no other with a higher score has that object (the devkit's
    VOCevaldet.m). Classes without an object that is not difficult are left out of the mean.

    VOC counts the last pixel of a box as inside. The boxes here, which begin one pixel earlier in
    coordinates than in VOC's files, have the same areas without that rule.
    """

    @classmethod
    def metric_names(cls, dataset_name: str) -> list[str]:
        return super().metric_names(dataset_name) + [
            f"{task}/{metric}" for task in _TASKS for metric in ("AP", "AP50", "AP75")
        ]

    def _evaluate(self, results: list[dict[str, Any]], image_ids: list | None) -> None:
        super()._evaluate(results, image_ids)
        dataset = self._coco_api.dataset
        images = {x["id"] for x in dataset["images"]}
        if image_ids is not None:
            images &= set(image_ids)
        objects, detections = (
            _by_category([x for x in entries if x["image_id"] in images])
            for entries in (dataset["annotations"], results)
        )
        matches = [
            _Matches(objects[category["id"]], detections[category["id"]])
            for category in dataset["categories"]
        ]
        matches = [each for each in matches if each.num_objects]
        for task, eleven_points in _TASKS.items():
            aps = {
                iou: [100 * each.average_precision(iou / 100, eleven_points) for each in matches]
                for iou in _IOU_THRESHOLDS
            }
            means = {iou: float(np.mean(x)) if x else float("nan") for iou, x in aps.items()}
            metrics = {
                "AP": float(np.mean(list(means.values()))),
                "AP50": means[50],
                "AP75": means[75],
            }
            self._logger.info(f"Evaluation results for {task}: \n" + create_small_table(metrics))
            self._results[task] = metrics


def _by_category(entries: list[dict[str, Any]]) -> dict[Any, list[dict[str, Any]]]:
    by_category = defaultdict(list)
    for entry in entries:
        by_category[entry["category_id"]].append(entry)
    return by_category


class _Matches:
    """The detections of one class, by falling score, each with the object it overlaps most."""

    def __init__(self, objects: list[dict[str, Any]], detections: list[dict[str, Any]]) -> None:
        difficult = np.array([bool(x.get("iscrowd", 0)) for x in objects], dtype=bool)
        self.num_objects = int((~difficult).sum())
        detections = sorted(detections, key=lambda x: -x["score"])
        self._object = np.full(len(detections), -1)
        self._iou = np.zeros(len(detections))
        object_rows, detection_rows = (_rows_by_image(x) for x in (objects, detections))
        for image_id in object_rows.keys() & detection_rows.keys():
            rows, columns = detection_rows[image_id], np.array(object_rows[image_id])
            ious = mask_util.iou(
                [detections[i]["bbox"] for i in rows],
                [objects[i]["bbox"] for i in columns],
                [False] * len(columns),
            )
            self._iou[rows] = ious.max(axis=1)
            self._object[rows] = columns[ious.argmax(axis=1)]
        self._is_difficult = np.append(difficult, False)[self._object]

    def average_precision(self, iou_threshold: float, eleven_points: bool) -> float:
        matched = self._iou >= iou_threshold
        counted = ~(matched & self._is_difficult)
        matched, objects = matched[counted], self._object[counted]
        found = np.cumsum(first_matches(matched, objects))
        return average_precision(
            found / self.num_objects, found / np.arange(1, len(found) + 1), eleven_points
        )


def _rows_by_image(entries: list[dict[str, Any]]) -> dict[Any, list[int]]:
    rows = defaultdict(list)
    for row, entry in enumerate(entries):
        rows[entry["image_id"]].append(row)
    return rows


def first_matches(matched: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(N,) mask of the detections that are right: the first of several that match an object.

    Args:
        matched: (N,) mask of the detections that match their object, by falling score.
        objects: (N,) index of the object of each detection.
    """
    places = np.flatnonzero(matched)
    _, first = np.unique(objects[places], return_index=True)
    is_right = np.zeros(len(matched), dtype=bool)
    is_right[places[first]] = True
    return is_right


def average_precision(recall: np.ndarray, precision: np.ndarray, eleven_points: bool) -> float:
    """AP of a curve, which is first made monotone: the best precision at this recall or above.

    Args:
        recall: (N,), ascending; N may be 0.
        precision: (N,).
        eleven_points: True: the mean of the precisions at recalls 0, 0.1, ..., 1 (VOC 2007).
            False: the area under the curve (VOC 2010 and later).
    """
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if eleven_points:
        # 0.1 · 3 would be greater than a recall of 3 / 10.
        places = np.searchsorted(recall, np.arange(11) / 10)
        return float(envelope[places].mean())
    return float((np.diff(recall, prepend=0.0) * envelope[:-1]).sum())
