"""`autoassign benchmark`."""

import json

import pytest

from autoassign.analysis.benchmark import LossRow
from autoassign.cli import main
from autoassign.cli.benchmark import loss


@pytest.fixture
def made_up_rows(monkeypatch):
    def measure_all(strategies, args):
        for strategy in strategies:
            yield LossRow(
                strategy=strategy,
                objects=args.objects[0],
                box_scale=args.box_scale,
                box_size=args.box_size,
                forward_seconds=0.1,
                backward_seconds=0.1,
                floor_seconds=0.05,
                peak_mb=7.0,
            )

    monkeypatch.setattr(loss, "_measure_all", measure_all)


@pytest.mark.usefixtures("made_up_rows")
def test_mmdetections_autoassign_is_compared_with_autoassign_alone(tmp_path, capsys):
    path = tmp_path / "mmdet.json"
    row = {"objects": 10, "forward_seconds": 1.0, "backward_seconds": 0.5}
    path.write_text(json.dumps({"rows": [row]}))
    strategies = ("--strategies", "AutoAssign", "FCOS")
    main(["benchmark", "loss", *strategies, "--objects", "10", "--against", str(path)])
    header, autoassign, fcos = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[-2:] == ["times", "faster"]
    assert autoassign[-1] == "7.5"  # 1.5 s against 0.2 s
    assert fcos[-1] == "7"  # the memory


def test_a_strategy_that_is_not_registered_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "loss", "--strategies", "NoSuch"])
    assert "no 'NoSuch' among " in capsys.readouterr().err


def test_both_evaluators_agree_on_a_few_images(tmp_path):
    path = tmp_path / "rows.json"
    assert main(["benchmark", "eval", "--num-images", "3", "--json", str(path)]) == 0
    assert json.loads(path.read_text())["equal"] is True
