"""VOC's AP by hand, and against detectron2's copy of the devkit's evaluation."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation.pascal_voc_evaluation import voc_eval
from detectron2.structures import Boxes, Instances

from autoassign.evaluation import VOCEvaluator, build_evaluator, metric_names
from autoassign.evaluation.voc import average_precision


@pytest.fixture
def evaluate(tmp_path):
    """Return a function from boxes (xyxy) to the evaluator's results; the dataset is registered."""
    name = f"test_voc_{tmp_path.name}"

    def call(objects: list[tuple], detections: list[tuple], num_classes: int = 1) -> dict:
        """objects: (image, class, box, difficult); detections: (image, class, box, score)."""
        MetadataCatalog.pop(name, None)
        image_ids = sorted({x[0] for x in (*objects, *detections)})
        json_file = tmp_path / "ground_truth.json"
        json_file.write_text(
            json.dumps(
                {
                    "images": [{"id": i, "height": 500, "width": 500} for i in image_ids],
                    "categories": [{"id": k, "name": f"c{k}"} for k in range(num_classes)],
                    "annotations": [
                        {
                            "id": number,
                            "image_id": image,
                            "category_id": category,
                            "bbox": [x0, y0, x1 - x0, y1 - y0],
                            "area": (x1 - x0) * (y1 - y0),
                            "iscrowd": difficult,
                        }
                        for number, (image, category, (x0, y0, x1, y1), difficult) in enumerate(
                            objects, start=1
                        )
                    ],
                }
            )
        )
        MetadataCatalog.get(name).set(
            json_file=str(json_file),
            thing_classes=[f"c{k}" for k in range(num_classes)],
            evaluator_type="pascal_voc",
        )
        evaluator = VOCEvaluator(name)
        evaluator.reset()
        for image_id in image_ids:
            mine = [x for x in detections if x[0] == image_id]
            instances = Instances(
                (500, 500),
                pred_boxes=Boxes(torch.tensor([x[2] for x in mine], dtype=torch.float64)),
                scores=torch.tensor([x[3] for x in mine], dtype=torch.float64),
                pred_classes=torch.tensor([x[1] for x in mine], dtype=torch.int64),
            )
            evaluator.process([{"image_id": image_id}], [{"instances": instances}])
        results = evaluator.evaluate()
        flat = [f"{task}/{metric}" for task, values in results.items() for metric in values]
        assert flat == metric_names(name)
        return results

    yield call
    MetadataCatalog.pop(name, None)


A, B, C = (0, 0, 100, 100), (200, 0, 300, 100), (0, 200, 100, 300)


def test_curve_by_hand():
    # Right, wrong, right of four objects: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2.
    recall, precision = np.array([0.25, 0.25, 0.5]), np.array([1, 1 / 2, 2 / 3])

    # Recalls 0, 0.1, 0.2 have precision 1; 0.3, 0.4, 0.5 have 2/3; the others 0.
    assert average_precision(recall, precision, eleven_points=True) == pytest.approx(5 / 11)
    area = 0.25 * 1 + 0.25 * 2 / 3
    assert average_precision(recall, precision, eleven_points=False) == pytest.approx(area)


@pytest.mark.parametrize("eleven_points", [True, False])
def test_curve_of_a_perfect_detector_and_of_none(eleven_points):
    ones = np.ones(10)
    assert average_precision(np.arange(1, 11) / 10, ones, eleven_points) == 1
    assert average_precision(np.empty(0), np.empty(0), eleven_points) == 0


def test_one_right_one_wrong_one_missed(evaluate):
    results = evaluate(
        [(1, 0, A, 0), (1, 0, B, 0)], [(1, 0, (400, 400, 450, 450), 0.9), (1, 0, A, 0.8)]
    )

    # Precision 1/2 up to recall 1/2: six of eleven points.
    assert results["voc07"]["AP50"] == pytest.approx(100 * 6 / 11 / 2)
    assert results["voc12"]["AP50"] == pytest.approx(100 / 4)


def test_a_second_detection_of_an_object_is_wrong(evaluate):
    shifted = (10, 0, 110, 100)  # IoU 9/11

    results = evaluate([(1, 0, A, 0), (1, 0, B, 0)], [(1, 0, shifted, 0.9), (1, 0, A, 0.8)])

    assert results["voc12"]["AP50"] == pytest.approx(50)
    # At an IoU of 0.85 only the second one is right: precision 1/2 at recall 1/2.
    thresholds = [50] * 7 + [25] * 3
    assert results["voc12"]["AP"] == pytest.approx(np.mean(thresholds))


def test_difficult_objects_do_not_count(evaluate):
    found = evaluate([(1, 0, A, 0), (1, 0, B, 1)], [(1, 0, B, 0.9), (1, 0, B, 0.8), (1, 0, A, 0.7)])
    missed = evaluate([(1, 0, A, 0), (1, 0, B, 1)], [(1, 0, A, 0.7)])

    assert found["voc07"]["AP50"] == missed["voc07"]["AP50"] == pytest.approx(100)


def test_the_object_overlapped_most_is_the_one_that_is_found(evaluate):
    # The detection overlaps both by more than 0.5; its object is already found by a better one.
    near, nearer = (0, 0, 100, 100), (0, 0, 100, 80)

    results = evaluate(
        [(1, 0, near, 0), (1, 0, nearer, 0)], [(1, 0, nearer, 0.9), (1, 0, (0, 0, 100, 82), 0.8)]
    )

    assert results["voc12"]["AP50"] == pytest.approx(50)


def test_an_iou_equal_to_the_threshold_is_enough(evaluate):
    half = (0, 0, 100, 50)

    results = evaluate([(1, 0, A, 0)], [(1, 0, half, 0.9)])

    assert results["voc12"] == {"AP": pytest.approx(10), "AP50": pytest.approx(100), "AP75": 0}


def test_nothing_detected_is_0_and_nothing_to_detect_is_nan(evaluate):
    assert evaluate([(1, 0, A, 0)], [])["voc07"] == {"AP": 0, "AP50": 0, "AP75": 0}
    assert math.isnan(evaluate([(1, 0, A, 1)], [(1, 0, A, 0.5)])["voc12"]["AP50"])


def test_a_class_without_objects_is_left_out_of_the_mean(evaluate):
    results = evaluate([(1, 0, A, 0)], [(1, 0, A, 0.9), (1, 1, A, 0.8)], num_classes=2)

    assert results["voc07"]["AP50"] == pytest.approx(100)


def test_the_evaluator_is_chosen_by_the_metadata(evaluate, tmp_path):
    evaluate([(1, 0, A, 0)], [])
    from detectron2.config import get_cfg

    from autoassign import add_autoassign_config

    cfg = get_cfg()
    add_autoassign_config(cfg)

    evaluator = build_evaluator(cfg, f"test_voc_{tmp_path.name}", str(tmp_path))

    assert type(evaluator) is VOCEvaluator


NUM_OBJECTS = 7  # detectron2 puts the third point above a recall of 3/10; sevenths are never there


@pytest.mark.parametrize("seed", range(5))
def test_numbers_equal_detectron2s(evaluate, tmp_path, seed):
    rng = np.random.default_rng(seed)
    objects, detections = [], []
    for image in range(1, 5):
        for _ in range(NUM_OBJECTS):
            x, y, w, h = (*rng.integers(0, 300, 2).tolist(), *rng.integers(20, 150, 2).tolist())
            difficult = int(image == 4)
            objects.append((image, 0, (x, y, x + w, y + h), difficult))
            for _ in range(rng.integers(0, 4)):
                box = np.round(np.add((x, y, x + w, y + h), rng.normal(0, 8, 4)), 1)
                detections.append((image, 0, tuple(box.tolist()), None))
    scores = rng.permutation(len(detections)) / 1000  # three digits, no two equal
    detections = [(*x[:3], score) for x, score in zip(detections, scores.tolist(), strict=True)]

    results = evaluate(objects, detections)

    for image in range(1, 5):
        xml = "".join(
            f"<object><name>c0</name><pose>x</pose><truncated>0</truncated>"
            f"<difficult>{difficult}</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for owner, _, (x0, y0, x1, y1), difficult in objects
            if owner == image
        )
        (tmp_path / f"{seed}_{image}.xml").write_text(f"<annotation>{xml}</annotation>")
    (tmp_path / "split.txt").write_text("".join(f"{seed}_{i}\n" for i in range(1, 5)))
    (tmp_path / "c0.txt").write_text(
        "\n".join(
            f"{seed}_{image} {score:.3f} {x0 + 1:.1f} {y0 + 1:.1f} {x1:.1f} {y1:.1f}"
            for image, _, (x0, y0, x1, y1), score in detections
        )
    )
    for task, eleven_points in (("voc07", True), ("voc12", False)):
        for metric, threshold in (("AP50", 0.5), ("AP75", 0.75)):
            paths = (
                str(tmp_path / "{}.txt"),
                str(tmp_path / "{}.xml"),
                str(tmp_path / "split.txt"),
            )
            _, _, expected = voc_eval(*paths, "c0", threshold, eleven_points)
            assert results[task][metric] == pytest.approx(100 * expected, abs=1e-9)
