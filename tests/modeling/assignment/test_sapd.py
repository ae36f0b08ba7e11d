"""SAPD's levels, weights and losses by hand and against an oracle in loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import sapd_oracle
import torch
from assignment_cases import NUM_CLASSES, SIZES, STRIDES, Case, make_case, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_model import narrow_cfg
from prediction_cases import CPU, CROWD, LARGE, ORDINARY, TINY, dense_assignment
from sapd_oracle import OracleResult
from torch import Tensor

from autoassign.modeling import GroundTruth, Predictions, build_label_assignment, make_grid
from autoassign.modeling.assignment import SAPD

GRID = make_grid(STRIDES, SIZES, CPU, 0.5)
LOCATIONS = [
    (x, y, int(stride), int(level))
    for (x, y), stride, level in zip(
        GRID.locations.tolist(),
        GRID.location_strides.tolist(),
        GRID.location_levels.tolist(),
        strict=True,
    )
]
CHANNELS = 3


def make_strategy(seed: int = 0, **options: float) -> SAPD:
    """A strategy whose selection network prefers some levels clearly."""
    torch.manual_seed(seed)
    sapd = SAPD(
        num_levels=len(STRIDES), feature_channels=CHANNELS, hard_selection_iters=0, **options
    ).double()
    for parameter in sapd.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return sapd


def make_features(num_images: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(num_images, CHANNELS, *size) for size in SIZES]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]


def leaves_of(case: Case) -> dict[str, Tensor]:
    return {k: x for k, x in case.leaves().items() if k in ("cls_logits", "ltrb")}


def run_oracle(case: Case, sapd: SAPD, *, is_hard: bool) -> tuple[OracleResult, list[Tensor]]:
    """The oracle's result and the gradients of the sum of its losses."""
    leaves, features = leaves_of(case), make_features(len(case.boxes))
    network = {k: x.detach().clone().requires_grad_() for k, x in _network(sapd).items()}
    result = sapd_oracle.oracle(
        **leaves,
        features=features,
        network=network,
        locations=LOCATIONS,
        boxes=case.boxes,
        classes=case.classes,
        eta=sapd.center_power,
        is_hard=is_hard,
    )
    losses = result.losses
    (losses["loss_cls"] + losses["loss_box"] + 0.1 * losses["loss_selection"]).backward()
    return result, [x.grad for x in (*leaves.values(), *features, *network.values())]


def _network(sapd: SAPD) -> dict[str, Tensor]:
    return dict(sapd.selection.named_parameters())


def assert_equals_oracle(case: Case, sapd: SAPD, *, is_hard: bool = False) -> None:
    expected, gradients = run_oracle(case, sapd, is_hard=is_hard)
    leaves, features = leaves_of(case), make_features(len(case.boxes))
    predictions = Predictions(**leaves, features=tuple(features))
    sapd.hard_selection_iters = 1 if is_hard else 0
    losses, _ = sapd(predictions, GRID, case.ground_truth())
    sum(losses.values()).backward()
    expected_losses = {**expected.losses, "loss_selection": 0.1 * expected.losses["loss_selection"]}
    for name, value in expected_losses.items():
        assert relative_error(losses[name].detach(), value.detach()) <= 1e-9, name
    tensors = (*leaves.values(), *features, *_network(sapd).values())
    for number, (tensor, gradient) in enumerate(zip(tensors, gradients, strict=True)):
        if gradient is not None:
            assert relative_error(tensor.grad, gradient) <= 1e-8, number
    if not is_hard:
        explanation = sapd.explain(predictions, GRID, case.ground_truth())
        weight = explanation.maps["weight"]
        learned = explanation.pairs.select((weight > 0).nonzero().squeeze(1))
        dense = dense_assignment(learned, case.ground_truth(), GRID)
        assert dense.tolist() == expected.assigned


coordinates = st.integers(-40, 440).map(lambda x: x / 4 + 0.01)
sides = st.one_of(st.integers(1, 40), st.integers(1, 1200)).map(lambda x: x / 4 + 0.013)
objects = st.tuples(coordinates, coordinates, sides, sides, st.integers(0, NUM_CLASSES - 1))


@settings(max_examples=10)
@given(
    st.lists(st.lists(objects, max_size=4), min_size=1, max_size=2),
    st.integers(0, 50),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.booleans(),
)
def test_losses_and_gradients_are_the_oracle_s(batch, seed, eta, is_hard):
    case = make_case(batch, seed=seed, with_objectness=False, zero_share=0.2)
    assert_equals_oracle(case, make_strategy(seed, center_power=eta), is_hard=is_hard)


@pytest.mark.parametrize("batch", [[CROWD], [LARGE, [], ORDINARY], [TINY, ORDINARY]])
def test_hard_batches_are_learned_as_by_the_oracle(batch):
    assert_equals_oracle(make_case(batch, with_objectness=False), make_strategy())


# One location of each of four levels at (0, 0), in the core of the object.
FOUR = make_grid((8, 16, 32, 64), ((1, 1),) * 4, CPU)
CENTERED = GroundTruth(torch.tensor([[-20.0, -20.0, 20.0, 20.0]]).double(), torch.tensor([0]), (1,))


def four_levels(
    distances: list[float], hard_selection_iters: int = 0, **options: float
) -> tuple[SAPD, Predictions]:
    """A selection network that gives the levels 0.4, 0.3, 0.2 and 0.1 for any features."""
    sapd = SAPD(
        num_levels=4, feature_channels=1, hard_selection_iters=hard_selection_iters, **options
    ).double()
    with torch.no_grad():
        sapd.selection.level_score.weight.zero_()
        sapd.selection.level_score.bias.copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())
    ltrb = torch.tensor(distances).double()[None, :, None].expand(1, 4, 4)
    return sapd, Predictions(
        cls_logits=torch.zeros(1, 4, 2).double(),
        ltrb=ltrb,
        features=tuple(torch.zeros(1, 1, 1, 1).double() for _ in range(4)),
    )


def test_the_three_levels_of_least_loss_have_the_network_s_probabilities():
    sapd, predictions = four_levels([5.0, 10.0, 20.0, 15.0])
    maps = sapd.explain(predictions, FOUR, CENTERED).maps
    assert maps["level weight"].tolist() == pytest.approx([0, 0.3, 0.2, 0.1])
    assert maps["center weight"].tolist() == [1, 1, 1, 1]
    losses, statistics = sapd(predictions, FOUR, CENTERED)
    # The network is taught level 2; the sum of weights 0.6 counts as 1.
    assert losses["loss_selection"].item() == pytest.approx(-0.1 * math.log(0.2))
    error = 0.3 * math.log(4) + 0.1 * math.log(16 / 9)
    assert losses["loss_box"].item() == pytest.approx(error)
    positive, negative = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    # A level that is not chosen is background, with weight 1.
    assert losses["loss_cls"].item() == pytest.approx(0.6 * (positive + negative) + 2 * negative)
    assert statistics["num_positives"] == 3
    assert statistics["selection_accuracy"] == 0


def test_at_first_an_object_is_learned_at_one_level():
    sapd, predictions = four_levels([5.0, 10.0, 20.0, 15.0], hard_selection_iters=10)
    losses, statistics = sapd(replace(predictions, iteration=9), FOUR, CENTERED)
    assert statistics["num_positives"] == 1
    assert losses["loss_box"].item() == pytest.approx(0, abs=1e-12)
    _, statistics = sapd(replace(predictions, iteration=10), FOUR, CENTERED)
    assert statistics["num_positives"] == 3


def test_center_weight_by_hand():
    sapd, predictions = four_levels([20.0] * 4, center_power=2.0)
    gt = replace(CENTERED, boxes=torch.tensor([[-20.0, -40.0, 24.0, 50.0]]).double())
    maps = sapd.explain(predictions, FOUR, gt).maps
    assert maps["center weight"].tolist() == pytest.approx([(10 / 12 * 20 / 25) ** 2] * 4)


def test_the_smallest_of_the_objects_that_a_level_learns_wins():
    # By the least losses, the first is learned at levels 0, 2 and 3, the smaller one at 1, 2 and 3.
    sapd, predictions = four_levels([76.0, 40.0, 42.0, 44.0])
    gt = GroundTruth(
        torch.tensor([[-80.0, -80.0, 80.0, 80.0], [-40.0, -40.0, 40.0, 40.0]]).double(),
        torch.tensor([0, 1]),
        (2,),
    )
    explanation = sapd.explain(predictions, FOUR, gt)
    learned = explanation.pairs.select((explanation.maps["weight"] > 0).nonzero().squeeze(1))
    assert dense_assignment(learned, gt, FOUR)[0].tolist() == [0, 1, 1, 1]


def test_no_gradient_flows_through_the_weights():
    sapd, predictions = four_levels([5.0, 10.0, 20.0, 15.0], selection_loss_weight=0.0)
    losses, _ = sapd(predictions, FOUR, CENTERED)
    sum(losses.values()).backward()
    assert sapd.selection.level_score.bias.grad.abs().max() == 0


def test_hard_selection_lasts_a_share_of_the_training():
    cfg = narrow_cfg("MODEL.LABEL_ASSIGNMENT.NAME", "SAPD", "SOLVER.MAX_ITER", 300)
    assert build_label_assignment(cfg).hard_selection_iters == 150
    cfg.MODEL.LABEL_ASSIGNMENT.SAPD.HARD_SELECTION_SHARE = 1.5
    with pytest.raises(ValueError, match=r"SAPD\.HARD_SELECTION_SHARE is 1\.5"):
        build_label_assignment(cfg)
