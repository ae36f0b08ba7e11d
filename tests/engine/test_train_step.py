"""Steps whose loss or gradient is not finite, in mixed precision, and in parts."""

import math

import pytest
import torch
from detectron2.utils.events import EventStorage
from narrow_model import narrow_cfg
from torch import Tensor, nn

from autoassign.engine.train_step import FiniteTrainer, build_train_step


class Scaled(nn.Module):
    """Loss |factor · w|, whose gradient has another factor; batch normalization sees the first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.norm = nn.BatchNorm1d(3, affine=False)

    def forward(self, batch: list[dict]) -> dict[str, Tensor]:
        (item,) = batch
        self.norm((self.weight * item.get("activation", 1.0)).detach().expand(2, 3))
        loss = (self.weight * item.get("loss", 1.0)).sum().abs()
        if "gradient" in item:
            loss.register_hook(lambda gradient: gradient * item["gradient"])
        return {"loss_a": loss, "loss_b": loss * 0}


def steps(batches, optimizer="SGD", **trainer_options):
    """The trainer after one step for each batch, and its weights after each."""
    model = Scaled()
    build = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}[optimizer]
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    batches = [[{"file_name": f"{number}.jpg", **x}] for number, x in enumerate(batches)]
    optimizer = build(model.parameters(), lr=0.1, weight_decay=0.1, **options)
    trainer = FiniteTrainer(model, batches, optimizer, **trainer_options)
    weights = []
    with EventStorage() as storage:
        for trainer.iter in range(len(batches)):
            storage.iter = trainer.iter
            trainer.run_step()
            weights.append(model.weight.detach().clone())
    return trainer, weights


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize(
    "bad", [{"loss": math.inf}, {"loss": math.nan}, {"gradient": math.inf}, {"gradient": math.nan}]
)
def test_a_step_that_is_not_finite_changes_neither_weights_nor_momentum(optimizer, bad):
    trainer, weights = steps([{}, bad, {}], optimizer)
    assert torch.equal(weights[1], weights[0])
    expected, without = steps([{}, {}], optimizer)
    assert torch.equal(weights[2], without[1])
    (ours,), (theirs,) = (x.optimizer.state_dict()["state"].values() for x in (trainer, expected))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_three_failed_steps_in_a_row_stop_with_iteration_losses_and_images():
    bad = {"loss": math.inf}
    steps([bad, bad, {}, bad, bad, {}])
    with pytest.raises(FloatingPointError) as error:
        steps([{}, bad, bad, bad, {}])
    message = str(error.value)
    assert "Non-finite loss at iteration 3: loss_a inf, loss_b nan. Images: 3.jpg" in message
    assert "3 steps in a row" in message


def test_a_gradient_alone_is_named_as_such():
    bad = {"gradient": math.nan}
    with pytest.raises(FloatingPointError, match="Non-finite gradient at iteration 2: loss_a 3, "):
        steps([bad, bad, bad])


def test_statistics_that_have_become_non_finite_stop_at_once():
    with pytest.raises(FloatingPointError, match=r"norm\.running_mean of the model non-finite"):
        steps([{"activation": math.inf, "loss": math.nan}, {}])


def test_a_failed_step_counts_until_the_next_that_succeeds():
    bad = {"loss": math.inf}
    assert steps([{}, bad])[0].has_failed
    assert not steps([{}, bad, {}])[0].has_failed


class TestMixedPrecision:
    def test_an_overflow_at_a_large_scale_is_not_a_failure(self):
        # The squares of 1e16 · 2¹⁶, of which the norm is made, are beyond float32's range.
        trainer, weights = steps([{"gradient": 1e16}] * 8, precision=torch.float16)
        assert trainer.grad_scaler.get_scale() == 2**10
        assert torch.equal(weights[5], torch.ones(3))
        assert not torch.equal(weights[6], weights[5])
        assert weights[-1].isfinite().all()

    def test_a_gradient_that_is_never_finite_stops_when_the_scale_is_1(self):
        with pytest.raises(FloatingPointError, match="gradient at iteration 18"):
            steps([{"gradient": math.nan}] * 30, precision=torch.float16)

    def test_a_loss_that_is_not_finite_is_skipped_and_stops_after_three(self):
        bad = {"loss": math.inf}
        _, weights = steps([{}, bad, {}], precision=torch.float16)
        assert torch.equal(weights[1], weights[0])
        assert not torch.equal(weights[2], weights[0])
        with pytest.raises(FloatingPointError, match="Non-finite loss at iteration 2"):
            steps([bad] * 3, precision=torch.float16)

    def test_bfloat16_has_no_scale_and_skips_what_is_not_finite(self):
        trainer, weights = steps([{}, {"gradient": math.inf}, {}], precision=torch.bfloat16)
        _, expected = steps([{}, {}])
        assert trainer.grad_scaler.get_scale() == 1
        assert torch.equal(weights[1], weights[0])
        assert torch.equal(weights[2], expected[1])

    @pytest.mark.parametrize("before", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("after", [torch.float32, torch.float16, torch.bfloat16])
    def test_a_training_goes_on_in_another_precision(self, before, after):
        trainer, _ = steps([{}], precision=before)
        resumed, _ = steps([{}], precision=after)
        resumed.load_state_dict(trainer.state_dict())
        assert resumed.grad_scaler.get_scale() == (2**16 if after is torch.float16 else 1)


class SquaredMean(nn.Module):
    """The loss of a batch is w² · mean of its numbers: its gradient is 2 w · mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))
        self.batches: list[list[float]] = []

    def forward(self, batch: list[dict[str, float]]) -> dict[str, Tensor]:
        numbers = [x["number"] for x in batch]
        self.batches.append(numbers)
        return {"loss": self.weight.square() * torch.tensor(numbers).mean()}


BATCH = [{"number": x} for x in (1.0, 3.0, 5.0, 11.0)]


# The scale of float16's losses is 2¹⁶: it must not be seen.
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_one_update_is_made_from_the_mean_over_the_parts(precision):
    model = SquaredMean()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = FiniteTrainer(model, [BATCH], optimizer, accumulate_steps=2, precision=precision)
    model.weight.grad = torch.tensor(1000.0)  # of the update before
    with EventStorage() as storage:
        trainer.iter = 0
        trainer.run_step()
        assert storage.latest()["total_loss"][0] == pytest.approx(9 * 5)
    assert model.batches == [[1.0, 3.0], [5.0, 11.0]]
    # The parts' means are 2 and 8: the gradient is 6 · 5.
    assert model.weight.grad.item() == pytest.approx(30)
    assert model.weight.item() == pytest.approx(3 - 0.1 * 30, abs=1e-5)


@pytest.mark.parametrize("steps", [3, 16])
def test_parts_of_unequal_size_are_an_error(steps):
    cfg = narrow_cfg("SOLVER.IMS_PER_BATCH", 8, "SOLVER.ACCUMULATE_STEPS", steps)
    model = SquaredMean()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"ACCUMULATE_STEPS is {steps}; it must divide the 8 im"):
        build_train_step(cfg, model, [BATCH], optimizer)
