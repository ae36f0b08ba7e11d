"""Bags of anchors: those of the greatest IoU with each object, over all levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..grid import ANCHOR_SIDE, Grid
from ..ground_truth import GroundTruth
from ..losses import paired_iou
from ..pairs import Pairs, inside_pairs, nearest_indices
from .geometry import nearest_first, pair_anchors
from .segments import segment_topk

__all__ = ["anchor_bags", "anchors_above"]

# Anchors that give the bound, for each one in a bag.
_FIRST_ANCHORS = 6
# Rectangles are this much wider than the exact conditions, in strides and as a share of the IoU,
# so that rounding never excludes an anchor.
_MARGIN = 0.01
_IOU_MARGIN = 1e-4


@torch.no_grad()
def anchor_bags(grid: Grid, gt: GroundTruth, size: int) -> Pairs:
    """The ``size`` anchors of the greatest IoU with each object; all, if the image has fewer.

    Of equal IoUs the nearer to the object's center comes first. An anchor is the square of 8
    strides around a location. The anchors nearest to the object give a bound for the IoUs in the
    bag. The anchors at or above the bound lie in one rectangle of each level, which is found by
    arithmetic; only these are compared.
    """
    pairs, iou = anchors_above(grid, gt, _least_iou(gt.host_boxes, grid, size))
    is_in_bag = segment_topk(iou, pairs.objects, size, ties=nearest_first(pairs, grid, gt))
    return pairs.select(is_in_bag)


@torch.no_grad()
def anchors_above(grid: Grid, gt: GroundTruth, bound: Tensor) -> tuple[Pairs, Tensor]:
    """P pairs of objects and anchors with their (P,) IoUs, among them all at or above a bound.

    The (M,) bounds of the objects are on the host; where one is 0, all anchors are paired.
    """
    boxes = _rectangles_above(gt.host_boxes, grid, bound)
    pairs = inside_pairs(boxes, gt.image_index, grid, fallback=False)
    iou = paired_iou(pair_anchors(pairs, grid, gt), gt.boxes.index_select(0, pairs.objects))
    return pairs, iou


def _rectangles_above(gt_boxes: Tensor, grid: Grid, bound: Tensor) -> Tensor:
    """(M, L, 4) boxes that hold the locations of the anchors at or above a bound."""
    sides = gt_boxes[:, 2:] - gt_boxes[:, :2]  # (M, 2)
    strides = sides.new_tensor(grid.strides)[:, None]  # (L, 1)
    anchor_sides = ANCHOR_SIDE * strides
    total_area = anchor_sides.square() + sides.prod(dim=1)[:, None, None]  # (M, L, 1)
    bound = bound[:, None, None] * (1 - _IOU_MARGIN)
    # IoU >= bound, with the overlap in the other axis as long as it can be
    overlap = bound / (1 + bound) * total_area
    others = torch.minimum(sides.flip(1)[:, None], anchor_sides)  # (M, L, 2)
    reach = (sides[:, None] + anchor_sides) / 2 - overlap / others
    reach = reach + _MARGIN * strides
    # Without a bound anchors beside the object may be among the pairs.
    reach = torch.where(bound > 0, reach, torch.inf)
    centers = (gt_boxes[:, None, :2] + gt_boxes[:, None, 2:]) / 2
    return torch.cat((centers - reach, centers + reach), dim=2)


def _least_iou(gt_boxes: Tensor, grid: Grid, size: int) -> Tensor:
    """(M,) the least IoU of a bag that is filled from a square of locations on each level."""
    centers = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    area = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)[:, None, None]
    columns = math.isqrt(_FIRST_ANCHORS * size // len(grid.strides)) + 1
    ious = []
    for stride, (height, width) in zip(grid.strides, grid.sizes, strict=True):
        half = ANCHOR_SIDE * stride / 2
        overlaps = []
        for axis, length in ((1, height), (0, width)):
            index = nearest_indices(centers[:, axis] / stride - grid.offset, length, columns)
            place = (index + grid.offset) * stride
            low, high = gt_boxes[:, axis, None], gt_boxes[:, 2 + axis, None]
            overlap = torch.minimum(place + half, high) - torch.maximum(place - half, low)
            overlaps.append(overlap.clamp(min=0))
        intersection = overlaps[0][:, :, None] * overlaps[1][:, None]
        ious.append((intersection / ((2 * half) ** 2 + area - intersection)).flatten(1))
    iou = torch.cat(ious, dim=1)
    if iou.shape[1] < size:
        return iou.new_zeros(len(iou))
    return iou.topk(size, dim=1).values[:, -1]
