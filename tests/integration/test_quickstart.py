"""The quick start from end to end, on a handful of images."""

import importlib.util
import re
from functools import partial
from pathlib import Path

import pytest
from narrow_model import NARROW

from autoassign.data.shapes import generate_shapes

SCRIPT = Path(__file__).parents[2] / "tools" / "quickstart.py"


@pytest.fixture
def quickstart(monkeypatch):
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    few = partial(generate_shapes, num_train=8, num_val=4)
    monkeypatch.setattr(module, "generate_shapes", few)
    return module


def options(folder: Path, *more: object) -> list[str]:
    folders = ("DATASETS.CUSTOM.ROOT", folder / "shapes", "OUTPUT_DIR", folder / "out")
    short = ("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "TEST.EVAL_PERIOD", 0)
    every_box = ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0)
    return [str(x) for x in (*folders, *NARROW, *short, *every_box, *more)]


def test_it_trains_evaluates_draws_and_says_where_things_are(quickstart, tmp_path, capfd):
    assert quickstart.main(options(tmp_path)) == 0
    for name in ("model_final.pth", "metrics.json", "predictions.png", "curves.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    printed = capfd.readouterr().out
    assert re.search(r"^AP \d+\.\d+  AP50 \d+\.\d+$", printed, re.MULTILINE)
    assert str(tmp_path / "out") in printed[printed.index("files") :]


def test_a_training_that_fails_gives_its_exit_code(quickstart, tmp_path, capfd):
    assert quickstart.main(options(tmp_path, "SOLVER.OPTIMIZER", "ADAM")) != 0
    assert "SOLVER.OPTIMIZER is 'ADAM'" in capfd.readouterr().err
    assert not (tmp_path / "out" / "predictions.png").exists()


def test_options_need_values(quickstart):
    with pytest.raises(SystemExit, match="2"):
        quickstart.main(["SOLVER.MAX_ITER"])
