"""FCOS's labels by hand, against detectron2's, and what must hold for any batch."""

from __future__ import annotations

import pytest
import torch
from assignment_cases import NUM_CLASSES, STRIDES, Object, make_case, relative_error
from centerness_cases import CROWD, LARGE, MIDDLE_GRID, ORDINARY, TINY, assigned_by, run
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.meta_arch.fcos import FCOS as Detectron2FCOS
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from torch import Tensor, nn

from autoassign.modeling import Grid, GroundTruth, build_label_assignment, make_grid
from autoassign.modeling.assignment import FCOS

# Locations at 4, 12, 20, 28 in each axis; the only level takes every size.
ONE_LEVEL = make_grid((8,), ((4, 4),), torch.device("cpu"), 0.5)


def one_image(boxes: list[list[float]]) -> GroundTruth:
    """Objects of classes 0, 1, 2 ..."""
    return GroundTruth(
        torch.tensor(boxes).view(-1, 4), torch.arange(len(boxes)), counts=(len(boxes),)
    )


def learned(boxes: list[list[float]], grid: Grid = ONE_LEVEL, **options: object) -> list[int]:
    """The object that each location learns, -1 for none."""
    return assigned_by(FCOS(**options), grid, one_image(boxes)).classes[0].tolist()


def test_center_sampling_cuts_the_box_strictly():
    # Center 16, 1.5 strides are 12: 4 and 28 lie on the border.
    box = [0.0, 0.0, 32.0, 32.0]
    assert [j for j, x in enumerate(learned([box])) if x == 0] == [5, 6, 9, 10]
    assert learned([box], center_sampling_radius=1.6) == [0] * 16
    assert learned([box], center_sampling_radius=None) == [0] * 16


def test_locations_on_the_border_of_the_box_do_not_learn_it():
    # 4 lies on the left and upper side, 20 on the right and lower one: 12 alone is inside.
    assert [j for j, x in enumerate(learned([[4.0, 4.0, 20.0, 20.0]])) if x == 0] == [5]


@pytest.mark.parametrize(
    ("size", "levels"),
    # Ranges [0, 64], [64, 128], [128, 1e8], both ends included.
    [(50, [0]), (64, [0, 1]), (64.5, [1]), (128, [1, 2]), (129, [2]), (5000, [2])],
)
def test_the_greatest_distance_decides_the_levels(size, levels):
    # One location on each level, at 0; the box reaches ``size`` pixels down.
    grid = make_grid((8, 16, 32), ((1, 1), (1, 1), (1, 1)), torch.device("cpu"))
    labels = learned([[-1.0, -1.0, 1.0, size]], grid, center_sampling_radius=None)
    assert [level for level, x in enumerate(labels) if x == 0] == levels


def test_the_smallest_object_wins():
    large, small = [0.0, 0.0, 32.0, 32.0], [2.0, 2.0, 14.0, 30.0]
    # The small one has the columns of 4 and 12, and the rows within 12 pixels of 16.
    expected = {5: 1, 9: 1, 4: 1, 8: 1, 6: 0, 10: 0}
    assert {j: x for j, x in enumerate(learned([large, small])) if x >= 0} == expected
    swapped = {j: 1 - x for j, x in expected.items()}
    assert {j: x for j, x in enumerate(learned([small, large])) if x >= 0} == swapped


def test_of_equal_areas_the_first_object_wins():
    boxes = [[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 32.0, 32.0], [-1.0, 0.0, 31.0, 32.0]]
    assert set(learned(boxes)) <= {0, -1, 2}
    assert learned(boxes)[5] == 0


def test_objects_of_great_or_nearly_equal_area_are_told_apart():
    # In float32, 1e8 minus these areas would be equal, or negative.
    assert learned([[-2.0, -2.0, 34.0, 34.1], [-2.0, -2.0, 34.0, 34.0]])[5] == 1
    assert learned([[-9e3, -9e3, 9e3, 9e3]])[0] == 0


class Pyramid(Backbone):
    """The shapes that detectron2's FCOS asks for; it is not run."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"p{i}": ShapeSpec(channels=1, stride=s) for i, s in enumerate(STRIDES)}


def detectron2_labels(gt: GroundTruth, radius: float) -> tuple[Tensor, Tensor]:
    """(N, R) classes, -1 for none, and (N, R, 4) boxes by detectron2's FCOS."""
    fcos = Detectron2FCOS(
        backbone=Pyramid(),
        head=nn.Identity(),
        head_in_features=list(Pyramid().output_shape()),
        num_classes=NUM_CLASSES,
        center_sampling_radius=radius,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )
    # An anchor is a square of one stride around the location.
    anchors = [
        Boxes(torch.cat((x - s / 2, x + s / 2), dim=1))
        for x, s in zip(
            MIDDLE_GRID.locations.split(MIDDLE_GRID.level_lengths), STRIDES, strict=True
        )
    ]
    instances = [
        Instances((64, 96), gt_boxes=Boxes(boxes), gt_classes=classes)
        for boxes, classes in zip(
            gt.boxes.split(gt.counts), gt.classes.split(gt.counts), strict=True
        )
    ]
    classes, boxes = fcos.label_anchors(anchors, instances)
    classes = torch.stack(classes)
    return torch.where(classes == NUM_CLASSES, -1, classes), torch.stack(boxes)


def with_distinct_areas(objects: list[Object]) -> list[Object]:
    """Those whose areas differ by more than what float32 leaves of 1e8 - area."""
    kept: list[Object] = []
    for x in objects:
        if all(abs(x[2] * x[3] - other[2] * other[3]) > 16 for other in kept):
            kept.append(x)
    return kept


# Odd eighths of pixels: no distance is the border of a range, which detectron2 leaves out.
coordinates = st.integers(-160, 440).map(lambda x: x / 4 + 1 / 8)
sides = st.one_of(st.integers(1, 40), st.integers(1, 1200)).map(lambda x: x / 4)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))
images = st.lists(objects, max_size=8).map(with_distinct_areas)


@settings(max_examples=100)
@given(st.lists(images, min_size=1, max_size=3), st.sampled_from((0.75, 1.5, 4.0)))
def test_every_location_learns_what_detectron2_assigns(batch, radius):
    gt = make_case(batch).ground_truth(torch.float32)
    actual = assigned_by(FCOS(center_sampling_radius=radius), MIDDLE_GRID, gt)
    classes, boxes = detectron2_labels(gt, radius)
    assert torch.equal(actual.classes, classes)
    is_positive = classes >= 0
    assert torch.equal(actual.boxes[is_positive], boxes[is_positive])


@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY + LARGE]])
def test_hard_batches_are_labelled_as_by_detectron2(batch):
    shifted = [[(x + 1 / 8, y + 1 / 8, *rest) for x, y, *rest in image] for image in batch]
    gt = make_case([with_distinct_areas(image) for image in shifted]).ground_truth(torch.float32)
    actual = assigned_by(FCOS(), MIDDLE_GRID, gt)
    classes, _ = detectron2_labels(gt, 1.5)
    assert (classes >= 0).any()
    assert torch.equal(actual.classes, classes)


@settings(max_examples=15)
@given(st.permutations(range(len(ORDINARY))), st.integers(0, 50))
def test_order_of_objects_does_not_matter_without_ties(order, seed):
    expected = run(FCOS(), make_case([ORDINARY], seed=seed), MIDDLE_GRID)
    permuted = make_case([[ORDINARY[i] for i in order]], seed=seed)
    actual = run(FCOS(), permuted, MIDDLE_GRID)
    for name, loss in expected.losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-12
    for name, gradient in expected.gradients.items():
        assert relative_error(actual.gradients[name], gradient) <= 1e-12


def test_objects_without_a_candidate_are_counted():
    statistics = run(FCOS(), make_case([TINY, ORDINARY, [(200, 200, 20, 20, 0)]]), MIDDLE_GRID)
    assert statistics.statistics["num_objects_without_positive"] == 3


def test_options_of_the_config():
    name = ("MODEL.LABEL_ASSIGNMENT.NAME", "FCOS")
    options = "MODEL.LABEL_ASSIGNMENT.FCOS"
    assert build_label_assignment(narrow_cfg(*name)).center_sampling_radius == 1.5
    cfg = narrow_cfg(*name, f"{options}.CENTER_SAMPLING", False)
    assert build_label_assignment(cfg).center_sampling_radius is None
    cfg = narrow_cfg(*name, f"{options}.CENTER_SAMPLING_RADIUS", -1.0)
    with pytest.raises(
        ValueError, match=r"FCOS\.CENTER_SAMPLING_RADIUS is -1\.0; it must be greater than 0"
    ):
        build_label_assignment(cfg)
