"""Masks and pairs of the regular grid against loops; those inside boxes are in test_grid.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoassign.modeling import Pairs, make_grid
from autoassign.modeling import pairs as module
from autoassign.modeling.pairs import cross_pairs, inside_mask, inside_pairs

CPU = torch.device("cpu")
SIZES = ((6, 9), (3, 5))

coordinates = st.integers(-80, 160).map(lambda x: x / 2)
boxes = st.tuples(coordinates, coordinates, st.integers(0, 120), st.integers(0, 120))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(boxes, st.integers(0, 2)), max_size=8),
    st.sampled_from((0.0, 0.5)),
)
def test_the_mask_is_that_of_the_pairs(rows, offset):
    grid = make_grid((8, 16), SIZES, CPU, offset)
    rows.sort(key=lambda row: row[1])
    corners = torch.tensor([box for box, _ in rows], dtype=torch.float64).view(-1, 4)
    box_tensor = torch.cat((corners[:, :2], corners[:, :2] + corners[:, 2:]), dim=1)
    image_index = torch.tensor([image for _, image in rows], dtype=torch.long)
    expected = torch.zeros(3 * grid.num_locations, dtype=torch.bool)
    pairs = inside_pairs(box_tensor, image_index, grid, fallback=False)
    expected[pairs.batch_locations] = True
    actual = inside_mask(box_tensor, image_index, grid, 3)
    assert torch.equal(actual, expected.view(3, -1))


def test_the_mask_of_a_box_for_each_level():
    grid = make_grid((8, 16), SIZES, CPU)
    per_level = torch.tensor([[[-1.0, -1.0, 9.0, 1.0], [15.0, 15.0, 17.0, 17.0]]])
    mask = inside_mask(per_level, torch.tensor([0]), grid, 1)
    assert mask[0].nonzero().squeeze(1).tolist() == [0, 1, 6 * 9 + 6]


@pytest.mark.parametrize("pairs_at_once", [1, 2**19])
def test_cross_pairs_by_hand(monkeypatch, pairs_at_once):
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", pairs_at_once)
    grid = make_grid((8,), ((1, 4),), CPU)
    mask = torch.tensor([[True, False, False, True], [False] * 4, [False, True, False, False]])
    image_index = torch.tensor([0, 0, 1, 2, 2])
    parts = list(cross_pairs(torch.tensor([1, 2, 3, 4]), mask, image_index, grid))
    assert len(parts) == (4 if pairs_at_once == 1 else 1)
    found = [
        (o, x, b)
        for part in parts
        for o, x, b in zip(
            part.objects.tolist(),
            part.locations.tolist(),
            part.batch_locations.tolist(),
            strict=True,
        )
    ]
    assert found == [(1, 0, 0), (1, 3, 3), (3, 1, 9), (4, 1, 9)]


def test_merged_pairs_are_in_order():
    grid = make_grid((8,), ((1, 4),), CPU)
    image_index = torch.tensor([0, 1])

    def pairs(objects: list[int], locations: list[int]) -> Pairs:
        return Pairs.from_indices(
            torch.tensor(objects).long(), torch.tensor(locations).long(), image_index, grid
        )

    merged, order = Pairs.merge((pairs([0, 1], [2, 3]), pairs([], []), pairs([1, 0], [0, 1])), grid)
    assert merged.objects.tolist() == [0, 0, 1, 1]
    assert merged.locations.tolist() == [1, 2, 0, 3]
    assert merged.batch_locations.tolist() == [1, 2, 4, 7]
    assert order.tolist() == [3, 0, 2, 1]
