"""`autoassign predict` from its arguments to its files."""

import errno
import json
import os
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectors import CLASS_NAMES, detector_cfg, picture
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO

from autoassign import runs
from autoassign.cli import main
from autoassign.inference import Predictor, runner
from autoassign.inference.drawing import draw_detections
from autoassign.inference.writers import DetectionFiles


@pytest.fixture
def project(weights: str, tmp_path: Path) -> Path:
    """A folder with a config, class names, and three images, one of which is broken."""
    (tmp_path / "detector.yaml").write_text(detector_cfg(weights).dump())
    (tmp_path / "names.txt").write_text("\n".join(CLASS_NAMES) + "\n")
    (tmp_path / "images/below").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/a.png"), picture(64, 96))
    cv2.imwrite(str(tmp_path / "images/below/b.png"), picture(96, 64, seed=1))
    (tmp_path / "images/broken.jpg").write_bytes(b"no image")
    return tmp_path


def predict(project: Path, *arguments: object) -> int:
    base = ("--config-file", project / "detector.yaml", "--class-names", project / "names.txt")
    output = ("--output", project / "out", "--score-threshold", 0.01)
    return main(["predict", *(str(x) for x in (*arguments[:1], *base, *output, *arguments[1:]))])


def read(project: Path, name: str):
    return json.loads((project / "out" / name).read_text())


def write_video(path: Path, num_frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (96, 64))
    for seed in range(num_frames):
        writer.write(picture(64, 96, seed))
    writer.release()


def frames(path: Path) -> list[np.ndarray]:
    return [frame for _, frame in iter(cv2.VideoCapture(str(path)).read, (False, None))]


def test_a_folder_with_a_broken_file(project, capsys):
    assert predict(project, project / "images") == 1
    written = sorted(str(p.relative_to(project / "out")) for p in (project / "out").rglob("*.*"))
    assert written == ["a.png", "below/b.png", "detections.json", "images.json"]
    printed = capsys.readouterr()
    assert "broken.jpg: the image cannot be read" in printed.err
    assert "1 input could not be read" in printed.err
    assert "2 images" in printed.out


def test_drawings_of_small_images_are_enlarged(project):
    predict(project, project / "images")
    assert cv2.imread(str(project / "out/below/b.png")).shape == (640, 427, 3)


def test_boxes_are_enlarged_with_their_image():
    found = Instances(
        (40, 80),
        pred_boxes=Boxes(torch.tensor([[20.0, 10.0, 60.0, 30.0]])),
        scores=torch.tensor([0.5]),
        pred_classes=torch.tensor([0]),
    )
    image = np.zeros((40, 80, 3), np.uint8)
    metadata = Metadata(thing_classes=["a"])
    large = draw_detections(image, found, metadata, min_length=800)
    assert large.shape == (400, 800, 3)
    # The lower and the right edge: the label is in the upper left corner.
    rows, columns = np.nonzero(large.max(axis=2) > 64)
    assert rows.max() == pytest.approx(300, abs=3)
    assert columns.max() == pytest.approx(600, abs=3)
    assert found.pred_boxes.tensor.tolist() == [[20, 10, 60, 30]]
    assert draw_detections(image, found, metadata, min_length=80).shape == (40, 80, 3)


def test_the_results_are_those_of_the_predictor_as_coco_takes_them(project, weights):
    predict(project, project / "images")
    truth = COCO(str(project / "out/images.json"))
    results = truth.loadRes(str(project / "out/detections.json"))
    assert [c["name"] for c in truth.loadCats(truth.getCatIds())] == CLASS_NAMES
    [image] = [x for x in truth.dataset["images"] if x["file_name"] == "below/b.png"]
    assert (image["height"], image["width"]) == (96, 64)
    assert image["source"] == str(project / "images/below/b.png")

    ours = results.loadAnns(results.getAnnIds([image["id"]]))
    [instances] = Predictor(detector_cfg(weights))([picture(96, 64, seed=1)])
    expected = instances.pred_boxes.tensor.numpy()
    expected[:, 2:] -= expected[:, :2]
    np.testing.assert_allclose([x["bbox"] for x in ours], expected, rtol=1e-3, atol=0.01)
    np.testing.assert_allclose([x["score"] for x in ours], instances.scores, rtol=1e-3)
    assert [x["category_id"] for x in ours] == instances.pred_classes.tolist()


def test_category_ids_are_those_of_the_dataset(tmp_path):
    metadata = Metadata(thing_classes=["a", "b"], thing_dataset_id_to_contiguous_id={5: 0, 9: 1})
    found = Instances(
        (10, 20),
        pred_boxes=Boxes(torch.tensor([[1.0, 2.0, 4.0, 8.0]])),
        scores=torch.tensor([0.5]),
        pred_classes=torch.tensor([1]),
    )
    with closing(DetectionFiles(tmp_path, metadata)) as files:
        files.add({"file_name": "x.jpg"}, found)
        files.add({"file_name": "y.jpg"}, found)
    first = {"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 6], "score": 0.5}
    results = json.loads((tmp_path / "detections.json").read_text())
    assert results == [first, {**first, "image_id": 2}]
    categories = json.loads((tmp_path / "images.json").read_text())["categories"]
    assert categories == [{"id": 5, "name": "a"}, {"id": 9, "name": "b"}]


def test_only_the_wanted_classes_are_written(project):
    assert predict(project, project / "images/a.png", "--classes", "elk") == 0
    assert {x["category_id"] for x in read(project, "detections.json")} == {4}


@pytest.mark.parametrize(
    ("arguments", "threshold"),
    [
        ((), 0.3),
        (("MODEL.POINT_HEAD.SCORE_THRESH_TEST", "0.7"), 0.7),
        (("MODEL.POINT_HEAD.SCORE_THRESH_TEST=0.7", "--score-threshold", "0.6"), 0.6),
    ],
)
def test_the_score_threshold_is_that_of_the_argument_or_option(
    project, monkeypatch, arguments, threshold
):
    loaded = []
    load = runs.load_detector
    monkeypatch.setattr(
        runs, "load_detector", lambda *args, **kw: loaded.append(load(*args, **kw)) or loaded[0]
    )
    base = ("--config-file", project / "detector.yaml", "--output", project / "out")
    assert main(["predict", *map(str, (project / "images/a.png", *base, *arguments))]) == 0
    assert loaded[0].model.test_score_thresh == threshold


def test_nothing_is_written_below_the_score_threshold(project):
    assert predict(project, project / "images/a.png", "--score-threshold", 1) == 0
    assert read(project, "detections.json") == []
    assert (cv2.imread(str(project / "out/a.png")) == picture(64, 96)).all()


def test_a_video_keeps_its_size_speed_and_number_of_frames(project):
    write_video(project / "clip.avi", 5)
    assert predict(project, project / "clip.avi", "--batch-size", 2) == 0
    assert [frame.shape for frame in frames(project / "out/clip.avi")] == [(64, 96, 3)] * 5
    fps = cv2.VideoCapture(str(project / "out/clip.avi")).get(cv2.CAP_PROP_FPS)
    assert fps == pytest.approx(12.5)
    images = read(project, "images.json")["images"]
    assert [(x["file_name"], x["frame"]) for x in images] == [("clip.avi", i) for i in range(5)]


def test_frames_ends_a_video_early(project):
    write_video(project / "clip.avi", 5)
    assert predict(project, project / "clip.avi", "--frames", 3) == 0
    assert len(read(project, "images.json")["images"]) == 3


def test_a_broken_video_is_reported_and_the_others_are_predicted(project, capsys):
    (project / "broken.avi").write_bytes(b"no video")
    write_video(project / "clip.avi", 2)
    assert predict(project, project / "*.avi") == 1
    assert "broken.avi: OpenCV cannot open it" in capsys.readouterr().err
    assert len(read(project, "images.json")["images"]) == 2


def test_a_video_that_is_cut_in_half_is_predicted_and_reported(project, capsys):
    write_video(project / "clip.avi", 40)
    os.truncate(project / "clip.avi", (project / "clip.avi").stat().st_size // 2)
    assert predict(project, project / "clip.avi", "--batch-size", 8) == 1
    num_frames = len(read(project, "images.json")["images"])
    assert 10 < num_frames < 30
    message = f"clip.avi: it is cut off or damaged: only {num_frames} of 40 frames could be read"
    assert message in capsys.readouterr().err


def test_names_that_are_not_utf_8(project, capsys):
    folder = project / "odd"
    folder.mkdir()
    for name in ("a\udcff.png", "a\udcfe.png"):
        (folder / name).write_bytes((project / "images/a.png").read_bytes())
    (folder / "broken\udcff.jpg").write_bytes(b"no image")
    write_video(project / "clip.avi", 2)
    (project / "clip.avi").rename(folder / "clip\udcff.avi")
    assert predict(project, folder / "*") == 1
    images = read(project, "images.json")["images"]
    assert [x["file_name"] for x in images] == ["a\ufffd.png", "a\ufffd_2.png"]
    assert all((project / "out" / x["file_name"]).exists() for x in images)
    errors = capsys.readouterr().err
    assert "broken\ufffd.jpg: the image cannot be read" in errors
    assert "clip\ufffd.avi: a video's name has to be UTF-8" in errors


def test_what_is_no_regular_file_is_named_and_does_not_hang(project, capsys):
    for name in ("pipe.png", "pipe.avi"):
        os.mkfifo(project / "images" / name)
    (project / "images/zero.png").symlink_to("/dev/zero")
    assert predict(project, project / "images/*") == 1
    errors = capsys.readouterr().err
    for name in ("pipe.png", "pipe.avi", "zero.png"):
        assert f"{name}: it is not a regular file" in errors
    assert len(read(project, "images.json")["images"]) == 1


@pytest.fixture
def interrupted_at_second(monkeypatch):
    """Ctrl-C arrives while the second image is drawn."""
    calls = iter(range(10))

    def draw(image, *rest, **options):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return image

    monkeypatch.setattr(runner, "draw_detections", draw)


def test_what_is_done_survives_an_interruption(project, interrupted_at_second, capsys):
    assert predict(project, project / "images", "--batch-size", 1) == 130
    assert (project / "out/a.png").exists()
    assert {x["image_id"] for x in read(project, "detections.json")} == {1}
    assert [x["id"] for x in read(project, "images.json")["images"]] == [1]
    printed = capsys.readouterr()
    assert "1 image or frame predicted" in printed.out
    assert "interrupted" in printed.err


def test_an_interruption_while_the_weights_are_loaded(project, monkeypatch, capsys):
    def load(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "load_detector", load)
    with pytest.raises(SystemExit, match="130"):
        predict(project, project / "images")
    assert capsys.readouterr().err == "interrupted\n"


def test_what_is_done_survives_a_failing_disk(project, monkeypatch, capsys):
    real = Path.write_bytes

    def write(path, content):
        if "below" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    assert predict(project, project / "images", "--batch-size", 1) == 1
    printed = capsys.readouterr()
    assert f"No space left on device: '{project}/out/below/b.png'" in printed.err
    assert "1 image or frame predicted" in printed.out
    assert [x["file_name"] for x in read(project, "images.json")["images"]] == ["a.png"]


def test_an_interrupted_video_can_be_played(project, interrupted_at_second):
    write_video(project / "clip.avi", 5)
    assert predict(project, project / "clip.avi") == 130
    assert len(frames(project / "out/clip.avi")) == 1


def test_an_interruption_ends_a_camera(project, monkeypatch, interrupted_at_second):
    write_video(project / "clip.avi", 5)
    as_file = cv2.VideoCapture(str(project / "clip.avi"))
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: as_file)
    assert predict(project, "camera:0") == 0
    assert (project / "out/camera_0.mp4").exists()


def test_the_detections_are_complete_json_at_any_time(tmp_path):
    metadata = Metadata(thing_classes=["a"], thing_dataset_id_to_contiguous_id={0: 0})
    nothing = Instances((10, 20), pred_boxes=Boxes(torch.zeros(0, 4)))
    nothing.set("scores", torch.zeros(0))
    nothing.set("pred_classes", torch.zeros(0, dtype=torch.long))
    with closing(DetectionFiles(tmp_path, metadata)) as files:
        for number in range(3):
            assert json.loads((tmp_path / "detections.json").read_text()) == []
            content = json.loads((tmp_path / "images.json").read_text())
            assert len(content["images"]) == number
            files.add({"file_name": "x.jpg"}, nothing)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.jpg",), "gone.jpg does not exist"),
        (("images", "--classes", "cat"), "no class 'cat'; its classes are: ant, bee"),
        (("images", "--weights", "gone.pth"), "gone.pth does not exist"),
        (("images", "--frames", "0"), "0 is not at least 1"),
        (("images", "--batch-size", "x"), "--batch-size: 'x' is not a whole number"),
        (("images", "--score-threshold", "2"), "2.0 is not between 0 and 1"),
        (("images", "--score-threshold", "abc"), "--score-threshold: 'abc' is not a number"),
        (("images", "--score-threshold", "nan"), "nan is not between 0 and 1"),
        (("images", "--class-names", "images/a.png"), "--class-names images/a.png is not UTF-8"),
        (("images", "MODEL.NO_SUCH", "1"), "MODEL.NO_SUCH"),
        (("images", "SEED"), "SEED has no value"),
    ],
)
def test_wrong_arguments_end_with_a_sentence_before_anything_is_written(
    project, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit, match="2"):
        predict(project, *arguments)
    assert message in capsys.readouterr().err
    assert not list(project.glob("out/*"))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("names.txt", "--output names.txt is a file"),
        ("names.txt/out", "--output names.txt/out cannot be created: Not a directory"),
    ],
)
def test_an_output_folder_that_cannot_be_made_is_an_error_before_the_weights_are_read(
    project, monkeypatch, capsys, output, message
):
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit, match="2"):
        predict(project, "images", "--output", output, "--weights", "gone.pth")
    assert message in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written_is_an_error(project, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit, match="2"):
        predict(project, project / "images")
    assert "is not writable" in capsys.readouterr().err


def test_nothing_is_replaced(project, capsys):
    (project / "out").mkdir()
    (project / "out/a.png").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        predict(project, project / "images")
    assert "is not empty" in capsys.readouterr().err
    assert (project / "out/a.png").read_text() == "mine"


def test_the_config_beside_the_weights_is_taken(project, weights):
    beside = project / "model.pth"
    beside.write_bytes(Path(weights).read_bytes())
    (project / "config.yaml").write_text((project / "detector.yaml").read_text())
    arguments = ["--weights", beside, project / "images/a.png", "--output", project / "out"]
    assert main(["predict", *(str(x) for x in arguments)]) == 0
    assert len(read(project, "images.json")["images"]) == 1
