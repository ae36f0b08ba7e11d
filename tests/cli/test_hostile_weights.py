"""A weight file that would run code, given to every verb that reads weights."""

import os
from pathlib import Path

import cv2
import pytest
import torch
from detectors import OPTIONS, picture
from narrow_model import narrow_cfg, narrow_model
from training_runs import process_state_kept

from autoassign.cli import main
from autoassign.data.shapes import generate_shapes


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("the_payload_ran",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a training whose weights run code, with data; it is the current one."""
    monkeypatch.chdir(tmp_path)
    generate_shapes("shapes", num_train=2, num_val=2)
    dataset = (
        *("DATASETS.CUSTOM.FORMAT", "coco", "DATASETS.CUSTOM.ROOT", "shapes"),
        *("DATASETS.CUSTOM.TRAIN", "annotations/train.json", "DATASETS.CUSTOM.TRAIN_IMAGES"),
        *("train", "DATASETS.CUSTOM.TEST", "annotations/val.json"),
        *("DATASETS.CUSTOM.TEST_IMAGES", "val"),
    )
    options = (*OPTIONS, *dataset, "MODEL.POINT_HEAD.NUM_CLASSES", 6, "OUTPUT_DIR", "out")
    cfg = narrow_cfg(*options)
    Path("out").mkdir()
    Path("out/config.yaml").write_text(cfg.dump())
    Path("out/metrics.json").write_text('{"iteration": 1, "total_loss": 1.0, "bbox/AP": 1.0}\n')
    Path("out/last_checkpoint").write_text("model_final.pth")
    weights = narrow_model("MODEL.POINT_HEAD.NUM_CLASSES", 6).state_dict()
    torch.save({"model": weights, "payload": Payload()}, "out/model_final.pth")
    cv2.imwrite("image.png", picture(64, 64))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "train --config-file out/config.yaml MODEL.WEIGHTS out/model_final.pth OUTPUT_DIR new",
        "train --config-file out/config.yaml --resume",
        "train --config-file out/config.yaml --eval-only MODEL.WEIGHTS out/model_final.pth",
        "train --config-file lazy/autoassign_R_50_FPN_1x.py --eval-only "
        "train.init_checkpoint=out/model_final.pth train.output_dir=new",
        "eval --weights out/model_final.pth",
        "predict --weights out/model_final.pth image.png --output new",
        "visualize assignment --weights out/model_final.pth",
        "visualize prior --weights out/model_final.pth",
        "visualize objectness --weights out/model_final.pth --images 000000",
        "convert out/model_final.pth new.pth",
        "convert out/model_final.pth new.pth --to mmdet",
        "publish out --output new",
        "export --weights out/model_final.pth --output new",
    ],
)
def test_the_file_is_refused_in_a_sentence(folder, capfd, command):
    with process_state_kept(), pytest.raises(SystemExit, match="2"):
        main(command.split())
    last_line = capfd.readouterr().err.splitlines()[-1]
    assert "error: " in last_line
    assert "model_final.pth" in last_line
    assert not Path("the_payload_ran").exists()


def test_a_report_is_written_without_it(folder):
    with process_state_kept():
        assert main(["report", "out"]) == 0
    assert "posix.mkdir" in Path("out/report.html").read_text()
    assert not Path("the_payload_ran").exists()
