"""ATSS's labels by hand, against an oracle in loops, and what must hold for any batch."""

from __future__ import annotations

import atss_oracle
import pytest
import torch
from assignment_cases import NUM_CLASSES, SIZES, STRIDES, Object, make_case, relative_error
from centerness_cases import CORNER_GRID, CROWD, LARGE, ORDINARY, TINY, no_predictions, run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from torch import Tensor

from autoassign.modeling import (
    Grid,
    GroundTruth,
    Pairs,
    build_label_assignment,
    make_grid,
    nearest_pairs,
)
from autoassign.modeling.assignment import ATSS

CPU = torch.device("cpu")


def one_object(box: list[float]) -> GroundTruth:
    return GroundTruth(torch.tensor([box], dtype=torch.float64), torch.tensor([0]), (1,))


def assign(strategy: ATSS, grid: Grid, gt: GroundTruth) -> tuple[Pairs, Tensor, Tensor]:
    """Pairs, IoUs of their anchors, indices of those that are learned."""
    assignment = strategy.assign(no_predictions(gt, grid), grid, gt)
    return assignment.pairs, assignment.maps["anchor IoU"], assignment.winners


def assigned(strategy: ATSS, grid: Grid, gt: GroundTruth) -> list[list[int]]:
    """For each image and location the object, counted within the image, or -1."""
    pairs, _, winners = assign(strategy, grid, gt)
    result = torch.full((len(gt.counts), grid.num_locations), -1)
    objects = pairs.objects[winners]
    nth = objects - gt.first_object[gt.image_index[objects]]
    result.view(-1)[pairs.batch_locations[winners]] = nth
    return result.tolist()


def candidates(box: list[float], grid: Grid, k: int) -> list[int]:
    gt = one_object(box)
    return nearest_pairs(gt.boxes, gt.image_index, grid, k).locations.tolist()


GRID_5 = make_grid((8,), ((5, 5),), CPU)


def test_candidates_by_hand():
    # Center (16, 16), at row and column 2.
    assert candidates([8, 8, 24, 24], GRID_5, 1) == [12]
    assert candidates([8, 8, 24, 24], GRID_5, 5) == [7, 11, 12, 13, 17]
    assert candidates([8, 8, 24, 24], GRID_5, 9) == [6, 7, 8, 11, 12, 13, 16, 17, 18]


def test_of_equally_near_locations_the_first_is_a_candidate():
    # Center (12, 12), between rows and columns 1 and 2.
    assert candidates([8, 8, 16, 16], GRID_5, 1) == [6]
    assert candidates([8, 8, 16, 16], GRID_5, 3) == [6, 7, 11]


def test_candidates_of_an_object_outside_lie_on_the_border():
    assert candidates([-1000, 0, -980, 32], GRID_5, 5) == [0, 5, 10, 15, 20]
    assert candidates([100, 100, 120, 120], GRID_5, 4) == [18, 19, 23, 24]


def test_a_level_of_few_locations_gives_all():
    grid = make_grid((8, 16, 32), ((4, 4), (2, 2), (1, 1)), CPU)
    assert candidates([0, 0, 8, 8], grid, 9)[9:] == [16, 17, 18, 19, 20]


centers = st.integers(-200, 400).map(lambda x: x / 4)
side = st.integers(1, 7)


@settings(max_examples=200)
@given(centers, centers, side, side, st.integers(1, 12), st.sampled_from((0.0, 0.5)))
def test_candidates_are_those_of_a_sorted_list(x, y, height, width, k, offset):
    grid = make_grid((8,), ((height, width),), CPU, offset)
    distance = (grid.locations.double() - torch.tensor([x, y]).double()).square().sum(dim=1)
    expected = sorted(distance.argsort(stable=True)[:k].tolist())
    assert candidates([x - 1, y - 2, x + 1, y + 2], grid, k) == expected


def test_ious_and_positives_by_hand():
    # The anchor of (16, 16) is the box. Anchors 8 px beside it overlap by 56 · 64 px, those beside
    # in both axes by 56 · 56. Mean 0.7325, deviation 0.1276: positive is the one in the middle.
    gt = one_object([-16, -16, 48, 48])
    explanation = ATSS().explain(make_predictions(), GRID_5, gt)
    beside, diagonal = 7 / 9, 3136 / 5056
    expected = [diagonal, beside, diagonal, beside, 1, beside, diagonal, beside, diagonal]
    assert explanation.maps["anchor IoU"].tolist() == pytest.approx(expected)
    assert explanation.maps["label"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def make_predictions():
    case = make_case([[]])
    return case.predictions(case.leaves())


def test_the_deviation_is_that_of_a_sample():
    # Two candidates, IoUs a > b: mean + sample deviation = (a + b) / 2 + (a - b) / √2 > a, but
    # with the deviation of the two alone it would be a.
    grid = make_grid((8,), ((1, 2),), CPU)
    gt = one_object([-33.0, -32.0, 31.0, 32.0])
    _, iou, winners = assign(ATSS(), grid, gt)
    assert iou[0] > iou[1]
    assert len(winners) == 0


def test_a_single_candidate_is_positive():
    assert assigned(ATSS(), make_grid((8,), ((1, 1),), CPU), one_object([-5, -5, 9, 9])) == [[0]]


def test_positive_locations_lie_inside_the_box():
    # All 9 anchors hold the whole box: IoU 1/16 everywhere, deviation 0. Inside is one location.
    grid = make_grid((8,), ((3, 3),), CPU)
    _, iou, winners = assign(ATSS(), grid, one_object([0, 0, 16, 16]))
    assert iou.tolist() == [1 / 16] * 9
    assert winners.tolist() == [4]
    # A hundredth of a pixel is not inside yet.
    assert len(assign(ATSS(), grid, one_object([7.99, 0, 23.99, 16]))[2]) == 1
    assert len(assign(ATSS(), grid, one_object([7.995, 7.995, 15.9, 15.9]))[2]) == 0


def test_of_equal_ious_the_first_object_wins():
    case = make_case([[(5, 5, 50, 40, 2), (5, 5, 50, 40, 1)]])
    labels = assigned(ATSS(), CORNER_GRID, case.ground_truth())[0]
    assert set(labels) == {-1, 0}


def assert_equals_oracle(batch: list[list[Object]], k: int) -> float:
    """Returns the least margin of a decision; where rounding decides nothing is compared."""
    case = make_case(batch)
    expected = [
        atss_oracle.assign([tuple(box) for box in boxes.tolist()], STRIDES, SIZES, k)
        for boxes in case.boxes
    ]
    margin = min(image.margin for image in expected)
    if margin > 1e-9:
        actual = assigned(ATSS(topk=k), CORNER_GRID, case.ground_truth())
        assert actual == [image.assigned for image in expected]
    return margin


coordinates = st.integers(-160, 440).map(lambda x: x / 4)
sides = st.one_of(st.integers(1, 40), st.integers(1, 1200)).map(lambda x: x / 4)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))
images = st.lists(objects, max_size=6)


@settings(max_examples=80)
@given(st.lists(images, min_size=1, max_size=2), st.sampled_from((1, 4, 9)))
def test_every_location_learns_what_the_oracle_assigns(batch, k):
    assume(assert_equals_oracle(batch, k) > 1e-9)


@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY + LARGE], [[]]])
def test_hard_batches_are_labelled_as_by_the_oracle(batch):
    assert assert_equals_oracle(batch, 9) > 1e-9


@settings(max_examples=15)
@given(st.permutations(range(len(ORDINARY))), st.integers(0, 50))
def test_order_of_objects_does_not_matter_without_ties(order, seed):
    expected = run(ATSS(), make_case([ORDINARY], seed=seed), CORNER_GRID)
    permuted = make_case([[ORDINARY[i] for i in order]], seed=seed)
    actual = run(ATSS(), permuted, CORNER_GRID)
    for name, loss in expected.losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-12
    for name, gradient in expected.gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-12


def test_objects_without_a_positive_location_are_counted():
    outcome = run(ATSS(), make_case([TINY, ORDINARY, [(200, 200, 20, 20, 0)]]), CORNER_GRID)
    assert outcome.statistics["num_objects_without_positive"] == 3
    # 9 of level 0 and 1 each, and all 6 of level 2, for each of the 6 objects.
    assert outcome.statistics["num_pairs"] == 6 * (9 + 9 + 6)


def test_statistics_are_means_over_the_positive_locations():
    # The anchor of (32, 32) on the finest level is the object's box, as in the hand-computed case.
    outcome = run(ATSS(), make_case([[(0, 0, 64, 64, 0)]]), CORNER_GRID)
    _, iou, winners = assign(ATSS(), CORNER_GRID, one_object([0, 0, 64, 64]))
    assert outcome.statistics["num_positives"] == len(winners) == 5
    assert iou[winners].max() == 1
    mean = (1 + 4 * 7 / 9) / 5
    assert outcome.statistics["mean_anchor_iou"].item() == pytest.approx(mean)


def test_box_loss_weight_scales_its_loss_only():
    case = make_case([ORDINARY])
    ordinary, changed = (
        run(ATSS(), case, CORNER_GRID),
        run(ATSS(box_loss_weight=6), case, CORNER_GRID),
    )
    for name, loss in ordinary.losses.items():
        factor = 3 if name == "loss_box" else 1
        assert changed.losses[name].item() == pytest.approx(factor * loss.item(), rel=1e-12)


def test_options_of_the_config():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "ATSS")
    options = "MODEL.LABEL_ASSIGNMENT.ATSS"
    strategy = build_label_assignment(narrow_cfg(*name, f"{options}.BOX_LOSS_WEIGHT", 1.3))
    assert (strategy.topk, strategy.box_loss_weight) == (9, 1.3)
    with pytest.raises(ValueError, match=r"ATSS\.TOPK is 0; it must be at least 1"):
        build_label_assignment(narrow_cfg(*name, f"{options}.TOPK", 0))
