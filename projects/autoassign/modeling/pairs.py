"""Pairs of objects and locations, enumerated by arithmetic on the regular grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import Grid

__all__ = [
    "Pairs",
    "cross_pairs",
    "inside_mask",
    "inside_pair_chunks",
    "inside_pairs",
    "nearest_indices",
    "nearest_pairs",
]

# Pairs of cross_pairs in one part, at most, unless one object has more.
_PAIRS_AT_ONCE = 2**19


@dataclass(frozen=True)
class Pairs:
    """P pairs of an object and a location, sorted by object, then level, row and column.

    Attributes:
        objects: (P,) index of the object among all objects of the batch.
        locations: (P,) index of the location within its image, 0..R-1.
        batch_locations: (P,) index of the location within the batch, image · R + location.
        is_fallback: (M,) whether the object has no location inside its box, so that its pairs
            are fallbacks.
    """

    objects: Tensor
    locations: Tensor
    batch_locations: Tensor
    is_fallback: Tensor

    @classmethod
    def from_indices(
        cls, objects: Tensor, locations: Tensor, image_index: Tensor, grid: Grid
    ) -> Pairs:
        """Pairs of (P,) objects and (P,) locations, in this order; (M,) image of each object."""
        shift = image_index.index_select(0, objects) * grid.num_locations
        return cls(
            objects=objects,
            locations=locations,
            batch_locations=locations + shift,
            is_fallback=torch.zeros_like(image_index, dtype=torch.bool),
        )

    @classmethod
    def merge(cls, parts: Sequence[Pairs], grid: Grid) -> tuple[Pairs, Tensor]:
        """The pairs of all parts in the order of pairs; one of two parts comes twice.

        Returns:
            P pairs, and (P,) where each was when the parts lay one after another.
        """
        objects, locations, batch_locations = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("objects", "locations", "batch_locations")
        )
        order = (objects * grid.num_locations + locations).argsort()
        is_fallback = parts[0].is_fallback
        return cls(objects, locations, batch_locations, is_fallback).select(order), order

    def __len__(self) -> int:
        return len(self.objects)

    def select(self, index: Tensor) -> Pairs:
        """The pairs at (Q,) indices, in the order of these; or those of a (P,) mask."""
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)
        return Pairs(
            objects=self.objects.index_select(0, index),
            locations=self.locations.index_select(0, index),
            batch_locations=self.batch_locations.index_select(0, index),
            is_fallback=self.is_fallback,
        )


def inside_pairs(boxes: Tensor, image_index: Tensor, grid: Grid, *, fallback: bool = True) -> Pairs:
    """All pairs of an object and a location strictly inside its box.

    On a regular grid the locations inside a box are a rectangle of indices per level, so the
    pairs follow from arithmetic, at the cost of the pairs alone.

    Args:
        boxes: (M, 4) boxes of the whole batch, xyxy in pixels; or (M, L, 4), one box for each
            level. A box with x1 > x2 or y1 > y2 contains nothing. They may be on the host
            (:attr:`GroundTruth.host_boxes`).
        image_index: (M,) image of each object, on the device of the grid.
        grid: the locations of an image.
        fallback: whether an object without any location inside is paired with the location of the
            finest level nearest to the center of its box.
    """
    ((_, pairs),) = inside_pair_chunks(boxes, image_index, grid, fallback=fallback)
    return pairs


@torch.no_grad()
def inside_pair_chunks(
    boxes: Tensor,
    image_index: Tensor,
    grid: Grid,
    *,
    fallback: bool = True,
    max_pairs: float = float("inf"),
) -> list[tuple[slice, Pairs]]:
    """The pairs of :func:`inside_pairs`, some consecutive objects at a time.

    An object with more than ``max_pairs`` is a chunk of its own. The rectangles are computed on
    the device of the boxes, the pairs on that of the grid: with boxes on the host no GPU is
    waited for.

    Returns:
        The objects of each chunk and their pairs; at least one chunk.
    """
    rectangles, is_fallback, num_rows, num_pairs = _rectangles(boxes, grid, fallback)
    corner, columns, rows = rectangles.to(grid.device, non_blocking=True)
    is_fallback = is_fallback.to(grid.device, non_blocking=True)
    chunks = []
    for part in _slices(num_pairs, max_pairs):
        objects, locations = _expand_rectangles(
            corner[part],
            columns[part],
            rows[part],
            grid.level_sizes[:, 0],
            sum(num_rows[part]),
            sum(num_pairs[part]),
        )
        objects += part.start
        shift = image_index.index_select(0, objects) * grid.num_locations
        chunks.append((part, Pairs(objects, locations, locations + shift, is_fallback)))
    return chunks


@torch.no_grad()
def inside_mask(boxes: Tensor, image_index: Tensor, grid: Grid, num_images: int) -> Tensor:
    """(N, R) whether each location lies strictly inside any box of its image.

    The cost is that of the boxes and the locations, not of their pairs.

    Args:
        boxes: (M, 4) boxes of the whole batch, xyxy in pixels; or (M, L, 4), one box for each
            level. A box with x1 > x2 or y1 > y2 contains nothing. They may be on the host.
        image_index: (M,) image of each object, on the device of the grid.
        grid: the locations of an image.
        num_images: N.
    """
    if boxes.dim() == 2:
        boxes = boxes[:, None]
    first, count = torch.stack(_index_ranges(boxes, grid)).to(grid.device, non_blocking=True)
    end = first + count  # (M, L, 2), columns and rows
    levels = []
    for level, (height, width) in enumerate(grid.sizes):
        x1, y1 = first[:, level].unbind(dim=1)
        x2, y2 = end[:, level].unbind(dim=1)
        # The sums from the first corner on of +1 and -1 at the corners count the rectangles.
        corners = torch.zeros(
            num_images, height + 1, width + 1, dtype=torch.int32, device=grid.device
        )
        for y, x, sign in ((y1, x1, 1), (y1, x2, -1), (y2, x1, -1), (y2, x2, 1)):
            index = (image_index * (height + 1) + y) * (width + 1) + x
            corners.view(-1).index_add_(0, index, torch.full_like(index, sign, dtype=torch.int32))
        inside = corners.cumsum(1).cumsum(2)[:, :-1, :-1] > 0
        levels.append(inside.flatten(1))
    return torch.cat(levels, dim=1)


@torch.no_grad()
def nearest_pairs(boxes: Tensor, image_index: Tensor, grid: Grid, k: int) -> Pairs:
    """The k locations of each level that are nearest to the center of each box.

    Of equally near locations the one of the lower index is taken; a level of fewer than k
    locations gives all of them. The cost is that of k × k locations for each object and level.

    Args:
        boxes: (M, 4) boxes of the whole batch, xyxy in pixels.
        image_index: (M,) image of each object.
        grid: the locations of an image.
        k: at least 1.
    """
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    per_level = [
        start + _nearest_on_level(centers / stride - grid.offset, size, k)
        for start, stride, size in zip(grid.level_starts, grid.strides, grid.sizes, strict=True)
    ]
    locations = torch.cat(per_level, dim=1)  # (M, candidates)
    objects = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(locations)
    return Pairs.from_indices(objects.flatten(), locations.flatten(), image_index, grid)


@torch.no_grad()
def cross_pairs(objects: Tensor, mask: Tensor, image_index: Tensor, grid: Grid) -> Iterator[Pairs]:
    """Each of these objects with all locations of its image that a mask names, in bounded parts.

    Args:
        objects: (Q,) indices of objects, ascending; each comes in one part, complete.
        mask: (N, R) bool.
        image_index: (M,) image of each object of the batch.
        grid: the locations of an image.
    """
    locations = mask.nonzero()[:, 1]
    per_image = mask.sum(dim=1)
    first = per_image.cumsum(0) - per_image
    for part in objects.split(max(1, _PAIRS_AT_ONCE // grid.num_locations)):
        image = image_index.index_select(0, part)
        counts = per_image.index_select(0, image)
        owner, nth = _expand(counts, int(counts.sum()))
        start = first.index_select(0, image).index_select(0, owner)
        yield Pairs.from_indices(
            part.index_select(0, owner), locations.index_select(0, start + nth), image_index, grid
        )


def _slices(sizes: list[int], most: float) -> list[slice]:
    """Consecutive items whose sizes add up to at most ``most``, or single ones; at least one."""
    starts, total = [0], 0
    for index, size in enumerate(sizes):
        if total + size > most and index > starts[-1]:
            starts.append(index)
            total = 0
        total += size
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(sizes)], strict=True)]


def _rectangles(
    boxes: Tensor, grid: Grid, fallback: bool
) -> tuple[Tensor, Tensor, list[int], list[int]]:
    """The rectangle of cells that each object is paired with on each level.

    Returns:
        (3, M, L) location of the first cell, numbers of columns and of rows; (M,) whether it is a
        fallback; the numbers of rows and of cells of each object.
    """
    if boxes.dim() == 2:
        boxes = boxes[:, None]
    first, count = _index_ranges(boxes, grid)  # (M, L, 2), columns and rows
    is_fallback = (count.prod(dim=-1).sum(dim=1) == 0) & fallback
    if fallback:
        nearest = _nearest_on_finest(boxes[:, 0], grid)
        first[:, 0] = torch.where(is_fallback[:, None], nearest, first[:, 0])
        count[:, 0].masked_fill_(is_fallback[:, None], 1)

    columns, rows = count.unbind(dim=-1)  # (M, L)
    rows = rows * (columns > 0)
    num_rows, num_pairs = torch.stack((rows.sum(1), (rows * columns).sum(1))).tolist()
    width = first.new_tensor([width for _, width in grid.sizes])
    corner = first.new_tensor(grid.level_starts) + first[..., 1] * width + first[..., 0]
    return torch.stack((corner, columns, rows)), is_fallback, num_rows, num_pairs


def _expand_rectangles(
    corner: Tensor, columns: Tensor, rows: Tensor, width: Tensor, num_rows: int, num_pairs: int
) -> tuple[Tensor, Tensor]:
    """(P,) objects and locations of all cells of one rectangle for each object and level.

    ``corner``, ``columns`` and ``rows``, each (m, L), are as :func:`_rectangles` returns them,
    ``num_rows`` and ``num_pairs`` are sums; ``width`` has the (L,) columns of the levels.
    """
    num_levels = len(width)
    # One run of consecutive locations per row of each rectangle.
    rectangles, row = _expand(rows.flatten(), num_rows)
    run_start = corner.flatten()[rectangles] + row * width[rectangles % num_levels]
    run_object = torch.div(rectangles, num_levels, rounding_mode="floor")
    runs, column = _expand(columns.flatten()[rectangles], num_pairs)
    return run_object.index_select(0, runs), run_start.index_select(0, runs) + column


def _expand(counts: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Index i repeated counts[i] times, and the number of each repetition from 0."""
    index = torch.arange(len(counts), device=counts.device)
    owner = index.repeat_interleave(counts, output_size=total)
    starts = counts.cumsum(0) - counts
    number = torch.arange(total, device=counts.device).sub_(starts.index_select(0, owner))
    return owner, number


def _index_ranges(boxes: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """First index and number of indices strictly inside (M, L or 1, 4) boxes: two (M, L, 2)."""
    strides = boxes.new_tensor(grid.strides)[:, None]
    sizes = boxes.new_tensor([(width, height) for height, width in grid.sizes])
    first = ((boxes[..., :2] / strides - grid.offset).floor() + 1).clamp(min=0)
    last = torch.minimum((boxes[..., 2:] / strides - grid.offset).ceil() - 1, sizes - 1)
    # An empty range may begin far outside the grid: only its length is used, as 0.
    count = (last - first + 1).clamp(min=0)
    return torch.minimum(first, sizes).long(), count.long()


def _nearest_on_finest(boxes: Tensor, grid: Grid) -> Tensor:
    """(M, 2) column and row of the location of the finest level nearest to each box center."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    height, width = grid.sizes[0]
    nearest = (centers / grid.strides[0] - grid.offset).round().clamp(min=0)
    return torch.minimum(nearest, boxes.new_tensor((width - 1, height - 1))).long()


def _nearest_on_level(centers: Tensor, size: tuple[int, int], k: int) -> Tensor:
    """(M, min(k, H · W)) ascending indices of the locations nearest to each center on a level.

    A location whose column is not among the k nearest columns has k locations of its own row that
    are nearer, and so for rows: the k nearest locations lie in k columns and k rows.

    Args:
        centers: (M, 2) x and y in strides from the first location.
        size: (height, width) of the level.
        k: at least 1.
    """
    height, width = size
    columns = nearest_indices(centers[:, 0], width, k)
    rows = nearest_indices(centers[:, 1], height, k)
    dx = (columns - centers[:, :1]).square()
    dy = (rows - centers[:, 1:]).square()
    distance = (dy[:, :, None] + dx[:, None]).flatten(1)
    locations = (rows[:, :, None] * width + columns[:, None]).flatten(1)
    order = distance.argsort(dim=1, stable=True)[:, :k]
    return locations.gather(1, order).sort(dim=1).values


def nearest_indices(centers: Tensor, length: int, k: int) -> Tensor:
    """(M, min(k, length)) the ascending indices 0..length-1 nearest to each center."""
    count = min(k, length)
    first = (centers - count / 2).ceil().clamp(0, length - count).long()
    return first[:, None] + torch.arange(count, device=centers.device)
