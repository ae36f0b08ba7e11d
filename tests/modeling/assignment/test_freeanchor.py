"""FreeAnchor's bags and losses by hand and against an oracle on the whole matrix."""

from __future__ import annotations

import math
from dataclasses import replace

import freeanchor_oracle
import pytest
import torch
import torch.distributed as dist
from assignment_cases import GRID, NUM_CLASSES, Case, Object, make_case, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from prediction_cases import CPU, CROWD, LARGE, ORDINARY, TINY, run
from torch import Tensor

from autoassign.modeling import (
    Grid,
    GroundTruth,
    Predictions,
    build_label_assignment,
    decode,
    make_grid,
)
from autoassign.modeling.assignment import FreeAnchor, pair_anchors
from autoassign.modeling.assignment.anchor_bags import anchor_bags

# Thin and long objects, and such at the border: their anchors tie.
ODD: list[Object] = [(2, 30, 90, 2, 0), (40, 1, 1, 60, 1), (0, 0, 4, 4, 2), (90, 58, 6, 6, 2)]


def anchors_of(grid: Grid) -> Tensor:
    """(R, 4) squares of 8 strides around the locations."""
    reach = 4 * grid.location_strides.double()[:, None]
    return torch.cat((grid.locations - reach, grid.locations + reach), dim=1)


def bags_of(gt: GroundTruth, grid: Grid, size: int) -> list[list[int]]:
    pairs = anchor_bags(grid, gt, size)
    return [sorted(pairs.locations[pairs.objects == n].tolist()) for n in range(len(gt.boxes))]


def test_bag_by_hand():
    # The anchors of (16, 16) and its four neighbours have the greatest IoUs, 1 and 7/9.
    grid = make_grid((8,), ((5, 5),), CPU)
    gt = GroundTruth(torch.tensor([[-16.0, -16.0, 48.0, 48.0]]), torch.tensor([0]), (1,))
    assert bags_of(gt, grid, 1) == [[12]]
    assert bags_of(gt, grid, 5) == [[7, 11, 12, 13, 17]]
    assert bags_of(gt, grid, 100) == [list(range(25))]


def test_of_equal_ious_the_nearer_anchor_is_in_the_bag():
    # Every anchor contains the object.
    grid = make_grid((8,), ((5, 5),), CPU)
    gt = GroundTruth(torch.tensor([[15.0, 15.0, 18.0, 18.0]]), torch.tensor([0]), (1,))
    assert bags_of(gt, grid, 3) == [[12, 13, 17]]


coordinates = st.integers(-40, 440).map(lambda x: x / 4)
sides = st.one_of(st.integers(1, 40), st.integers(1, 1200)).map(lambda x: x / 4)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))


@settings(max_examples=40)
@given(st.lists(objects, max_size=4), st.sampled_from((1, 9, 50, 200)))
def test_bags_are_those_of_a_sorted_list(image, size):
    case = make_case([image])
    gt = case.ground_truth()
    anchors = anchors_of(GRID)
    expected = [freeanchor_oracle.bag_of(box, anchors, size) for box in gt.boxes]
    assert bags_of(gt, GRID, size) == [sorted(bag) for bag in expected]


def test_few_anchors_are_compared_on_a_large_image():
    grid = make_grid((8, 16, 32, 64, 128), ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11)), CPU)
    boxes = torch.tensor([[500.0, 300.0, 560.0, 350.0], [0.0, 0.0, 9.0, 9.0], [90, 80, 800, 700]])
    gt = GroundTruth(boxes, torch.zeros(3).long(), (3,))
    anchors = anchors_of(grid)
    expected = [freeanchor_oracle.bag_of(box, anchors, 50) for box in boxes.double()]
    assert bags_of(replace(gt, boxes=boxes.double()), grid, 50) == [sorted(x) for x in expected]
    pairs = anchor_bags(grid, gt, 50)
    assert torch.equal(pair_anchors(pairs, grid, gt), anchors.float()[pairs.locations])


def test_losses_by_hand():
    # One location, whose anchor is the object: the predicted box is shifted by 0.64 px, a tenth
    # of 0.1 anchors. |δ| = 0.1 in x: smooth L1 = 0.1² / 0.22.
    grid = make_grid((8,), ((1, 1),), CPU)
    gt = GroundTruth(torch.tensor([[-32.0, -32.0, 32.0, 32.0]]).double(), torch.tensor([0]), (1,))
    ltrb = torch.tensor([[[31.36, 32.0, 32.64, 32.0]]]).double()
    predictions = Predictions(cls_logits=torch.zeros(1, 1, 2).double(), ltrb=ltrb)
    losses, _ = FreeAnchor(bag_size=1)(predictions, grid, gt)
    joint = 0.5 * math.exp(-0.75 * 0.1**2 / 0.22)
    assert losses["loss_pos"].item() == pytest.approx(-0.5 * math.log(joint), rel=1e-6)
    # The location has the object's greatest IoU: only the other class is negative.
    assert losses["loss_neg"].item() == pytest.approx(0.5 * 0.25 * math.log(2))


def test_mean_max_weights_by_hand():
    # P = 1/2 and 3/4 with exact boxes: w = 2 and 4, normalized 1/3 and 2/3.
    grid = make_grid((8,), ((1, 2),), CPU)
    gt = GroundTruth(torch.tensor([[-28.0, -32.0, 36.0, 32.0]]).double(), torch.tensor([0]), (1,))
    ltrb = torch.tensor([[[28.0, 32.0, 36.0, 32.0], [36.0, 32.0, 28.0, 32.0]]]).double()
    logits = torch.tensor([[[0.0], [math.log(3)]]]).double()
    predictions = Predictions(cls_logits=logits, ltrb=ltrb)
    maps = FreeAnchor().explain(predictions, grid, gt).maps
    assert maps["joint confidence"].tolist() == pytest.approx([1 / 2, 3 / 4])
    assert maps["positive weight"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert maps["negative weight"].tolist() == [0, 0]
    losses, _ = FreeAnchor()(predictions, grid, gt)
    assert losses["loss_pos"].item() == pytest.approx(-0.5 * math.log(1 / 6 + 1 / 2))


def run_oracle(case: Case) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of their sum."""
    leaves = {k: x for k, x in case.leaves().items() if k not in ("mu", "sigma")}
    predictions = case.predictions(leaves)
    positive, negative, _ = freeanchor_oracle.oracle(
        predictions.class_probabilities(),
        decode(predictions.ltrb, GRID.locations.double()),
        case.boxes,
        case.classes,
        anchors_of(GRID),
    )
    (positive + negative).backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items()}
    return {"loss_pos": positive.detach(), "loss_neg": negative.detach()}, gradients


@pytest.mark.parametrize("with_objectness", [False, True])
@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY], [ODD]])
def test_losses_and_gradients_are_the_oracle_s(batch, with_objectness):
    case = make_case(batch, with_objectness=with_objectness)
    # Predicted boxes that fit an object make the negative weights interesting.
    locations = GRID.locations.double()
    for image, boxes in enumerate(case.boxes):
        for n, box in enumerate(boxes):
            near = slice(n, None, max(2, len(boxes)))
            sides = torch.cat((locations[near] - box[:2], box[2:] - locations[near]), dim=1)
            case.ltrb[image, near] = sides.clamp(min=1) + 0.1 * case.ltrb[image, near]
    actual = run(FreeAnchor(), case)
    losses, gradients = run_oracle(case)
    for name, loss in losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-9, name
    for name, gradient in gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-8, name


def test_improbable_bags_have_a_gradient():
    case = make_case([ORDINARY])
    case = replace(case, cls_logits=torch.full_like(case.cls_logits, -200.0))
    gradient = run(FreeAnchor(), case).gradients["cls_logits"]
    # -log of a mean over the bag: the gradients of an object add up to -1.
    assert gradient.sum().item() == pytest.approx(-0.5, abs=0.01)


@pytest.mark.parametrize("images", [[[]], [CROWD]], ids=["empty", "objects"])
def test_normalizers_are_means_over_workers(monkeypatch, images):
    case = make_case(images)
    alone = run(FreeAnchor(), case).losses
    reduced = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", reduced.append)
    together = run(FreeAnchor(), case).losses
    assert len(reduced) == 1  # also without objects, or the other worker would wait for ever
    for name, loss in alone.items():
        factor = 2 if images == [CROWD] else 1
        assert together[name].item() == pytest.approx(factor * loss.item(), rel=1e-12)


def test_statistics():
    statistics = run(FreeAnchor(), make_case([ORDINARY, []])).statistics
    assert statistics["num_objects"] == 3
    assert statistics["num_pairs"] == 3 * 50
    assert 0 < statistics["mean_greatest_joint_confidence"] < 1


def test_options_of_the_config():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "FreeAnchor")
    options = "MODEL.LABEL_ASSIGNMENT.FREEANCHOR"
    strategy = build_label_assignment(narrow_cfg(*name, f"{options}.BAG_SIZE", 20))
    assert (strategy.bag_size, strategy.box_iou_threshold) == (20, 0.6)
    with pytest.raises(ValueError, match=r"FREEANCHOR\.BOX_IOU_THRESHOLD is 1\.0; it must be"):
        build_label_assignment(narrow_cfg(*name, f"{options}.BOX_IOU_THRESHOLD", 1.0))
