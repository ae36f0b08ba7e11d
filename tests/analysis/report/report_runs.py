"""The folder of a run and its dataset, made by hand: names that are markup, known detections."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.modeling import build_model
from narrow_model import narrow_cfg

CLASSES = ["cat", "<b>dog</b>"]
IMAGES = ["plain.png", "a<i>b.png", "empty.png"]
# Image id, class, x, y, width, height.
OBJECTS = [(1, 0, 10, 10, 60, 50), (1, 1, 80, 40, 30, 40), (2, 1, 20, 20, 80, 60)]
# The first object and the last one are found, the second one is taken for a cat.
DETECTIONS = [
    (1, 0, 11, 10, 60, 50, 0.9),
    (1, 0, 80, 40, 30, 40, 0.6),
    (2, 1, 20, 22, 80, 60, 0.8),
]
FIRST_ID = 7  # of the categories in the file
# As detectron2 logs them, when training starts and when it resumes.
LOG = """[11/14 22:13:20] detectron2 INFO: Environment info:
-----------------  ------------------------------
Python             3.11.7 (main) [GCC 12.2.0]
PyTorch            2.1.0 @/somewhere/torch
[11/14 23:13:20] detectron2 INFO: Environment info:
PyTorch            2.2.0 @/somewhere/torch
GPU 0,1            Fast One (arch=9.0)
PyTorch built with:
"""


def make_dataset(root: Path) -> Path:
    """A COCO dataset of three images of 96 × 128, one of them without an object."""
    root.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in IMAGES:
        pixels = generator.integers(0, 256, (96, 128, 3), dtype=np.uint8)
        assert cv2.imwrite(str(root / name), pixels)
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": FIRST_ID + class_index,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for number, (image_id, class_index, *box) in enumerate(OBJECTS, start=1)
    ]
    content = {
        "images": [
            {"id": number, "file_name": name, "height": 96, "width": 128}
            for number, name in enumerate(IMAGES, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": FIRST_ID + i, "name": name} for i, name in enumerate(CLASSES)],
    }
    (root / "all.json").write_text(json.dumps(content))
    return root


def make_run(folder: Path, dataset: Path, *options: object) -> Path:
    """What a training of 40 iterations leaves, with random weights."""
    custom = ["DATASETS.CUSTOM.FORMAT", "coco", "DATASETS.CUSTOM.ROOT", str(dataset)]
    splits = ["DATASETS.CUSTOM.TRAIN", "all.json", "DATASETS.CUSTOM.TEST", "all.json"]
    names = ["DATASETS.TRAIN", (f"{dataset.name}_all",), "DATASETS.TEST", (f"{dataset.name}_all",)]
    sizes = ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 192, "SOLVER.MAX_ITER", 40]
    classes = ["MODEL.POINT_HEAD.NUM_CLASSES", len(CLASSES)]
    cfg = narrow_cfg(*custom, *splits, *names, *sizes, *classes, *options)
    (folder / "inference").mkdir(parents=True)
    (folder / "config.yaml").write_text(cfg.dump())
    rows: list[dict[str, Any]] = [
        {"iteration": 19, "total_loss": 2.0, "loss_pos": 1.5, "lr": 0.01, "time": 0.25},
        {"iteration": 39, "total_loss": 1.0, "loss_pos": 0.5, "lr": 0.001, "time": 0.35},
        {"iteration": 39, "assignment/mu_min": -0.5, "assignment/mu_max": 0.5},
        {"iteration": 19, "bbox/AP": float("nan"), "bbox/APl": float("nan")},
        {"iteration": 40, "bbox/AP": 30.0, "bbox/AP50": 60.0, "bbox/AP75": 30.0},
        {"iteration": 40, "bbox/APs": 20.0, "bbox/APm": 40.0, "bbox/APl": float("nan")},
        {"iteration": 40, **{f"bbox/AP-{name}": 20.0 + 20 * i for i, name in enumerate(CLASSES)}},
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "log.txt").write_text(LOG)
    (folder / "events.out.tfevents.1700000000.host.1.0").touch()
    results = [
        {"image_id": i, "category_id": FIRST_ID + c, "bbox": box, "score": score}
        for i, c, *box, score in DETECTIONS
    ]
    (folder / "inference" / "coco_instances_results.json").write_text(json.dumps(results))
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model_final.pth")
    return folder
