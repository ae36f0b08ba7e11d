"""The losses that FCOS and ATSS share, against dense targets and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from assignment_cases import make_case, relative_error
from centerness_cases import (
    CORNER_GRID,
    CROWD,
    LARGE,
    MIDDLE_GRID,
    ORDINARY,
    TINY,
    assigned_by,
    dense_losses,
    run,
)
from narrow_model import image_input, narrow_model, total

from autoassign.modeling import GroundTruth, Predictions, make_grid
from autoassign.modeling.assignment import ATSS, FCOS

LOSSES = {"loss_cls", "loss_box", "loss_centerness"}
# Strategy, grid of its recipe, weight of the box loss.
FCOS_CASE = (FCOS(), MIDDLE_GRID, 1.0)
ATSS_CASE = (ATSS(), CORNER_GRID, 2.0)
both = pytest.mark.parametrize(
    ("strategy", "grid", "box_loss_weight"), [FCOS_CASE, ATSS_CASE], ids=["FCOS", "ATSS"]
)


def test_losses_by_hand():
    # One location, (4, 4), in a box with distances 4, 4, 4, 12: center-ness √(4/12). All logits
    # are 0; the predicted box is the upper half of the object: IoU = GIoU = 1/2.
    grid = make_grid((8,), ((1, 1),), torch.device("cpu"), 0.5)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    predictions = Predictions(
        cls_logits=zero[..., None],
        ltrb=torch.full((1, 1, 4), 4.0).double(),
        extra={"ctr": zero[..., None]},
    )
    gt = GroundTruth(torch.tensor([[0.0, 0, 8, 16]]).double(), torch.tensor([0]), (1,))
    losses, _ = FCOS()(predictions, grid, gt)
    assert losses["loss_cls"].item() == pytest.approx(0.25 * 0.25 * math.log(2))
    assert losses["loss_box"].item() == pytest.approx(0.5)
    assert losses["loss_centerness"].item() == pytest.approx(math.log(2))


@both
@pytest.mark.parametrize("with_objectness", [False, True], ids=["plain", "implicit objectness"])
def test_losses_and_gradients_are_those_of_dense_targets(
    strategy, grid, box_loss_weight, with_objectness
):
    case = make_case([ORDINARY, [], LARGE, CROWD], with_objectness=with_objectness)
    assigned = assigned_by(strategy, grid, case.ground_truth())
    assert (assigned.classes >= 0).sum() > 20
    expected = dense_losses(case, grid, assigned, box_loss_weight=box_loss_weight)
    actual = run(strategy, case, grid)
    assert set(actual.losses) == LOSSES
    for name, loss in expected.losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-9, name
    for name, gradient in expected.gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-9, name


@both
@pytest.mark.parametrize("images", [[[], []], [TINY, []], [ORDINARY, []]])
@pytest.mark.parametrize("with_objectness", [True, False])
def test_same_losses_connected_to_every_input(
    strategy, grid, box_loss_weight, images, with_objectness
):
    outcome = run(strategy, make_case(images, with_objectness=with_objectness), grid)
    assert set(outcome.losses) == LOSSES
    assert outcome.losses["loss_cls"] > 0
    for name, gradient in outcome.gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
    if images == [[], []]:
        assert outcome.losses["loss_box"] == outcome.losses["loss_centerness"] == 0


@both
def test_statistics_have_the_same_names_whatever_the_batch_holds(strategy, grid, box_loss_weight):
    empty = run(strategy, make_case([[]]), grid).statistics
    full = run(strategy, make_case([CROWD]), grid).statistics
    assert set(empty) == set(full)
    assert all(x.dim() == 0 and x.isfinite() for x in (*empty.values(), *full.values()))
    assert (empty["num_objects"], full["num_objects"]) == (0, len(CROWD))
    assert empty["num_positives"] == 0


@both
def test_float32_agrees_with_float64(strategy, grid, box_loss_weight):
    case = make_case([CROWD, ORDINARY, LARGE])
    single, double = run(strategy, case, grid, torch.float32), run(strategy, case, grid)
    for name, loss in double.losses.items():
        assert single.losses[name].dtype == torch.float32
        assert relative_error(single.losses[name].double(), loss) <= 1e-5, name
    for name, gradient in double.gradients.items():
        assert relative_error(single.gradients[name].double(), gradient) <= 1e-4, name


@both
@pytest.mark.parametrize("value", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_logits_and_distances_give_finite_losses(strategy, grid, box_loss_weight, value):
    case = make_case([CROWD, LARGE], zero_share=0.3, huge_share=0.3)
    case = replace(case, cls_logits=torch.full_like(case.cls_logits, value))
    outcome = run(strategy, case, grid, torch.float32)
    for name, tensor in {**outcome.losses, **outcome.gradients}.items():
        assert tensor.isfinite().all(), name


@both
@pytest.mark.parametrize("images", [[[]], [CROWD]], ids=["empty", "objects"])
def test_normalizers_are_means_over_workers(monkeypatch, strategy, grid, box_loss_weight, images):
    case = make_case(images)
    alone = run(strategy, case, grid).losses
    reduced = []
    # The other worker has no positive location: its share of every sum is 0.
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", reduced.append)
    together = run(strategy, case, grid).losses
    assert len(reduced) == 1  # also without objects, or the other worker would wait for ever
    factor = 2 if images == [CROWD] else 1
    for name in LOSSES:
        assert together[name].item() == pytest.approx(factor * alone[name].item(), rel=1e-12)


@both
def test_the_explanation_shows_what_is_learned(strategy, grid, box_loss_weight):
    case = make_case([CROWD, [], ORDINARY])
    gt = case.ground_truth()
    explanation = strategy.explain(case.predictions(case.leaves()), grid, gt)
    pairs, maps = explanation.pairs, explanation.maps
    assert explanation.primary in maps
    assert all(len(values) == len(pairs.objects) for values in maps.values())
    learned = maps["label"] == 1
    assert len(pairs.batch_locations[learned].unique()) == learned.sum()  # one object a location
    statistics = run(strategy, case, grid).statistics
    assert learned.sum() == statistics["num_positives"]
    assert maps["center-ness"][~learned].eq(0).all()


@pytest.mark.parametrize("name", ["FCOS", "ATSS"])
@pytest.mark.parametrize("boxes", [[], [[10.0, 20.0, 70.0, 80.0]]], ids=["empty", "objects"])
def test_every_parameter_of_a_detector_has_a_gradient(name, boxes):
    # DistributedDataParallel does not accept parameters without one.
    model = narrow_model("MODEL.LABEL_ASSIGNMENT.NAME", name)
    losses = model.train()([image_input(boxes, [1] * len(boxes))])
    assert set(losses) == LOSSES
    total(losses).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    if boxes:
        assert model.head.ctr_score.weight.grad.abs().sum() > 0
