"""The greatest IoU of each location's predicted box with the objects of its image, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from ..grid import Grid
from ..ground_truth import GroundTruth
from .tiles import chunks, tile_boxes, touching

__all__ = ["max_iou"]


@torch.no_grad()
def max_iou(boxes: Tensor, wanted: Tensor, gt: GroundTruth, grid: Grid) -> Tensor:
    """Greatest IoU of the boxes of the wanted locations with any object of their image.

    Args:
        boxes: (N, R, 4) predicted boxes, xyxy in pixels.
        wanted: (N, R) bool, the locations whose value is used.
        gt: objects of the batch.
        grid: the locations of an image.

    Returns:
        (N, R) greatest IoU, 0 where it is not wanted or no object touches the tile.
    """
    num_images, num_locations = wanted.shape
    tiles, tile_wanted = tile_boxes(boxes, wanted, grid)
    touches = touching(tiles, tile_wanted, gt)

    # One more object without area fills up the images and the rows.
    padded, _ = gt.padded_boxes()
    objects = torch.cat((padded, padded.new_zeros(num_images, 1, 4)), dim=1)
    image = torch.arange(len(tiles), device=boxes.device) // len(grid.tiles)
    tile_iou = boxes.new_zeros(tile_wanted.shape)
    for ids, nth in chunks(touches.flatten(0, 1), fill=touches.shape[2]):
        candidates = objects[image[ids, None], nth]
        tile_iou[ids] = _max_iou_with(tiles[ids], candidates)

    result = boxes.new_zeros(num_images, num_locations + 1)
    target = torch.where(grid.tiles >= 0, grid.tiles, num_locations).flatten()
    result[:, target] = tile_iou.view(num_images, -1)
    return result[:, :-1]


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
