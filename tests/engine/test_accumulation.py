import pytest
import torch
from detectron2.utils.events import EventStorage
from narrow_model import narrow_cfg
from torch import Tensor, nn

from autoassign.engine.accumulation import (
    AccumulatingAMPTrainer,
    AccumulatingTrainer,
    build_train_step,
)


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


# Without CUDA, autocast and the scale of the loss do nothing.
@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.filterwarnings("ignore:.*GradScaler")
@pytest.mark.parametrize("trainer_class", [AccumulatingTrainer, AccumulatingAMPTrainer])
def test_one_update_is_made_from_the_mean_over_the_parts(trainer_class):
    model = SquaredMean()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = trainer_class(model, [BATCH], optimizer, accumulate_steps=2)
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
