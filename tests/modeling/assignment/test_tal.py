"""Task-aligned labels by hand and against an oracle on the whole matrix; their losses."""

from __future__ import annotations

import pytest
import tal_oracle
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
from autoassign.modeling.assignment import TAL, tiles

BOX = [-4.0, -4.0, 20.0, 20.0]  # all nine locations lie inside


def explained(scene: Scene, strategy: TAL, *objects: tuple[list[float], int]) -> dict[str, list]:
    """Maps of the explanation, and the locations they speak of."""
    gt = scene.ground_truth(*objects)
    explanation = strategy.explain(scene.predictions(), scene.grid, gt)
    maps = {name: values.tolist() for name, values in explanation.maps.items()}
    return {**maps, "location": explanation.pairs.locations.tolist()}


def test_alignments_and_labels_by_hand():
    # IoUs 1/2 and 1/4, class probabilities 1/2 and 3/4.
    scene = Scene()
    scene.boxes[4] = torch.tensor([-4.0, -4.0, 20.0, 8.0])
    scene.boxes[5] = torch.tensor([8.0, -4.0, 20.0, 8.0])
    scene.cls_logits[0, 5, 1] = torch.tensor(3.0).log()
    maps = explained(scene, TAL(), (BOX, 1))
    assert maps["location"] == [4, 5]
    assert maps["alignment"] == pytest.approx([0.5 / 2**6, 0.75 / 4**6])
    # The greatest label is the greatest IoU.
    assert maps["label"] == pytest.approx([0.5, 0.5 * (0.75 / 4**6) / (0.5 / 2**6)])


def test_powers_of_probability_and_iou():
    scene = Scene()
    scene.boxes[4] = torch.tensor([-4.0, -4.0, 20.0, 8.0])
    maps = explained(scene, TAL(alpha=2, beta=1), (BOX, 0))
    assert maps["alignment"] == pytest.approx([0.25 * 0.5])


def test_a_location_outside_takes_a_place_but_is_not_positive():
    scene = Scene()
    scene.boxes[:] = torch.tensor([0.0, 0.0, 16.0, 16.0])
    scene.boxes[4] = torch.tensor([4.0, 4.0, 12.0, 12.0])
    box = [4.0, 4.0, 12.0, 12.0]  # (8, 8) alone inside, with the best box
    assert scene.assigned(TAL(topk=1), (box, 0)) == 4 * [-1] + [0] + 4 * [-1]
    scene.cls_logits[0, 4, 0] = -100.0
    assert scene.assigned(TAL(topk=1), (box, 0)) == 9 * [-1]
    assert scene.assigned(TAL(topk=9), (box, 0)) == 4 * [-1] + [0] + 4 * [-1]


def test_a_hundredth_of_a_pixel_is_not_inside():
    scene = Scene()
    scene.boxes[4] = torch.tensor([7.0, 7.0, 17.0, 17.0])
    assert scene.assigned(TAL(), ([7.99, 0, 16, 16], 0))[4] == -1
    assert scene.assigned(TAL(), ([7.98, 0, 16, 16], 0))[4] == 0


def test_a_location_goes_to_the_object_of_the_greatest_iou():
    # The second object is better aligned by its class, but fits less.
    scene = Scene()
    scene.boxes[4] = torch.tensor([0.0, 0.0, 16.0, 16.0])
    scene.cls_logits[0, 4] = torch.tensor([-3.0, 3.0])
    objects = (([0, 0, 16, 15.0], 0), ([0, 0, 16, 14.0], 1))
    assert scene.assigned(TAL(), *objects)[4] == 0
    assert scene.assigned(TAL(), *objects[::-1])[4] == 1
    # Of equal ones the first.
    assert scene.assigned(TAL(), objects[0], objects[0])[4] == 0


def test_of_equal_alignments_the_nearer_location_is_taken():
    scene = Scene()
    scene.boxes[:] = torch.tensor([0.0, 0.0, 16.0, 16.0])
    near_4, near_8 = [-2.0, -2.0, 19.0, 19.0], [-1.0, -1.0, 32.0, 32.0]
    assert scene.assigned(TAL(topk=1), (near_4, 0)) == 4 * [-1] + [0] + 4 * [-1]
    assert scene.assigned(TAL(topk=1), (near_8, 0)) == 8 * [-1] + [0]


def test_an_alignment_of_zero_is_not_taken():
    scene = Scene()
    scene.boxes[4] = torch.tensor([-4.0, -4.0, 20.0, 8.0])
    scene.cls_logits[0, 4] = -1e4
    assert scene.assigned(TAL(), (BOX, 0)) == 9 * [-1]
    scene.cls_logits[:] = -1e4
    assert scene.assigned(TAL(), (BOX, 0)) == 9 * [-1]


def assert_equals_oracle(case: Case) -> float:
    """Returns the least margin of a decision; where rounding decides nothing is compared."""
    probability, predicted = probabilities(case), predicted_boxes(case)
    locations = GRID.locations.double()
    expected = [
        tal_oracle.assign(probability[i], predicted[i], boxes, classes, locations)
        for i, (boxes, classes) in enumerate(zip(case.boxes, case.classes, strict=True))
    ]
    margin = min(image.margin for image in expected)
    if margin <= 1e-9:
        return margin
    assert assigned(TAL(), case).tolist() == [image.assigned.tolist() for image in expected]
    gt = case.ground_truth()
    explanation = TAL().explain(case.predictions(case.leaves()), GRID, gt)
    labels = torch.zeros(len(case.boxes) * GRID.num_locations, dtype=torch.float64)
    labels.index_add_(0, explanation.pairs.batch_locations, explanation.maps["label"])
    torch.testing.assert_close(
        labels, torch.cat([image.labels for image in expected]), rtol=1e-9, atol=1e-12
    )
    return margin


coordinates = st.integers(-40, 440).map(lambda x: x / 4)
sides = st.one_of(st.integers(1, 40), st.integers(1, 600)).map(lambda x: x / 4)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))
images = st.lists(objects, max_size=6, unique_by=lambda x: x[:4])


@settings(max_examples=30)
@given(
    st.lists(images, min_size=1, max_size=2),
    st.integers(0, 100),
    st.sampled_from((0.0, 0.5)),
    st.booleans(),
)
def test_every_location_learns_what_the_oracle_assigns(batch, seed, zero_share, with_objectness):
    case = make_case(batch, seed=seed, zero_share=zero_share, with_objectness=with_objectness)
    assume(assert_equals_oracle(case) > 1e-9)


@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY + TINY], [[]]])
def test_hard_batches_are_assigned_as_by_the_oracle(batch):
    assert assert_equals_oracle(make_case(batch)) > 1e-9


def test_work_in_many_parts_gives_the_same(monkeypatch):
    case = make_case([CROWD, TINY, LARGE])
    expected = assigned(TAL(), case)
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", 1)
    assert torch.equal(assigned(TAL(), case), expected)


@pytest.mark.parametrize("with_objectness", [False, True])
def test_losses_are_those_of_the_explanation(with_objectness):
    case = make_case([CROWD, [], ORDINARY, TINY], with_objectness=with_objectness)
    strategy = TAL(cls_loss_weight=1.5, box_loss_weight=3.0)
    actual = run(strategy, case)
    expected = explained_losses(strategy, case, class_weight=1.5, box_weight=3.0)
    for name, loss in expected.losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-9, name
    for name, gradient in expected.gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-9, name


def test_objects_without_a_positive_location_are_counted():
    scene = Scene()
    scene.boxes[0] = torch.tensor([0.0, 0.0, 8.0, 8.0])
    gt = scene.ground_truth(([3.0, 3.0, 5.0, 5.0], 0), (BOX, 0))
    _, statistics = TAL()(scene.predictions(), scene.grid, gt)
    assert (statistics["num_pairs"], statistics["num_positives"]) == (2, 1)
    assert statistics["num_objects_without_positive"] == 1


def test_options_of_the_config():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "TAL")
    options = "MODEL.LABEL_ASSIGNMENT.TAL"
    strategy = build_label_assignment(narrow_cfg(*name, f"{options}.ALPHA", 0.5))
    assert (strategy.topk, strategy.alpha, strategy.beta) == (13, 0.5, 6.0)
    with pytest.raises(ValueError, match=r"TAL\.TOPK is 0; it must be at least 1"):
        build_label_assignment(narrow_cfg(*name, f"{options}.TOPK", 0))
