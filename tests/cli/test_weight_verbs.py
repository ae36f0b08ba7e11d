"""The verbs convert, publish and export, one after the other on the same weights."""

import os
from pathlib import Path

import cv2
import pytest
import torch
from detectors import CLASS_NAMES, OPTIONS, picture
from narrow_model import narrow_cfg, narrow_model

from autoassign import __version__
from autoassign.checkpoint import CheckpointDescription, read_weight_file
from autoassign.cli import main

# MMDetection's pyramid has norms at all levels or at none.
NO_NORM = ("MODEL.FPN.NORM", "")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    cfg = narrow_cfg(*OPTIONS, *NO_NORM)
    ids = {index: index for index in range(5)}
    description = CheckpointDescription(__version__, cfg.dump(), CLASS_NAMES, ids)
    checkpoint = {"model": narrow_model(*NO_NORM).state_dict(), **description.to_checkpoint()}
    torch.save(checkpoint, tmp_path / "trained.pth")
    return tmp_path / "trained.pth"


def test_weights_go_to_mmdetection_and_back(trained, tmp_path, capsys):
    theirs, ours = str(tmp_path / "mmdet.pth"), str(tmp_path / "back.safetensors")
    pytest.importorskip("safetensors")
    assert main(["convert", str(trained), theirs, "--to", "mmdet"]) == 0
    assert main(["convert", theirs, ours, "--style", "caffe"]) == 0
    assert "MMDetection's AutoAssign: mmdet.pth: " in capsys.readouterr().out
    back = read_weight_file(ours)
    assert back["autoassign"]["thing_classes"] == CLASS_NAMES
    for name, tensor in narrow_model(*NO_NORM).state_dict().items():
        if not name.endswith("num_batches_tracked"):  # frozen norms have none
            assert torch.equal(back["model"][name], tensor)


def test_published_weights_are_exported_by_zoo_name(trained, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    mirror = tmp_path / "zoo" / "COCO-Detection"
    assert main(["publish", str(trained), "--output", str(tmp_path / "out"), "--name", "n"]) == 0
    published = next((tmp_path / "out").glob("n-*.pth"))
    mirror.mkdir(parents=True)
    os.rename(published, mirror / "autoassign_R_50_FPN_1x.pth")
    monkeypatch.setenv("AUTOASSIGN_MODEL_ZOO", str(mirror.parent))
    image = str(tmp_path / "image.png")
    cv2.imwrite(image, picture(100, 140))
    address = "autoassign://COCO-Detection/autoassign_R_50_FPN_1x.yaml"
    words = ["--weights", address, "--output", str(tmp_path / "exported"), "--formats", "onnx"]
    assert main(["export", *words, "--check", image, "--int8", image]) == 0
    assert "1 images, 8 detections, 0 different; boxes within" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "exported").iterdir())
    assert files == ["detect_onnx.py", "model.onnx", "model_int8.onnx"]


def test_trust_makes_a_safe_file_of_one_that_is_not(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "the_payload_ran"

    class Payload:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(marker),)

    torch.save(torch.load(trained) | {"payload": Payload()}, "unsafe.pth")
    for words in ([], ["--to", "tensors"]):
        with pytest.raises(SystemExit, match="2"):
            main(["convert", "unsafe.pth", "safe.pth", *words])
        assert "--trust --to tensors" in capsys.readouterr().err
    assert not marker.exists()
    assert main(["convert", "unsafe.pth", "safe.pth", "--trust", "--to", "tensors"]) == 0
    assert marker.exists()
    assert set(read_weight_file("safe.pth")) == {"model"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["convert", "nowhere.pth", "x.pth"], "nowhere.pth does not exist"),
        (["convert", "trained.pth", "x.pth"], "trained.pth is of no source that is converted"),
        (["convert", "trained.pth", "x.pkl"], "weights are written as .pth or .safetensors"),
        (["convert", "trained.pth", "x.safetensors", "--to", "mmdet"], "MMDetection reads .pth"),
        (["publish", ".", "--output", "out"], "has no weights to publish"),
        (
            ["export", "--weights", "trained.pth", "--output", "o", "--no-nms", "--check", "x"],
            "ONNX",
        ),
        (
            ["export", "--weights", "trained.pth", "--output", "o", "--half", "--int8", "x"],
            "needs ONNX in float32",
        ),
        (
            ["export", "--weights", "trained.pth", "--output", "o", "--check", "x"],
            "x cannot be read",
        ),
    ],
)
def test_mistakes_get_one_sentence(trained, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(trained.parent)
    before = sorted(trained.parent.iterdir())
    with pytest.raises(SystemExit, match="2"):
        main(words)
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1
    assert sorted(trained.parent.iterdir()) == before
