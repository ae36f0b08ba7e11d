"""The locations of the levels, and the pairs of objects and locations inside boxes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoassign.modeling import Grid, inside_pairs, make_grid

CPU = torch.device("cpu")
# 4 × 6 and 2 × 3 locations: 0..23 and 24..29.
GRID = make_grid((8, 16), ((4, 6), (2, 3)), CPU)


def pairs_of(boxes: list[tuple[float, ...]], images: list[int] | None = None, grid: Grid = GRID):
    image_index = torch.tensor(images if images else [0] * len(boxes), dtype=torch.long)
    return inside_pairs(torch.tensor(boxes).reshape(-1, 4), image_index, grid)


def test_locations_are_multiples_of_the_stride_row_by_row():
    grid = make_grid((8, 16), ((2, 3), (1, 2)), CPU)
    expected = [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0], [16, 0]]
    assert grid.locations.tolist() == expected
    assert grid.location_strides.tolist() == [8] * 6 + [16] * 2
    assert grid.num_locations == 8
    assert grid.level_starts == [0, 6]
    assert [x.tolist() for x in grid.locations.split(grid.level_lengths)] == [
        expected[:6],
        expected[6:],
    ]


def test_grids_of_one_size_are_shared():
    first = make_grid((8, 16), ((4, 6), (2, 3)), CPU)
    assert make_grid((8, 16), ((4, 6), (2, 3)), CPU) is first
    assert make_grid((8, 16), ((4, 6), (2, 4)), CPU) is not GRID


def test_pairs_counted_by_hand():
    # x 8, 16, 24 (columns 1..3) and y 8, 16 (rows 1, 2) of stride 8; (16, 16) of stride 16.
    pairs = pairs_of([(7.9, 0.1, 24.1, 17.0)])
    assert pairs.objects.tolist() == [0] * 7
    assert pairs.locations.tolist() == [7, 8, 9, 13, 14, 15, 24 + 3 + 1]
    assert pairs.batch_locations.tolist() == pairs.locations.tolist()
    assert pairs.is_fallback.tolist() == [False]


def test_locations_on_the_edges_are_not_inside():
    # Of columns 1..3 and rows 1..3 only (16, 16) of either stride is off the edges.
    pairs = pairs_of([(8.0, 8.0, 24.0, 24.0)])
    assert pairs.locations.tolist() == [2 * 6 + 2, 24 + 3 + 1]


def test_pairs_are_sorted_by_object_and_know_their_image():
    pairs = pairs_of([(15.0, 15.0, 17.0, 17.0), (-1.0, -1.0, 9.0, 1.0)], images=[2, 0])
    assert pairs.objects.tolist() == [0, 0, 1, 1, 1]
    assert pairs.locations.tolist() == [14, 28, 0, 1, 24]
    assert pairs.batch_locations.tolist() == [2 * 30 + 14, 2 * 30 + 28, 0, 1, 24]


@pytest.mark.parametrize(
    ("box", "location"),
    [
        ((9.0, 9.0, 11.0, 11.0), 6 + 1),  # center (10, 10)
        ((13.0, 9.0, 15.0, 11.0), 6 + 2),  # (14, 10)
        ((11.0, 3.0, 13.0, 5.0), 0 * 6 + 2),  # (12, 4): 1.5 and 0.5 round to even
        ((19.0, 11.0, 21.0, 13.0), 2 * 6 + 2),  # (20, 12): 2.5 and 1.5 round to even
        ((8.0, 1.0, 8.0, 31.0), 2 * 6 + 1),  # on the line x = 8
        ((100.0, 90.0, 120.0, 99.0), 3 * 6 + 5),  # outside, clamped to the last
        ((-50.0, 9.0, -40.0, 15.0), 2 * 6 + 0),  # (-45, 12)
        ((45.0, 1.0, 47.0, 5.0), 0 * 6 + 5),  # (46, 3): column 6 is not there
    ],
)
def test_object_without_inside_location_takes_the_nearest_of_the_finest_level(box, location):
    pairs = pairs_of([box, (15.0, 15.0, 17.0, 17.0)])
    assert pairs.is_fallback.tolist() == [True, False]
    assert pairs.locations.tolist() == [location, 14, 28]
    assert pairs.objects.tolist() == [0, 1, 1]


def test_inside_location_on_a_coarse_level_only_is_no_fallback():
    # The coarse level is the wider one, as a padded image may make it.
    grid = make_grid((8, 16), ((1, 2), (1, 3)), CPU)
    pairs = pairs_of([(30.0, -1.0, 34.0, 1.0)], grid=grid)
    assert pairs.locations.tolist() == [2 + 2]
    assert pairs.is_fallback.tolist() == [False]


def test_no_objects_give_no_pairs():
    pairs = pairs_of([])
    assert len(pairs.objects) == len(pairs.locations) == len(pairs.batch_locations) == 0
    assert len(pairs.is_fallback) == 0


eighths = st.integers(-300, 700).map(lambda x: x / 8)
sides = st.one_of(st.integers(0, 60), st.integers(0, 900)).map(lambda x: x / 8)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(eighths, eighths, sides, sides, st.integers(0, 2)), max_size=12),
    st.sampled_from(
        [
            ((8, 16), ((4, 6), (2, 3))),
            ((4, 8, 16, 32, 64), ((9, 7), (5, 4), (3, 2), (2, 1), (1, 1))),
            ((16,), ((3, 5),)),
        ]
    ),
)
def test_pairs_equal_those_found_by_looking_everywhere(objects, levels):
    grid = make_grid(*levels, CPU)
    boxes = torch.tensor([(x, y, x + w, y + h) for x, y, w, h, _ in objects]).reshape(-1, 4)
    image_index = torch.tensor([image for *_, image in objects], dtype=torch.long)
    pairs = inside_pairs(boxes, image_index, grid)

    x, y = grid.locations.unbind(dim=-1)
    expected = []
    for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        inside = ((x > x1) & (x < x2) & (y > y1) & (y < y2)).nonzero().flatten().tolist()
        assert pairs.is_fallback[n] == (not inside)
        if not inside:
            height, width = grid.sizes[0]
            column = min(max(round((x1 + x2) / 2 / grid.strides[0]), 0), width - 1)
            row = min(max(round((y1 + y2) / 2 / grid.strides[0]), 0), height - 1)
            inside = [row * width + column]
        expected += [(n, location) for location in inside]
    assert list(zip(pairs.objects.tolist(), pairs.locations.tolist(), strict=True)) == expected
    shift = image_index[pairs.objects] * grid.num_locations
    assert torch.equal(pairs.batch_locations, pairs.locations + shift)


@pytest.mark.parametrize("sizes", [((4, 6), (2, 3)), ((20, 17), (10, 9)), ((8, 8),), ((1, 129),)])
def test_tiles_hold_every_location_once(sizes):
    grid = make_grid(tuple(8 * 2**i for i in range(len(sizes))), sizes, CPU)
    assert grid.tiles.shape[1] == 64
    flat = grid.tiles.flatten()
    filling = -grid.num_locations % 64
    assert flat[flat.numel() - filling :].eq(-1).all()
    assert flat[: grid.num_locations].sort().values.tolist() == list(range(grid.num_locations))


def test_tiles_hold_neighbours():
    grid = make_grid((8,), ((16, 24),), CPU)
    for tile in grid.tiles:
        extent = grid.locations[tile].amax(dim=0) - grid.locations[tile].amin(dim=0)
        assert extent.tolist() == [7 * 8, 7 * 8]


@settings(max_examples=60)
@given(st.integers(0, 2**20))
def test_pairs_with_half_a_stride_of_offset_are_those_of_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    grid = make_grid((8, 16), ((4, 6), (2, 3)), CPU, 0.5)
    # Quarters of a pixel: many sides lie on locations.
    corners = torch.randint(-40, 240, (3, 2), generator=generator) / 4
    sides = torch.randint(1, 160, (3, 2), generator=generator) / 4
    boxes = torch.cat((corners, corners + sides), dim=1)
    pairs = inside_pairs(boxes, torch.zeros(3, dtype=torch.long), grid)
    actual = set(zip(pairs.objects.tolist(), pairs.locations.tolist(), strict=True))
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        expected = {
            (index, j)
            for j, (x, y) in enumerate(grid.locations.tolist())
            if x1 < x < x2 and y1 < y < y2
        }
        of_object = {pair for pair in actual if pair[0] == index}
        if expected:
            assert of_object == expected
        else:
            assert pairs.is_fallback[index]
            (nearest,) = of_object
            center = torch.tensor([x1 + x2, y1 + y2]) / 2
            distance = (grid.locations[:24] - center).abs().sum(dim=1)
            assert distance[nearest[1]] == distance.min()


def test_locations_with_an_offset():
    grid = make_grid((8, 16), ((1, 2), (1, 1)), CPU, 0.5)
    assert grid.locations.tolist() == [[4, 4], [12, 4], [8, 8]]
    assert grid.location_levels.tolist() == [0, 0, 1]
