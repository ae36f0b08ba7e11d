"""Guided Anchoring's labels and losses by hand and against an oracle, and its adapted features."""

from __future__ import annotations

import guided_anchoring_oracle
import pytest
import torch
from assignment_cases import GRID, Case, make_case, relative_error
from guided_anchoring_oracle import OracleResult
from narrow_model import head_options, image_input, narrow_model
from prediction_cases import CPU, LARGE, ORDINARY, dense_assignment
from torch import Tensor

from autoassign.modeling import GroundTruth, Predictions, make_grid
from autoassign.modeling.assignment import GuidedAnchoring
from autoassign.modeling.assignment.guided_anchoring import center_regions, matched_shapes
from autoassign.modeling.layers import FeatureAdaption

LOCATIONS = [
    (x, y, int(stride), int(level))
    for (x, y), stride, level in zip(
        GRID.locations.tolist(),
        GRID.location_strides.tolist(),
        GRID.location_levels.tolist(),
        strict=True,
    )
]
SEVERAL = [(10, 8, 30, 26, 0), (40, 20, 45, 30, 1), (61, 3, 27, 33, 2), (3, 40, 20, 17, 1)]
# No two IoUs are equal.
CROWD = [
    (5.1 * (i % 9) + i / 97, 9.3 * (i // 9), 12.1 + i % 29, 10.7 + i % 23, i % 3) for i in range(40)
]


def leaves_of(case: Case) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    shape = case.ltrb.shape[:2]
    leaves = {k: x for k, x in case.leaves().items() if k in ("cls_logits", "ltrb")}
    leaves["anchor_location"] = torch.randn(*shape, 1, generator=generator).double()
    leaves["anchor_shape"] = torch.randn(*shape, 2, generator=generator).double() * 0.7 - 0.7
    return {name: x.detach().requires_grad_() for name, x in leaves.items()}


def predictions_of(leaves: dict[str, Tensor]) -> Predictions:
    return Predictions(
        cls_logits=leaves["cls_logits"],
        ltrb=leaves["ltrb"],
        extra={name: leaves[name] for name in ("anchor_location", "anchor_shape")},
    )


def run_oracle(case: Case) -> tuple[OracleResult, dict[str, Tensor]]:
    leaves = leaves_of(case)
    result = guided_anchoring_oracle.oracle(
        **leaves, locations=LOCATIONS, boxes=case.boxes, classes=case.classes
    )
    losses = dict(result.losses)
    losses["loss_shape"] = 0.1 * losses["loss_shape"]
    sum(losses.values()).backward()
    return OracleResult(losses, result.assigned, result.shapes, result.centers), {
        name: leaf.grad for name, leaf in leaves.items()
    }


@pytest.mark.parametrize("batch", [[SEVERAL], [ORDINARY, [], SEVERAL], [LARGE], [CROWD]])
@pytest.mark.parametrize("seed", [0, 1])
def test_labels_losses_and_gradients_are_the_oracle_s(batch, seed):
    case = make_case(batch, seed=seed, with_objectness=False)
    expected, gradients = run_oracle(case)
    leaves, gt, strategy = leaves_of(case), case.ground_truth(), GuidedAnchoring()
    losses, _ = strategy(predictions_of(leaves), GRID, gt)
    sum(losses.values()).backward()

    with torch.no_grad():
        result = strategy.assign(predictions_of(leaves), GRID, gt)
    learned = result.pairs.select(result.winners)
    assert dense_assignment(learned, gt, GRID).tolist() == expected.assigned
    assert dense_assignment(matched_shapes(GRID, gt), gt, GRID).tolist() == expected.shapes
    is_center, is_ignored = center_regions(GRID, gt)
    labels = torch.where(is_center, 1, torch.where(is_ignored, -1, 0))
    assert labels.tolist() == expected.centers
    assert set(losses) == set(expected.losses)
    for name, value in expected.losses.items():
        assert relative_error(losses[name].detach(), value.detach()) <= 1e-9, name
    for name, gradient in gradients.items():
        assert relative_error(leaves[name].grad, gradient) <= 1e-8, name


def one_object(side: float) -> GroundTruth:
    """A square of this side around (64, 64)."""
    low, high = 64 - side / 2, 64 + side / 2
    box = torch.tensor([[low, low, high, high]]).double()
    return GroundTruth(box, torch.tensor([0]), (1,))


def test_center_regions_by_hand():
    # 8 strides of the second level. Its center region, 25.6 px wide, holds 64 alone; the region
    # around it, 64 px wide, holds 48, 64 and 80, and at stride 8 40, ..., 88.
    grid = make_grid((8, 16, 32, 64), tuple((128 // s, 128 // s) for s in (8, 16, 32, 64)), CPU)
    is_center, is_ignored = center_regions(grid, one_object(128.0))
    counts = [
        [int(x.sum()) for x in mask[0].split(grid.level_lengths)]
        for mask in (is_center, is_ignored)
    ]
    assert counts == [[0, 1, 0, 0], [7**2, 3**2, 1, 0]]


def test_a_small_object_has_a_center_region():
    grid = make_grid((8, 16), ((16, 16), (8, 8)), CPU)
    is_center, _ = center_regions(grid, one_object(3.0))
    assert is_center[0].nonzero().squeeze(1).tolist() == [8 * 16 + 8]


def test_shape_loss_by_hand():
    # The object is as wide as an anchor of stride 8 and twice as high: log 2 is missing.
    grid = make_grid((8,), ((1, 1),), CPU)
    gt = GroundTruth(torch.tensor([[-32.0, -64.0, 32.0, 64.0]]).double(), torch.tensor([0]), (1,))
    predictions = Predictions(
        cls_logits=torch.zeros(1, 1, 2).double(),
        ltrb=torch.ones(1, 1, 4).double(),
        extra={
            "anchor_location": torch.zeros(1, 1, 1).double(),
            "anchor_shape": torch.zeros(1, 1, 2).double(),
        },
    )
    losses, _ = GuidedAnchoring()(predictions, grid, gt)
    assert losses["loss_shape"].item() == pytest.approx(0.1 * (0.5 - 0.1))


@pytest.mark.parametrize(
    ("box", "stride"),
    [
        ([0.0, 0.0, 1333.0, 800.0], 64),  # larger than all sampled anchors
        ([0.0, 0.0, 20.0, 10.0], 8),  # smaller
        ([100.0, 400.0, 1100.0, 410.0], 16),  # of another ratio; the best location is beside it
    ],
)
def test_an_object_that_no_sampled_anchor_fits_is_learned_where_one_fits_best(box, stride):
    grid = make_grid((8, 16, 32, 64), tuple((800 // s, 1344 // s) for s in (8, 16, 32, 64)), CPU)
    gt = GroundTruth(torch.tensor([box]), torch.tensor([0]), (1,))
    pairs = matched_shapes(grid, gt)
    assert grid.location_strides[pairs.locations].tolist() == [stride]


def test_an_untrained_detector_has_anchors():
    model = narrow_model(*head_options("GuidedAnchoring"))
    output = model.head([torch.zeros(1, 32, n, n) for n in (16, 8, 4, 2)])
    assert (model.label_assignment.scores(output) > 0).all()


def test_locations_without_an_anchor_have_no_score():
    predictions = Predictions(
        cls_logits=torch.zeros(1, 2, 3),
        ltrb=torch.ones(1, 2, 4),
        extra={"anchor_location": torch.tensor([[[-5.0], [-4.0]]])},
    )
    assert GuidedAnchoring().scores(predictions)[0].tolist() == [[0.0] * 3, [0.5] * 3]


def test_features_are_adapted_to_the_shape_without_a_gradient_to_it():
    layer = FeatureAdaption(8, 2).double()
    layer.reset_offsets()
    x = torch.randn(1, 8, 5, 6).double()
    guide = torch.zeros(1, 2, 5, 6).double().requires_grad_()
    # Without shifts it is a convolution.
    torch.testing.assert_close(
        layer(x, guide), torch.conv2d(x, layer.conv.weight, padding=1).relu()
    )
    output = layer(x, guide + 1)
    assert not torch.allclose(output, layer(x, guide))
    output.sum().backward()
    assert guide.grad is None
    assert layer.offset.weight.grad.abs().max() > 0


def test_the_head_predicts_shapes_before_it_adapts_features():
    options = ("MODEL.LABEL_ASSIGNMENT.NAME", "GuidedAnchoring")
    model = narrow_model(*options, "MODEL.POINT_HEAD.OBJECTNESS", "none")
    features = [torch.randn(1, 32, n, n) for n in (16, 8, 4, 2)]
    before = model.head(features)
    with torch.no_grad():
        model.head.box_adaption.conv.weight.normal_()
        model.head.cls_adaption.conv.weight.normal_()
    after = model.head(features)
    for name, values in before.extra.items():
        assert torch.equal(values, after.extra[name])
    assert not torch.equal(before.ltrb, after.ltrb)
    assert not torch.equal(before.cls_logits, after.cls_logits)
    assert not hasattr(narrow_model().head, "box_adaption")
    losses = model.train()([image_input([[10.0, 12.0, 60.0, 70.0]], [1])])
    assert losses["loss_shape"] > 0
