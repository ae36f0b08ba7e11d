"""AutoAssign against the equations, on batches that are hard to get right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from assignment_cases import (
    GRID,
    NUM_CLASSES,
    Case,
    Object,
    make_case,
    relative_error,
    run_assignment,
    run_oracle,
)
from autoassign_oracle import oracle
from hypothesis import given, settings
from hypothesis import strategies as st

VECTORS = sorted((Path(golden.__file__).parent / "data").glob("autoassign_*.npz"))

SCENARIOS: dict[str, list[list[Object]]] = {
    "overlapping objects of one class": [
        [(5, 5, 50, 40, 1), (20, 10, 45, 45, 1), (8, 3, 20, 50, 1)]
    ],
    "identical boxes of one class": [[(10, 10, 40, 30, 2), (10, 10, 40, 30, 2)]],
    "identical boxes of two classes": [[(10, 10, 40, 30, 2), (10, 10, 40, 30, 0)]],
    "objects without an inside location": [
        [(9, 9, 3, 3, 0), (17, 1, 6, 60, 1), (11.5, 12, 1, 0.5, 2)]
    ],
    "two objects at one nearest location": [[(13, 13, 2, 2, 0), (14, 14, 2, 3, 0)]],
    "edges on locations": [[(8, 8, 16, 16, 0), (16, 0, 16, 32, 1), (0, 0, 96, 64, 2)]],
    "an empty image first": [[], [(5, 5, 50, 40, 1)]],
    "an empty image between": [[(5, 5, 50, 40, 1)], [], [(5, 5, 60, 40, 2), (40, 20, 9, 9, 2)]],
    "an empty image last": [[(5, 5, 50, 40, 1)], []],
    "an empty batch": [[], [], []],
    "partly outside": [[(-30, -20, 60, 60, 0), (70, 40, 80, 80, 1)]],
    "wholly outside": [[(100, 70, 20, 20, 0), (-40, -30, 20, 20, 1), (120, 10, 20, 20, 1)]],
    "larger than the image": [[(-300, -300, 900, 700, 0), (-5, -5, 200, 200, 0)]],
    "a crowd": [
        [(3 * (i % 8) * 3, 7 * (i // 8), 10 + i % 13, 8 + i % 17, i % 2) for i in range(48)],
        [(5, 5, 50, 40, 1)],
    ],
}
# Shares of distances that are 0 and 2000 px.
DISTANCES = {"ordinary": (0.0, 0.0), "zero": (0.4, 0.0), "huge": (0.0, 0.3), "mixed": (0.2, 0.1)}

objects = st.tuples(
    st.integers(-160, 440).map(lambda x: x / 4),
    st.integers(-160, 320).map(lambda x: x / 4),
    st.one_of(st.integers(1, 12), st.integers(1, 400)).map(lambda x: x / 4),
    st.one_of(st.integers(1, 12), st.integers(1, 400)).map(lambda x: x / 4),
    st.integers(0, NUM_CLASSES - 1),
)
batches = st.builds(
    make_case,
    st.lists(st.lists(objects, max_size=8), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    with_objectness=st.booleans(),
    zero_share=st.sampled_from((0.0, 0.05, 0.5)),
    huge_share=st.sampled_from((0.0, 0.05, 0.3)),
)


def assert_equals_oracle(case: Case) -> None:
    actual = run_assignment(case)
    expected, _ = run_oracle(case)
    for name, loss in expected.losses.items():
        assert relative_error(actual.losses[name], loss) <= 1e-9, name
    for name, gradient in expected.gradients.items():
        actual_gradient = actual.gradients[name]
        if name == "ltrb":
            # IoU has a kink where a distance is 0.
            gradient, actual_gradient = gradient[case.ltrb > 0], actual_gradient[case.ltrb > 0]
        assert relative_error(actual_gradient, gradient) <= 1e-6, name


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_oracle_equals_the_reference_vectors(path):
    with np.load(path) as file:
        vectors = dict(file)
    inputs = golden.Inputs(vectors, torch.float64, torch.device("cpu"))
    predictions = inputs.predictions()
    expected = oracle(
        predictions.cls_logits,
        predictions.ltrb,
        predictions.obj_logits,
        mu := torch.tensor(vectors["mu"], dtype=torch.float64, requires_grad=True),
        sigma := torch.tensor(vectors["sigma"], dtype=torch.float64, requires_grad=True),
        strides=inputs.grid.strides,
        sizes=inputs.grid.sizes,
        boxes=list(inputs.gt.boxes.split(inputs.gt.counts)),
        classes=list(inputs.gt.classes.split(inputs.gt.counts)),
    )
    losses = {name: getattr(expected, name) for name in ("loss_pos", "loss_neg", "loss_center")}
    sum(losses.values()).backward()
    weights = {
        f"w_pos_{j}": torch.stack(weights) for j, weights in enumerate(expected.positive_weights)
    }
    gradients = {**inputs.gradients(), "grad_mu": mu.grad, "grad_sigma": sigma.grad}
    for name, tensor in {**losses, **gradients, **weights}.items():
        tolerance = 1e-9 if name in losses else 1e-6
        assert golden.relative_error(name, tensor, vectors) <= tolerance, name


@pytest.mark.parametrize("distances", DISTANCES)
@pytest.mark.parametrize("with_objectness", [True, False], ids=["objectness", "no_objectness"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_equals_oracle(scenario, with_objectness, distances):
    zero_share, huge_share = DISTANCES[distances]
    case = make_case(
        SCENARIOS[scenario],
        with_objectness=with_objectness,
        zero_share=zero_share,
        huge_share=huge_share,
    )
    assert_equals_oracle(case)


@settings(max_examples=150)
@given(batches)
def test_random_batch_equals_oracle(case):
    assert_equals_oracle(case)


def test_predicted_boxes_equal_to_the_objects_equal_oracle():
    # IoU 1, where 1 / (1 - IoU) has no value.
    case = make_case([[(10, 10, 40, 30, 1), (30, 5, 40, 50, 1)]])
    ltrb = case.ltrb.clone()
    x1, y1, x2, y2 = case.boxes[0][0]
    x, y = GRID.locations.double().unbind(dim=-1)
    exact = torch.stack((x - x1, y - y1, x2 - x, y2 - y), dim=-1)
    some_inside = (exact.amin(dim=-1) > 0).nonzero().flatten()[::2]
    ltrb[0, some_inside] = exact[some_inside]
    assert_equals_oracle(replace(case, ltrb=ltrb))


def test_negative_sigma_is_as_good_as_positive():
    case = make_case(SCENARIOS["overlapping objects of one class"])
    assert_equals_oracle(replace(case, sigma=-case.sigma))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_weights_equal_oracle(scenario):
    case = make_case(SCENARIOS[scenario], zero_share=0.1)
    assignment, gt = case.assignment(), case.ground_truth()
    predictions = case.predictions(case.leaves())
    weights = assignment.pair_weights(predictions, GRID, gt)
    pairs = weights.pairs
    negative = assignment.negative_weights(predictions, GRID, gt, [pairs])

    _, expected = run_oracle(case)
    positive = torch.zeros(len(gt.boxes), GRID.num_locations, dtype=torch.float64)
    positive[pairs.objects, pairs.locations] = weights.log_positive.detach().exp()
    rows = [row for image in expected.positive_weights for row in image]
    torch.testing.assert_close(
        positive, torch.stack(rows) if rows else torch.zeros_like(positive), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(negative, expected.negative_weights, rtol=1e-7, atol=1e-9)
