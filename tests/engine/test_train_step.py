"""Steps whose loss or gradient is not finite."""

import math

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from autoassign.engine.train_step import FiniteAMPTrainer, FiniteTrainer


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


def steps(batches, optimizer="SGD", trainer_class=FiniteTrainer):
    """The trainer after one step for each batch, and its weights after each."""
    model = Scaled()
    build = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}[optimizer]
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    batches = [[{"file_name": f"{number}.jpg", **x}] for number, x in enumerate(batches)]
    trainer = trainer_class(
        model, batches, build(model.parameters(), lr=0.1, weight_decay=0.1, **options)
    )
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


class CPUMixedPrecision(FiniteAMPTrainer):
    """AMPTrainer asks for CUDA only to assert it."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, grad_scaler=torch.amp.GradScaler("cpu"), **kwargs)

    def run_step(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
            super().run_step()


class CPUBfloat16(CPUMixedPrecision):
    def __init__(self, *args) -> None:
        super().__init__(*args, precision=torch.bfloat16)


@pytest.mark.filterwarnings("ignore::FutureWarning")
class TestMixedPrecision:
    def test_an_overflow_at_a_large_scale_is_not_a_failure(self):
        # The squares of 1e16 · 2¹⁶, of which the norm is made, are beyond float32's range.
        trainer, weights = steps([{"gradient": 1e16}] * 8, trainer_class=CPUMixedPrecision)
        assert trainer.grad_scaler.get_scale() == 2**10
        assert torch.equal(weights[5], torch.ones(3))
        assert not torch.equal(weights[6], weights[5])
        assert weights[-1].isfinite().all()

    def test_a_gradient_that_is_never_finite_stops_when_the_scale_is_1(self):
        with pytest.raises(FloatingPointError, match="gradient at iteration 18"):
            steps([{"gradient": math.nan}] * 30, trainer_class=CPUMixedPrecision)

    def test_a_loss_that_is_not_finite_is_skipped_and_stops_after_three(self):
        bad = {"loss": math.inf}
        _, weights = steps([{}, bad, {}], trainer_class=CPUMixedPrecision)
        assert torch.equal(weights[1], weights[0])
        assert not torch.equal(weights[2], weights[0])
        with pytest.raises(FloatingPointError, match="Non-finite loss at iteration 2"):
            steps([bad] * 3, trainer_class=CPUMixedPrecision)

    def test_bfloat16_has_no_scale_and_skips_what_is_not_finite(self):
        trainer, weights = steps([{}, {"gradient": math.inf}, {}], trainer_class=CPUBfloat16)
        _, expected = steps([{}, {}])
        assert trainer.grad_scaler.get_scale() == 1
        assert torch.equal(weights[1], weights[0])
        assert torch.equal(weights[2], expected[1])

    @pytest.mark.parametrize("before", [FiniteTrainer, CPUMixedPrecision, CPUBfloat16])
    @pytest.mark.parametrize("after", [CPUMixedPrecision, CPUBfloat16])
    def test_a_training_goes_on_in_another_precision(self, before, after):
        trainer, _ = steps([{}], trainer_class=before)
        resumed, _ = steps([{}], trainer_class=after)
        resumed.load_state_dict(trainer.state_dict())
        assert resumed.grad_scaler.get_scale() == (1 if after is CPUBfloat16 else 2**16)
