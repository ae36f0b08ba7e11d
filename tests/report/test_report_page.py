"""Whole pages, without a browser."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
from report_runs import make_run

from autoassign.report.command import main
from autoassign.report.dataset import read_dataset
from autoassign.report.run_folder import read_run
from autoassign.visualization import explain_image
from autoassign.visualization.inputs import map_record
from autoassign.visualization.sources import load_subject


def page_of(folder, tmp_path, *arguments):
    path = tmp_path / "page" / "report.html"
    assert main([str(folder), "--output", str(path), *map(str, arguments)]) == 0
    return path.read_text(encoding="utf-8")


def section(page, anchor):
    return re.search(f'<section id="{anchor}">(.*?)</section>', page, re.S)[1]


@pytest.fixture
def copy(report_run, tmp_path):
    return shutil.copytree(report_run, tmp_path / "copy")


def test_the_page_needs_no_other_file_and_escapes_names(report_run, tmp_path):
    before = sorted(report_run.rglob("*"))
    page = page_of(report_run, tmp_path)
    assert sorted(report_run.rglob("*")) == before
    for reference in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert reference.startswith(("data:", "#"))
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<title>run &lt;1&gt;</title>" in page
    assert "a&lt;i&gt;b.png" in page
    assert "<i>" not in page
    assert "<b>dog" not in page
    assert "NaN" not in "".join(re.findall(r'application/json"[^>]*>([^<]*)<', page))
    assert 'class="missing"' not in re.sub("<noscript>.*?</noscript>", "", page, flags=re.S)


def test_the_worst_image_and_the_best_one(report_run, tmp_path):
    shown = section(page_of(report_run, tmp_path, "--images", 1), "examples")
    worst, best = shown.split("<h3>")[1:]
    # From 0.8 on two of three objects are found and nothing is wrong: F1 4/5, else at most 4/6.
    assert "at least 0.800" in shown
    assert "plain.png</b> F1 0.67: 1 found, 1 missed, 0 wrong" in worst
    assert "a&lt;i&gt;b.png</b> F1 1.00: 1 found, 0 missed, 0 wrong" in best
    assert "1 images without an object" in shown


def test_the_numbers_of_the_maps_are_those_of_the_strategy(report_run, tmp_path):
    page = page_of(report_run, tmp_path)
    data = json.loads(re.search(r'id="assignments">(.*?)</script>', page, re.S)[1])
    subject = load_subject(None, str(report_run / "model_final.pth"))
    record = read_dataset(read_run(report_run)).records[0]
    expected = explain_image(subject.model, map_record(subject.cfg, record))
    assert [x["index"] for x in data["images"][0]["objects"]] == [0, 1]
    for shown, truth in zip(data["images"][0]["objects"], expected.objects, strict=True):
        assert {x["name"] for x in shown["maps"]} == set(truth.maps)
        assert shown["maps"][0]["name"] == truth.primary
        for one in shown["maps"]:
            for cells, level in zip(one["levels"], truth.maps[one["name"]], strict=True):
                rebuilt = np.full_like(level, np.nan)
                if cells:
                    values = np.frombuffer(base64.b64decode(cells["values"]), "<f4")
                    rows = slice(cells["y"], cells["y"] + cells["height"])
                    columns = slice(cells["x"], cells["x"] + cells["width"])
                    rebuilt[rows, columns] = values.reshape(cells["height"], cells["width"])
                np.testing.assert_array_equal(rebuilt, level)


def remove(*names):
    def change(folder):
        for name in names:
            (folder / name).unlink()

    return change


def without_evaluation(folder):
    lines = (folder / "metrics.json").read_text().splitlines(keepends=True)
    (folder / "metrics.json").write_text("".join(x for x in lines if "bbox" not in x))


def spoilt_weights(folder):
    (folder / "model_final.pth").write_bytes(b"no weights")


def spoilt_results(folder):
    (folder / "inference" / "coco_instances_results.json").write_text('[{"image_id": 99')


@pytest.mark.parametrize(
    ("change", "options", "sentences"),
    [
        (
            remove("inference/coco_instances_results.json"),
            (),
            {"examples": "has no inference/coco_instances_results.json"},
        ),
        (spoilt_results, (), {"examples": "No images are ranked: inference/coco_inst"}),
        (
            remove("model_final.pth"),
            (),
            {
                "assignment": "neither model_final.pth nor model_best.pth",
                "prior": "neither model_final.pth nor model_best.pth",
            },
        ),
        (spoilt_weights, (), {"assignment": "holds no weights", "prior": "holds no weights"}),
        (without_evaluation, (), {"ap": "no evaluation", "curves": "Nothing logged"}),
        (
            lambda folder: None,
            ("DATASETS.CUSTOM.ROOT", "/no/such/folder"),
            {"examples": "/no/such/folder", "assignment": "/no/such/folder"},
        ),
        (
            lambda folder: None,
            ("MODEL.META_ARCHITECTURE", "RetinaNet"),
            {"assignment": "RetinaNet has no label assignment", "prior": "RetinaNet has no"},
        ),
        (
            lambda folder: None,
            ("MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CENTER_WEIGHTING", "fixed"),
            {"prior": "is shown"},
        ),
    ],
    ids=[
        *("no-results", "broken-results", "no-weights", "broken-weights", "no-evaluation"),
        *("no-data", "retinanet", "fixed-prior"),
    ],
)
def test_what_is_missing_is_said(copy, tmp_path, change, options, sentences):
    change(copy)
    page = page_of(copy, tmp_path, *options)
    for anchor, sentence in sentences.items():
        assert sentence in section(page, anchor)
        assert 'class="missing"' in section(page, anchor)


def test_a_dataset_without_objects_is_no_error(copy, report_data, tmp_path):
    root = shutil.copytree(report_data, tmp_path / "data")
    content = json.loads((root / "all.json").read_text())
    content["annotations"] = []
    (root / "all.json").write_text(json.dumps(content))
    (copy / "inference" / "coco_instances_results.json").write_text("[]")
    options = ("DATASETS.CUSTOM.ROOT", root, "DATASETS.CUSTOM.TRAIN", "")
    page = page_of(copy, tmp_path, *options)
    assert "No image has an object or a detection" in section(page, "examples")
    assert "No image of the test dataset has an object" in section(page, "assignment")


@pytest.mark.parametrize("strategy", ["DSLA", "FCOS", "ATSS"])
def test_other_strategies_show_their_own_maps(strategy, report_data, tmp_path):
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", strategy)
    folder = make_run(tmp_path / "run", report_data, *name)
    page = page_of(folder, tmp_path)
    assert f"What {strategy} would teach" in section(page, "assignment")
    assert f"{strategy} has no center prior" in section(page, "prior")


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json"])
def test_a_folder_that_is_no_run_is_an_error(copy, capsys, name):
    (copy / name).unlink()
    with pytest.raises(SystemExit) as stop:
        main([str(copy)])
    assert stop.value.code == 2
    assert f"has no {name}" in capsys.readouterr().err
    assert not (copy / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NO.SUCH", "1"], "NO.SUCH"),
        (["SOLVER.MAX_ITER"], "come in pairs"),
        (["--images", "0"], "0 is not at least 1"),
    ],
)
def test_wrong_arguments_are_named(report_run, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main([str(report_run), "--output", str(tmp_path / "x.html"), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
