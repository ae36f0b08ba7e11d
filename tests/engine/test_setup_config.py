import os
from pathlib import Path

import pytest
import torch
from training_runs import CONFIG, parse, run, set_up

from autoassign import get_config_file
from autoassign.checkpoint import CheckpointDescription
from autoassign.config import load_config
from autoassign.engine import Trainer


def test_the_config_file_may_be_the_name_of_a_shipped_one(shapes, tmp_path):
    assert not os.path.exists(CONFIG)
    cfg = set_up(parse(shapes, tmp_path / "out"))
    assert cfg.MODEL.META_ARCHITECTURE == "PointDetector"
    assert get_config_file(CONFIG) in (tmp_path / "out/log.txt").read_text()


def test_the_config_file_may_be_a_path(shapes, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {get_config_file(CONFIG)}\nSEED: 42\n")
    args = parse(shapes, tmp_path / "out")
    args.config_file = str(tmp_path / "mine.yaml")
    assert set_up(args).SEED == 42


def test_an_unknown_config_file_is_an_error_that_lists_the_shipped_ones(shapes, tmp_path):
    args = parse(shapes, tmp_path / "out")
    args.config_file = "quickstart/autoasign_shapes.yaml"
    with pytest.raises(FileNotFoundError, match=r"quickstart/autoassign_shapes\.yaml"):
        set_up(args)


def test_the_config_is_complete_and_frozen_and_no_file_of_a_training_is_written(shapes, tmp_path):
    cfg = set_up(parse(shapes, tmp_path / "out", "SOLVER.BASE_LR", 0.0125))
    assert cfg.is_frozen()
    assert cfg.SOLVER.BASE_LR == 0.0125
    assert cfg.DATASETS.TRAIN == ("shapes_train",)
    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 6
    assert not (tmp_path / "out/config.yaml").exists()


def test_a_number_of_classes_that_disagrees_with_the_data_states_both(shapes, tmp_path):
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 80, but .* have 6 classes"):
        set_up(parse(shapes, tmp_path / "out", "MODEL.POINT_HEAD.NUM_CLASSES", 80))


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_without_cuda_it_says_so_and_runs_on_the_cpu(shapes, tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = set_up(parse(shapes, tmp_path / "out", "MODEL.DEVICE", device))
    assert cfg.MODEL.DEVICE == "cpu"
    log = (tmp_path / "out/log.txt").read_text()
    assert "WARNING: No CUDA device is available: running on the CPU." in log


@pytest.mark.parametrize("device", ["foo", "cuda:x", ""])
def test_a_device_that_does_not_exist_is_an_error(shapes, tmp_path, device):
    with pytest.raises(ValueError, match=rf"MODEL\.DEVICE is '{device}'; .*cpu, cuda or cuda:1"):
        set_up(parse(shapes, tmp_path / "out", "MODEL.DEVICE", device))


@pytest.mark.parametrize("text", ["", "- 1\n", "text\n", "3\n", "_BASE_: empty.yaml\n"])
def test_a_config_file_that_is_no_mapping_is_named(tmp_path, text):
    (tmp_path / "empty.yaml").touch()
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.yaml: .*is not a mapping of options"):
        load_config(str(path), [])


@pytest.mark.parametrize(("device", "has_cuda"), [("cuda", False), ("cpu", True)])
def test_without_cuda_float16_is_left_out(shapes, tmp_path, monkeypatch, device, has_cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    options = ("MODEL.DEVICE", device, "SOLVER.AMP.ENABLED", True, "TEST.PRECISION", "float16")
    cfg = set_up(parse(shapes, tmp_path / "out", *options))
    assert not cfg.SOLVER.AMP.ENABLED
    assert cfg.TEST.PRECISION == "float32"


def test_bfloat16_stays_on_a_cpu(shapes, tmp_path):
    options = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16")
    assert set_up(parse(shapes, tmp_path / "out", *options)).SOLVER.AMP.ENABLED


def test_weights_that_do_not_exist_are_an_error_at_the_start(shapes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS: nowhere\.pth does not exist"):
        set_up(parse(shapes, tmp_path / "out", "MODEL.WEIGHTS", "nowhere.pth"))


@pytest.fixture
def interrupted(tmp_path):
    """A folder with the first checkpoint of a training and its log."""
    state = {"model": {"x": torch.zeros(1)}, "trainer": {"iteration": 99}}
    torch.save(state, tmp_path / "model_0000099.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000099.pth")
    (tmp_path / "config.yaml").write_text("of the training before")
    (tmp_path / "log.txt").write_text("of the training before")
    return tmp_path


def test_a_folder_that_holds_a_training_is_not_overwritten(shapes, interrupted):
    with pytest.raises(FileExistsError) as error:
        set_up(parse(shapes, interrupted))
    message = str(error.value)
    assert f"OUTPUT_DIR {interrupted}" in message
    assert "--resume" in message
    assert f"MODEL.WEIGHTS {interrupted / 'model_0000099.pth'}" in message
    for name in ("config.yaml", "log.txt"):
        assert (interrupted / name).read_text() == "of the training before"


def test_resuming_may_use_a_folder_that_holds_a_training(shapes, interrupted):
    cfg = set_up(parse(shapes, interrupted, flags=("--resume",)))
    assert str(interrupted) == cfg.OUTPUT_DIR


def test_resuming_does_not_look_for_the_weights_that_training_started_with(shapes, interrupted):
    options = ("MODEL.WEIGHTS", "moved_away.pth")
    set_up(parse(shapes, interrupted, *options, flags=("--resume",)))
    (interrupted / "model_0000099.pth").unlink()
    (interrupted / "last_checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match=r"moved_away\.pth does not exist"):
        set_up(parse(shapes, interrupted, *options, flags=("--resume",)))


@pytest.mark.parametrize("flags", [("--eval-only",), ("--eval-only", "--resume")])
def test_evaluation_of_a_folder_that_holds_a_training_writes_to_one_inside(
    shapes, interrupted, flags
):
    weights = interrupted / "model_0000099.pth"
    options = () if "--resume" in flags else ("MODEL.WEIGHTS", weights)
    cfg = set_up(parse(shapes, interrupted, *options, flags=flags))
    assert str(weights) == cfg.MODEL.WEIGHTS
    assert str(interrupted / "evaluation") == cfg.OUTPUT_DIR
    assert (interrupted / "log.txt").read_text() == "of the training before"


def test_evaluation_uses_the_config_inside_the_checkpoint(shapes, tmp_path):
    config = set_up(parse(shapes, tmp_path / "out", "SEED", 42)).dump()
    description = CheckpointDescription("0.2", config, [], {})
    path = tmp_path / "described.pth"
    torch.save({"model": {"x": torch.zeros(1)}} | description.to_checkpoint(), path)
    args = parse(shapes, tmp_path / "out", flags=("--eval-only",))
    args.config_file, args.opts = "", [f"MODEL.WEIGHTS={path}", "OUTPUT_DIR", str(tmp_path)]
    cfg = set_up(args)
    assert cfg.SEED == 42
    assert str(path) == cfg.MODEL.WEIGHTS
    assert str(tmp_path / "evaluation") == cfg.OUTPUT_DIR


def test_evaluation_without_weights_is_an_error(shapes, tmp_path):
    with pytest.raises(ValueError, match=r"--eval-only .*MODEL\.WEIGHTS.*--resume"):
        set_up(parse(shapes, tmp_path / "out", flags=("--eval-only",)))


def test_evaluation_without_a_test_dataset_is_an_error(shapes, tmp_path):
    options = ("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", "")
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    weights = ("MODEL.WEIGHTS", tmp_path / "x.pth")
    args = parse(shapes, tmp_path, *options, *weights, flags=("--eval-only",))
    with pytest.raises(ValueError, match=r"--eval-only .*DATASETS\.TEST"):
        set_up(args)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("MODEL.LABEL_ASSIGNMENT.NAME", "AutoAsign", "AutoAssign"),
        ("MODEL.POINT_HEAD.OBJECTNESS", "explict", "none, implicit"),
        ("MODEL.FPN.TOP_BLOCK_IN_FEATURE", "c5", "p5, res5"),
        ("SOLVER.OPTIMIZER", "ADAM", "SGD, ADAMW"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "global", "value, norm, full_model"),
        ("DATASETS.CUSTOM.FORMAT", "tfrecord", "coco, voc, yolo"),
        (
            "TEST.BEST_METRIC",
            "bbox/ap",
            "bbox/AP, bbox/AP50, bbox/AP75, bbox/APs, bbox/APm, bbox/APl, bbox/AP-disc",
        ),
    ],
)
def test_a_wrong_value_stops_the_run_before_the_data_is_loaded(
    shapes, tmp_path, monkeypatch, option, value, allowed
):
    def not_reached(cfg):
        raise AssertionError("data is loaded")

    monkeypatch.setattr(Trainer, "build_train_loader", not_reached)
    with pytest.raises(ValueError, match=option.replace(".", r"\.")) as error:
        run(shapes, tmp_path / "out", option, value)
    assert f"'{value}'" in str(error.value)
    assert allowed in str(error.value)
    assert not list(Path(tmp_path).rglob("*.pth"))


def test_a_folder_with_metrics_of_a_training_without_checkpoint_is_not_overwritten(
    shapes, tmp_path
):
    (tmp_path / "metrics.json").write_text('{"iteration": 19}\n')
    with pytest.raises(FileExistsError, match="ended before its first checkpoint"):
        set_up(parse(shapes, tmp_path))


def test_weights_of_another_training_in_the_folder_are_not_overwritten(shapes, tmp_path):
    torch.save({"model": {}}, tmp_path / "model_final.pth")
    with pytest.raises(FileExistsError, match=r"model_final\.pth\. Give another OUTPUT_DIR, or"):
        set_up(parse(shapes, tmp_path))


def test_resumed_evaluation_of_a_folder_without_checkpoint_is_an_error(shapes, tmp_path):
    with pytest.raises(ValueError, match=r"--eval-only has nothing to evaluate"):
        set_up(parse(shapes, tmp_path / "out", flags=("--eval-only", "--resume")))
