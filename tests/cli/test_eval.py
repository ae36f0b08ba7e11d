"""`autoassign eval`: weights and their config are enough."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from narrow_model import narrow_cfg, narrow_model

from autoassign.cli import main
from autoassign.data.shapes import generate_shapes

ROOT = Path(__file__).parents[2]


def test_weights_are_evaluated_with_the_config_beside_them(tmp_path):
    generate_shapes(tmp_path / "shapes", num_train=1, num_val=2)
    small = ("MODEL.POINT_HEAD.NUM_CLASSES", 6, "INPUT.MIN_SIZE_TEST", 96)
    dataset = (
        *("DATASETS.CUSTOM.FORMAT", "coco", "DATASETS.CUSTOM.ROOT", str(tmp_path / "shapes")),
        *("DATASETS.CUSTOM.TEST", "annotations/val.json", "DATASETS.CUSTOM.TEST_IMAGES", "val"),
    )
    config = tmp_path / "config.yaml"
    config.write_text(narrow_cfg(*small, *dataset, "OUTPUT_DIR", str(tmp_path)).dump())
    torch.save({"model": narrow_model(*small).state_dict()}, tmp_path / "model.pth")
    before = config.read_text()
    command = [sys.executable, "-m", "autoassign", "eval", "--weights", tmp_path / "model.pth"]
    result = subprocess.run(
        [*command, "MODEL.POINT_HEAD.SCORE_THRESH_TEST=0.0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "projects"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "AP50" in result.stdout
    assert list((tmp_path / "evaluation").rglob("coco_instances_results.json"))
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SEED", "1"], "nothing to evaluate: give MODEL.WEIGHTS"),
        (["--weights", "gone.pth"], "gone.pth does not exist"),
        (["--config-file", "gone.yaml"], "gone.yaml"),
    ],
)
def test_what_is_missing_is_a_sentence(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["eval", *words])
    error = capsys.readouterr().err
    assert error.startswith("autoassign eval: error: ")
    assert message in error
