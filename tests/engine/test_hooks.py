import contextlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.engine import TrainerBase
from detectron2.utils.events import EventStorage
from torch import nn

from autoassign.engine.hooks import (
    AveragedWeights,
    BestCheckpointer,
    EvalHook,
    PeriodicCheckpointer,
)


def small_model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def vary(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Draw new parameters and BN statistics; a copy of them."""
    generator = torch.Generator().manual_seed(seed)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator))
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_average_of_three_steps_is_the_one_computed_by_hand():
    model = small_model()
    hook = AveragedWeights(model, decay=0.9)
    steps = []
    for seed in range(3):
        steps.append(vary(model, seed))
        hook.after_step()
    # The first step starts the average.
    for name in ("0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"):
        first, second, third = (step[name] for step in steps)
        expected = 0.9 * (0.9 * first + 0.1 * second) + 0.1 * third
        assert torch.allclose(hook.averaged_model.state_dict()[name], expected, atol=1e-6), name


def test_averaging_leaves_the_model_in_training_alone():
    model = small_model()
    hook = AveragedWeights(model, decay=0.5)
    hook.after_step()
    step = vary(model, 1)
    hook.after_step()
    assert all(torch.equal(value, step[name]) for name, value in model.state_dict().items())


def test_weights_loaded_into_the_average_are_what_training_starts_from():
    model = small_model()
    hook = AveragedWeights(model, decay=0.9)
    loaded = vary(hook.averaged_model, 5)
    hook.before_train()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


def test_the_state_restores_the_weights_in_training_and_how_many_were_averaged():
    model = small_model()
    hook = AveragedWeights(model, decay=0.9)
    for seed in range(2):
        vary(model, seed)
        hook.after_step()
    averaged = {k: v.clone() for k, v in hook.averaged_model.state_dict().items()}

    resumed_model = small_model()
    resumed = AveragedWeights(resumed_model, decay=0.9)
    resumed.averaged_model.load_state_dict(averaged)
    resumed.load_state_dict(hook.state_dict())
    resumed.before_train()
    for a, b in zip(model.parameters(), resumed_model.parameters(), strict=True):
        assert torch.equal(a, b)
    # The next step goes on with the average and does not start it anew.
    for each, hook_of_it in ((model, hook), (resumed_model, resumed)):
        vary(each, 7)
        hook_of_it.after_step()
    for a, b in zip(
        hook.averaged_model.parameters(), resumed.averaged_model.parameters(), strict=True
    ):
        assert torch.equal(a, b)


class RecordingCheckpointer:
    """Keeps what would be written; the file has the value of the best evaluation only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: list[int] = []

    def save(self, name: str, iteration: int, best: dict) -> None:
        assert name == "model_best"
        self.saved.append(iteration)
        torch.save({"best": best}, self.folder / "model_best.pth")


def evaluations(tmp_path, start_iter, values, metric="bbox/AP"):
    """Iterations whose evaluations are saved as the best, of a training from ``start_iter`` on."""
    checkpointer = RecordingCheckpointer(tmp_path)
    hook = BestCheckpointer(10, checkpointer, metric)
    with EventStorage(start_iter) as storage:
        hook.trainer = SimpleNamespace(
            cfg=SimpleNamespace(OUTPUT_DIR=str(tmp_path)),
            start_iter=start_iter,
            max_iter=1000,
            storage=storage,
        )
        hook.before_train()
        for iteration, value in values.items():
            hook.trainer.iter = storage.iter = iteration
            storage.put_scalar(metric, value, smoothing_hint=False)
            hook.after_step()
    return checkpointer.saved


def test_the_best_of_a_training_is_saved_whenever_it_improves(tmp_path):
    assert evaluations(tmp_path, 0, {9: 10.0, 19: 30.0, 29: 20.0, 39: 31.0}) == [9, 19, 39]


def test_the_first_evaluation_is_saved_even_if_its_value_is_nan(tmp_path):
    nan = float("nan")
    assert evaluations(tmp_path, 0, {9: nan, 19: nan, 29: 0.0, 39: nan}) == [9, 29]


def test_a_resumed_training_knows_the_best_value_from_its_file(tmp_path):
    evaluations(tmp_path, 0, {9: 31.0, 19: 45.0})
    assert evaluations(tmp_path, 15, {19: 44.0, 29: 45.0, 39: 45.5}) == [39]


def test_a_value_that_was_never_written_with_weights_does_not_count(tmp_path):
    evaluations(tmp_path, 0, {9: 31.0})
    # A kill between the row and the file.
    (tmp_path / "metrics.json").write_text('{"iteration": 19, "bbox/AP": 45.0}\n')
    assert evaluations(tmp_path, 10, {19: 44.0}) == [19]


def test_the_best_by_another_metric_is_replaced(tmp_path):
    evaluations(tmp_path, 0, {9: 31.0}, metric="bbox/AP50")
    assert evaluations(tmp_path, 10, {19: 10.0}) == [19]


def test_a_damaged_best_file_is_replaced(tmp_path):
    evaluations(tmp_path, 0, {9: 31.0})
    path = tmp_path / "model_best.pth"
    path.write_bytes(path.read_bytes()[:100])
    assert evaluations(tmp_path, 10, {19: 10.0}) == [19]


@pytest.fixture
def older_training(tmp_path):
    """Files of a version that did not write the value to model_best.pth."""
    rows = [
        {"iteration": 9, "loss_pos": 2.0, "bbox/AP": 31.0},
        {"iteration": 29, "bbox/AP": 45.0},
        {"iteration": 39, "bbox/AP": float("nan")},
        {"iteration": 49, "bbox/AP": 44.0},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.json").write_text(text)
    torch.save({"iteration": 29}, tmp_path / "model_best.pth")


@pytest.mark.usefixtures("older_training")
def test_the_best_of_an_older_version_is_that_of_its_metrics(tmp_path):
    assert evaluations(tmp_path, 20, {59: 44.5, 69: 45.0, 79: 45.5}) == [79]


@pytest.mark.usefixtures("older_training")
def test_a_training_from_the_start_does_not_look_at_what_was_before(tmp_path):
    assert evaluations(tmp_path, 0, {9: 10.0}) == [9]


def test_resuming_without_a_best_file_works(tmp_path):
    assert evaluations(tmp_path, 50, {59: 10.0}) == [59]


class EmptyCheckpointer:
    """Writes empty files."""

    def __init__(self, folder: Path) -> None:
        self.save_dir = str(folder)

    def save(self, name: str, iteration: int) -> None:
        (Path(self.save_dir) / f"{name}.pth").touch()


def checkpoints(tmp_path, period, num_kept=0, max_iter=100, start_iter=0, end=100, failed=()):
    """Names of the files after iterations of which some have failed."""
    step = SimpleNamespace(has_failed=False)
    hook = PeriodicCheckpointer(EmptyCheckpointer(tmp_path), period, step, num_kept)
    hook.trainer = SimpleNamespace(max_iter=max_iter)
    for iteration in range(start_iter, end):
        hook.trainer.iter, step.has_failed = iteration, iteration in failed
        hook.after_step()
    return sorted(path.stem.removeprefix("model_") for path in tmp_path.glob("*.pth"))


@pytest.mark.parametrize(("iteration", "names"), [(4, ["model_final"]), (3, [])])
def test_a_training_that_was_killed_before_its_final_checkpoint_writes_it(
    tmp_path, iteration, names
):
    hook = PeriodicCheckpointer(EmptyCheckpointer(tmp_path), 1, SimpleNamespace(has_failed=False))
    # Iteration 3 of 4 has raised, or no step was left.
    hook.trainer = SimpleNamespace(max_iter=4, iter=iteration)
    hook.after_train()
    assert [path.stem for path in tmp_path.glob("*.pth")] == names


def test_the_newest_checkpoints_are_kept_whatever_their_times_say(tmp_path):
    checkpoints(tmp_path, 1, end=3)
    tomorrow = time.time() + 86400
    for path in tmp_path.glob("*.pth"):
        os.utime(path, (tomorrow, tomorrow))
    assert checkpoints(tmp_path, 1, num_kept=2, start_iter=3, end=5) == ["0000003", "0000004"]


def test_only_periodic_checkpoints_are_removed(tmp_path):
    names = ["80classes_coco", "0000000_copy", "best", "final"]
    for name in names:
        (tmp_path / f"model_{name}.pth").touch()
    assert checkpoints(tmp_path, 1, num_kept=1, end=3) == sorted([*names, "0000002"])


def test_a_checkpoint_that_is_due_in_a_failed_step_is_written_after_the_next_good_one(tmp_path):
    assert checkpoints(tmp_path, 4, end=12, failed=(3, 4, 11)) == ["0000005", "0000007"]


def test_the_last_checkpoints_are_written_even_if_the_last_step_has_failed(tmp_path):
    assert checkpoints(tmp_path, 2, max_iter=4, end=4, failed=(3,)) == [
        "0000001",
        "0000003",
        "final",
    ]


class ThreeIterations(TrainerBase):
    """A training whose iterations do nothing, but for one that may fail."""

    def __init__(self, failing: int | None) -> None:
        super().__init__()
        self._failing = failing

    def run_step(self) -> None:
        if self.iter == self._failing:
            raise FloatingPointError


@pytest.mark.parametrize(("failing", "evaluated"), [(None, [3]), (2, []), (1, [])])
def test_after_a_failure_nothing_is_evaluated(failing, evaluated):
    trainer = ThreeIterations(failing)
    iterations = []
    trainer.register_hooks([EvalHook(0, lambda: iterations.append(trainer.iter), "bbox/AP")])
    with contextlib.suppress(FloatingPointError):
        trainer.train(0, 3)
    assert iterations == evaluated
