"""AutoAssign with parts of its weighting switched off, as in Tables 2 to 4 of the paper."""

from __future__ import annotations

import pytest
import torch
from assignment_cases import GRID, NUM_CLASSES, make_case, run_assignment
from narrow_model import narrow_cfg
from torch import Tensor

from autoassign.modeling import build_label_assignment
from autoassign.modeling.assignment import AutoAssign, segment_sum
from autoassign.modeling.assignment.autoassign_pairs import PairWeights

OBJECTS = [[(5, 5, 50, 40, 1), (20, 10, 45, 45, 1), (8, 3, 20, 50, 0)], [], [(9, 9, 3, 3, 2)]]
CASE = make_case(OBJECTS)


def build(**options: object) -> AutoAssign:
    return AutoAssign(num_classes=NUM_CLASSES, **options).double()


def pair_weights(assignment: AutoAssign) -> PairWeights:
    return assignment.pair_weights(CASE.predictions(CASE.leaves()), GRID, CASE.ground_truth())


def losses_of(assignment: AutoAssign) -> dict[str, Tensor]:
    leaves = CASE.leaves()
    losses, _ = assignment(CASE.predictions(leaves), GRID, CASE.ground_truth())
    sum(losses.values()).backward()
    assert all(leaves[name].grad is not None for name in ("cls_logits", "ltrb", "obj_logits"))
    return losses


def sums_per_object(values: Tensor, weights: PairWeights) -> Tensor:
    return segment_sum(values, weights.pairs.objects, len(weights.pairs.is_fallback))


def test_everything_off_weighs_all_inside_locations_alike():
    assignment = build(
        center_weighting="none", confidence_weighting="none", negative_weighting=False
    )
    weights = pair_weights(assignment)
    count = sums_per_object(torch.ones_like(weights.log_positive), weights)
    torch.testing.assert_close(weights.log_positive.exp(), 1 / count[weights.pairs.objects])

    losses = losses_of(assignment)
    assert set(losses) == {"loss_pos", "loss_neg"}
    # -log of the mean joint confidence of each object.
    mean = sums_per_object(weights.log_joint.exp(), weights) / count
    expected = 0.25 * -mean.log().sum() / len(mean)
    torch.testing.assert_close(losses["loss_pos"], expected, rtol=1e-9, atol=0)
    prob = CASE.cls_logits.sigmoid() * CASE.obj_logits.sigmoid()[..., None]
    negative = (prob**2 * -(1 - prob).log()).sum()
    # Σ G is the number of pairs.
    expected = 0.75 * negative / len(weights.pairs.objects)
    torch.testing.assert_close(losses["loss_neg"], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("confidence", "of"),
    [
        ("none", lambda cls, loc: 0 * cls),
        ("classification", lambda cls, loc: cls),
        ("localization", lambda cls, loc: loc),
        ("joint", lambda cls, loc: cls * loc),
    ],
)
def test_the_confidence_weight_is_made_of_what_is_named(confidence, of):
    weights = pair_weights(build(confidence_weighting=confidence))
    # λ = 0 leaves the classification alone in P.
    only_cls = build(location_weight=0.0)
    cls = pair_weights(only_cls).log_joint.exp()
    loc = weights.log_joint.exp() / cls
    torch.testing.assert_close(weights.log_confidence, 3 * of(cls, loc), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("confidence", ["none", "classification", "localization"])
def test_the_confidence_that_is_left_out_stays_in_the_loss(confidence):
    weights = pair_weights(build(confidence_weighting=confidence))
    torch.testing.assert_close(weights.log_joint, pair_weights(build()).log_joint)


def test_a_fixed_prior_is_the_learned_one_at_its_start_without_parameters():
    fixed, learned = build(center_weighting="fixed"), build()
    weights = pair_weights(fixed)
    torch.testing.assert_close(weights.log_center, pair_weights(learned).log_center)
    assert not list(fixed.parameters())
    assert not fixed.state_dict()
    assert set(losses_of(fixed)) == {"loss_pos", "loss_neg"}


def test_a_shared_prior_is_one_row_that_all_classes_move():
    shared, category = build(center_weighting="shared"), build()
    with torch.no_grad():
        for assignment in (shared, category):
            assignment.mu.copy_(torch.tensor([[0.3, -0.2]]))
            assignment.sigma.copy_(torch.tensor([[1.5, 0.7]]))
    assert shared.mu.shape == shared.sigma.shape == (1, 2)
    losses, expected = losses_of(shared), losses_of(category)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    torch.testing.assert_close(shared.mu.grad, category.mu.grad.sum(dim=0, keepdim=True))


def test_without_negative_weighting_every_negative_weight_is_one():
    assignment = build(negative_weighting=False)
    inputs = (CASE.predictions(CASE.leaves()), GRID, CASE.ground_truth())
    assert assignment.explain(*inputs).maps["negative weight"].eq(1).all()
    assert build().explain(*inputs).maps["negative weight"].min() == 0
    # The weights only ever lessen the loss.
    assert losses_of(assignment)["loss_neg"] > losses_of(build())["loss_neg"]


def test_the_explanation_shows_the_numbers_of_the_loss():
    assignment = CASE.assignment()
    predictions, gt = CASE.predictions(CASE.leaves()), CASE.ground_truth()
    explanation = assignment.explain(predictions, GRID, gt)
    weights = assignment.pair_weights(predictions, GRID, gt)
    maps = explanation.maps
    product = maps["center weight"] * maps["confidence weight"]
    positive = product / sums_per_object(product, weights)[weights.pairs.objects]
    torch.testing.assert_close(maps["positive weight"], positive)
    joint = weights.log_joint.exp()
    loss = -sums_per_object(maps["positive weight"] * joint, weights).log().sum()
    expected = run_assignment(CASE).losses["loss_pos"]
    torch.testing.assert_close((0.25 * loss / len(gt.boxes)).detach(), expected)
    assert not any(values.requires_grad for values in maps.values())


@pytest.mark.parametrize("option", ["CENTER_WEIGHTING", "CONFIDENCE_WEIGHTING"])
def test_a_value_that_is_not_allowed_is_an_error_that_names_the_option(option):
    cfg = narrow_cfg(f"MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.{option}", "class")
    with pytest.raises(ValueError, match=rf"AUTOASSIGN\.{option} is 'class'; it must be one of"):
        build_label_assignment(cfg)
