"""The command line from end to end: two configs, trained for real for a few iterations."""

import importlib.util
from pathlib import Path

import pytest
from narrow_model import NARROW

from autoassign.analysis.comparison import calibration
from autoassign.data.shapes import generate_shapes

REPOSITORY = Path(__file__).parents[3]
QUICKSTART = REPOSITORY / "configs" / "quickstart" / "autoassign_shapes.yaml"


@pytest.fixture
def main(monkeypatch):
    path = REPOSITORY / "tools" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(calibration, "_ROUNDS", 1)
    monkeypatch.setattr(calibration, "_ITERATIONS", 4)
    return module.main


def test_equal_time_for_two_configs(main, tmp_path, capsys):
    generate_shapes(tmp_path / "shapes", num_train=8, num_val=4)
    plain = tmp_path / "plain.yaml"
    plain.write_text(f'_BASE_: "{QUICKSTART}"\nMODEL: {{POINT_HEAD: {{OBJECTNESS: "none"}}}}')
    out = tmp_path / "out"
    command = ["--config-file", QUICKSTART, plain, "--seeds", 1, "--budget", "0.2s", "--jobs", 2]
    every_box = ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0, "SOLVER.IMS_PER_BATCH", 2)
    recorded = ("TEST.EVOLUTION.ENABLED", True, "TEST.EVOLUTION.NUM_OBJECTS", 1)
    opts = [*NARROW, *every_box, *recorded, "DATASETS.CUSTOM.ROOT", tmp_path / "shapes"]
    assert main([str(x) for x in (*command, "--output", out, *opts)]) == 0
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    for name in ("autoassign_shapes", "plain"):
        assert f"\n| {name} " in "\n" + table
        assert (out / name / "seed1" / "model_final.pth").exists()
    assert table.count("1 of 1") == 2
    assert not (out / ".speed").exists()


def test_a_mistake_is_told_without_a_traceback(main, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--config-file", str(QUICKSTART), "--output", str(tmp_path), "--budget", "soon"])
    assert exit_.value.code == 2
    assert "the budget is 'soon'" in capsys.readouterr().err


def test_a_failed_measurement_is_no_mistake_in_the_command(main, tmp_path, monkeypatch, capsys):
    def start(*args, **kwargs):
        raise calibration.MeasurementError("measuring the speed of a failed")

    monkeypatch.setitem(main.__globals__, "compare", start)
    assert main(["--config-file", str(QUICKSTART), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "measuring the speed of a failed\n"


def test_an_unexpected_error_keeps_its_traceback(main, tmp_path, monkeypatch):
    def start(*args, **kwargs):
        raise RuntimeError("a fault of the tool")

    monkeypatch.setitem(main.__globals__, "compare", start)
    with pytest.raises(RuntimeError, match="a fault of the tool"):
        main(["--config-file", str(QUICKSTART), "--output", str(tmp_path)])


def test_the_help_names_all_that_the_configs_share(main, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shared = "Data, schedule, optimizer (rates, clipping), evaluation and averaging of weights"
    assert shared in capsys.readouterr().out.replace("\n", " ")
