"""The command line from end to end: two configs, trained for real for a few iterations."""

from pathlib import Path

import pytest
from narrow_model import NARROW

from autoassign.analysis.comparison import calibration
from autoassign.cli import main
from autoassign.data.shapes import generate_shapes

REPOSITORY = Path(__file__).parents[3]
QUICKSTART = REPOSITORY / "configs" / "quickstart" / "autoassign_shapes.yaml"


@pytest.fixture(autouse=True)
def _quick_measurement(monkeypatch):
    monkeypatch.setattr(calibration, "_ROUNDS", 1)
    monkeypatch.setattr(calibration, "_ITERATIONS", 4)


def test_equal_time_for_two_configs(tmp_path, capsys):
    generate_shapes(tmp_path / "shapes", num_train=8, num_val=4)
    plain = tmp_path / "plain.yaml"
    plain.write_text(f'_BASE_: "{QUICKSTART}"\nMODEL: {{POINT_HEAD: {{OBJECTNESS: "none"}}}}')
    out = tmp_path / "out"
    command = ["--config-file", QUICKSTART, plain, "--seeds", 1, "--budget", "0.2s", "--jobs", 2]
    every_box = ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0, "SOLVER.IMS_PER_BATCH", 2)
    recorded = ("TEST.EVOLUTION.ENABLED", True, "TEST.EVOLUTION.NUM_OBJECTS", 1)
    opts = [*NARROW, *every_box, *recorded, "DATASETS.CUSTOM.ROOT", tmp_path / "shapes"]
    assert main(["compare", *(str(x) for x in (*command, "--output", out, *opts))]) == 0
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    for name in ("autoassign_shapes", "plain"):
        assert f"\n| {name} " in "\n" + table
        assert (out / name / "seed1" / "model_final.pth").exists()
    assert table.count("1 of 1") == 2
    assert not (out / ".speed").exists()
