"""`autoassign visualize`: what it draws, and what it says about wrong input."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from narrow_model import narrow_cfg, narrow_model

from autoassign.checkpoint import Strictness
from autoassign.cli import main
from autoassign.data.records import choose_records, load_dataset
from autoassign.data.shapes import generate_shapes
from autoassign.runs import load_detector

DSLA = ("MODEL.LABEL_ASSIGNMENT.NAME", "DSLA", "MODEL.POINT_HEAD.OBJECTNESS", "none")


@pytest.fixture(autouse=True)
def _catalogs_kept():
    before = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield
    for catalog, data in before:
        catalog.data = data


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("visualize") / "shapes"
    return generate_shapes(folder, num_train=2, num_val=3, seed=3)


def save_model(folder, shapes, *options) -> Path:
    """Weights with their config beside them, as training leaves them."""
    folder.mkdir(exist_ok=True)
    options = ("MODEL.POINT_HEAD.NUM_CLASSES", 6, "INPUT.MIN_SIZE_TEST", 96, *options)
    custom = (
        *("DATASETS.CUSTOM.FORMAT", "coco", "DATASETS.CUSTOM.ROOT", str(shapes)),
        *("DATASETS.CUSTOM.TEST", "annotations/val.json", "DATASETS.CUSTOM.TEST_IMAGES", "val"),
    )
    (folder / "config.yaml").write_text(narrow_cfg(*options, *custom).dump())
    torch.save({"model": narrow_model(*options).state_dict()}, folder / "model.pth")
    return folder / "model.pth"


@pytest.fixture(scope="module")
def autoassign(shapes, tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "autoassign", shapes)


@pytest.fixture(scope="module")
def dsla(shapes, tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "dsla", shapes, *DSLA)


def visualize(tmp_path, *arguments):
    """Draw into a folder; the names of what is there then."""
    figure, *others = map(str, arguments)
    assert main(["visualize", figure, "--output", str(tmp_path), *others]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    for path in tmp_path.glob("*.png"):
        assert np.ptp(cv2.imread(str(path))) > 100
    return names


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["visualize", *(str(x) for x in arguments)])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_assignment_of_chosen_objects(tmp_path, autoassign):
    arguments = ("--weights", autoassign, "--images", "000002", "--objects", "0")
    assert visualize(tmp_path, "assignment", *arguments) == ["assignment_000002_object0.png"]


def test_assignment_of_a_box_given_by_hand(tmp_path, autoassign, shapes):
    image = next((shapes / "train").iterdir())
    arguments = ("--weights", autoassign, "--image", image, "--box", "20,30,90.5,100,ring")
    assert visualize(tmp_path, "assignment", *arguments) == [f"assignment_{image.stem}_object0.png"]


def test_strategies_side_by_side(tmp_path, autoassign, dsla):
    other = f"{dsla.with_name('config.yaml')}={dsla}"
    arguments = ("--weights", autoassign, "--objects", "0", "--compare", other)
    assert visualize(tmp_path, "assignment", *arguments) == ["comparison_000001_object0.png"]


def test_all_strategies_asked_about_one_detector(tmp_path, dsla, capsys):
    arguments = ("--weights", dsla, "--objects", "0", "--compare", "all")
    assert visualize(tmp_path, "assignment", *arguments) == ["comparison_000001_object0.png"]
    captured = capsys.readouterr()
    assert "GuidedAnchoring is left out" in captured.err
    # What is printed there are the names of the pictures.
    assert all(Path(line).is_file() for line in captured.out.splitlines())


def test_prior_needs_no_data_and_writes_a_table(tmp_path, autoassign, shapes, capsys):
    options = ("DATASETS.CUSTOM.FORMAT", "")
    names = visualize(tmp_path, "prior", "--weights", autoassign, *options)
    assert names == ["prior.csv", "prior.png"]
    rows = list(csv.reader((tmp_path / "prior.csv").open()))
    assert rows[4] == ["class 3", "0.0", "0.0", "1.0", "1.0"]
    assert "class 3" in capsys.readouterr().out


def test_objectness(tmp_path, autoassign):
    arguments = ("--weights", autoassign, "--num-images", 2, "--class", "ring")
    names = visualize(tmp_path, "objectness", *arguments)
    assert names == ["objectness_000001.png", "objectness_000002.png"]


def test_predictions_beside_the_ground_truth(tmp_path, autoassign):
    arguments = ("--weights", autoassign, "--num-images", 2, "--score-threshold", 0)
    assert visualize(tmp_path, "predictions", *arguments) == ["predictions.png"]


def test_a_name_that_comes_twice_is_numbered(tmp_path, autoassign):
    arguments = ("--weights", autoassign, "--objects", "0", "0", "0")
    assert visualize(tmp_path, "assignment", *arguments) == [
        "assignment_000001_object0.png",
        "assignment_000001_object0_2.png",
        "assignment_000001_object0_3.png",
    ]


def test_images_of_one_name_are_told_apart_by_their_folders():
    records = [{"file_name": f"/data/{x}"} for x in ("cam0/frame.jpg", "cam1/frame.jpg", "0.jpg")]
    for text, number in (
        ("cam1/frame.jpg", 1),
        ("cam0/frame", 0),
        ("/data/cam1/frame.jpg", 1),
        ("0", 2),
    ):
        assert choose_records(records, [text], with_objects=False) == [records[number]]
    for text in ("frame.jpg", "frame"):
        with pytest.raises(ValueError, match=r"2 images .*cam0/frame.*, .*cam1/frame"):
            choose_records(records, [text], with_objects=False)


def test_a_dataset_comes_with_its_registered_name(autoassign):
    cfg = load_detector(None, str(autoassign), strictness=Strictness.EXPLANATION).cfg
    name, records = load_dataset(cfg)
    assert (name, records) == ("shapes_val", DatasetCatalog.get("shapes_val"))
    assert len(records) == 3
    with pytest.raises(ValueError, match=r"names no dataset \(DATASETS.TRAIN, DATASETS.CUSTOM\)"):
        load_dataset(cfg, splits=("TRAIN",))


def test_control_c_ends_without_a_traceback(monkeypatch, autoassign, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("autoassign.runs.load_detector", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main(["visualize", "prior", "--weights", str(autoassign)])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["assignment", "--images", "3"], "no image '3' in the dataset"),
        (["assignment", "--images", "3"], "--num-images 3 draws the first 3"),
        (["assignment", "--objects", "99"], "no object 99"),
        (["assignment", "--dataset", "nowhere"], "no dataset 'nowhere'"),
        (["assignment", "--image", "a.png"], "give --box"),
        (["assignment", "--box", "1,2,3,4,ring"], "give that too"),
        (["assignment", "--image", "a.png", "--box", "1,2,3,ring"], "x1,y1,x2,y2,CLASS"),
        (["assignment", "--image", "a.png", "--box", "1,2,3,4,cow"], "no class 'cow'"),
        (["assignment", "--image", "a.png", "--box", "1,2,3,4,ring"], "a.png"),
        (["assignment", "--compare", "x.yaml"], "CONFIG=WEIGHTS"),
        (["assignment", "--compare", "x.yaml="], "CONFIG=WEIGHTS, or 'all' alone, not 'x.yaml='"),
        (["assignment", "--compare", "=x.pth"], "CONFIG=WEIGHTS, or 'all' alone, not '=x.pth'"),
        (["assignment", "--compare", "x.yaml"], "autoassign visualize assignment: error: --comp"),
        (["assignment", "--dataset", "coco_2017_val"], "the dataset coco_2017_val cannot be read"),
        (["objectness", "--class", "6"], "no class '6'"),
        (["prior", "MODEL.NO_SUCH", "1"], "NO_SUCH"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(autoassign, capsys, arguments, message):
    figure, *others = arguments
    assert message in refusal(capsys, figure, "--weights", autoassign, *others)


def test_a_dataset_of_other_classes_is_refused(autoassign, tmp_path, capsys):
    name = "classes_of_another"
    DatasetCatalog.register(name, lambda: [{"file_name": "a.jpg"}])
    MetadataCatalog.get(name).thing_classes = ["cow"]
    arguments = ("--weights", autoassign, "--dataset", name)
    assert f"the dataset {name} has the classes cow, the detector " in refusal(
        capsys, "predictions", *arguments
    )


def test_a_box_outside_the_image_is_refused(autoassign, shapes, capsys):
    image = next((shapes / "val").iterdir())
    arguments = ("--weights", autoassign, "--image", image, "--box", "9000,0,9100,50,ring")
    assert "outside the image" in refusal(capsys, "assignment", *arguments)


def test_an_image_without_objects_is_named(shapes, tmp_path, capsys):
    weights = save_model(tmp_path / "m", shapes)
    cv2.imwrite(str(shapes / "val" / "empty.png"), np.zeros((90, 90, 3), np.uint8))
    annotations = shapes / "annotations" / "empty.json"
    annotations.write_text(
        (shapes / "annotations" / "val.json")
        .read_text()
        .replace('"images": [', '"images": [{"id": 99, "file_name": "empty.png", "height": 90, '
                 '"width": 90}, ')
    )  # fmt: skip
    options = ("DATASETS.CUSTOM.TEST", "annotations/empty.json")
    message = refusal(capsys, "assignment", "--weights", weights, "--images", "empty", *options)
    assert "empty.png has no object" in message


def test_weights_of_another_strategy_are_refused(autoassign, dsla, capsys):
    config = ("--config-file", dsla.with_name("config.yaml"))
    message = refusal(capsys, "assignment", *config, "--weights", autoassign)
    assert "label_assignment.mu" in message or "head.obj_score" in message
    assert "does not fit the config's DSLA" in message
    config = ("--config-file", autoassign.with_name("config.yaml"))
    message = refusal(
        capsys, "assignment", *config, "--weights", dsla,
        "MODEL.POINT_HEAD.OBJECTNESS", "none",
    )  # fmt: skip
    assert "lack label_assignment.mu" in message


def test_a_comparison_needs_the_same_classes(autoassign, shapes, tmp_path, capsys):
    annotations = (shapes / "annotations" / "val.json").read_text()
    (shapes / "annotations" / "other.json").write_text(annotations.replace("ring", "hoop"))
    other = save_model(tmp_path / "other", shapes)
    config = other.with_name("config.yaml")
    config.write_text(config.read_text().replace("annotations/val.json", "annotations/other.json"))
    arguments = ("--weights", autoassign, "--compare", f"{config}={other}")
    message = refusal(capsys, "assignment", *arguments)
    assert "hoop" in message
    assert "are not those of" in message


def test_other_architectures_are_refused(autoassign, capsys):
    config = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    message = refusal(capsys, "prior", "--config-file", config, "--weights", autoassign)
    assert "META_ARCHITECTURE is RetinaNet; it must be PointDetector" in message


def test_figures_that_a_strategy_does_not_have(dsla, capsys):
    assert "DSLA has no center prior" in refusal(capsys, "prior", "--weights", dsla)
    assert "no objectness" in refusal(capsys, "objectness", "--weights", dsla)


def test_missing_weights_and_runs_are_named(tmp_path, capsys):
    assert "none.pth does not exist" in refusal(capsys, "prior", "--weights", tmp_path / "none.pth")
    assert "TEST.EVOLUTION.ENABLED" in refusal(capsys, "evolution", tmp_path)


def test_coverage_reads_no_image(tmp_path, shapes, capsys):
    options = (
        *("DATASETS.CUSTOM.FORMAT", "coco", "DATASETS.CUSTOM.ROOT", shapes),
        *("DATASETS.CUSTOM.TRAIN", "annotations/train.json", "DATASETS.CUSTOM.TRAIN_IMAGES"),
        *("train", "DATASETS.CUSTOM.TEST", "annotations/val.json"),
        *("DATASETS.CUSTOM.TEST_IMAGES", "val", "--max-images", 1),
    )
    names = visualize(tmp_path, "coverage", *options, "--strategies", "ATSS", "AutoAssign")
    assert names == ["coverage.json", "coverage.png"]
    assert "shapes_train: 1 of 2 images" in capsys.readouterr().out
    message = refusal(capsys, "coverage", *options, "--strategies", "Best")
    assert "no label assignment 'Best'" in message
