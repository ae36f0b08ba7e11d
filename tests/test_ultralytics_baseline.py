import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "ultralytics_baseline.py"
SPEC = importlib.util.spec_from_file_location("ultralytics_baseline", TOOL)
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

CONTENT = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 9, "file_name": "b.png", "width": 50, "height": 50},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [20, 10, 40, 20], "area": 800},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 200, 100], "area": 20000},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 1},
    ],
    # Not in the order of their ids.
    "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
}


@pytest.fixture
def annotation_file(tmp_path):
    path = tmp_path / "coco.json"
    annotations = [{"iscrowd": 0, **x} for x in CONTENT["annotations"]]
    path.write_text(json.dumps({**CONTENT, "annotations": annotations}))
    return path


def test_boxes_become_centers_and_sizes_as_shares_of_the_image(annotation_file, tmp_path):
    for image in CONTENT["images"]:
        (tmp_path / image["file_name"]).write_bytes(b"pixels")
    categories = tool.sorted_categories(CONTENT)
    tool.write_split(annotation_file, tmp_path, categories, tmp_path / "out")
    assert sorted(x.name for x in (tmp_path / "out" / "images").iterdir()) == ["7.jpg", "9.png"]
    lines = (tmp_path / "out" / "labels" / "7.txt").read_text().splitlines()
    # Classes are counted in the order of the ids: cat 0, dog 1. The crowd is left out.
    assert [[float(x) for x in line.split()] for line in lines] == [
        [1, 0.2, 0.2, 0.2, 0.2],
        [0, 0.5, 0.5, 1.0, 1.0],
    ]
    assert (tmp_path / "out" / "labels" / "9.txt").read_text() == ""


def test_metrics_are_those_of_coco_for_all_and_for_each_class(annotation_file):
    found = [
        {"image_id": 7, "category_id": 5, "bbox": [20, 10, 40, 20], "score": 0.9},
        # IoU 0.72: found at 0.5, 0.55, 0.6, 0.65 and 0.7, five of ten thresholds.
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 144, 100], "score": 0.9},
    ]
    metrics = tool.evaluate(annotation_file, found)
    expected = {"AP": 75, "AP50": 100, "AP75": 50, "AP-dog": 100, "AP-cat": 50}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_what_has_no_object_has_no_metric_and_what_is_not_found_has_0(annotation_file):
    metrics = tool.evaluate(annotation_file, [])
    assert "APm" not in metrics  # no object of 32² to 96² px
    assert {x for name, x in metrics.items() if name.startswith("AP-")} == {0}
    assert metrics["AP"] == 0


def test_categories_of_the_test_split_must_be_those_of_training(annotation_file, tmp_path):
    categories = tool.sorted_categories({"categories": CONTENT["categories"][:1]})
    with pytest.raises(SystemExit, match="categories are not those of the training split"):
        tool.write_split(annotation_file, tmp_path, categories, tmp_path / "out")
