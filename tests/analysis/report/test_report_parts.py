"""Charts, tables and the config, each for itself."""

import json
import re

import pytest

from autoassign.analysis.report.charts import line_chart
from autoassign.analysis.report.configuration import changed_options, configuration_section
from autoassign.analysis.report.facts import facts_section
from autoassign.analysis.report.markup import count, json_script, table
from autoassign.runs import TrainedRun


def places(chart):
    """(x, y) of the first line's points in the picture."""
    path = re.search(r'class="line" d="M([^"]*)"', chart)[1]
    return [tuple(map(float, place.split())) for place in path.split("L")]


def test_a_line_runs_from_the_axis_to_the_end_of_the_iterations():
    # The plot reaches from 58 to 448 and from 206 (bottom) to 10.
    chart = line_chart("AP", {"AP": [(0, 0.0), (50, 50.0), (100, 100.0)]}, limits=(0, 100))
    assert places(chart) == [(58, 206), (253, 108), (448, 10)]


def test_values_that_are_no_numbers_are_left_out():
    chart = line_chart("AP", {"AP": [(0, 1.0), (1, float("nan")), (2, 3.0)], "APl": []})
    assert len(places(chart)) == 2
    assert "APl" not in chart
    assert "nan" not in chart
    assert "Nothing logged" in line_chart("AP", {"AP": [(0, float("nan"))]})


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_lies_inside_its_axis(value):
    chart = line_chart("x", {"x": [(1, value), (2, value)]})
    assert all(10 <= y <= 206 for _, y in places(chart))


def test_names_are_text_and_not_markup():
    chart = line_chart("<u>", {"<i>": [(0, 1.0)]})
    cells = table(["<u>"], [["<i>", "<i>"]], sortable=True)
    assert not re.search("<[ui]>", chart + cells)


def test_nouns_follow_their_number():
    assert [count(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_data_cannot_end_its_script():
    content = {"name": "</script><!--"}
    script = json_script("x", content)
    assert script.count("<") == 2
    assert json.loads(re.sub("<[^>]*>", "", script)) == content


def test_options_that_differ_are_listed_and_their_lines_marked(report_run):
    run = TrainedRun.read(report_run, ["SOLVER.BASE_LR", "0.5"])
    changed = changed_options(run)
    assert changed["SOLVER.BASE_LR"] == (0.5, 0.001)
    assert changed["MODEL.POINT_HEAD.NUM_CLASSES"] == (2, 80)
    # A list in the file and a tuple in the defaults are the same.
    assert "DATASETS.PROPOSAL_FILES_TEST" not in changed
    assert "SOLVER.GAMMA" not in changed
    body = configuration_section(run).body
    assert "<mark>    NUM_CLASSES: 2</mark>" in body
    # A list is marked to its last line, and what follows is not.
    assert "<mark>    IN_FEATURES:</mark>\n<mark>    - p3</mark>" in body
    assert "<mark>    - p6</mark>\n    LOCATION_OFFSET: 0.0" in body


def test_facts_are_those_of_the_last_start(report_run):
    body = facts_section(TrainedRun.read(report_run)).body
    rows = dict(re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', body))
    assert rows["detector"] == "PointDetector, label assignment AutoAssign"
    assert rows["iterations"] == "40 of 40, 8 images each"
    assert rows["started"] == "2023-11-14 22:13 UTC"
    assert rows["seconds per iteration"] == "0.3 (median)"
    assert rows["time in iterations"].startswith("0:00:12 ")  # 40 times 0.3 seconds
    assert (rows["PyTorch"], rows["GPU 0,1"]) == ("2.2.0", "Fast One (arch=9.0)")


def test_of_several_test_datasets_the_first_is_shown(report_run):
    one = TrainedRun.read(report_run)
    several = TrainedRun.read(report_run, ["DATASETS.TEST", "('first', 'second')"])
    name = "coco_instances_results.json"
    assert one.metric_prefix == "bbox/"
    assert one.results_file == report_run / "inference" / name
    assert several.metric_prefix == "first/bbox/"
    assert several.results_file == report_run / "inference" / "first" / name
