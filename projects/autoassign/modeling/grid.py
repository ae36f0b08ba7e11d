"""The locations of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

__all__ = ["ANCHOR_SIDE", "TILE_SIZE", "Grid", "make_grid"]

# A tile has 8 × 8 locations of one level.
_TILE_SIDE = 8
TILE_SIZE = _TILE_SIDE**2
# Side of the square anchor that some label assignments see at a location, in strides.
ANCHOR_SIDE = 8


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
        return sum(self.level_lengths)

    @cached_property
    def level_starts(self) -> list[int]:
        """Index of the first location of each level."""
        return [0, *accumulate(self.level_lengths[:-1])]

    @cached_property
    def level_lengths(self) -> list[int]:
        """Number of locations of each level."""
        return [h * w for h, w in self.sizes]

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
        return self._constant(self.strides)

    @cached_property
    def level_sizes(self) -> Tensor:
        """(L, 2) width and height of each level."""
        return self._constant([(w, h) for h, w in self.sizes])

    @cached_property
    def location_levels(self) -> Tensor:
        """(R,) level of every location, 0 for the finest."""
        repeats = self._constant(self.level_lengths)
        levels = torch.arange(len(self.sizes), device=self.device)
        return levels.repeat_interleave(repeats, output_size=self.num_locations)

    @cached_property
    def location_strides(self) -> Tensor:
        """(R,) stride of the level of every location, in pixels."""
        return self.level_strides.float().index_select(0, self.location_levels)

    def _constant(self, numbers: Sequence[Any]) -> Tensor:
        """A tensor of numbers; the copy to a GPU is not waited for."""
        return torch.tensor(numbers).to(self.device, non_blocking=True)

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
        filling = -len(locations) % TILE_SIZE
        filler = torch.full((filling,), -1, device=self.device)
        return torch.cat((locations, filler)).view(-1, TILE_SIZE)


# With all its tensors a grid of 1344 × 800 pixels takes 0.6 MB.
@lru_cache(maxsize=256)
def make_grid(
    strides: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    device: torch.device,
    offset: float = 0.0,
) -> Grid:
    """The :class:`Grid` of these levels, cached because its tensors are needed every iteration."""
    return Grid(strides=strides, sizes=sizes, device=device, offset=offset)
