"""DSLA against hand-computed labels, an oracle in loops, and what must hold for any batch."""

from __future__ import annotations

import math
import re
from dataclasses import asdict

import pytest
import torch
import torch.distributed as dist
from assignment_cases import GRID, SIZES, STRIDES, Case, make_case, relative_error
from dsla_oracle import Options, oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from torch import Tensor

from autoassign.modeling import Grid, GroundTruth, Predictions, build_label_assignment, make_grid
from autoassign.modeling.assignment import DSLA, pair_levels

CROWD = [(5 * (i % 9), 9 * (i // 9), 12 + i % 29, 10 + i % 23, i % 2) for i in range(40)]
TINY = [(9, 9, 3, 3, 0), (90, 60, 2, 2, 2)]
ORDINARY = [(5, 5, 50, 40, 1), (20, 10, 45, 45, 1), (8, 3, 20, 50, 0)]
LARGE = [(-30, -20, 140, 100, 2), (0, 0, 95, 63, 1)]
LOSSES = {"loss_cls", "loss_box"}


def make_dsla(options: Options) -> DSLA:
    arguments = asdict(options)
    return DSLA(center_sampling_radius=arguments.pop("radius"), **arguments)


def run(
    case: Case, options: Options | None = None, dtype: torch.dtype = torch.float64
) -> tuple[dict[str, Tensor], dict[str, Tensor | None], dict[str, Tensor]]:
    """Losses, gradients of their sum, statistics."""
    leaves = case.leaves(dtype)
    losses, statistics = make_dsla(options or Options())(
        case.predictions(leaves), GRID, case.ground_truth(dtype)
    )
    sum(losses.values()).backward()
    names = [name for name in ("cls_logits", "ltrb", "obj_logits") if name in leaves]
    return losses, {name: leaves[name].grad for name in names}, statistics


def labels_of(box: list[float], grid: Grid, **options: object) -> dict[tuple[int, int], float]:
    """(level, location) → label of all pairs of one object where the label is positive."""
    gt = GroundTruth(torch.tensor([box]), torch.tensor([0]), (1,))
    dsla = DSLA(**{"center_sampling_radius": None, **options})
    pairs, center_score, scale_score = dsla.pair_scores(grid, gt)
    labels = center_score * scale_score
    levels = pair_levels(pairs, grid).tolist()
    locations = pairs.locations.tolist()
    return {
        (level, location): round(label, 6)
        for level, location, label in zip(levels, locations, labels.tolist(), strict=True)
        if label > 0
    }


ONE_LEVEL = make_grid((8,), ((4, 4),), torch.device("cpu"))


def test_center_score_by_hand():
    # Of a box from (4, 4) to (20, 20) the locations 8 and 16 are inside, distances 4 and 12 or
    # 12 and 4 in each axis: √(4/12 · 4/12) = 1/3. The center 12 lies half a stride from both.
    assert labels_of([4, 4, 20, 20], ONE_LEVEL, core_zone=False) == {
        (0, j): round(1 / 3, 6) for j in (5, 6, 9, 10)
    }


def test_core_zone_includes_its_border():
    assert labels_of([4, 4, 20, 20], ONE_LEVEL) == {(0, j): 1.0 for j in (5, 6, 9, 10)}
    # One pixel to the right, the center is 13: 8 is 5 px away, more than half a stride.
    labels = labels_of([5, 4, 21, 20], ONE_LEVEL)
    assert labels[(0, 6)] == labels[(0, 10)] == 1.0
    assert labels[(0, 5)] == labels[(0, 9)] == pytest.approx((3 / 13 * 4 / 12) ** 0.5, abs=1e-6)


def test_center_sampling_cuts_the_box_strictly():
    # Center 16; 1.5 · 8 = 12: 8, 16, 24 are nearer. Radius 1: 8 and 24 lie on the border.
    box = [-10.0, -10.0, 42.0, 42.0]
    assert len(labels_of(box, ONE_LEVEL, center_sampling_radius=1.5)) == 9
    assert set(labels_of(box, ONE_LEVEL, center_sampling_radius=1.0)) == {(0, 10)}


@pytest.mark.parametrize(
    ("size", "scores"),
    [
        # Ranges [0, 64], [64, 128], [128, 1e8]; widened [0, 76], [51, 153], [102, ...].
        (50, (1, 0, 0)),
        (51, (1, 0, 0)),
        (57.5, (1, 6.5 / 13, 0)),
        (64, (1, 1, 0)),
        (70, (6 / 12, 1, 0)),
        (76, (0, 1, 0)),
        (115, (0, 1, 13 / 26)),
        (128, (0, 1, 1)),
        (140.5, (0, 12.5 / 25, 1)),
        (5000, (0, 0, 1)),
    ],
)
def test_scale_score_by_hand(size, scores):
    # The location at 0 with the box around it: size is the greatest distance.
    grid = make_grid((8, 16, 32), ((1, 1), (1, 1), (1, 1)), torch.device("cpu"))
    gt = GroundTruth(torch.tensor([[-1.0, -1.0, 1.0, size]]), torch.tensor([0]), (1,))
    for relaxation, expected in ((0.2, scores), (None, [float(s == 1) for s in scores])):
        dsla = DSLA(center_sampling_radius=None, relaxation=relaxation)
        pairs, _, scale_score = dsla.pair_scores(grid, gt)
        per_level = torch.zeros(3).index_put((pairs.locations,), scale_score)
        torch.testing.assert_close(per_level, torch.tensor(expected).float())


ALL_OPTIONS = [
    Options(),
    Options(radius=1.5, box_loss="giou", cls_loss_weight=1.0),
    Options(relaxation=None),
    Options(core_zone=False, relaxation=0.4),
    Options(iou_coupling=False),
]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
@pytest.mark.parametrize("with_objectness", [False, True])
def test_losses_and_gradients_are_the_oracle_s(options, with_objectness):
    case = make_case([ORDINARY, [], LARGE, TINY], with_objectness=with_objectness)
    leaves = case.leaves()
    loss_cls, loss_box, assigned = oracle(
        leaves["cls_logits"],
        leaves["ltrb"],
        leaves.get("obj_logits"),
        strides=STRIDES,
        sizes=SIZES,
        boxes=case.boxes,
        classes=case.classes,
        options=options,
    )
    (loss_cls + loss_box).backward()
    losses, gradients, statistics = run(case, options)
    assert relative_error(losses["loss_cls"], loss_cls) <= 1e-7
    assert relative_error(losses["loss_box"], loss_box) <= 1e-7
    for name, gradient in gradients.items():
        assert relative_error(gradient, leaves[name].grad) <= 1e-7, name
    positives = [x for image in assigned for x in image if x is not None]
    assert statistics["num_positives"] == len(positives) > 0


@settings(max_examples=20)
@given(st.permutations(range(len(ORDINARY))), st.integers(0, 50))
def test_order_of_objects_does_not_matter_without_ties(order, seed):
    expected, gradients, _ = run(make_case([ORDINARY], seed=seed))
    actual, permuted, _ = run(make_case([[ORDINARY[i] for i in order]], seed=seed))
    for name in LOSSES:
        assert relative_error(actual[name], expected[name]) <= 1e-12
    for name, gradient in gradients.items():
        assert relative_error(permuted[name], gradient) <= 1e-12


def test_of_equal_labels_the_first_object_wins():
    # The same box twice, with two classes: every location ties.
    box = (5, 5, 50, 40)
    case = make_case([[(*box, 2), (*box, 1)]])
    predictions, gt = case.predictions(case.leaves()), case.ground_truth()
    explanation = DSLA().explain(predictions, GRID, gt)
    label = explanation.maps["label"]
    assert label[explanation.pairs.objects == 0].sum() > 0
    assert label[explanation.pairs.objects == 1].sum() == 0


def test_a_location_learns_one_object_and_the_explanation_shows_what_is_learned():
    case = make_case([CROWD, ORDINARY])
    predictions, gt = case.predictions(case.leaves()), case.ground_truth()
    explanation = make_dsla(Options()).explain(predictions, GRID, gt)
    label, pairs = explanation.maps["label"], explanation.pairs
    learned = pairs.batch_locations[label > 0]
    assert len(learned.unique()) == len(learned)
    assert explanation.primary in explanation.maps
    # The class target is what the loss divides by.
    _, _, statistics = run(case)
    target = explanation.maps["class target"]
    assert target.sum().item() == pytest.approx(
        (statistics["mean_class_target"] * statistics["num_positives"]).item()
    )


@pytest.mark.parametrize("images", [[[], []], [TINY, []], [ORDINARY, []]])
@pytest.mark.parametrize("with_objectness", [True, False])
def test_same_losses_connected_to_every_input(images, with_objectness):
    losses, gradients, _ = run(make_case(images, with_objectness=with_objectness))
    assert set(losses) == LOSSES
    assert losses["loss_cls"] > 0
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name


def test_objects_without_a_positive_location_are_counted():
    _, _, statistics = run(make_case([TINY, ORDINARY]))
    assert statistics["num_objects_without_positive"] == 2


@pytest.mark.parametrize("value", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_logits_and_distances_give_finite_losses(value):
    case = make_case([CROWD, LARGE], zero_share=0.3, huge_share=0.3)
    case.cls_logits.fill_(value)
    losses, gradients, _ = run(case, dtype=torch.float32)
    for name, tensor in {**losses, **gradients}.items():
        assert tensor.isfinite().all(), name


def test_the_least_iou_of_the_loss_is_a_millionth():
    # One location, (8, 8), in an object of 16 × 16 pixels: label 1. The predicted box is a square
    # of side 2d around it, its IoU 4d² / 256: one of d = 0.001 counts as 10⁻⁶.
    gt = GroundTruth(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([0]), (1,))
    grid = make_grid((8,), ((2, 2),), torch.device("cpu"))
    for d, iou in ((0.1, 4 * 0.01 / 256), (0.001, 1e-6)):
        predictions = Predictions(cls_logits=torch.zeros(1, 4, 1), ltrb=torch.full((1, 4, 4), d))
        losses, _ = DSLA(center_sampling_radius=None)(predictions, grid, gt)
        assert losses["loss_box"].item() == pytest.approx(-math.log(iou), rel=1e-4)


def test_float32_agrees_with_float64():
    case = make_case([CROWD, ORDINARY, LARGE])
    single, gradients, _ = run(case, dtype=torch.float32)
    double, expected, _ = run(case)
    for name in LOSSES:
        assert relative_error(single[name].double(), double[name]) <= 1e-5
    for name, gradient in expected.items():
        assert relative_error(gradients[name].double(), gradient) <= 1e-4


@pytest.mark.parametrize("images", [[[]], [CROWD]], ids=["empty", "objects"])
def test_normalizers_are_means_over_workers(monkeypatch, images):
    case = make_case(images)
    alone, _, _ = run(case)
    reduced = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", reduced.append)
    together, _, _ = run(case)
    assert len(reduced) == 1  # also without objects, or the other worker would wait for ever
    factor = 2 if images == [CROWD] else 1
    for name in LOSSES:
        assert together[name].item() == pytest.approx(factor * alone[name].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("BOX_LOSS", "diou", "is 'diou'; it must be one of: giou, iou_log"),
        ("RELAXATION", 1.5, "is 1.5; it must be greater than 0 and less than 1"),
        ("CLS_LOSS_WEIGHT", -1.0, "is -1.0; it must be at least 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_names_the_option(option, value, message):
    key = f"MODEL.LABEL_ASSIGNMENT.DSLA.{option}"
    cfg = narrow_cfg("MODEL.LABEL_ASSIGNMENT.NAME", "DSLA", key, value)
    with pytest.raises(ValueError, match=re.escape(f"{key} {message}")):
        build_label_assignment(cfg)
