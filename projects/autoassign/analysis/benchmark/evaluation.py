"""Time of COCO evaluation, by pycocotools and by this project's evaluator."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from ...evaluation import FastCOCOEvaluator

__all__ = ["EvaluationRow", "measure_evaluation"]

_IMAGE_SIZE = (480, 640)
_NUM_CLASSES = 80
_MEAN_OBJECTS = 7
_NUM_DETECTIONS = 100
_REPEATS = 3


@dataclass(frozen=True)
class EvaluationRow:
    """One measurement.

    Attributes:
        images: number of images.
        pycocotools_seconds: of detectron2's COCOEvaluator with pycocotools.
        fast_seconds: of this project's evaluator.
        equal: whether all metrics agree to 1e-12.
    """

    images: int
    pycocotools_seconds: float
    fast_seconds: float
    equal: bool


def measure_evaluation(num_images: int) -> EvaluationRow:
    """Evaluate the same random detections with both, several times in turn."""
    rng = np.random.default_rng(0)
    dataset = _make_ground_truth(num_images, rng)
    detections = _make_detections(dataset, rng)
    name = "benchmark_evaluation"
    with tempfile.TemporaryDirectory() as folder:
        json_file = Path(folder, "instances.json")
        json_file.write_text(json.dumps(dataset))
        MetadataCatalog.get(name).set(
            json_file=str(json_file), thing_classes=[c["name"] for c in dataset["categories"]]
        )
        evaluators = (COCOEvaluator(name, use_fast_impl=False), FastCOCOEvaluator(name))
        runs = [[_time(evaluator, detections) for evaluator in evaluators] for _ in range(_REPEATS)]
    MetadataCatalog.remove(name)
    # The fastest run is the least disturbed by other processes.
    slow, fast = (min(seconds for seconds, _ in column) for column in zip(*runs, strict=True))
    (_, expected), (_, actual) = runs[0]
    # The AP of a class without objects is NaN.
    equal = np.allclose(
        list(actual.values()), list(expected.values()), rtol=0, atol=1e-12, equal_nan=True
    )
    return EvaluationRow(num_images, slow, fast, bool(equal))


def _make_ground_truth(num_images: int, rng: np.random.Generator) -> dict[str, Any]:
    """COCO dataset of at least one object per image, 2 % of them crowds."""
    height, width = _IMAGE_SIZE
    annotations: list[dict[str, Any]] = []
    for image_id in range(num_images):
        for _ in range(max(1, rng.poisson(_MEAN_OBJECTS))):
            w, h = rng.uniform(10, 300, size=2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.integers(_NUM_CLASSES)),
                    "bbox": [rng.uniform(0, width - w), rng.uniform(0, height - h), w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.02),
                }
            )
    return {
        "images": [{"id": i, "height": height, "width": width} for i in range(num_images)],
        "annotations": annotations,
        "categories": [{"id": k, "name": str(k)} for k in range(_NUM_CLASSES)],
    }


def _make_detections(
    dataset: dict[str, Any], rng: np.random.Generator
) -> list[tuple[int, Instances]]:
    """Boxes around the objects, half of them with the object's class, as (image id, instances)."""
    objects: list[list[dict[str, Any]]] = [[] for _ in dataset["images"]]
    for annotation in dataset["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    detections = []
    for image_id, in_image in enumerate(objects):
        chosen = rng.integers(len(in_image), size=_NUM_DETECTIONS)
        boxes = np.array([x["bbox"] for x in in_image])[chosen]
        boxes[:, 2:] += boxes[:, :2]
        boxes += rng.normal(0, 8, size=boxes.shape)
        classes = np.array([x["category_id"] for x in in_image])[chosen]
        random_classes = rng.integers(_NUM_CLASSES, size=_NUM_DETECTIONS)
        classes = np.where(rng.random(_NUM_DETECTIONS) < 0.5, classes, random_classes)
        instances = Instances(
            _IMAGE_SIZE,
            pred_boxes=Boxes(torch.from_numpy(boxes).float()),
            scores=torch.from_numpy(rng.random(_NUM_DETECTIONS)).float(),
            pred_classes=torch.from_numpy(classes),
        )
        detections.append((image_id, instances))
    return detections


def _time(
    evaluator: COCOEvaluator, detections: list[tuple[int, Instances]]
) -> tuple[float, dict[str, float]]:
    """Seconds that evaluate() takes, and the box metrics."""
    evaluator.reset()
    for image_id, instances in detections:
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        results = evaluator.evaluate()
        seconds = time.perf_counter() - start
    return seconds, results["bbox"]
