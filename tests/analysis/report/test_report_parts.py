"""Charts, box pictures, facts and the config, each for itself."""

import base64
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from autoassign.analysis.report.configuration import changed_options, marked_lines
from autoassign.analysis.report.detections import scored_image
from autoassign.analysis.report.image_ranking import ImageScore, MatchedBox
from autoassign.analysis.report.images import chart_uri, jpeg_uri
from autoassign.analysis.report.run_facts import training_facts, version_facts
from autoassign.runs import TrainedRun


def content(uri, media_type):
    head, _, data = uri.partition(",")
    assert head == f"data:{media_type};base64"
    return base64.b64decode(data)


def test_names_in_a_chart_are_text():
    names = ["<i>x</i>", "$\\frac", "a & b"]
    svg = content(chart_uri({name: [(0, 1.0), (9, 2.0)] for name in names}), "image/svg+xml")
    texts = [x.text for x in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert set(names) <= set(texts)


@pytest.mark.parametrize(("size", "scaled"), [((30, 80), (30, 80)), ((30, 200), (15, 100))])
def test_large_images_are_scaled_down(size, scaled):
    jpeg = content(jpeg_uri(np.zeros((*size, 3), np.uint8), 100), "image/jpeg")
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2] == scaled


def test_boxes_are_placed_in_percent_and_many_of_them_hide_their_labels(report_data):
    # The image has 128 x 96 pixels.
    found = MatchedBox((32.0, 24.0, 32.0, 48.0), 1, 0.914, matched=True, counted=True)
    record = {"file_name": str(report_data / "plain.png")}
    image = scored_image(ImageScore(record, [], [found] * 16), ["cat", "dog"])
    assert (image["width"], image["height"]) == (128, 96)
    assert image["pictures"]["ground truth"] == {"crowded": False, "boxes": []}
    assert image["pictures"]["detections"]["crowded"]
    assert image["pictures"]["detections"]["boxes"][0] == {
        "kind": "found",
        "name": "dog",
        "score": "0.91",
        "left": 25,
        "top": 25,
        "right": 50,
        "bottom": 25,
    }


def test_an_image_that_cannot_be_read_is_named():
    image = scored_image(ImageScore({"file_name": "nowhere/a.png"}), [])
    assert "a.png" in image["error"]


def test_options_that_differ_are_listed_and_their_lines_marked(report_run):
    run = TrainedRun.read(report_run, ["SOLVER.BASE_LR", "0.5"])
    changed = changed_options(run)
    assert changed["SOLVER.BASE_LR"] == (0.5, 0.001)
    assert changed["MODEL.POINT_HEAD.NUM_CLASSES"] == (2, 80)
    # A list in the file and a tuple in the defaults are the same.
    assert "DATASETS.PROPOSAL_FILES_TEST" not in changed
    assert "SOLVER.GAMMA" not in changed
    lines = marked_lines(run.config_text, set(changed))
    assert ("    NUM_CLASSES: 2", True) in lines
    # A list is marked to its last line, and what follows is not.
    end = lines.index(("    LOCATION_OFFSET: 0.0", False))
    assert lines[end - 5 : end] == [
        ("    IN_FEATURES:", True),
        *((f"    - p{level}", True) for level in (3, 4, 5, 6)),
    ]


def test_facts_are_those_of_the_last_start(report_run):
    run = TrainedRun.read(report_run)
    facts = training_facts(run)
    assert facts["detector"] == "PointDetector, label assignment AutoAssign"
    assert facts["iterations"] == "40 of 40, batch size 8"
    assert facts["started"] == "2023-11-14 22:13 UTC"
    assert facts["seconds per iteration"] == "0.3 (median)"
    assert facts["time in iterations"].startswith("0:00:12 ")  # 40 times 0.3 seconds
    assert version_facts(run) == {
        "Python": "3.11.7 (main) [GCC 12.2.0]",
        "PyTorch": "2.2.0",
        "GPU 0,1": "Fast One (arch=9.0)",
    }


def test_of_several_test_datasets_the_first_is_shown(report_run):
    one = TrainedRun.read(report_run)
    several = TrainedRun.read(report_run, ["DATASETS.TEST", "('first', 'second')"])
    name = "coco_instances_results.json"
    assert one.results_file == report_run / "inference" / name
    assert several.results_file == report_run / "inference" / "first" / name
