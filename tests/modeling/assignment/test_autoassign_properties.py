"""What holds for AutoAssign whatever the batch: order, ranges, finiteness, connection, counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from assignment_cases import (
    GRID,
    NUM_CLASSES,
    Case,
    make_case,
    permute_images,
    relative_error,
    run_assignment,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from autoassign.modeling import decode
from autoassign.modeling.assignment import AutoAssign, segment_sum

LOSSES = {"loss_pos", "loss_neg", "loss_center"}
CROWD = [(5 * (i % 9), 9 * (i // 9), 12 + i % 29, 10 + i % 23, i % 2) for i in range(40)]
TINY = [(9, 9, 3, 3, 0), (90, 60, 2, 2, 2)]
ORDINARY = [(5, 5, 50, 40, 1), (20, 10, 45, 45, 1), (8, 3, 20, 50, 0)]


def permuted_objects(case: Case, order: list[int]) -> Case:
    boxes = [case.boxes[0][order], *case.boxes[1:]]
    classes = [case.classes[0][order], *case.classes[1:]]
    return replace(case, boxes=boxes, classes=classes)


@settings(max_examples=25)
@given(st.permutations(range(len(CROWD))), st.integers(0, 100))
def test_order_of_objects_does_not_matter(order, seed):
    case = make_case([CROWD, ORDINARY], seed=seed)
    expected = run_assignment(case)
    actual = run_assignment(permuted_objects(case, order))
    for name in LOSSES:
        assert relative_error(actual.losses[name], expected.losses[name]) <= 1e-12, name
    for name, gradient in expected.gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-12, name


@settings(max_examples=25)
@given(st.permutations(range(4)), st.integers(0, 100))
def test_order_of_images_does_not_matter(order, seed):
    case = make_case([ORDINARY, [], CROWD, TINY], seed=seed)
    expected = run_assignment(case)
    actual = run_assignment(permute_images(case, order))
    for name in LOSSES:
        assert relative_error(actual.losses[name], expected.losses[name]) <= 1e-12, name
    for name, gradient in expected.gradients.items():
        if name not in ("mu", "sigma"):
            gradient = gradient[order]
        assert relative_error(actual.gradients[name], gradient) <= 1e-12, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positive_weights_of_every_object_sum_to_one(dtype):
    case = make_case([CROWD, TINY, ORDINARY], zero_share=0.1, huge_share=0.1)
    gt = case.ground_truth(dtype)
    predictions = case.predictions(case.leaves(dtype))
    weights = case.assignment(dtype).pair_weights(predictions, GRID, gt)
    positive = weights.log_positive.detach().exp()
    assert positive.min() >= 0
    sums = segment_sum(positive, weights.pairs.objects, len(gt.boxes))
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_best_location_of_every_object_has_no_negative_weight(dtype):
    case = make_case([CROWD, ORDINARY])
    gt, leaves = case.ground_truth(dtype), case.leaves(dtype)
    assignment, predictions = case.assignment(dtype), case.predictions(leaves)
    pairs = assignment.pair_weights(predictions, GRID, gt).pairs
    negative = assignment.negative_weights(predictions, GRID, gt, [pairs])
    assert negative.min() >= 0
    assert negative.max() == 1

    checked = 0
    for image, (boxes, classes) in enumerate(zip(case.boxes, case.classes, strict=True)):
        predicted = decode(leaves["ltrb"][image].detach(), GRID.locations)
        iou = box_iou(predicted, boxes.to(dtype)).amax(dim=1)
        for box, label in zip(boxes, classes, strict=True):
            x, y = GRID.locations.unbind(dim=-1)
            inside = (x > box[0]) & (y > box[1]) & (x < box[2]) & (y < box[3])
            best = iou.masked_fill(~inside, -1).argmax()
            assert negative[image, best, label] <= 1e-6
            checked += 1
    assert checked == len(CROWD) + len(ORDINARY)


def test_negative_weight_is_one_outside_boxes_and_for_other_classes():
    case = make_case([ORDINARY])
    gt, predictions = case.ground_truth(), case.predictions(case.leaves())
    assignment = case.assignment()
    pairs = assignment.pair_weights(predictions, GRID, gt).pairs
    negative = assignment.negative_weights(predictions, GRID, gt, [pairs])[0]
    own = torch.zeros_like(negative, dtype=torch.bool)
    own[pairs.locations, gt.classes[pairs.objects]] = True
    assert negative[~own].eq(1).all()
    assert negative[own].lt(1).all()


# Of float32: what replaces the inputs of an ordinary batch.
EXTREMES = {
    "logits 100": {"cls_logits": 100.0, "obj_logits": 100.0},
    "logits -100": {"cls_logits": -100.0, "obj_logits": -100.0},
    "logits 1e4": {"cls_logits": 1e4, "obj_logits": 1e4},
    "logits -1e4": {"cls_logits": -1e4, "obj_logits": -1e4},
    "logits of both signs": {"cls_logits": 1e4, "obj_logits": -1e4},
    "distances 0": {"ltrb": 0.0},
    "distances tiny": {"ltrb": 1e-6},
    "distances 1e6": {"ltrb": 1e6},
    "sigma 0": {"sigma": 0.0},
    "sigma tiny": {"sigma": 1e-20},
    "sigma negative": {"sigma": -0.7},
    "sigma huge": {"sigma": 1e6},
    "mu huge": {"mu": 1e4},
    "mu huge, sigma 0": {"mu": -1e4, "sigma": 0.0},
    "distances 0, logits -1e4": {"ltrb": 0.0, "cls_logits": -1e4, "obj_logits": -1e4},
}
EXTREME_BOXES = {
    "ordinary": ORDINARY,
    "no inside location": TINY,
    "huge": [(-1e5, -1e5, 3e5, 3e5, 0), (-1e6, 3, 2e6, 50, 1)],
    "tiny": [(9, 9, 1e-3, 1e-3, 0), (7.999, 7.999, 2e-3, 2e-3, 1)],
    "without area": [(9, 9, 0, 0, 0), (8, 8, 0, 0, 1), (8, 0, 0, 40, 1)],
    "far away": [(1e5, 1e5, 20, 20, 0), (-1e5, 5, 20, 20, 1)],
}


@pytest.mark.parametrize("boxes", EXTREME_BOXES)
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_input_gives_finite_losses_and_gradients(extreme, boxes):
    case = make_case([EXTREME_BOXES[boxes], [], ORDINARY])
    changes = {
        name: torch.full_like(getattr(case, name), value)
        for name, value in EXTREMES[extreme].items()
    }
    result = run_assignment(replace(case, **changes), torch.float32)
    for name, tensor in {**result.losses, **result.gradients, **result.statistics}.items():
        assert tensor.isfinite().all(), name


@pytest.mark.parametrize("images", [[[], []], [ORDINARY, []]], ids=["empty", "objects"])
@pytest.mark.parametrize("with_objectness", [True, False])
def test_same_losses_connected_to_every_input(images, with_objectness):
    case = make_case(images, with_objectness=with_objectness)
    result = run_assignment(case)
    assert set(result.losses) == LOSSES
    assert result.losses["loss_neg"] > 0
    for name, gradient in result.gradients.items():
        assert gradient is not None, name
    if images == [[], []]:
        assert result.losses["loss_pos"] == result.losses["loss_center"] == 0
        assert result.gradients["cls_logits"].abs().min() > 0


def test_float32_agrees_with_float64():
    # Enough objects of ordinary size: ε of Eq. 11 is below float32's resolution.
    case = make_case([ORDINARY, TINY, [(0, 0, 90, 60, 2), (30, 12, 40, 40, 0)]])
    single, double = run_assignment(case, torch.float32), run_assignment(case)
    for name in LOSSES:
        assert relative_error(single.losses[name], double.losses[name]) <= 1e-4, name
        assert single.losses[name].dtype == torch.float32
    for name, gradient in double.gradients.items():
        assert relative_error(single.gradients[name], gradient) <= 1e-4, name


def test_statistics_of_a_hand_counted_case():
    # (7.9, 0.1, 24.1, 17): x 8, 16, 24 and y 8, 16 of stride 8; (16, 16) of stride 16.
    case = make_case([[(7.9, 0.1, 16.2, 16.9, 1)], [], [(1, 1, 2, 2, 0)]])
    case = replace(
        case,
        cls_logits=torch.full_like(case.cls_logits, -1e3),  # P = 0: weights are G / ΣG
        mu=torch.tensor([[0.5, -0.25], [0.0, 0.0], [0.0, 0.0]]),
        sigma=torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.5, 3.0]]),
    )
    statistics = run_assignment(case).statistics
    assert statistics["num_objects"] == 2
    assert statistics["num_pairs"] == 7 + 1
    assert statistics["num_objects_without_inside_location"] == 1
    assert (statistics["mu_min"], statistics["mu_max"]) == (-0.25, 0.5)
    assert (statistics["sigma_min"], statistics["sigma_max"]) == (0.5, 3.0)
    nearest, farther, coarse = (math.exp(-(d**2) / 2) for d in (0.55 / 8, 7.45 / 8, 7.45 / 16))
    greatest = nearest / ((1 + 2 * math.exp(-0.5)) * (nearest + farther) + coarse)
    assert statistics["mean_greatest_positive_weight"].item() == pytest.approx((greatest + 1) / 2)
    assert all(x.dim() == 0 and not x.requires_grad for x in statistics.values())


def test_statistics_of_an_empty_batch():
    statistics = run_assignment(make_case([[]])).statistics
    assert statistics["num_objects"] == statistics["num_pairs"] == 0
    assert statistics["mean_greatest_positive_weight"] == 0


@pytest.mark.parametrize("loss", ["pos", "neg", "center"])
def test_loss_weights_scale_their_loss_only(loss):
    case = make_case([ORDINARY])
    inputs = (case.predictions(case.leaves()), GRID, case.ground_truth())
    default = {"pos": 0.25, "neg": 0.75, "center": 0.75}[loss]
    ordinary, _ = AutoAssign(num_classes=NUM_CLASSES).double()(*inputs)
    option = {f"{loss}_loss_weight": 3 * default}
    changed, _ = AutoAssign(num_classes=NUM_CLASSES, **option).double()(*inputs)
    for name in LOSSES:
        factor = 3 if name == f"loss_{loss}" else 1
        assert changed[name].item() == pytest.approx(factor * ordinary[name].item(), rel=1e-12)


def test_without_location_weight_the_class_alone_counts():
    case = make_case([ORDINARY])
    predictions, gt = case.predictions(case.leaves()), case.ground_truth()
    assignment = AutoAssign(num_classes=NUM_CLASSES, location_weight=0.0).double()
    weights = assignment.pair_weights(predictions, GRID, gt)
    log_prob = F.logsigmoid(case.cls_logits) + F.logsigmoid(case.obj_logits)[..., None]
    expected = log_prob[0, weights.pairs.locations, gt.classes[weights.pairs.objects]]
    torch.testing.assert_close(weights.log_joint.detach(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("images", [[[]], [CROWD]], ids=["empty", "objects"])
def test_normalizers_are_means_over_workers(monkeypatch, images):
    case = make_case(images)
    alone = run_assignment(case).losses
    reduced = []
    # The other worker has neither objects nor prior: its share of every sum is 0.
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", reduced.append)
    together = run_assignment(case).losses
    assert len(reduced) == 1  # also without objects, or the other worker would wait for ever
    factor = 2 if images == [CROWD] else 1
    for name in ("loss_pos", "loss_neg"):
        assert together[name].item() == pytest.approx(factor * alone[name].item(), rel=1e-12)
    assert together["loss_center"] == alone["loss_center"]
