"""A comparison from end to end: trained for real for a few iterations."""

from pathlib import Path

import pytest
from narrow_model import NARROW

from autoassign.analysis.comparison import Budget, compare, speed
from autoassign.data.shapes import generate_shapes

QUICKSTART = Path(__file__).parents[3] / "configs" / "quickstart" / "autoassign_shapes.yaml"


@pytest.mark.slow
def test_equal_time_for_two_strategies(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "_ROUNDS", 1)
    monkeypatch.setattr(speed, "_ITERATIONS", 4)
    generate_shapes(tmp_path / "shapes", num_train=8, num_val=4)
    every_box = ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0, "SOLVER.IMS_PER_BATCH", 2)
    recorded = ("TEST.EVOLUTION.ENABLED", True, "TEST.EVOLUTION.NUM_OBJECTS", 1)
    opts = [*NARROW, *every_box, *recorded, "DATASETS.CUSTOM.ROOT", tmp_path / "shapes"]
    out = tmp_path / "out"
    code = compare(
        [str(QUICKSTART)],
        out,
        strategies=["AutoAssign", "ATSS"],
        seeds=1,
        budget=Budget(seconds=1.0),
        jobs=2,
        opts=[str(x) for x in opts],
    )
    assert code == 0
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    for name in ("AutoAssign", "ATSS"):
        assert f"\n| {name} " in "\n" + table
        assert (out / name / "seed1" / "model_final.pth").exists()
    assert table.count("1 of 1") == 2
    assert "Trained with " in table
    assert not (out / ".speed").exists()
