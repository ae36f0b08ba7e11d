"""The ways in which `autoassign train` and train_net.py end."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from training_runs import CONFIG, SMALL_RUN, metrics, process_state_kept

from autoassign.cli import main
from autoassign.data import CheckedDatasetMapper
from autoassign.data.shapes import generate_shapes
from autoassign.engine import Trainer


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", num_train=4, num_val=2)


@pytest.fixture
def train(shapes, tmp_path, capsys):
    """Train for two iterations with further words; exit status and stderr."""

    def train(*words: object, config: str = CONFIG) -> tuple[int, str]:
        folders = ("DATASETS.CUSTOM.ROOT", shapes, "OUTPUT_DIR", tmp_path / "out")
        options = (*SMALL_RUN, "SOLVER.MAX_ITER", 2, *folders)
        argv = ["train", "--config-file", config, *options, *words]
        capsys.readouterr()
        with process_state_kept():
            try:
                status = main([str(x) for x in argv])
            except SystemExit as error:
                status = error.code
        return status, capsys.readouterr().err

    return train


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("SOLVER.BASE_LRR", 0.1), "there is no option SOLVER.BASE_LRR; did you mean"),
        (("SOLVER.MAX_ITER", "many"), "SOLVER.MAX_ITER is 'many'; it must be of type int"),
        (("SOLVER.BASE_LR", None), "SOLVER.BASE_LR is "),
        (("SOLVER.MAX_ITER", 0), "SOLVER.MAX_ITER is 0; it must be at least 1"),
        (("MODEL.META_ARCHITECTURE", "Foo"), "cannot be built: \"No object named 'Foo'"),
        (("MODEL.WEIGHTS", "nowhere.pth"), "MODEL.WEIGHTS: nowhere.pth does not exist"),
        (("DATASETS.CUSTOM.ROOT", "nowhere"), "nowhere"),
        (("OUTPUT_DIR", __file__), f"OUTPUT_DIR {__file__} cannot be written to: it is a file"),
        (("OUTPUT_DIR", f"{__file__}/out"), f"OUTPUT_DIR {__file__}/out cannot be written to: Not"),
        (("OUTPUT_DIR", "/proc/out"), "OUTPUT_DIR /proc/out cannot be written to: "),
        (("SOLVER.BASE_LR",), "the option SOLVER.BASE_LR has no value"),
        (("--eval-only",), "--eval-only has nothing to evaluate: give MODEL.WEIGHTS"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(train, words, sentence):
    status, printed = train(*words)
    assert status == 2
    last = printed.strip().splitlines()[-1]
    assert last.startswith("autoassign train: error: ")
    assert sentence in last
    assert "Traceback" not in printed


def test_a_web_page_as_weights_is_named_before_anything_is_written(train, tmp_path):
    (tmp_path / "weights.pth").write_text("<!DOCTYPE html><html>Sign in</html>")
    status, printed = train("MODEL.WEIGHTS", tmp_path / "weights.pth")
    assert status == 2
    assert "weights.pth cannot be read as a checkpoint: it is a web page" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()
    _, printed = train("MODEL.WEIGHTS", tmp_path / "weights.pth", "--debug")
    assert "Traceback" in printed


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_breaks_during_training_is_named(train, monkeypatch, tmp_path, num_workers):
    def fail(self, record):
        raise ValueError(f"{record['file_name']}: the image cannot be read: it is cut off")

    monkeypatch.setattr("autoassign.data.CheckedDatasetMapper.__call__", fail)
    status, printed = train("DATALOADER.NUM_WORKERS", num_workers)
    assert status == 2
    last = printed.strip().splitlines()[-1]
    assert last.startswith("autoassign train: error: /")
    assert last.endswith("the image cannot be read: it is cut off")


@pytest.mark.parametrize("name", ["train/000003.jpg", "val/000001.jpg"])
def test_an_image_that_kills_a_loading_process_is_named(train, monkeypatch, name):
    map_record = CheckedDatasetMapper.__call__

    def crash(self, record):
        if record["file_name"].endswith(name):
            os.kill(os.getpid(), signal.SIGSEGV)
        return map_record(self, record)

    monkeypatch.setattr(CheckedDatasetMapper, "__call__", crash)
    status, printed = train("DATALOADER.NUM_WORKERS", 2, "TEST.EVAL_PERIOD", 0)
    assert status == 2
    last = printed.strip().splitlines()[-1]
    assert "error: The process that was loading /" in last
    assert f"{name} has died: DataLoader worker" in last
    assert last.count("has died") == 1
    assert "checkpoint" in last


def test_losses_that_are_not_finite_end_with_status_1(train):
    status, printed = train(
        *("MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.POS_LOSS_WEIGHT", 1e39, "SOLVER.MAX_ITER", 9),
        *("TEST.EVAL_PERIOD", 0),
    )
    assert status == 1
    assert "error: Non-finite loss at iteration 2: loss_pos inf" in printed
    assert "No checkpoint has been written yet." in printed


def test_options_may_be_assignments_and_stand_before_arguments(train, tmp_path):
    status, _ = train("SOLVER.MAX_ITER=1", "TEST.EVAL_PERIOD", 0, "--resume", "SEED=5")
    assert status == 0
    assert torch.load(tmp_path / "out/model_final.pth", weights_only=True)["iteration"] == 0
    status, _ = train("SEED=5", "--resume")
    assert status == 0
    assert torch.load(tmp_path / "out/model_final.pth", weights_only=True)["iteration"] == 1
    assert "bbox/AP" in metrics(tmp_path / "out")[-1]


def test_without_arguments_the_usage_is_printed(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train"], prog="train_net.py")
    assert capsys.readouterr().err.startswith("usage: train_net.py [-h] [--config-file FILE]")


def test_without_a_config_file_one_is_asked_for(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "SEED", "1"])
    assert "error: give --config-file" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_line_and_the_command_that_goes_on(
    train, monkeypatch, tmp_path, number
):
    run_step = Trainer.run_step

    def signalling_step(self):
        run_step(self)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(sys, "argv", ["train_net.py", "--config-file", "a b.yaml"])
    monkeypatch.setattr(Trainer, "run_step", signalling_step)
    status, printed = train("SOLVER.CHECKPOINT_PERIOD", 100)
    assert status == 128 + number
    stopped, command = printed.strip().splitlines()[-2:]
    assert stopped == (
        f"Stopped by {number.name} after 1 of 2 iterations. The last checkpoint is "
        f"{tmp_path}/out/model_0000000.pth."
    )
    assert command == "To resume: python train_net.py --config-file 'a b.yaml' --resume"
    assert "Traceback" not in printed


def test_what_is_printed_without_a_terminal_is_short_and_without_colors(shapes, tmp_path, capsys):
    folders = ("DATASETS.CUSTOM.ROOT", shapes, "OUTPUT_DIR", tmp_path / "out")
    with process_state_kept():
        assert main(["train", "--config-file", CONFIG, *map(str, (*SMALL_RUN, *folders))]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert len(printed.splitlines()) < 20
    assert any("AutoAssign" in line for line in printed.splitlines()[:6])
    assert "iteration 1/4" in printed
    assert "iteration 4/4" in printed
    assert "Model:" not in printed
    log = Path(tmp_path, "out/log.txt").read_text()
    for part in ("Environment:", "Config:", "Model:", "iteration 4/4"):
        assert part in log
