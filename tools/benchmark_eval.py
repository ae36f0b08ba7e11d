"""Time COCO evaluation by pycocotools and by autoassign's evaluator on the same random data.

    python tools/benchmark_eval.py --images 1000

Every image has about 7 objects and 100 detections, of 80 classes. Exits with 1 when the results of
the two differ by more than 1e-12.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from autoassign.evaluation import FastCOCOEvaluator

IMAGE_SIZE = (480, 640)
NUM_CLASSES = 80
MEAN_OBJECTS = 7
NUM_DETECTIONS = 100
REPEATS = 3


def make_ground_truth(num_images: int, rng: np.random.Generator) -> dict:
    """COCO dataset of at least one object per image, 2 % of them crowds."""
    height, width = IMAGE_SIZE
    annotations = []
    for image_id in range(num_images):
        for _ in range(max(1, rng.poisson(MEAN_OBJECTS))):
            w, h = rng.uniform(10, 300, size=2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.integers(NUM_CLASSES)),
                    "bbox": [rng.uniform(0, width - w), rng.uniform(0, height - h), w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.02),
                }
            )
    return {
        "images": [{"id": i, "height": height, "width": width} for i in range(num_images)],
        "annotations": annotations,
        "categories": [{"id": k, "name": str(k)} for k in range(NUM_CLASSES)],
    }


def make_detections(dataset: dict, rng: np.random.Generator) -> list[tuple[int, Instances]]:
    """Boxes around the objects, half of them with the object's class, as (image id, instances)."""
    objects: list[list[dict]] = [[] for _ in dataset["images"]]
    for annotation in dataset["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    detections = []
    for image_id, annotations in enumerate(objects):
        chosen = rng.integers(len(annotations), size=NUM_DETECTIONS)
        boxes = np.array([x["bbox"] for x in annotations])[chosen]
        boxes[:, 2:] += boxes[:, :2]
        boxes += rng.normal(0, 8, size=boxes.shape)
        classes = np.array([x["category_id"] for x in annotations])[chosen]
        random_classes = rng.integers(NUM_CLASSES, size=NUM_DETECTIONS)
        classes = np.where(rng.random(NUM_DETECTIONS) < 0.5, classes, random_classes)
        instances = Instances(
            IMAGE_SIZE,
            pred_boxes=Boxes(torch.from_numpy(boxes).float()),
            scores=torch.from_numpy(rng.random(NUM_DETECTIONS)).float(),
            pred_classes=torch.from_numpy(classes),
        )
        detections.append((image_id, instances))
    return detections


def time_evaluator(
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


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000, help="number of images (default 1000)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    if args.images < 1:
        parser.error(f"--images must be at least 1, got {args.images}")

    rng = np.random.default_rng(0)
    dataset = make_ground_truth(args.images, rng)
    detections = make_detections(dataset, rng)
    name = "benchmark_eval"
    with tempfile.TemporaryDirectory() as folder:
        json_file = Path(folder, "instances.json")
        json_file.write_text(json.dumps(dataset))
        MetadataCatalog.get(name).set(
            json_file=str(json_file), thing_classes=[c["name"] for c in dataset["categories"]]
        )
        evaluators = (COCOEvaluator(name, use_fast_impl=False), FastCOCOEvaluator(name))
        runs = [[time_evaluator(e, detections) for e in evaluators] for _ in range(REPEATS)]

    # The fastest of some runs, taken by turns, is the least disturbed by other processes.
    pycocotools_seconds, fast_seconds = (
        min(s for s, _ in column) for column in zip(*runs, strict=True)
    )
    (_, expected), (_, actual) = runs[0]

    # NaN, the AP of a class without objects, equals NaN here.
    equal = np.allclose(
        list(actual.values()), list(expected.values()), rtol=0, atol=1e-12, equal_nan=True
    )
    figures = {
        "images": args.images,
        "pycocotools_seconds": pycocotools_seconds,
        "fast_seconds": fast_seconds,
        "ratio": pycocotools_seconds / fast_seconds,
        "equal": bool(equal),
    }
    print(f"pycocotools        {pycocotools_seconds:8.2f} s")
    print(f"FastCOCOEvaluator  {fast_seconds:8.2f} s   {figures['ratio']:.1f}× faster")
    print("results            " + ("equal to 1e-12" if equal else "DIFFERENT"))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
