"""What the strategies with one object per location share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from narrow_model import narrow_cfg

from autoassign.modeling import Grid, GroundTruth, Pairs, build_label_assignment
from autoassign.modeling.assignment import centerness, level_ranges, select_winners


def pairs_of(objects: list[int], locations: list[int]) -> Pairs:
    where = torch.tensor(locations, dtype=torch.long)
    return Pairs(
        objects=torch.tensor(objects, dtype=torch.long),
        locations=where,
        batch_locations=where,
        is_fallback=torch.zeros(10, dtype=torch.bool),
    )


def winners_of(values: torch.Tensor, pairs: Pairs, **options) -> list[int]:
    grid = Grid(strides=(8,), sizes=((2, 4),), device=torch.device("cpu"))
    gt = GroundTruth(torch.zeros(10, 4), torch.zeros(10, dtype=torch.long), (10,))
    return select_winners(values, pairs, grid, gt, **options).tolist()


def test_level_ranges_are_fcos_s():
    assert level_ranges((8, 16, 32, 64, 128)) == [
        (0, 64),
        (64, 128),
        (128, 256),
        (256, 512),
        (512, 1e8),
    ]
    assert level_ranges((16,)) == [(0, 1e8)]


def test_centerness_by_hand():
    ltrb = torch.tensor([[1.0, 2.0, 4.0, 2.0], [3.0, 3.0, 3.0, 3.0], [0.0, 1.0, 5.0, 1.0]])
    assert centerness(ltrb).tolist() == [0.5, 1.0, 0.0]


def test_the_least_denominator_of_centerness_is_a_hundredth_of_a_pixel():
    # √(0.001 / 0.01 · 1) of a box that is 0.004 pixels wide, and 0.1 pixels are wide enough.
    ltrb = torch.tensor([[0.001, 1.0, 0.003, 1.0], [0.05, 1.0, 0.1, 1.0]])
    assert centerness(ltrb).tolist() == pytest.approx([0.1**0.5, 0.5**0.5])


@pytest.mark.parametrize("strategy", ["DSLA", "FCOS"])
@pytest.mark.parametrize("radius", [0.0, -1.5])
def test_a_radius_that_has_no_candidates_is_an_error(strategy, radius):
    cfg = narrow_cfg("MODEL.LABEL_ASSIGNMENT.NAME", strategy)
    cfg.MODEL.LABEL_ASSIGNMENT[strategy].CENTER_SAMPLING_RADIUS = radius
    with pytest.raises(ValueError, match=rf"{strategy}\.CENTER_SAMPLING_RADIUS is {radius}"):
        build_label_assignment(cfg)


def test_the_greatest_value_wins_a_location():
    pairs = pairs_of([0, 0, 1, 2], [5, 7, 5, 5])
    values = torch.tensor([0.1, 0.2, 0.9, 0.3])
    assert winners_of(values, pairs) == [1, 2]
    allowed = torch.tensor([True, False, False, True])
    assert winners_of(values, pairs, where=allowed) == [3]


def test_of_equal_values_the_first_object_wins():
    values = torch.tensor([0.4, 0.5, 0.5])
    assert winners_of(values, pairs_of([1, 2, 3], [4, 4, 4])) == [1]


def test_minus_infinity_never_wins():
    values = torch.tensor([-torch.inf, -torch.inf, -2.0])
    assert winners_of(values, pairs_of([0, 1, 1], [0, 0, 3])) == [2]


def test_no_pairs_no_winners():
    assert winners_of(torch.zeros(0), pairs_of([], [])) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(0, 3)), max_size=30))
def test_winners_are_those_of_a_loop(rows):
    rows = sorted({(obj, location): value for obj, location, value in rows}.items())
    expected = {}
    for (obj, location), value in rows:
        if location not in expected or value > expected[location][0]:
            expected[location] = (value, obj)
    pairs = pairs_of([o for (o, _), _ in rows], [x for (_, x), _ in rows])
    winners = winners_of(torch.tensor([float(v) for _, v in rows]), pairs)
    actual = {int(pairs.locations[i]): int(pairs.objects[i]) for i in winners}
    assert actual == {location: obj for location, (_, obj) in expected.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_of_either_precision(dtype):
    assert winners_of(torch.tensor([1.0, 2.0], dtype=dtype), pairs_of([0, 1], [0, 0])) == [1]
