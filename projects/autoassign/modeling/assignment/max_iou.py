"""The greatest IoU of each location's predicted box with the objects of its image, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from ..grid import Grid
from ..ground_truth import GroundTruth

__all__ = ["max_iou"]

# Box pairs that are computed at once: their work space should stay in a CPU's cache, and be
# large enough to fill a GPU.
_PAIRS_AT_ONCE_CPU = 2**17
_PAIRS_AT_ONCE_GPU = 2**22


@torch.no_grad()
def max_iou(boxes: Tensor, wanted: Tensor, gt: GroundTruth, grid: Grid) -> Tensor:
    """Greatest IoU of the boxes of the wanted locations with any object of their image.

    Neighbouring locations are handled in tiles of 64: the boxes of a tile are compared with those
    objects that touch the rectangle around these boxes. With boxes of ordinary size these are few
    objects; however large the boxes are, they are never more than the image has, and the work
    space is bounded.

    Args:
        boxes: (N, R, 4) predicted boxes, xyxy in pixels.
        wanted: (N, R) bool, the locations whose value is used.
        gt: objects of the batch.
        grid: the locations of an image.

    Returns:
        (N, R) greatest IoU, 0 where it is not wanted or no object touches the tile.
    """
    num_images, num_locations = wanted.shape
    tiles = grid.tiles.clamp(min=0)  # (T, 64)
    tile_wanted = wanted[:, tiles] & (grid.tiles >= 0)  # (N, T, 64)
    tile_boxes = boxes[:, tiles].flatten(0, 1)  # (N·T, 64, 4)
    tile_wanted = tile_wanted.flatten(0, 1)
    candidates, counts = _objects_touching_tiles(tile_boxes, tile_wanted, gt)

    objects = torch.cat((gt.boxes, gt.boxes.new_zeros(1, 4)))  # the last one fills up
    tile_iou = boxes.new_zeros(tile_wanted.shape)
    for ids, num_candidates in _chunks(counts, boxes.device):
        tile_iou[ids] = _max_iou_with(tile_boxes[ids], objects[candidates[ids, :num_candidates]])

    result = boxes.new_zeros(num_images, num_locations + 1)
    target = torch.where(grid.tiles >= 0, grid.tiles, num_locations).flatten()
    result[:, target] = tile_iou.view(num_images, -1)
    return result[:, :-1]


def _objects_touching_tiles(
    tile_boxes: Tensor, tile_wanted: Tensor, gt: GroundTruth
) -> tuple[Tensor, Tensor]:
    """Objects that touch the rectangle around the wanted boxes of each tile.

    Returns:
        (tiles, greatest count) object indices, filled up with the number of objects M, and
        (tiles,) their counts.
    """
    unwanted = ~tile_wanted[..., None]
    low = tile_boxes[..., :2].masked_fill(unwanted, torch.inf).amin(dim=1)  # (tiles, 2)
    high = tile_boxes[..., 2:].masked_fill(unwanted, -torch.inf).amax(dim=1)
    boxes, is_object = gt.padded_boxes()  # (N, m, 4), (N, m)
    low, high = (x.view(len(boxes), -1, 1, 2) for x in (low, high))
    touches = (low < boxes[:, None, :, 2:]) & (high > boxes[:, None, :, :2])  # (N, T, m, 2)
    touches = touches[..., 0] & touches[..., 1] & is_object[:, None]
    counts = touches.sum(dim=-1).flatten()

    image, tile, nth = touches.nonzero(as_tuple=True)
    row = image * touches.shape[1] + tile
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    candidates = row.new_full((len(counts), touches.shape[2]), len(gt.boxes))
    candidates[row, place] = gt.first_object[image] + nth
    return candidates, counts


def _chunks(counts: Tensor, device: torch.device) -> list[tuple[Tensor, int]]:
    """Tiles with candidates, most candidates first, in chunks of bounded work."""
    at_once = _PAIRS_AT_ONCE_CPU if device.type == "cpu" else _PAIRS_AT_ONCE_GPU
    sorted_counts, order = counts.sort(descending=True)
    remaining = sorted_counts.tolist()  # one synchronisation for all tiles
    chunks, start = [], 0
    while start < len(remaining) and remaining[start] > 0:
        size = max(1, at_once // (64 * remaining[start]))
        chunks.append((order[start : start + size], remaining[start]))
        start += size
    return chunks


def _max_iou_with(boxes: Tensor, objects: Tensor) -> Tensor:
    """(C, 64) greatest IoU of (C, 64, 4) boxes with their tile's (C, m, 4) objects."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(dim=-1)
    gt_x1, gt_y1, gt_x2, gt_y2 = (x.contiguous() for x in objects[:, None].unbind(dim=-1))
    width = torch.minimum(x2, gt_x2).sub_(torch.maximum(x1, gt_x1)).clamp_(min=0)
    height = torch.minimum(y2, gt_y2).sub_(torch.maximum(y1, gt_y1)).clamp_(min=0)
    intersection = width.mul_(height)
    areas = torch.add((x2 - x1) * (y2 - y1), (gt_x2 - gt_x1) * (gt_y2 - gt_y1), out=height)
    # With A the sum of both areas, IoU = I / (A - I) grows with I / A: one operation less a pair.
    share = intersection.div_(areas.clamp_(min=torch.finfo(boxes.dtype).tiny)).amax(dim=-1)
    return share / (1 - share)
