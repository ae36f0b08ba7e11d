"""Output folders of trainings that are damaged, taken, full or no folders."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from full_disk import file_size_limit
from torch import nn
from training_runs import CONFIG, SMALL_RUN, metrics, run

from autoassign.engine import Trainer
from autoassign.engine.output_dir import lock_output_dir

UNEVALUATED = ("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", "")


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory) -> Path:
    """Four iterations, evaluated after the second and the fourth; not to be changed."""
    output = tmp_path_factory.mktemp("run") / "trained"
    run(shapes, output)
    return output


@pytest.fixture
def interrupted(trained, tmp_path) -> Path:
    """The training after its third iteration, with the checkpoints of 2 and 4."""
    output = Path(shutil.copytree(trained, tmp_path / "interrupted"))
    (output / "model_final.pth").unlink()
    (output / "last_checkpoint").write_text("model_0000003.pth")
    return output


def final_weights(output: Path) -> dict:
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


def assert_same_weights(ours: Path, theirs: Path) -> None:
    a, b = final_weights(ours), final_weights(theirs)
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def thorough(*values: object) -> list[object]:
    """Parameters of which only the first is quick."""
    return [values[0], *(pytest.param(value, marks=pytest.mark.faults) for value in values[1:])]


@pytest.mark.parametrize("content", thorough("", None, "model_0000099.pth", "../x.pkl", "\0\xff"))
def test_a_bad_last_checkpoint(interrupted, trained, shapes, outcome, content):
    """last_checkpoint is missing, empty, or names no checkpoint of the folder"""
    (interrupted / "last_checkpoint").unlink()
    if content is not None:
        (interrupted / "last_checkpoint").write_bytes(content.encode("latin1"))
    run(shapes, interrupted, flags=("--resume",))
    log = (interrupted / "log.txt").read_text()
    assert "last_checkpoint names no checkpoint; the newest undamaged" in log
    assert f"Resuming from {interrupted / 'model_0000003.pth'}, after 4 iterations" in log
    outcome("resumed from the newest checkpoint, with a warning")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", thorough(cut, flip, empty))
def test_a_damaged_newest_checkpoint(interrupted, trained, shapes, outcome, damage):
    """The newest checkpoint is cut off, empty, or has a wrong bit"""
    damage(interrupted / "model_0000003.pth")
    run(shapes, interrupted, flags=("--resume",))
    log = (interrupted / "log.txt").read_text()
    assert "model_0000003.pth is damaged; the newest undamaged checkpoint is" in log
    assert "after 2 iterations" in log
    assert_same_weights(interrupted, trained)
    outcome("resumed from the one before with a warning; ends with the same weights")


def test_no_checkpoint_is_whole(interrupted, shapes, outcome):
    """All checkpoints are damaged"""
    for path in interrupted.glob("*.pth"):
        cut(path)
    with pytest.raises(ValueError, match=r"there is no other to resume from: .*model_best\.pth"):
        run(shapes, interrupted, flags=("--resume",))
    outcome("one sentence that names them; nothing is overwritten")


def test_a_truncated_metrics_file(interrupted, shapes, outcome):
    """metrics.json ends in the middle of a line, twice"""
    path = interrupted / "metrics.json"
    for max_iter in (5, 6):
        with path.open("a") as file:
            file.write('{"iteration": 9, "bbox/A')
        run(shapes, interrupted, "SOLVER.MAX_ITER", max_iter, flags=("--resume",))
    assert all(json.loads(line) for line in path.read_text().splitlines())
    outcome("the truncated line is removed, and both resumed")


def poisoning(iterations: range, what: str) -> type[Trainer]:
    """A trainer whose gradients, weights or activations are not finite in some iterations."""

    class Poisoned(Trainer):
        @classmethod
        def build_model(cls, cfg):
            model = super().build_model(cfg)
            model.iteration = -1
            parameter = next(model.head.parameters())
            model.register_forward_pre_hook(before)
            parameter.register_hook(
                lambda gradient: gradient * float("nan") if is_due(model, "gradients") else None
            )
            return model

        def run_step(self):
            super().run_step()
            if is_due(self._model, "weights"):
                next(self._model.parameters()).data[0] = float("inf")

    def is_due(model: nn.Module, wanted: str) -> bool:
        return what == wanted and model.iteration in iterations

    def before(model: nn.Module, args: tuple) -> None:
        model.iteration += model.training
        if model.training and is_due(model, "activations"):
            args[0][0]["image"] = torch.full_like(
                args[0][0]["image"], float("nan"), dtype=torch.float32
            )

    return Poisoned


@pytest.fixture
def poisoned(monkeypatch):
    def poison(iterations: range, what: str) -> None:
        monkeypatch.setattr("autoassign.engine.Trainer", poisoning(iterations, what))

    return poison


def test_one_gradient_that_is_not_finite(poisoned, shapes, tmp_path, outcome):
    """The gradient of one iteration is NaN"""
    poisoned(range(1, 2), "gradients")
    run(shapes, tmp_path, *UNEVALUATED)
    assert all(x.isfinite().all() for x in final_weights(tmp_path).values())
    log = (tmp_path / "log.txt").read_text()
    assert "Non-finite gradient at iteration 1: " in log
    assert "The update is skipped" in log
    outcome("its update is skipped with a warning that names losses and images")


@pytest.mark.parametrize("what", thorough("weights", "gradients", "activations"))
def test_what_stays_not_finite(poisoned, shapes, tmp_path, outcome, what):
    """Gradients, activations or weights are not finite from iteration 3 on"""
    poisoned(range(3, 99), what)
    with pytest.raises(FloatingPointError) as error:
        run(shapes, tmp_path, *UNEVALUATED, "SOLVER.MAX_ITER", 9)
    message = str(error.value)
    if what == "weights":
        assert "model_0000003.pth is not written" in message
    else:
        assert f"{shapes}/train/" in message
        assert "loss_pos" in message
    assert f"The last checkpoint is {tmp_path / 'model_0000001.pth'}." in message
    for path in tmp_path.glob("*.pth"):
        model = torch.load(path, weights_only=True)["model"]
        assert all(x.isfinite().all() for x in model.values()), path
    outcome("training stops and names the last good checkpoint; none is poisoned")


def _hold(folder: str, ready) -> None:
    lock_output_dir(folder)
    ready.set()
    time.sleep(120)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[multiprocessing.Process]:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(folder), ready))
    process.start()
    try:
        assert ready.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


def test_a_second_training_in_the_folder(shapes, tmp_path, outcome):
    """A second training is started in the same OUTPUT_DIR; the first one is killed"""
    with held(tmp_path) as process:
        with pytest.raises(OSError, match="another training is running in OUTPUT_DIR"):
            run(shapes, tmp_path, *UNEVALUATED)
        assert not (tmp_path / "log.txt").exists()
        process.kill()
        process.join()
        run(shapes, tmp_path, *UNEVALUATED, "SOLVER.MAX_ITER", 1)
    outcome("one sentence while the first one lives; after its kill it starts")


def test_a_checkpoint_that_cannot_be_written(interrupted, shapes, outcome):
    """The disk is full when a checkpoint is written"""
    before = {path: path.read_bytes() for path in interrupted.glob("*.pth")}
    size = (interrupted / "model_0000003.pth").stat().st_size
    options = (*UNEVALUATED, "SOLVER.MAX_ITER", 6)
    with file_size_limit(size // 2), pytest.raises(OSError, match="cannot be written") as error:
        run(shapes, interrupted, *options, flags=("--resume",))
    assert "File too large" in str(error.value)
    assert f"The last checkpoint is {interrupted / 'model_0000003.pth'}." in str(error.value)
    assert {path: path.read_bytes() for path in interrupted.glob("*.pth")} == before
    assert not list(interrupted.glob(".*unfinished*"))
    run(shapes, interrupted, *options, flags=("--resume",))
    outcome("one sentence with the last checkpoint, which is whole; resumed when there is room")


@pytest.mark.faults
def test_a_disk_that_is_really_full(trained, shapes, tmp_path, outcome):
    """A file system has room for three checkpoints"""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = int(3.5 * (trained / "model_final.pth").stat().st_size)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    try:
        command = [
            *(sys.executable, "-m", "autoassign", "train", "--config-file", CONFIG),
            *(*SMALL_RUN, *UNEVALUATED, "SOLVER.MAX_ITER", 40, "SOLVER.CHECKPOINT_PERIOD", 1),
            *("DATASETS.CUSTOM.ROOT", shapes, "OUTPUT_DIR", disk),
        ]
        result = subprocess.run([str(x) for x in command], capture_output=True, text=True)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
        last = result.stderr.strip().splitlines()[-1]
        assert "No space left on device" in last
        assert f"The last checkpoint is {disk}/model_" in last
        name = (disk / "last_checkpoint").read_text()
        assert torch.load(disk / name, weights_only=True)["iteration"] >= 0
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    outcome(f"one sentence: {last.partition('error: ')[2].replace(str(tmp_path), '...')[:160]}")


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/nowhere"])
def test_no_place_to_write_to(shapes, tmp_path, outcome, where):
    """OUTPUT_DIR is a file, lies below one, or cannot be made"""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"OUTPUT_DIR .* cannot be written to: ") as error:
        run(shapes, tmp_path / where)
    assert (tmp_path / "file").read_text() == "mine"
    outcome(str(error.value).replace(str(tmp_path), "..."))


def test_evaluating_and_failing_to_resume_change_no_file(trained, shapes, tmp_path, outcome):
    """A training's folder is evaluated with another config, and resumed with a wrong one"""
    output = Path(shutil.copytree(trained, tmp_path / "copy"))
    paths = [path for path in output.rglob("*") if path.is_file() and path.name != "log.txt"]
    before = {path: path.read_bytes() for path in paths}
    options = ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.9)
    run(shapes, output, *options, flags=("--eval-only", "--resume"))
    with pytest.raises(ValueError, match=r"SOLVER\.OPTIMIZER"):
        run(shapes, output, "SOLVER.OPTIMIZER", "SGD", flags=("--resume",))
    assert {path: path.read_bytes() for path in before} == before
    outcome("every file but log.txt is as it was")


def test_nothing_is_detected(shapes, tmp_path, outcome):
    """No detection is above the score threshold in any evaluation"""
    run(shapes, tmp_path, "MODEL.POINT_HEAD.SCORE_THRESH_TEST", 1.0)
    assert metrics(tmp_path)[-1]["bbox/AP"] == 0
    assert (tmp_path / "model_best.pth").exists()
    outcome("AP is 0, and there is a model_best.pth")
