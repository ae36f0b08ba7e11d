"""FSAF's cores, levels and losses by hand and against an oracle in loops."""

from __future__ import annotations

import math

import fsaf_oracle
import pytest
import torch
from assignment_cases import GRID, NUM_CLASSES, Case, make_case, relative_error
from fsaf_oracle import OracleResult
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from prediction_cases import CPU, CROWD, LARGE, ORDINARY, TINY, Scene, assigned, run
from torch import Tensor

from autoassign.modeling import GroundTruth, Predictions, build_label_assignment, make_grid
from autoassign.modeling.assignment import FSAF

LOCATIONS = [
    (x, y, int(stride), int(level))
    for (x, y), stride, level in zip(
        GRID.locations.tolist(),
        GRID.location_strides.tolist(),
        GRID.location_levels.tolist(),
        strict=True,
    )
]


def test_cores_by_hand():
    # The core is [14.4, 17.6]²: it covers 0.16 of the cell of (16, 16), [12, 20]², alone.
    scene = Scene()
    assert scene.assigned(FSAF(), ([8.0, 8.0, 24.0, 24.0], 0)) == 8 * [-1] + [0]
    gt = scene.ground_truth(([8.0, 8.0, 24.0, 24.0], 0))
    explanation = FSAF().explain(scene.predictions(), scene.grid, gt)
    assert explanation.pairs.locations.tolist() == [8]
    assert explanation.maps["core share"].item() == pytest.approx((3.2 / 8) ** 2)
    # The core [11.9, 12.1]² covers too little of any cell; twice as large, more than 0.01 of none.
    assert scene.assigned(FSAF(), ([11.5, 11.5, 12.5, 12.5], 0)) == 9 * [-1]


def test_the_smallest_object_wins_and_the_other_class_is_ignored():
    scene = Scene()
    large, small = [-40.0, -40.0, 56.0, 56.0], [4.0, 4.0, 12.0, 12.0]
    result = scene.assigned(FSAF(), (large, 0), (small, 1))
    assert result[4] == 1
    assert result[0] == 0
    gt = scene.ground_truth((large, 0), (small, 1))
    ignored = FSAF().assign(scene.predictions(), scene.grid, gt).ignore
    assert ignored.tolist() == [4]  # class 0 of location 4


def test_of_one_class_the_location_learns_neither():
    scene = Scene()
    large, small = [-40.0, -40.0, 56.0, 56.0], [4.0, 4.0, 12.0, 12.0]
    result = scene.assigned(FSAF(), (large, 1), (small, 1))
    assert result[4] == -1
    gt = scene.ground_truth((large, 1), (small, 1))
    ignored = FSAF().assign(scene.predictions(), scene.grid, gt).ignore
    assert ignored.tolist() == [9 + 4]


def test_of_equal_areas_the_first_object_wins():
    scene = Scene()
    box = [4.0, 4.0, 12.0, 12.0]
    assert scene.assigned(FSAF(), (box, 1), (box, 0))[4] == 0


def test_a_cell_that_touches_a_core_outside_its_box_is_ignored():
    # (8, 8) lies left of the box, but its cell reaches 0.5 px into the core [11.4, 12.6].
    scene = Scene()
    gt = scene.ground_truth(([9.0, 0.0, 15.0, 16.0], 1))
    assignment = FSAF().assign(scene.predictions(), scene.grid, gt)
    assert len(assignment.winners) == 0
    assert assignment.ignore.tolist() == [9 + 4, 9 + 5]  # (16, 8) reaches into it too


def test_the_level_of_least_loss_is_learned():
    # (0, 0) lies in the core on both levels; the predicted box is exact on one.
    grid = make_grid((8, 16), ((1, 1), (1, 1)), CPU)
    gt = GroundTruth(torch.tensor([[-20.0, -20.0, 20.0, 20.0]]).double(), torch.tensor([0]), (1,))
    for exact in (0, 1):
        ltrb = torch.full((1, 2, 4), 5.0).double()
        ltrb[0, exact] = 20
        predictions = Predictions(cls_logits=torch.zeros(1, 2, 2).double(), ltrb=ltrb)
        explanation = FSAF().explain(predictions, grid, gt)
        assert explanation.maps["label"].tolist() == [exact == 0, exact == 1]
        focal = 0.25 * 0.25 * math.log(2) + 0.75 * 0.25 * math.log(2)
        losses = [focal, focal + math.log(16)]
        assert explanation.maps["loss"].tolist() == pytest.approx(
            losses if exact == 0 else losses[::-1]
        )
        # On the other level the entry of the object's class has no loss, the other one has.
        losses, _ = FSAF()(predictions, grid, gt)
        assert losses["loss_cls"].item() == pytest.approx(focal + 0.75 * 0.25 * math.log(2))
        assert losses["loss_box"].item() == pytest.approx(0, abs=1e-9)


def test_distances_have_a_least_value():
    # l = t = r = b = 4e-4 · 8: the smallest box, not one without area.
    scene = Scene()
    gt = scene.ground_truth(([4.0, 4.0, 12.0, 12.0], 0))
    losses, _ = FSAF()(scene.predictions(), scene.grid, gt)
    assert losses["loss_box"].item() == pytest.approx(-math.log(1e-6))  # the least IoU
    scene.boxes[4] = torch.tensor([4.0, 8.0, 12.0, 8.0])
    losses, _ = FSAF()(scene.predictions(), scene.grid, gt)
    assert losses["loss_box"].item() == pytest.approx(-math.log(8 * 2 * 4e-4 * 8 / 64))


def test_without_a_positive_location_the_class_loss_is_a_mean_over_locations():
    scene = Scene()
    losses, _ = FSAF()(scene.predictions(), scene.grid, scene.ground_truth())
    assert losses["loss_cls"].item() == pytest.approx(2 * 0.75 * 0.25 * math.log(2))
    assert losses["loss_box"] == 0


def run_oracle(case: Case) -> tuple[OracleResult, dict[str, Tensor]]:
    """The oracle's result and the gradients of the sum of its losses."""
    leaves = {k: x for k, x in case.leaves().items() if k in ("cls_logits", "ltrb")}
    result = fsaf_oracle.oracle(
        **leaves, locations=LOCATIONS, boxes=case.boxes, classes=case.classes
    )
    (result.loss_cls + result.loss_box).backward()
    return result, {name: leaf.grad for name, leaf in leaves.items()}


def assert_equals_oracle(case: Case) -> None:
    expected, gradients = run_oracle(case)
    kept = [
        [
            n if n >= 0 and place[3] == levels[n] else -1
            for n, place in zip(row, LOCATIONS, strict=True)
        ]
        for row, levels in zip(expected.assigned, expected.levels, strict=True)
    ]
    assert assigned(FSAF(), case).tolist() == kept
    actual = run(FSAF(), case)
    assert relative_error(actual.losses["loss_cls"], expected.loss_cls.detach()) <= 1e-9
    assert relative_error(actual.losses["loss_box"], expected.loss_box.detach()) <= 1e-9
    for name, gradient in gradients.items():
        if gradient is not None:
            assert relative_error(actual.gradients[name], gradient) <= 1e-9, name


coordinates = st.integers(-40, 440).map(lambda x: x / 4 + 0.01)
sides = st.one_of(st.integers(1, 40), st.integers(1, 1200)).map(lambda x: x / 4 + 0.013)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))


@settings(max_examples=20)
@given(st.lists(st.lists(objects, max_size=5), min_size=1, max_size=2), st.integers(0, 50))
def test_losses_and_gradients_are_the_oracle_s(batch, seed):
    assert_equals_oracle(make_case(batch, seed=seed, with_objectness=False, zero_share=0.2))


@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY]])
def test_hard_batches_are_learned_as_by_the_oracle(batch):
    assert_equals_oracle(make_case(batch, with_objectness=False))


def test_objectness_is_part_of_the_losses_that_choose():
    # Level 0 has the better box, but its objectness leaves no probability.
    grid = make_grid((8, 16), ((1, 1), (1, 1)), CPU)
    gt = GroundTruth(torch.tensor([[-20.0, -20.0, 20.0, 20.0]]).double(), torch.tensor([0]), (1,))
    predictions = Predictions(
        cls_logits=torch.zeros(1, 2, 2).double(),
        ltrb=torch.tensor([20.0, 15.0]).double()[None, :, None].expand(1, 2, 4),
        obj_logits=torch.tensor([[-100.0, 100.0]]).double(),
    )
    assert FSAF().explain(predictions, grid, gt).maps["label"].tolist() == [0, 1]


def test_options_of_the_config():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "FSAF")
    option = "MODEL.LABEL_ASSIGNMENT.FSAF.CORE_SCALE"
    assert build_label_assignment(narrow_cfg(*name, option, 0.3)).core_scale == 0.3
    with pytest.raises(ValueError, match=r"FSAF\.CORE_SCALE is 0\.0; it must be greater than 0"):
        build_label_assignment(narrow_cfg(*name, option, 0.0))
