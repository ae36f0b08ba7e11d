"""The loss terms against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torchvision.ops import box_iou

import autoassign.modeling.losses as losses_module
from autoassign.modeling.losses import (
    focal_loss,
    negative_focal_loss,
    paired_iou,
    quality_focal_loss,
)


def random_inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """(2, 5, 3) class logits, (2, 5) objectness logits, and weights of which some are 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    cls_logits = 2 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    obj_logits = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    weights = (1.6 * torch.rand(2, 5, 3, generator=generator, dtype=torch.float64) - 0.3).clamp(
        0, 1
    )
    return (
        cls_logits.to(dtype).requires_grad_(),
        obj_logits.to(dtype).requires_grad_(),
        weights.to(dtype),
    )


def formula(cls_logits: Tensor, obj_logits: Tensor | None, weights: Tensor | None) -> Tensor:
    q = cls_logits.sigmoid()
    if obj_logits is not None:
        q = q * obj_logits.sigmoid()[..., None]
    if weights is not None:
        q = q * weights
    return (q**2 * -torch.log(1 - q)).sum()


def test_value_computed_by_hand():
    # σ(0) = 1/2, σ(log 3) = 3/4; q = 1/2 · 3/4 · 2/3 = 1/4 and 3/4 · 3/4 · 1 = 9/16
    cls_logits = torch.tensor([[[0.0, math.log(3)]]])
    obj_logits = torch.tensor([[math.log(3)]])
    weights = torch.tensor([[[2 / 3, 1.0]]])
    expected = -(math.log(3 / 4) / 16 + (9 / 16) ** 2 * math.log(7 / 16))
    loss = negative_focal_loss(cls_logits, obj_logits, weights)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


with_and_without = pytest.mark.parametrize(
    ("with_objectness", "with_weights"),
    [(True, True), (True, False), (False, True), (False, False)],
)


@with_and_without
def test_gradient_is_that_of_finite_differences(with_objectness, with_weights):
    cls_logits, obj_logits, weights = random_inputs()

    def loss(cls_logits: Tensor, obj_logits: Tensor) -> Tensor:
        return negative_focal_loss(
            cls_logits, obj_logits if with_objectness else None, weights if with_weights else None
        )

    assert torch.autograd.gradcheck(loss, (cls_logits, obj_logits))


@pytest.mark.parametrize("classes_at_once", [1, 2, 3])
@with_and_without
def test_equals_the_formula(monkeypatch, with_objectness, with_weights, classes_at_once):
    monkeypatch.setattr(losses_module, "_CHUNK_SIZE_CPU", 10 * classes_at_once)
    gradients, losses = [], []
    for function in (negative_focal_loss, formula):
        cls_logits, obj_logits, weights = random_inputs()
        loss = function(
            cls_logits, obj_logits if with_objectness else None, weights if with_weights else None
        )
        (3 * loss).backward()
        losses.append(loss.detach())
        gradients.append((cls_logits.grad, obj_logits.grad))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-10, atol=1e-14)
    if with_objectness:
        torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-10, atol=1e-14)
    else:
        assert gradients[0][1] is None


def test_inputs_are_left_as_they_are():
    inputs = random_inputs()
    copies = [x.detach().clone() for x in inputs]
    negative_focal_loss(*inputs).backward()
    for x, copy in zip(inputs, copies, strict=True):
        assert torch.equal(x, copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cls_value", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("obj_value", [-1e4, 0.0, 100.0, 1e4])
def test_saturated_logits_give_finite_values(cls_value, obj_value, dtype):
    cls_logits = torch.full((1, 4, 2), cls_value, dtype=dtype, requires_grad=True)
    obj_logits = torch.full((1, 4), obj_value, dtype=dtype, requires_grad=True)
    loss = negative_focal_loss(cls_logits, obj_logits)
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert cls_logits.grad.isfinite().all()
    assert obj_logits.grad.isfinite().all()
    assert (loss > 1) == (cls_value > 0 and obj_value >= 0)


# Places (image, location, class) of the positives, and as index into the logits in memory.
PLACES = [(0, 1, 2), (0, 4, 0), (1, 0, 0), (1, 0, 1)]
INDEX = torch.tensor([15 * n + 5 * k + r for n, r, k in PLACES])
TARGETS = torch.tensor([0.3, 1.0, 1e-3, 0.9], dtype=torch.float64)


def dense_targets(values: Tensor) -> Tensor:
    targets = torch.zeros(2, 5, 3, dtype=torch.float64)
    for place, value in zip(PLACES, values, strict=True):
        targets[place] = value
    return targets


def probability(cls_logits: Tensor, obj_logits: Tensor | None) -> Tensor:
    prob = cls_logits.sigmoid()
    return prob if obj_logits is None else prob * obj_logits.sigmoid()[..., None]


@pytest.mark.parametrize("with_objectness", [True, False])
def test_quality_focal_loss_is_its_formula_on_dense_targets(with_objectness):
    results = []
    for dense in (False, True):
        cls_logits, obj_logits, _ = random_inputs()
        obj = obj_logits if with_objectness else None
        if dense:
            prob, targets = probability(cls_logits, obj), dense_targets(TARGETS)
            bce = -(targets * prob.log() + (1 - targets) * (1 - prob).log())
            loss = ((targets - prob) ** 2 * bce).sum()
        else:
            loss = quality_focal_loss(cls_logits, obj, INDEX, TARGETS)
        loss.backward()
        results.append((loss.detach(), cls_logits.grad, obj_logits.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=0)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)
    if with_objectness:
        torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-9, atol=1e-12)


def test_focal_loss_is_fvcore_s_on_dense_targets():
    cls_logits, _, _ = random_inputs(torch.float32)
    targets = dense_targets(torch.ones(4)).float()
    expected = sigmoid_focal_loss(cls_logits, targets, alpha=0.25, gamma=2, reduction="sum")
    (gradient,) = torch.autograd.grad(expected, cls_logits)
    loss = focal_loss(cls_logits, None, INDEX)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(cls_logits.grad, gradient, rtol=1e-4, atol=1e-6)


def test_focal_loss_of_the_joint_probability():
    cls_logits, obj_logits, _ = random_inputs()
    prob = probability(cls_logits, obj_logits)
    positive = dense_targets(torch.ones(4, dtype=torch.float64)) > 0
    expected = 0.25 * ((1 - prob) ** 2 * -prob.log())[positive].sum()
    expected = expected + 0.75 * (prob**2 * -(1 - prob).log())[~positive].sum()
    loss = focal_loss(cls_logits, obj_logits, INDEX)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(loss, (cls_logits, obj_logits))
    wanted = torch.autograd.grad(expected, (cls_logits, obj_logits))
    torch.testing.assert_close(gradients, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls_value", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("obj_value", [None, -1e4, 0.0, 1e4])
def test_saturated_positives_give_finite_values(cls_value, obj_value):
    cls_logits = torch.full((2, 5, 3), cls_value, requires_grad=True)
    obj_logits = None if obj_value is None else torch.full((2, 5), obj_value, requires_grad=True)
    losses = (
        focal_loss(cls_logits, obj_logits, INDEX),
        quality_focal_loss(cls_logits, obj_logits, INDEX, TARGETS.float()),
    )
    for loss in losses:
        cls_logits.grad = None
        loss.backward()
        assert loss.isfinite()
        assert loss >= 0
        assert cls_logits.grad.isfinite().all()


def test_paired_iou_is_the_diagonal_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, 50, 4, generator=generator, dtype=torch.float64) * 10
    boxes[..., 2:] += boxes[..., :2]
    torch.testing.assert_close(paired_iou(boxes[0], boxes[1]), box_iou(boxes[0], boxes[1]).diag())
    assert paired_iou(boxes[0], boxes[0]).eq(1).all()


def test_paired_iou_of_boxes_without_area_is_zero():
    point = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    assert paired_iou(point, point) == 0
