"""On a GPU: the numbers of the CPU, and the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from narrow_model import head_options, image_input, narrow_model
from torch import Tensor

from autoassign.analysis.benchmark import LossCase, loss_of
from autoassign.analysis.benchmark.inputs import LossInputs, make_loss_inputs
from autoassign.config import LABEL_ASSIGNMENT_REGISTRY

pytestmark = pytest.mark.cuda
every_strategy = pytest.mark.parametrize("name", [name for name, _ in LABEL_ASSIGNMENT_REGISTRY])
PREDICTIONS = ("cls_logits", "ltrb", "obj_logits", "extra_logits", "features")


def on_gpu(inputs: LossInputs) -> LossInputs:
    levels = {
        name: [x.detach().cuda().requires_grad_() for x in getattr(inputs, name)]
        for name in PREDICTIONS
    }
    objects = {
        name: [x.cuda() for x in getattr(inputs, name)] for name in ("gt_boxes", "gt_classes")
    }
    return replace(inputs, **levels, **objects)


def loss_and_gradients(case: LossCase, inputs: LossInputs) -> list[Tensor]:
    loss = loss_of(case, inputs)
    loss.backward()
    gradients = [x.grad for name in PREDICTIONS for x in getattr(inputs, name)]
    return [loss.detach(), *(x for x in gradients if x is not None)]


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@every_strategy
@pytest.mark.usefixtures("deterministic")
def test_losses_and_gradients_are_the_same_every_time(name):
    case = LossCase.build(name, 7, feature_channels=4)
    inputs = make_loss_inputs(
        60, image_size=(256, 320), num_classes=7, feature_channels=case.feature_channels
    )
    case.assignment.cuda()
    first, second = (loss_and_gradients(case, on_gpu(inputs)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every_strategy
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_a_detector_has_the_losses_of_the_cpu(name, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    boxes = [[10.0, 12.0, 60.0, 70.0], [20.0, 5.0, 100.0, 80.0]]
    batch = [image_input(boxes, [1, 2]), image_input([], [], seed=1)]
    expected = narrow_model(*head_options(name)).train()(batch)
    model = narrow_model(*head_options(name), "MODEL.DEVICE", "cuda").train()
    with torch.autocast("cuda", dtype, enabled=dtype is not None):
        losses = model(batch)
    tolerance = 1e-3 if dtype is None else 0.1
    assert set(losses) == set(expected)
    for key, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.cpu(), expected[key], rtol=tolerance, atol=1e-3)
