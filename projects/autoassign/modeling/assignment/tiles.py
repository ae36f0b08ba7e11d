"""IoUs of predicted boxes with objects, without a matrix of all locations and objects.

Neighbouring locations are handled in tiles of 64: the boxes of a tile are compared with those
objects that touch the rectangle around these boxes. With boxes of ordinary size these are few;
however large the boxes are, they are never more than the image has, and the work space is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..grid import TILE_SIZE, Grid
from ..ground_truth import GroundTruth
from ..pairs import Pairs

__all__ = ["Overlaps", "chunks", "object_overlaps", "tile_boxes", "touching"]

# Box pairs that are computed at once: their work space should stay in a CPU's cache, and be
# large enough to fill a GPU.
_PAIRS_AT_ONCE_CPU = 2**17
_PAIRS_AT_ONCE_GPU = 2**22


@dataclass(frozen=True)
class Overlaps:
    """IoUs of C objects with the predicted boxes at P locations each.

    Attributes:
        objects: (C,) indices of the objects.
        iou: (C, P) IoUs; 0 also at locations that are not wanted, and where a row is filled up.
        tiles: (C, P / 64) tiles whose locations these are.
        tile_locations: (T + 1, 64) locations of the tiles of an image.
    """

    objects: Tensor
    iou: Tensor
    tiles: Tensor
    tile_locations: Tensor

    def pairs(self, row: Tensor, column: Tensor, gt: GroundTruth, grid: Grid) -> Pairs:
        """The pairs at these entries of :attr:`iou`, in this order."""
        tile = self.tiles[row, torch.div(column, TILE_SIZE, rounding_mode="floor")]
        locations = self.tile_locations[tile, column % TILE_SIZE]
        return Pairs.from_indices(self.objects[row], locations, gt.image_index, grid)

    def greatest(self, number: int) -> tuple[Tensor, Tensor]:
        """Rows and columns of the ``number`` greatest IoUs of each object, row by row."""
        column = self.iou.topk(min(number, self.iou.shape[1]), dim=1).indices
        row = torch.arange(len(column), device=column.device)[:, None].expand_as(column)
        return row.flatten(), column.flatten()


@torch.no_grad()
def object_overlaps(
    boxes: Tensor,
    gt: GroundTruth,
    grid: Grid,
    *,
    wanted: Tensor | None = None,
    objects: Tensor | None = None,
) -> Iterator[Overlaps]:
    """IoUs of objects with all predicted boxes of their image that overlap them.

    Every object comes in one part, complete; parts have bounded size. An object whose box touches
    no predicted box may come in none.

    Args:
        boxes: (N, R, 4) predicted boxes, xyxy in pixels.
        gt: objects of the batch.
        grid: the locations of an image.
        wanted: (N, R) bool, the locations to compare with; None for all.
        objects: (Q,) indices of the objects to compare; None for all.
    """
    if wanted is None:
        wanted = torch.ones_like(boxes[..., 0], dtype=torch.bool)
    if objects is None:
        objects = torch.arange(len(gt.boxes), device=boxes.device)
    tiles, tile_wanted = tile_boxes(boxes, wanted, grid)  # (N·T, 64, 4)
    touched = touching(tiles, tile_wanted, gt).transpose(1, 2)  # (N, m, T)
    touched = touched[gt.image_index, gt.place_in_image]  # (M, T)

    # One more tile of empty boxes fills up the rows.
    tiles = tiles.masked_fill(~tile_wanted[..., None], 0).view(len(boxes), -1, TILE_SIZE, 4)
    tiles = torch.cat((tiles, tiles.new_zeros(len(boxes), 1, TILE_SIZE, 4)), dim=1)
    sides = tuple(side.contiguous() for side in tiles.flatten(0, 1).unbind(dim=-1))
    locations = torch.cat((grid.tiles.clamp(min=0), torch.zeros_like(grid.tiles[:1])))
    for rows, tile in chunks(touched[objects], fill=len(grid.tiles)):
        ids = objects[rows]
        batch_tile = tile + gt.image_index[ids, None] * len(locations)
        yield Overlaps(
            objects=ids,
            iou=_iou(tuple(side[batch_tile].flatten(1) for side in sides), gt.boxes[ids].to(boxes)),
            tiles=tile,
            tile_locations=locations,
        )


def tile_boxes(boxes: Tensor, wanted: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """(N·T, 64, 4) boxes of each tile and (N·T, 64) which are wanted, of (N, R, 4) and (N, R)."""
    tiles = grid.tiles.clamp(min=0)  # (T, 64)
    tile_wanted = wanted[:, tiles] & (grid.tiles >= 0)
    return boxes[:, tiles].flatten(0, 1), tile_wanted.flatten(0, 1)


def touching(tiles: Tensor, tile_wanted: Tensor, gt: GroundTruth) -> Tensor:
    """(N, T, m) whether an object touches the rectangle around the wanted boxes of a tile.

    The tiles are those of :func:`tile_boxes`; m is the largest number of objects in an image.
    """
    unwanted = ~tile_wanted[..., None]
    low = tiles[..., :2].masked_fill(unwanted, torch.inf).amin(dim=1)  # (N·T, 2)
    high = tiles[..., 2:].masked_fill(unwanted, -torch.inf).amax(dim=1)
    boxes, is_object = gt.padded_boxes()  # (N, m, 4), (N, m)
    low, high = (x.view(len(boxes), -1, 1, 2) for x in (low, high))
    x1, y1, x2, y2 = (side[:, None].contiguous() for side in boxes.unbind(dim=2))  # (N, 1, m)
    touches = (low[..., 0] < x2) & is_object[:, None]
    touches &= high[..., 0] > x1
    touches &= low[..., 1] < y2
    touches &= high[..., 1] > y1
    return touches


def chunks(mask: Tensor, fill: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of a mask and the columns of their true entries, in chunks of bounded work.

    The numbers of true entries are copied to the host, once: all that follows knows its size.

    Args:
        mask: (rows, columns) which tiles each object (or which objects each tile) is compared
            with; 64 box pairs each.
        fill: put after the last column of a row.

    Yields:
        (C,) rows, those of the most true entries first, and (C, m) their columns, ascending.
    """
    at_once = _PAIRS_AT_ONCE_CPU if mask.device.type == "cpu" else _PAIRS_AT_ONCE_GPU
    counts = mask.sum(dim=1)
    sorted_counts, order = counts.sort(descending=True)
    remaining = sorted_counts.tolist()
    total = sum(remaining)
    nth = torch.arange(total, dtype=torch.int32, device=mask.device)
    # The true entry before which there are n others; nonzero() would wait for the device again.
    num_until = mask.flatten().cumsum(0, dtype=torch.int32)
    entry = torch.searchsorted(num_until, nth, right=True)
    row = torch.div(entry, mask.shape[1], rounding_mode="floor")
    packed = entry.new_full(mask.shape, fill)
    packed[row, nth - (counts.cumsum(0) - counts)[row]] = entry % mask.shape[1]
    start = 0
    while start < len(remaining) and remaining[start] > 0:
        size = max(1, at_once // (TILE_SIZE * remaining[start]))
        rows = order[start : start + size]
        yield rows, packed[rows, : remaining[start]]
        start += size


def _iou(sides: tuple[Tensor, ...], objects: Tensor) -> Tensor:
    """(C, P) IoUs of boxes, given as their four sides (C, P) each, with (C, 4) objects."""
    x1, y1, x2, y2 = sides
    gt_x1, gt_y1, gt_x2, gt_y2 = objects[:, :, None].unbind(dim=1)
    width = torch.minimum(x2, gt_x2).sub_(torch.maximum(x1, gt_x1)).clamp_(min=0)
    height = torch.minimum(y2, gt_y2).sub_(torch.maximum(y1, gt_y1)).clamp_(min=0)
    intersection = width.mul_(height)
    union = (x2 - x1).mul_(y2 - y1).add_((gt_x2 - gt_x1) * (gt_y2 - gt_y1)).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))
