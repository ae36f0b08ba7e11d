"""WIDER FACE's easy, medium and hard AP against a slow transcription of its protocol."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

from autoassign.evaluation import WiderFaceEvaluator, metric_names
from autoassign.evaluation.widerface import read_subsets, subset_average_precision


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two boxes (x, y, w, h) that reach one pixel further than written."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + 1
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    union = (a[2] + 1) * (a[3] + 1) + (b[2] + 1) * (b[3] + 1) - width * height
    return width * height / union


def oracle(faces: dict, subset: dict, detections: dict) -> float:
    """One threshold after the other, one detection after the other."""
    scores = [row[4] for rows in detections.values() for row in rows]
    low, high = min(scores), max(scores)
    curve = []
    for step in range(1, 1001):
        threshold = 1 - step / 1000
        counted = found = 0
        for image, boxes in faces.items():
            seen = set()
            for row in sorted(detections.get(image, []), key=lambda row: -row[4]):
                if (row[4] - low) / (high - low) < threshold or not len(boxes):
                    continue
                overlaps = [overlap(row[:4], box) for box in boxes]
                best = int(np.argmax(overlaps))
                if overlaps[best] >= 0.5 and best not in subset[image]:
                    continue
                counted += 1
                if overlaps[best] >= 0.5 and best not in seen:
                    seen.add(best)
                    found += 1
        num_faces = sum(len(rows) for rows in subset.values())
        curve.append((found / num_faces, found / counted if counted else 0.0))
    area, last = 0.0, 0.0
    for i, (recall, _) in enumerate(curve):
        area += (recall - last) * max(precision for _, precision in curve[i:])
        last = recall
    return area


def random_case(seed: int) -> tuple[dict, dict, dict]:
    rng = np.random.default_rng(seed)
    faces, subset, detections = {}, {}, {}
    for image in "abcde":
        boxes = np.hstack([rng.integers(0, 200, (5, 2)), rng.integers(8, 40, (5, 2))])
        faces[image] = boxes.astype(float)
        subset[image] = np.flatnonzero(rng.random(5) < 0.6)
        near = np.repeat(boxes, 2, axis=0) + rng.integers(-4, 5, (10, 4))
        far = rng.integers(10, 200, (3, 4))
        rows = np.vstack([near, far])
        detections[image] = np.hstack([rows, rng.random((len(rows), 1)).round(2)])
    subset["b"] = np.empty(0, dtype=int)  # an image whose faces all belong to another subset
    del detections["c"]
    return faces, subset, detections


@pytest.mark.parametrize("seed", range(5))
def test_numbers_equal_the_protocols(seed):
    case = random_case(seed)
    value = subset_average_precision(*case)
    assert 0 < value < 1
    assert value == pytest.approx(oracle(*case), abs=1e-12)


FACE = [10.0, 10.0, 20.0, 20.0]


def test_detections_of_faces_outside_the_subset_do_not_count():
    faces = {"a": np.array([FACE, [100, 100, 20, 20]])}
    detections = {"a": np.array([[100, 100, 20, 20, 0.9], [*FACE, 0.8], [50, 50, 9, 9, 0.1]])}

    assert subset_average_precision(faces, {"a": np.array([0])}, detections) == 1
    assert subset_average_precision(faces, {"a": np.array([0, 1])}, detections) == 1


def test_a_second_detection_of_a_face_is_wrong():
    # The worst of three detections is at score 0, where all count.
    detections = {"a": np.array([[11, 10, 20, 20, 0.9], [*FACE, 0.8], [60, 60, 20, 20, 0.1]])}
    faces = {"a": np.array([FACE, [60, 60, 20, 20]])}

    assert subset_average_precision(faces, {"a": np.array([0, 1])}, detections) == pytest.approx(
        0.5 * 1 + 0.5 * 2 / 3
    )


def test_no_detection_and_no_face():
    faces = {"a": np.array([FACE])}
    assert subset_average_precision(faces, {"a": np.array([0])}, {}) == 0
    assert math.isnan(subset_average_precision(faces, {"a": np.array([], dtype=int)}, {}))


@pytest.fixture
def subsets_dir(tmp_path):
    """Write the four files of eval_tools for two events of two images and one."""
    scipy_io = pytest.importorskip("scipy.io")

    def cells(values: list) -> np.ndarray:
        array = np.empty((len(values), 1), dtype=object)
        for i, value in enumerate(values):
            array[i, 0] = value
        return array

    folder = tmp_path / "ground_truth"
    folder.mkdir()
    boxes = [[[FACE, [50, 50, 9, 9]], [FACE]], [[[1, 2, 3, 4]]]]
    kept = [[[[1], [2]], [[1]]], [[[1]]]]
    easy = [[[[1]], np.empty((0, 1))], [np.empty((0, 1))]]
    scipy_io.savemat(
        folder / "wider_face_val.mat",
        {
            "event_list": cells(["0--Parade", "1--Handshaking"]),
            "file_list": cells([cells(["one", "two"]), cells(["three"])]),
            "face_bbx_list": cells([cells([np.array(x) for x in event]) for event in boxes]),
        },
    )
    for name, rows in (("easy", easy), ("medium", kept), ("hard", kept)):
        values = cells([cells([np.array(x, dtype=np.uint16) for x in event]) for event in rows])
        scipy_io.savemat(folder / f"wider_{name}_val.mat", {"gt_list": values})
    return folder


def test_subsets_are_read_from_the_files_of_eval_tools(subsets_dir):
    faces, subsets = read_subsets(subsets_dir)

    assert list(faces) == ["0--Parade/one", "0--Parade/two", "1--Handshaking/three"]
    assert faces["0--Parade/one"].tolist() == [FACE, [50, 50, 9, 9]]
    assert {key: rows.tolist() for key, rows in subsets["easy"].items()} == {
        "0--Parade/one": [0],
        "0--Parade/two": [],
        "1--Handshaking/three": [],
    }
    assert subsets["hard"]["0--Parade/one"].tolist() == [0, 1]


def test_a_broken_file_is_named(subsets_dir):
    (subsets_dir / "wider_easy_val.mat").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"wider_easy_val\.mat cannot be read"):
        read_subsets(subsets_dir)


def test_the_evaluator_gives_the_subsets_beside_cocos_metrics(subsets_dir, tmp_path):
    name = f"test_widerface_{tmp_path.name}"
    faces, _ = read_subsets(subsets_dir)
    json_file = tmp_path / "ground_truth.json"
    pairs = [(image, box) for image, boxes in faces.items() for box in boxes.tolist()]
    annotations = [
        {"id": i, "image_id": image, "category_id": 0, "bbox": box, "iscrowd": 0}
        for i, (image, box) in enumerate(pairs, start=1)
    ]
    content = {
        "images": [{"id": image, "height": 200, "width": 200} for image in faces],
        "categories": [{"id": 0, "name": "face"}],
        "annotations": annotations,
    }
    json_file.write_text(json.dumps(content))
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        thing_classes=["face"],
        evaluator_type="widerface",
        subsets_dir=str(subsets_dir),
    )
    try:
        evaluator = WiderFaceEvaluator(name)
        evaluator.reset()
        for image, boxes in faces.items():
            # All faces of the first event; the other image's only one is missed.
            boxes = boxes if image.startswith("0") else boxes[:0]
            corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
            instances = Instances(
                (200, 200),
                pred_boxes=Boxes(torch.from_numpy(corners)),
                scores=torch.linspace(0.9, 0.5, len(boxes)),
                pred_classes=torch.zeros(len(boxes), dtype=torch.int64),
            )
            evaluator.process([{"image_id": image}], [{"instances": instances}])
        results = evaluator.evaluate()
        names = [f"{task}/{metric}" for task, values in results.items() for metric in values]
        assert names == metric_names(name)
    finally:
        MetadataCatalog.pop(name)

    assert results["widerface"] == {
        "easy": pytest.approx(100),
        "medium": pytest.approx(75),
        "hard": pytest.approx(75),
    }


def test_without_the_files_there_are_cocos_metrics_only(tmp_path):
    name = f"test_widerface_{tmp_path.name}"
    MetadataCatalog.get(name).set(
        evaluator_type="widerface", subsets_dir=str(tmp_path / "none"), thing_classes=["face"]
    )
    try:
        assert metric_names(name) == [
            "bbox/AP",
            "bbox/AP50",
            "bbox/AP75",
            "bbox/APs",
            "bbox/APm",
            "bbox/APl",
        ]
    finally:
        MetadataCatalog.pop(name)
