"""Max-IoU assignment by hand and against all IoUs."""

from __future__ import annotations

import pytest
import torch
from assignment_cases import GRID, NUM_CLASSES, Case, make_case
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from prediction_cases import CPU, CROWD, LARGE, ORDINARY, TINY, Scene, assigned
from torchvision.ops import box_iou

from autoassign.modeling import GroundTruth, Predictions, build_label_assignment, make_grid
from autoassign.modeling.assignment import MaxIoU


def expected(case: Case) -> list[list[int]]:
    """The object of each location, -1 for background, -2 for no class loss, from all IoUs."""
    reach = 4 * GRID.location_strides.double()[:, None]
    locations = GRID.locations.double()
    anchors = torch.cat((locations - reach, locations + reach), dim=1)
    result = []
    for boxes in case.boxes:
        iou = box_iou(boxes, anchors)
        claims: dict[int, list[tuple[float, int]]] = {}
        for n, box in enumerate(boxes):
            center = (box[:2] + box[2:]) / 2
            distance = (locations - center).square().sum(dim=1).tolist()
            greatest = max(iou[n].tolist())
            best = min(
                (j for j, x in enumerate(iou[n].tolist()) if x >= greatest - 1e-12),
                key=lambda j: (round(distance[j], 6), j),
            )
            for j, value in enumerate(iou[n].tolist()):
                if value >= 0.5 or j == best:
                    claims.setdefault(j, []).append((-round(value, 12), n))
        row = [-1] * len(locations)
        for j in range(len(locations)):
            if j in claims:
                row[j] = min(claims[j])[1]
            elif len(boxes) and iou[:, j].max() >= 0.4:
                row[j] = -2
        result.append(row)
    return result


def actual(case: Case) -> list[list[int]]:
    dense = assigned(MaxIoU(), case)
    predictions = case.predictions(case.leaves())
    ignored = MaxIoU().assign(predictions, GRID, case.ground_truth()).ignore
    image = ignored // (NUM_CLASSES * GRID.num_locations)
    location, counts = (image * GRID.num_locations + ignored % GRID.num_locations).unique(
        return_counts=True
    )
    assert (counts == NUM_CLASSES).all()
    assert (dense.view(-1)[location] == -1).all()
    dense.view(-1)[location] = -2
    return dense.tolist()


coordinates = st.integers(-40, 440).map(lambda x: x / 4 + 0.01)
sides = st.one_of(st.integers(1, 40), st.integers(1, 1200)).map(lambda x: x / 4 + 0.013)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))


@settings(max_examples=50)
@given(st.lists(st.lists(objects, max_size=5), min_size=1, max_size=2))
def test_locations_learn_what_all_ious_say(batch):
    case = make_case(batch)
    assert actual(case) == expected(case)


@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY]])
def test_hard_batches(batch):
    case = make_case(batch)
    assert actual(case) == expected(case)


def test_thresholds_by_hand():
    # Anchors of 64 × 64 px around (0, 0), (8, 0) and (16, 0); the IoU with the middle one is 1,
    # with the others 56 / 72 = 0.78; with shares of 0.8 and 0.7 they are positive or ignored.
    scene = Scene(1, 3)
    box = [8.0 - 32, -32.0, 8.0 + 32, 32.0]
    gt = scene.ground_truth((box, 1))
    assert scene.assigned(MaxIoU(), (box, 1)) == [0, 0, 0]
    strict = MaxIoU(negative_threshold=0.7, positive_threshold=0.8)
    assert scene.assigned(strict, (box, 1)) == [-1, 0, -1]
    assert strict.assign(scene.predictions(), scene.grid, gt).ignore.tolist() == [0, 3, 2, 5]
    stricter = MaxIoU(negative_threshold=0.8, positive_threshold=0.8)
    assert len(stricter.assign(scene.predictions(), scene.grid, gt).ignore) == 0


def test_a_small_object_has_its_best_anchor_alone():
    grid = make_grid((8, 16), ((4, 4), (2, 2)), CPU)
    gt = GroundTruth(torch.tensor([[9.0, 9.0, 12.0, 12.0]]).double(), torch.tensor([0]), (1,))
    predictions = Predictions(
        cls_logits=torch.zeros(1, 20, 2).double(), ltrb=torch.ones(1, 20, 4).double()
    )
    # All anchors of the first level contain it: the nearest is that of (8, 8).
    result = MaxIoU().assign(predictions, grid, gt)
    assert result.pairs.locations[result.winners].tolist() == [5]
    assert result.maps["anchor IoU"][result.winners].item() == pytest.approx(9 / 64**2)


def test_thresholds_in_the_wrong_order_are_an_error():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "MaxIoU")
    option = "MODEL.LABEL_ASSIGNMENT.MAXIOU.NEGATIVE_THRESHOLD"
    with pytest.raises(ValueError, match=r"NEGATIVE_THRESHOLD is 0\.6; it must be at most"):
        build_label_assignment(narrow_cfg(*name, option, 0.6))
