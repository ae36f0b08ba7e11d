"""SimOTA's assignment by hand and against an oracle on the whole matrix; its losses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import simota_oracle
import torch
from assignment_cases import GRID, NUM_CLASSES, Case, make_case, relative_error
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from prediction_cases import (
    CROWD,
    LARGE,
    ORDINARY,
    TINY,
    Scene,
    assigned,
    explained_losses,
    predicted_boxes,
    probabilities,
    run,
)

from autoassign.modeling import build_label_assignment
from autoassign.modeling import pairs as pairs_module
from autoassign.modeling.assignment import SimOTA, tiles

BOX = [0.0, 0.0, 16.0, 16.0]  # (8, 8) is the only location inside; all nine lie in the square
LOG_2 = math.log(2)


def test_cost_by_hand():
    # Logits of 0: each of two classes costs log 2. The predicted box is half of the object.
    scene = Scene()
    scene.boxes[4] = torch.tensor([0.0, 0.0, 16.0, 8.0])
    gt = scene.ground_truth((BOX, 0))
    explanation = SimOTA().explain(scene.predictions(), scene.grid, gt)
    assert explanation.pairs.locations.tolist() == [4]
    assert explanation.maps["cost"].item() == pytest.approx(2 * LOG_2 + 3 * LOG_2, abs=1e-6)
    assert explanation.maps["IoU"].item() == 0.5
    assert explanation.maps["class target"].item() == 0.5


def test_k_is_the_rounded_down_sum_of_the_greatest_ious():
    # Nine predicted boxes of IoU 1/2 add up to 4.5: the location inside, which is not the
    # cheapest, and the three cheapest of the others.
    scene = Scene()
    scene.boxes[:] = torch.tensor([0.0, 0.0, 16.0, 8.0])
    scene.boxes[6:] = torch.tensor([0.0, 8.0, 16.0, 16.0])
    scene.boxes[6:, 3] = 16
    scene.cls_logits[0, [0, 5, 7], 0] = 2.0
    scene.boxes[3:6] = torch.tensor([0.0, 0.0, 16.0, 8.0])
    assert scene.assigned(SimOTA(), (BOX, 0)) == [0, -1, -1, -1, 0, 0, -1, 0, -1]
    # The three greatest add up to 1.5.
    assert scene.assigned(SimOTA(topk=3), (BOX, 0)) == [-1, -1, -1, -1, 0, -1, -1, -1, -1]


def test_a_location_goes_to_the_object_it_is_cheapest_for():
    scene = Scene()
    scene.boxes[4] = torch.tensor([0.0, 0.0, 16.0, 16.0])
    scene.cls_logits[0, 4] = torch.tensor([1.0, 2.0])
    assert scene.assigned(SimOTA(), (BOX, 0), (BOX, 1))[4] == 1
    scene.cls_logits[0, 4] = torch.tensor([2.0, 1.0])
    assert scene.assigned(SimOTA(), (BOX, 0), (BOX, 1))[4] == 0


def test_of_equal_costs_the_nearer_location_and_the_first_object():
    # Nothing overlaps: k is 1, all locations inside cost the same.
    scene = Scene()
    assert scene.assigned(SimOTA(), ([1, 1, 19, 17], 0), ([1, 1, 19, 17], 0))[4] == 0
    assert scene.assigned(SimOTA(), ([3, 3, 24, 24], 0))[8] == 0  # (16, 16), not (8, 8)


# No location lies inside: what costs 1e5 more is compared.
SMALL, OTHER = [3.0, 3.0, 5.0, 5.0], [10.0, 3.0, 12.0, 5.0]


def test_an_object_without_a_location_inside_takes_the_cheapest_of_the_image():
    scene = Scene()
    assert scene.assigned(SimOTA(), (SMALL, 0)) == [0] + 8 * [-1]  # nothing overlaps: the nearest
    scene.cls_logits[0, 8, 0] = 1.0
    assert scene.assigned(SimOTA(), (SMALL, 0)) == 8 * [-1] + [0]
    scene.boxes[1] = torch.tensor([0.0, 0.0, 8.0, 8.0])  # IoU 1/16 is worth more
    assert scene.assigned(SimOTA(), (SMALL, 0)) == [-1, 0] + 7 * [-1]


def test_boxes_of_locations_that_are_no_candidates_do_not_count():
    # Candidates are the locations at x = 0, 8 and 16. The best box is predicted at x = 24.
    scene = Scene(height=1, width=6)
    box = [3.0, -1.0, 5.0, 1.0]
    scene.boxes[3] = torch.tensor([3.0, -1.0, 24.0, 1.0])  # IoU 4 / 42
    scene.boxes[1] = torch.tensor([0.0, -4.0, 8.0, 4.0])  # IoU 4 / 64
    scene.boxes[2] = torch.tensor([3.0, -1.0, 16.0, 1.4])  # IoU 4 / 31.2, of a dear location
    scene.cls_logits[0, 2, 0] = -3.0
    assert scene.assigned(SimOTA(topk=32), (box, 0)) == [-1, 0, -1, -1, -1, -1]


def test_a_pair_without_overlap_can_be_cheaper_than_one_with():
    scene = Scene()
    scene.boxes[1] = torch.tensor([0.0, 0.0, 8.0, 8.0])
    scene.cls_logits[0, 1] = 60.0  # class cost 60, against 2 log 2 + 3 · (16.1 - 2.8)
    assert scene.assigned(SimOTA(), (SMALL, 0)) == [0] + 8 * [-1]


def test_a_location_outside_goes_to_the_object_it_is_cheapest_for():
    scene = Scene()
    scene.boxes[1] = torch.tensor([4.0, 0.0, 12.0, 8.0])  # IoUs 1/32 and 1/16
    objects = ((SMALL, 0), (OTHER, 0))
    assert scene.assigned(SimOTA(), *objects) == [-1, 1] + 7 * [-1]
    predictions, gt = scene.predictions(), scene.ground_truth(*objects)
    _, statistics = SimOTA()(predictions, scene.grid, gt)
    assert statistics["num_objects_without_positive"] == 1


@pytest.mark.parametrize("pairs_at_once", [1, 2**19])
def test_of_equal_costs_outside_the_first_object_wins(monkeypatch, pairs_at_once):
    monkeypatch.setattr(pairs_module, "_PAIRS_AT_ONCE", pairs_at_once)
    scene = Scene()
    scene.boxes[1] = torch.tensor([0.0, 0.0, 8.0, 8.0])
    assert scene.assigned(SimOTA(), (SMALL, 0), (SMALL, 0)) == [-1, 0] + 7 * [-1]


def test_an_object_that_did_not_take_a_contested_location_can_get_it():
    scene = Scene()
    scene.boxes[1] = torch.tensor([4.0, 0.0, 12.0, 8.0])
    # The first two take location 1. The third takes location 2, but location 1 is also cheaper
    # for it than for the others.
    third = [9.0, 2.0, 15.0, 6.0]
    scene.boxes[2] = torch.tensor([9.0, 0.0, 16.0, 8.0])
    scene.cls_logits[0, 2] = torch.tensor([-1.0, 1.0])
    scene.cls_logits[0, 1, 1] = 0.9
    result = scene.assigned(SimOTA(), (SMALL, 0), (OTHER, 0), (third, 1))
    assert result == [-1, 2, 2] + 6 * [-1]


def test_a_location_inside_for_one_object_is_not_lost_to_two_others():
    # (8, 8) lies inside the first object, which takes (16, 8); two small objects take (8, 8).
    scene = Scene()
    scene.boxes[4] = torch.tensor([4.0, 4.0, 12.0, 12.0])
    scene.boxes[5] = torch.tensor([4.0, 4.0, 20.0, 12.0])
    first = [4.0, 4.0, 20.0, 12.0]
    small = [[5.0, 5.0, 7.0, 7.0], [9.0, 5.0, 11.0, 7.0]]
    scene.cls_logits[0, 4, 1] = 9.0
    result = scene.assigned(SimOTA(), (first, 0), *((box, 1) for box in small))
    assert (result[4], result[5]) == (0, 0)


def assert_equals_oracle(case: Case) -> float:
    """Returns the least margin of a decision; where rounding decides nothing is compared."""
    probability, predicted = probabilities(case), predicted_boxes(case)
    expected = [
        simota_oracle.assign(
            probability[i],
            predicted[i],
            boxes,
            classes,
            GRID.locations.double(),
            GRID.location_strides.double(),
        )
        for i, (boxes, classes) in enumerate(zip(case.boxes, case.classes, strict=True))
    ]
    margin = min(image.margin for image in expected)
    if margin > 1e-9:
        actual = assigned(SimOTA(), case)
        assert actual.tolist() == [image.assigned.tolist() for image in expected]
    return margin


coordinates = st.integers(-40, 440).map(lambda x: x / 4)
sides = st.one_of(st.integers(1, 40), st.integers(1, 600)).map(lambda x: x / 4)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))
images = st.lists(objects, max_size=6, unique_by=lambda x: x[:4])


@settings(max_examples=30)
@given(
    st.lists(images, min_size=1, max_size=2),
    st.integers(0, 100),
    st.sampled_from((0.0, 0.5, 0.95)),
    st.booleans(),
)
def test_every_location_learns_what_the_oracle_assigns(batch, seed, zero_share, with_objectness):
    case = make_case(batch, seed=seed, zero_share=zero_share, with_objectness=with_objectness)
    assume(assert_equals_oracle(case) > 1e-9)


@pytest.mark.parametrize("zero_share", [0.0, 0.9])
@pytest.mark.parametrize(
    "batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY + TINY], [[]], [3 * TINY[:1], CROWD]]
)
def test_hard_batches_are_assigned_as_by_the_oracle(batch, zero_share):
    assert assert_equals_oracle(make_case(batch, zero_share=zero_share)) > 1e-9


def test_boxes_that_fit_make_k_great():
    case = make_case([ORDINARY + TINY, CROWD])
    # Every location predicts the first object of its image, so well as distances >= 0 allow.
    locations = GRID.locations.double()
    ltrb = torch.stack(
        [
            torch.cat((locations - boxes[0, :2], boxes[0, 2:] - locations), dim=1)
            for boxes in case.boxes
        ]
    )
    noise = torch.rand(ltrb.shape, generator=torch.Generator().manual_seed(0)).double()
    case = replace(case, ltrb=(ltrb + noise).clamp(min=0))
    assert assert_equals_oracle(case) > 1e-9
    assert run(SimOTA(), case).statistics["mean_k"] > 1


def test_work_in_many_parts_gives_the_same(monkeypatch):
    case = make_case([CROWD, TINY, ORDINARY + TINY], zero_share=0.8)
    expected = assigned(SimOTA(), case)
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", 1)
    monkeypatch.setattr(pairs_module, "_PAIRS_AT_ONCE", 1)
    assert torch.equal(assigned(SimOTA(), case), expected)


@pytest.mark.parametrize("with_objectness", [False, True])
def test_losses_are_those_of_the_explanation(with_objectness):
    case = make_case([CROWD, [], ORDINARY, TINY], with_objectness=with_objectness)
    strategy = SimOTA(cls_loss="quality_focal", cls_loss_weight=1.5, box_loss_weight=3.0)
    actual = run(strategy, case)
    expected = explained_losses(strategy, case, class_weight=1.5, box_weight=3.0)
    for name, loss in expected.losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-9, name
    for name, gradient in expected.gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-9, name


def test_statistics():
    case = make_case([ORDINARY, TINY], zero_share=1.0)
    statistics = run(SimOTA(), case).statistics
    assert statistics["mean_k"] == 1
    assert statistics["num_pairs_outside"] >= 1
    assert statistics["num_objects"] == 6


def test_options_of_the_config():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "SimOTA")
    options = "MODEL.LABEL_ASSIGNMENT.SIMOTA"
    changed = (f"{options}.CENTER_RADIUS", 1.5, f"{options}.CLS_LOSS", "bce")
    strategy = build_label_assignment(narrow_cfg(*name, *changed))
    assert (strategy.center_radius, strategy.cls_loss) == (1.5, "bce")
    with pytest.raises(ValueError, match=r"SIMOTA\.CLS_LOSS is 'focal'; it must be one of: bce"):
        build_label_assignment(narrow_cfg(*name, f"{options}.CLS_LOSS", "focal"))
