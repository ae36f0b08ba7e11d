"""Trainings that are killed, by whatever means, and resumed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
import torch
from children import in_child, train, train_until_file_operation
from training_runs import metrics

# A checkpoint after every iteration, and evaluations that improve on each other.
OPTIONS = ("SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.MAX_ITER", 4, "TEST.EVAL_PERIOD", 2)


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory) -> tuple[Path, int, float]:
    """A training that nothing happened to, its file operations, and its seconds."""
    output = tmp_path_factory.mktemp("whole") / "out"
    in_child(train, shapes, output.with_name("warm_up"), "SOLVER.MAX_ITER", 1)
    start = time.monotonic()
    assert in_child(train_until_file_operation, 0, shapes, output, *OPTIONS) == 0
    seconds = time.monotonic() - start
    return output, int(Path(f"{output}.operations").read_text()), seconds


def load(output: Path, name: str) -> dict:
    return torch.load(output / name, weights_only=True)


def evaluations(output: Path) -> dict[float, float]:
    return {row["iteration"]: row["bbox/AP50"] for row in metrics(output) if "bbox/AP50" in row}


def assert_resumed_as(whole: Path, shapes: Path, output: Path) -> None:
    assert in_child(train, shapes, output, *OPTIONS) == 0, Path(f"{output}.txt").read_text()
    for name in ("model_final.pth", "model_best.pth"):
        ours, theirs = load(output, name)["model"], load(whole, name)["model"]
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items()), name
    assert load(output, "model_best.pth")["best"] == load(whole, "model_best.pth")["best"]
    assert evaluations(output) == evaluations(whole)
    assert not list(output.glob(".*unfinished*"))


def kill_at(whole, shapes, folder: Path, number: int) -> None:
    output = folder / f"killed_{number}"
    code = in_child(train_until_file_operation, number, shapes, output, *OPTIONS)
    assert code == -signal.SIGKILL, Path(f"{output}.txt").read_text()
    assert_resumed_as(whole[0], shapes, output)


@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_kill_between_file_operations(whole, shapes, tmp_path, outcome, share):
    """SIGKILL before a file of the run is opened, renamed or removed"""
    kill_at(whole, shapes, tmp_path, round(whole[1] * share))
    outcome("resumed; weights, best weights and evaluations equal an uninterrupted training's")


@pytest.mark.faults
@pytest.mark.parametrize("part", range(4))
def test_a_kill_at_every_file_operation(whole, shapes, tmp_path, outcome, part):
    """SIGKILL before each file operation of a training in turn"""
    numbers = range(1 + part, whole[1] + 1, 4)
    for number in numbers:
        kill_at(whole, shapes, tmp_path, number)
    outcome(f"{len(numbers)} of {len(numbers)} resumed, bit-equal to an uninterrupted training")


@pytest.mark.faults
def test_kills_at_random_moments(whole, shapes, tmp_path, outcome):
    """SIGKILL at random moments, several times in one training"""
    rng = random.Random(0)
    kills = 0
    for number in range(8):
        output = tmp_path / f"killed_{number}"
        for _ in range(3):
            code = in_child(
                train, shapes, output, *OPTIONS, seconds=rng.uniform(0.1, 1.0) * whole[2]
            )
            kills += code == -signal.SIGKILL
            if code == 0:
                break
        assert_resumed_as(whole[0], shapes, output)
    assert kills > 4
    outcome(f"8 trainings resumed after {kills} kills, bit-equal to an uninterrupted one")
