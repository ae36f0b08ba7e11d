"""The locations of a feature pyramid, and the pairs of objects and locations inside boxes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

__all__ = ["Grid", "Pairs", "inside_pairs", "make_grid"]

# Locations of a tile: 8 × 8 of one level.
_TILE_SIDE = 8


@dataclass(frozen=True)
class Grid:
    """The locations of all levels, flattened level by level and row by row: R in all.

    Location (x, y) of a level with stride s lies at pixel ((x + offset)·s, (y + offset)·s).

    Attributes:
        strides: stride of each level in pixels, finest first (L of them).
        sizes: (height, width) of each level.
        device: where the tensors of the grid live.
        offset: of the first location, in strides: 0 in the recipes of AutoAssign, DSLA and ATSS,
            ½ in that of FCOS.
    """

    strides: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    device: torch.device
    offset: float = 0.0

    @property
    def num_locations(self) -> int:
        """R, the number of locations of one image."""
        return sum(h * w for h, w in self.sizes)

    @cached_property
    def level_starts(self) -> list[int]:
        """Index of the first location of each level."""
        starts = [0]
        for h, w in self.sizes[:-1]:
            starts.append(starts[-1] + h * w)
        return starts

    @cached_property
    def locations(self) -> Tensor:
        """(R, 2) x and y of every location in pixels."""
        per_level = []
        for stride, (h, w) in zip(self.strides, self.sizes, strict=True):
            y, x = torch.meshgrid(
                (torch.arange(h, device=self.device) + self.offset) * stride,
                (torch.arange(w, device=self.device) + self.offset) * stride,
                indexing="ij",
            )
            per_level.append(torch.stack((x, y), dim=-1).reshape(-1, 2))
        return torch.cat(per_level).float()

    @cached_property
    def level_strides(self) -> Tensor:
        """(L,) stride of each level in pixels."""
        return torch.tensor(self.strides, device=self.device)

    @cached_property
    def level_sizes(self) -> Tensor:
        """(L, 2) width and height of each level."""
        return torch.tensor([(w, h) for h, w in self.sizes], device=self.device)

    @cached_property
    def location_levels(self) -> Tensor:
        """(R,) level of every location, 0 for the finest."""
        repeats = torch.tensor([h * w for h, w in self.sizes], device=self.device)
        levels = torch.arange(len(self.sizes), device=self.device)
        return levels.repeat_interleave(repeats, output_size=self.num_locations)

    @property
    def locations_per_level(self) -> tuple[Tensor, ...]:
        """:attr:`locations` of each level, (Hi·Wi, 2)."""
        return self.locations.split([h * w for h, w in self.sizes])

    @cached_property
    def location_strides(self) -> Tensor:
        """(R,) stride of the level of every location, in pixels."""
        return self.level_strides.float().index_select(0, self.location_levels)

    @cached_property
    def tiles(self) -> Tensor:
        """(T, 64) location indices in tiles of neighbours; -1 fills up the last tile."""
        order = []
        for start, (h, w) in zip(self.level_starts, self.sizes, strict=True):
            y = torch.arange(h, device=self.device)[:, None]
            x = torch.arange(w, device=self.device)
            tiles_per_row = -(-w // _TILE_SIDE)
            tile = (y // _TILE_SIDE) * tiles_per_row + x // _TILE_SIDE
            order.append(start + tile.flatten().argsort(stable=True))
        locations = torch.cat(order)
        filling = -len(locations) % _TILE_SIDE**2
        filler = torch.full((filling,), -1, device=self.device)
        return torch.cat((locations, filler)).view(-1, _TILE_SIDE**2)


@lru_cache(maxsize=64)
def make_grid(
    strides: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    device: torch.device,
    offset: float = 0.0,
) -> Grid:
    """The :class:`Grid` of these levels; the grids of the last few sizes are kept."""
    return Grid(strides=strides, sizes=sizes, device=device, offset=offset)


@dataclass(frozen=True)
class Pairs:
    """P pairs of an object and a location, sorted by object, then level, row and column.

    Attributes:
        objects: (P,) index of the object among all objects of the batch.
        locations: (P,) index of the location within its image, 0..R-1.
        batch_locations: (P,) index of the location within the batch, image · R + location.
        is_fallback: (M,) whether the object has no location inside its box, and its only pair
            is with the nearest location of the finest level.
    """

    objects: Tensor
    locations: Tensor
    batch_locations: Tensor
    is_fallback: Tensor

    def select(self, index: Tensor) -> Pairs:
        """The pairs at (Q,) ascending indices, in their order."""
        return Pairs(
            objects=self.objects.index_select(0, index),
            locations=self.locations.index_select(0, index),
            batch_locations=self.batch_locations.index_select(0, index),
            is_fallback=self.is_fallback,
        )


@torch.no_grad()
def inside_pairs(boxes: Tensor, image_index: Tensor, grid: Grid) -> Pairs:
    """All pairs of an object and a location strictly inside its box, on all levels.

    On a regular grid the locations inside a box are a rectangle of indices per level, so the
    pairs follow from arithmetic; the cost is that of the pairs. An object that has no location
    inside is paired with the location of the finest level that is nearest to its center, so that
    it is learned too.

    Args:
        boxes: (M, 4) boxes of the whole batch, xyxy in pixels.
        image_index: (M,) image of each box.
        grid: the locations of an image.
    """
    first, count = _index_ranges(boxes, grid)  # (M, L, 2), columns and rows
    is_fallback = count.prod(dim=-1).sum(dim=1) == 0
    first[:, 0] = torch.where(is_fallback[:, None], _nearest_index(boxes, grid), first[:, 0])
    count[:, 0].masked_fill_(is_fallback[:, None], 1)

    # One run of consecutive locations per row of each object's rectangle on each level.
    columns, rows = count.flatten(0, 1).unbind(dim=-1)  # (M·L,)
    rectangles, row = _expand(rows)
    width, height = grid.level_sizes.unbind(dim=1)
    level_start = (width * height).cumsum(0) - width * height
    corner = level_start + first[..., 1] * width + first[..., 0]  # (M, L)
    level = rectangles % len(grid.strides)
    run_start = corner.flatten()[rectangles] + row * width[level]
    run_object = torch.div(rectangles, len(grid.strides), rounding_mode="floor")
    run_shift = image_index[run_object] * grid.num_locations

    runs, column = _expand(columns[rectangles])
    locations = run_start.index_select(0, runs) + column
    return Pairs(
        objects=run_object.index_select(0, runs),
        locations=locations,
        batch_locations=locations + run_shift.index_select(0, runs),
        is_fallback=is_fallback,
    )


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Index i repeated counts[i] times, and the number of each repetition from 0."""
    owner = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    number = torch.arange(len(owner), device=counts.device) - starts.index_select(0, owner)
    return owner, number


def _index_ranges(boxes: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """First index and number of indices strictly inside each box: two (M, L, 2), x before y."""
    strides = grid.level_strides[:, None]
    sizes = grid.level_sizes.to(boxes.dtype)
    first = ((boxes[:, None, :2] / strides - grid.offset).floor() + 1).clamp(min=0)
    last = torch.minimum((boxes[:, None, 2:] / strides - grid.offset).ceil() - 1, sizes - 1)
    # An empty range may begin far outside the grid: only its length is used, as 0.
    count = (last - first + 1).clamp(min=0)
    return torch.minimum(first, sizes).long(), count.long()


def _nearest_index(boxes: Tensor, grid: Grid) -> Tensor:
    """(M, 2) column and row of the location of the finest level nearest to each box center."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = (center / grid.strides[0] - grid.offset).round().clamp(min=0)
    return torch.minimum(nearest, grid.level_sizes[0].to(boxes.dtype) - 1).long()
