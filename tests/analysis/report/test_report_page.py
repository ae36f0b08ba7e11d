"""Whole pages, without a browser."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
import torch
from report_runs import CLASSES, FIRST_ID, make_run

from autoassign.analysis.report import write_report
from autoassign.analysis.report.detections import read_ranking, read_test_dataset
from autoassign.checkpoint import CheckpointDescription, Strictness
from autoassign.data.model_inputs import map_record
from autoassign.modeling import explain_image
from autoassign.runs import TrainedRun, load_detector


def page_of(folder, tmp_path, *options, num_images=4):
    path = tmp_path / "page" / "report.html"
    write_report(folder, path, num_images=num_images, opts=[str(x) for x in options])
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
    examples = section(page_of(report_run, tmp_path, num_images=1), "examples")
    worst, best = examples.split("<h3>")[1:]
    # From 0.8 on two of three objects are found and nothing is wrong: F1 4/5, else at most 4/6.
    assert "at least 0.800" in examples
    assert "plain.png</b> F1 0.67: 1 found, 1 missed, 0 wrong" in worst
    assert "a&lt;i&gt;b.png</b> F1 1.00: 1 found, 0 missed, 0 wrong" in best
    assert "Not ranked: 1 image without an object" in examples


def test_the_numbers_of_the_maps_are_those_of_the_strategy(report_run, tmp_path):
    page = page_of(report_run, tmp_path)
    data = json.loads(re.search(r'id="assignments">(.*?)</script>', page, re.S)[1])
    subject = load_detector(
        None, str(report_run / "model_final.pth"), strictness=Strictness.EXPLANATION
    )
    record = read_test_dataset(TrainedRun.read(report_run)).records[0]
    expected = explain_image(subject.model, map_record(subject.cfg, record))
    assert [x["index"] for x in data["images"][0]["objects"]] == [0, 1]
    for embedded, truth in zip(data["images"][0]["objects"], expected.objects, strict=True):
        assert {x["name"] for x in embedded["maps"]} == set(truth.maps)
        assert embedded["maps"][0]["name"] == truth.primary
        for one in embedded["maps"]:
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


def weights_without_numbers(folder):
    checkpoint = torch.load(folder / "model_final.pth")
    for values in checkpoint["model"].values():
        if values.is_floating_point():
            values.fill_(float("nan"))
    torch.save(checkpoint, folder / "model_final.pth")


def results(content):
    def change(folder):
        (folder / "inference" / "coco_instances_results.json").write_text(content)

    return change


@pytest.mark.parametrize(
    ("change", "options", "sentences"),
    [
        (
            remove("inference/coco_instances_results.json"),
            (),
            {"examples": "has no inference/coco_instances_results.json"},
        ),
        (
            results('[{"image_id": 99'),
            (),
            {"examples": "coco_instances_results.json is not a list of detections in COCO"},
        ),
        (
            remove("model_final.pth"),
            (),
            {
                "assignment": "neither model_final.pth nor model_best.pth",
                "prior": "neither model_final.pth nor model_best.pth",
            },
        ),
        (
            spoilt_weights,
            (),
            {"assignment": "copy/model_final.pth", "prior": "copy/model_final.pth"},
        ),
        (without_evaluation, (), {"ap": "no evaluation", "curves": "Nothing logged"}),
        (
            lambda folder: None,
            ("DATASETS.CUSTOM.ROOT", "/no/such/folder"),
            {"examples": "/no/such/folder", "assignment": "/no/such/folder"},
        ),
        (
            lambda folder: None,
            ("MODEL.BACKBONE.NAME", "build_nothing"),
            {
                "assignment": "detector of the config cannot be built: ",
                "prior": "cannot be built: ",
            },
        ),
        (weights_without_numbers, (), {"assignment": "finite", "prior": "finite"}),
        (
            lambda folder: None,
            ("MODEL.META_ARCHITECTURE", "RetinaNet"),
            {"assignment": "ARCHITECTURE is RetinaNet", "prior": "ARCHITECTURE is RetinaNet"},
        ),
    ],
    ids=[
        *("no-results", "broken-results", "no-weights", "broken-weights", "no-evaluation"),
        *("no-data", "no-model", "weights-nan", "retinanet"),
    ],
)
def test_what_is_missing_is_said(copy, tmp_path, change, options, sentences):
    change(copy)
    page = page_of(copy, tmp_path, *options)
    for anchor, sentence in sentences.items():
        assert sentence in section(page, anchor)
        assert 'class="missing"' in section(page, anchor)


def test_a_model_that_cannot_be_built_costs_no_other_part(report_run, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no room on the device")

    monkeypatch.setattr("autoassign.runs.folder.load_detector", fail)
    page = page_of(report_run, tmp_path)
    sentence = "no room on the device."
    assert sentence in section(page, "assignment")
    assert sentence in section(page, "prior")
    assert "F1 1.00" in section(page, "examples")


def test_numbers_that_json_has_not_cost_no_other_part(report_run, tmp_path, monkeypatch):
    def explain(*args, **kwargs):
        explanation = explain_image(*args, **kwargs)
        for maps in explanation.objects:
            for level in maps.maps[maps.primary]:
                level.fill(np.inf)
        return explanation

    monkeypatch.setattr("autoassign.analysis.report.assignment_data.explain_image", explain)
    page = page_of(report_run, tmp_path)
    assert "No assignment is shown" in section(page, "assignment")
    assert "F1 1.00" in section(page, "examples")


def test_a_dataset_without_objects_is_no_error(copy, report_data, tmp_path):
    root = shutil.copytree(report_data, tmp_path / "data")
    content = json.loads((root / "all.json").read_text())
    content["annotations"] = []
    (root / "all.json").write_text(json.dumps(content))
    (copy / "inference" / "coco_instances_results.json").write_text("[]")
    options = ("DATASETS.CUSTOM.ROOT", root, "DATASETS.CUSTOM.TRAIN", "")
    page = page_of(copy, tmp_path, *options)
    assert "no image has an object or a detection" in section(page, "examples")
    assert "no image of the test dataset has an object" in section(page, "assignment")


@pytest.mark.parametrize("strategy", ["DSLA", "FCOS", "ATSS"])
def test_other_strategies_show_their_own_maps(strategy, report_data, tmp_path):
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", strategy)
    folder = make_run(tmp_path / "run", report_data, *name)
    page = page_of(folder, tmp_path)
    assert f"What {strategy} would teach" in section(page, "assignment")
    assert f"{strategy} has no center prior" in section(page, "prior")


def test_a_fixed_prior_is_said(report_data, tmp_path):
    weighting = ("MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CENTER_WEIGHTING", "fixed")
    page = page_of(make_run(tmp_path / "run", report_data, *weighting), tmp_path)
    assert f"{weighting[0]} is &#39;fixed&#39;" in section(page, "prior")
    assert 'class="missing"' not in section(page, "assignment").partition("<noscript>")[0]


def test_a_weight_file_away_from_its_folder_is_enough(report_run, tmp_path):
    description = CheckpointDescription(
        version="0.2",
        config=TrainedRun.read(report_run).cfg.dump(),
        thing_classes=CLASSES,
        thing_dataset_id_to_contiguous_id={FIRST_ID + i: i for i in range(len(CLASSES))},
    )
    weights = torch.load(TrainedRun.read(report_run).weights)
    torch.save(weights | description.to_checkpoint(), tmp_path / "published.pth")
    page = page_of(tmp_path / "published.pth", tmp_path)
    assert "AutoAssign" in section(page, "run")
    assert "Nothing logged" in section(page, "curves")
    assert "The run has no evaluation" in section(page, "ap")
    assert 'class="missing"' not in section(page, "assignment").partition("<noscript>")[0]
    assert 'class="missing"' not in section(page, "prior")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("config.yaml", r"no .*config\.yaml"), ("metrics.json", "has no metrics.json")],
)
def test_a_folder_that_is_no_run_is_an_error(copy, tmp_path, name, sentence):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=sentence):
        page_of(copy, tmp_path)
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    "content",
    [
        *("null", "{}", "[1]", '["x"]'),
        '[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3], "score": 0.5}]',
        '[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, "4"], "score": 0.5}]',
        '[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "score": NaN}]',
        '[{"image_id": [1], "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]',
        '[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]',
    ],
)
def test_a_results_file_of_another_form_is_named(copy, content):
    results(content)(copy)
    run = TrainedRun.read(copy)
    expected = (
        r"^inference/coco_instances_results\.json is not a list .* category_id, bbox .* and score"
    )
    with pytest.raises(ValueError, match=expected):
        read_ranking(run, read_test_dataset(run))


def test_a_last_line_that_is_cut_off_is_left_out_and_said(copy, tmp_path):
    assert "cut off" not in section(page_of(copy, tmp_path), "run")
    with open(copy / "metrics.json", "a") as file:
        file.write('{"iteration": 40, "bbox/A')
    page = page_of(copy, tmp_path)
    assert "1 line of metrics.json cut off" in section(page, "run")
    assert "30.0" in section(page, "ap")


def test_metrics_that_are_no_numbers_are_named(copy, tmp_path):
    with open(copy / "metrics.json", "a") as file:
        file.write('{"iteration": 40, "bbox/AP": null}\n')
    with pytest.raises(ValueError, match=r'metrics\.json, line 8: "bbox/AP" is not a number: null'):
        page_of(copy, tmp_path)


def test_every_heading_has_a_text(report_run, tmp_path):
    headings = re.findall('<th scope="col">(.*?)</th>', page_of(report_run, tmp_path))
    assert headings
    assert all(re.sub("<[^>]*>", "", heading).strip() for heading in headings)
