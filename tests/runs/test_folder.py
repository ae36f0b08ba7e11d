"""The OUTPUT_DIR of a training."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from detectors import CLASS_NAMES, OPTIONS
from narrow_model import narrow_cfg

from autoassign.checkpoint import CheckpointDescription
from autoassign.runs import TrainedRun, evaluation_folder


@pytest.fixture
def folder(tmp_path) -> Path:
    options = (*OPTIONS, "DATASETS.TEST", ("a", "b"), "SOLVER.MAX_ITER", 4)
    (tmp_path / "config.yaml").write_text(narrow_cfg(*options).dump())
    rows = [{"iteration": 1, "a/bbox/AP": 10.0}, {"iteration": 4, "a/bbox/AP": 20.0}]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path


def test_what_is_known_of_a_run_with_two_test_datasets(folder):
    run = TrainedRun.read(folder, ["TEST.EVAL_PERIOD", "2"])
    assert run.cfg.TEST.EVAL_PERIOD == 2
    assert run.results_file == folder / "inference/a/coco_instances_results.json"
    assert run.evaluations == {2: {"AP": 10.0}, 4: {"AP": 20.0}}
    assert [run.iterations_done(row) for row in run.metrics.rows] == [2, 4]
    assert run.config_text == (folder / "config.yaml").read_text()


def test_with_one_test_dataset_nothing_bears_its_name(folder):
    assert evaluation_folder(folder, ("a",), "a") == folder / "inference"
    run = TrainedRun.read(folder, ["DATASETS.TEST", "('a',)"])
    assert run.results_file == folder / "inference/coco_instances_results.json"


def checkpoint(folder: Path, iteration: int) -> Path:
    """A checkpoint as training writes it, with the iteration as its only tensor."""
    path = folder / f"model_{iteration:07d}.pth"
    tensor = torch.tensor(float(iteration))
    torch.save({"model": {"x": tensor}, "trainer": {"iteration": iteration}}, path)
    return path


def test_the_final_weights_precede_the_best_and_the_last_ones(folder):
    run = TrainedRun.read(folder)
    assert run.weights is None
    with pytest.raises(FileNotFoundError, match=r"neither model_final\.pth nor"):
        run.load_detector()
    first, second = checkpoint(folder, 1), checkpoint(folder, 3)
    (folder / "last_checkpoint").write_text(first.name)
    assert run.weights == first
    (folder / "last_checkpoint").unlink()
    assert run.weights == second
    for name in ("model_best.pth", "model_final.pth"):
        (folder / name).touch()
        assert run.weights == folder / name


@pytest.mark.parametrize("name", ["../{}/evil.pth", "{}/evil.pth", "/etc/passwd", "..", "a\0b"])
def test_last_checkpoint_cannot_lead_out_of_the_folder(folder, name):
    (folder / "evil").mkdir()
    checkpoint(folder / "evil", 9).rename(folder / "evil/evil.pth")
    (folder / "last_checkpoint").write_text(name.format("evil"))
    with pytest.raises(ValueError, match="last_checkpoint names no checkpoint"):
        TrainedRun.read(folder).load_detector()
    inside = checkpoint(folder, 1)
    assert TrainedRun.read(folder).weights == inside


def test_the_config_inside_the_weights_is_enough(weights, tmp_path):
    description = CheckpointDescription(
        "0.2", narrow_cfg(*OPTIONS).dump(), CLASS_NAMES, {i: i for i in range(5)}
    )
    checkpoint = torch.load(weights) | description.to_checkpoint()
    torch.save(checkpoint, tmp_path / "model_best.pth")
    run = TrainedRun.read(tmp_path)
    assert run.cfg.MODEL.FPN.OUT_CHANNELS == 32
    assert "OUT_CHANNELS: 32" in run.config_text
    assert run.load_detector().class_names == CLASS_NAMES


def test_a_folder_without_any_config_is_no_run(weights, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither a config\.yaml nor weights"):
        TrainedRun.read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder or weight file .*gone"):
        TrainedRun.read(tmp_path / "gone")
    shutil.copy(weights, tmp_path / "model_final.pth")
    with pytest.raises(FileNotFoundError, match=r"model_final\.pth has no config inside"):
        TrainedRun.read(tmp_path)
