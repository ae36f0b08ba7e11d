"""`autoassign benchmark`."""

import json

import pytest
from PIL import Image

from autoassign.analysis.benchmark import LossRow
from autoassign.analysis.benchmark.inputs import make_loss_inputs
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


def test_rows_of_another_tool_are_refused(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text('{"rows": [{"name": "x"}]}')
    with pytest.raises(SystemExit):
        main(["benchmark", "loss", "--against", str(path)])
    assert (
        f"{path}: not from tools/mmdet_baseline.py: KeyError('objects')" in capsys.readouterr().err
    )


def test_a_strategy_that_is_not_registered_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "loss", "--strategies", "NoSuch"])
    assert "there is no label assignment 'NoSuch'" in capsys.readouterr().err


def test_a_strategy_that_is_named_twice_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "loss", "--strategies", "FCOS", "FCOS"])
    assert "--strategies names one twice: FCOS FCOS" in capsys.readouterr().err


def test_a_file_that_cannot_be_is_refused_before_measuring(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "loss", "--json", str(tmp_path)])
    assert f"--json: {tmp_path} is a folder" in capsys.readouterr().err


def test_a_measurement_takes_time(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "data", "--config-file", "Base-Small.yaml", "--seconds", "0"])
    assert "--seconds: 0.0 is not at least 0.01" in capsys.readouterr().err


@pytest.mark.parametrize("sizes", [(50, 10), (10, 801)])
def test_sizes_of_objects_must_ascend_and_fit(sizes):
    with pytest.raises(ValueError, match=r"must ascend and fit in 800×1344 px"):
        make_loss_inputs(1, box_size=sizes)


def test_both_evaluators_agree_on_a_few_images(tmp_path):
    path = tmp_path / "rows.json"
    assert main(["benchmark", "eval", "--num-images", "3", "--json", str(path)]) == 0
    assert json.loads(path.read_text())["equal"] is True


def test_loading_is_measured_beside_detectron2s_loader(tmp_path):
    root, path = tmp_path / "pets", tmp_path / "rows.json"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 48), (90, 60 * number, 0)).save(root / f"images/{number}.jpg")
        (root / f"labels/{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    options = ["DATASETS.CUSTOM.FORMAT", "yolo", "DATASETS.CUSTOM.ROOT", str(root)]
    options += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "SOLVER.IMS_PER_BATCH", "2"]
    command = ["benchmark", "data", "--config-file", "Base-Small.yaml", "--rounds", "1"]
    main([*command, "--seconds", "0.01", "--step", "--json", str(path), *options])
    content = json.loads(path.read_text())
    assert [row["name"] for row in content["rows"]] == [
        "this loader",
        "detectron2's",
        "decoding alone",
    ]
    assert content["rows"][1]["ratio"] == 1
    assert content["step"]["images_per_second"] > 0
    for row in content["rows"]:
        low, high = row["spread"]
        assert 0 < low <= row["images_per_second"] <= high
