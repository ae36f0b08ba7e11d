"""Geometry of pairs and of hard assignments; nothing here carries a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode
from torch import Tensor

from ..grid import ANCHOR_SIDE, Grid
from ..ground_truth import GroundTruth
from ..pairs import Pairs, inside_pairs
from .segments import segment_argmax

__all__ = [
    "MIN_DISTANCE",
    "candidate_pairs",
    "center_distance",
    "center_sampling",
    "centerness",
    "level_ranges",
    "nearest_first",
    "pair_anchors",
    "pair_levels",
    "pair_ltrb",
    "pair_offsets",
    "pair_ranges",
    "select_winners",
]

# A level learns objects of 4 to 8 strides: the level of stride 16 those of 64 to 128 pixels.
_MIN_STRIDES = 4
_MAX_STRIDES = 8
# The greatest size of the coarsest level, in pixels: no bound (FCOS).
_UNBOUNDED = 1e8
# Least denominator of center-ness, in pixels.
_EPS = 0.01
# A positive location of ATSS and TAL is at least this far inside the box, in pixels (MMDetection).
MIN_DISTANCE = 0.01
# Rectangles of candidates are this much wider than the exact conditions, in strides, so that
# rounding never excludes a candidate.
_MARGIN = 0.01


def pair_ltrb(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P, 4) distances in pixels from each pair's location to the sides of its object."""
    locations = grid.locations.index_select(0, pairs.locations)
    boxes = gt.boxes.index_select(0, pairs.objects)
    return torch.cat((locations - boxes[:, :2], boxes[:, 2:] - locations), dim=1)


def pair_offsets(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P, 2) x and y from the center of each pair's object to its location, in strides."""
    locations = grid.locations.index_select(0, pairs.locations)
    offsets = locations - gt.centers.index_select(0, pairs.objects)
    return offsets / grid.location_strides.index_select(0, pairs.locations)[:, None]


def pair_anchors(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P, 4) square anchor of 8 strides around each pair's location, xyxy in pixels."""
    centers = grid.locations.index_select(0, pairs.locations)
    reach = ANCHOR_SIDE / 2 * grid.location_strides.index_select(0, pairs.locations)[:, None]
    return torch.cat((centers - reach, centers + reach), dim=1).to(gt.boxes)


def pair_levels(pairs: Pairs, grid: Grid) -> Tensor:
    """(P,) level of each pair's location, 0 for the finest."""
    return grid.location_levels.index_select(0, pairs.locations)


def pair_ranges(
    ranges: Sequence[tuple[float, float]], pairs: Pairs, grid: Grid, dtype: torch.dtype
) -> Tensor:
    """(P, 2) the range, of those given for each level, of the level of each pair's location."""
    per_level = torch.tensor(ranges, dtype=dtype).to(grid.device, non_blocking=True)
    return per_level.index_select(0, pair_levels(pairs, grid))


def center_distance(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P,) the greater of the x and y distances to the object's center, in strides."""
    return pair_offsets(pairs, grid, gt).abs().amax(dim=1)


def nearest_first(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Callable[[Tensor], Tensor]:
    """What breaks ties in :func:`segment_topk`: the location nearer to the object's center wins.

    Returns:
        A function of (Q,) indices of pairs: the squared distances of these pairs in pixels².
    """

    def squared_distance(index: Tensor) -> Tensor:
        chosen = pairs.select(index)
        locations = grid.locations.index_select(0, chosen.locations)
        return (locations - gt.centers.index_select(0, chosen.objects)).square().sum(dim=1)

    return squared_distance


def level_ranges(strides: Sequence[int]) -> list[tuple[float, float]]:
    """Least and greatest size, in pixels, of the objects that each level learns.

    The size is the greatest of the four distances. With strides 8 to 128 these are FCOS's
    [0, 64], [64, 128], [128, 256], [256, 512], [512, 1e8]; the finest of fewer levels takes all
    smaller objects, the coarsest all larger ones.
    """
    low = [float(_MIN_STRIDES * stride) for stride in strides]
    high = [float(_MAX_STRIDES * stride) for stride in strides]
    return list(zip([0.0, *low[1:]], [*high[:-1], _UNBOUNDED], strict=True))


def center_sampling(options: CfgNode) -> dict[str, float | None]:
    """The ``center_sampling_radius`` that a strategy's CENTER_SAMPLING options say, or None."""
    radius = options.CENTER_SAMPLING_RADIUS if options.CENTER_SAMPLING else None
    return {"center_sampling_radius": radius}


@torch.no_grad()
def candidate_pairs(
    grid: Grid,
    gt: GroundTruth,
    *,
    center_radius: float | None = None,
    size_ranges: Sequence[tuple[float, float]] | None = None,
) -> Pairs:
    """Pairs inside boxes that can meet the conditions of FCOS, found before they are expanded.

    A superset of the candidates by a small margin, for rounding: callers still test each pair.

    Args:
        grid: the locations of an image.
        gt: the objects.
        center_radius: candidates lie within this distance of the object's center in x and y, in
            strides; None: anywhere inside the box.
        size_ranges: least and greatest of a candidate's max(l, t, r, b) at each level, in pixels.
    """
    boxes = _candidate_boxes(gt.host_boxes, grid, center_radius, size_ranges)
    return inside_pairs(boxes, gt.image_index, grid, fallback=False)


def _candidate_boxes(
    gt_boxes: Tensor,
    grid: Grid,
    center_radius: float | None,
    size_ranges: Sequence[tuple[float, float]] | None,
) -> Tensor:
    """(M, L, 4) boxes that hold the candidates of each level; see :func:`candidate_pairs`."""
    boxes = gt_boxes[:, None].expand(-1, len(grid.strides), -1)  # (M, L, 4)
    strides = boxes.new_tensor(grid.strides)[:, None]
    low, high = boxes[..., :2], boxes[..., 2:]
    if center_radius is not None:
        center = (low + high) / 2
        reach = (center_radius + _MARGIN) * strides
        low, high = torch.maximum(low, center - reach), torch.minimum(high, center + reach)
    if size_ranges is not None:
        least, greatest = boxes.new_tensor(size_ranges)[:, None].unbind(dim=-1)
        margin = _MARGIN * strides
        # max(l, r) <= greatest
        low = torch.maximum(low, boxes[..., 2:] - greatest - margin)
        high = torch.minimum(high, boxes[..., :2] + greatest + margin)
        # max(l, t, r, b) is less than the longer side.
        too_small = (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1, keepdim=True) < least - margin
        high = torch.where(too_small, low, high)
    return torch.cat((low, high), dim=-1)


def centerness(ltrb: Tensor) -> Tensor:
    """(P,) √(min(l, r) / max(l, r) · min(t, b) / max(t, b)) of (P, 4) distances in pixels.

    Source: FCOS (arXiv 1904.01355), Eq. 3; the center score of DSLA has the same form.
    """
    opposite = ltrb.view(-1, 2, 2)  # (l, t), (r, b)
    least = opposite.amin(dim=1).clamp(min=0)
    greatest = opposite.amax(dim=1).clamp(min=_EPS)
    return (least / greatest).prod(dim=1).sqrt()


def select_winners(
    values: Tensor, pairs: Pairs, grid: Grid, gt: GroundTruth, *, where: Tensor | None = None
) -> Tensor:
    """Index of the pair that each location keeps: that of the greatest value.

    Of equal values the first object of the image (in the order of its annotations) wins.

    Args:
        values: (P,) what is compared; pairs at -inf never win.
        pairs: the P pairs.
        grid: the locations of an image.
        gt: the objects.
        where: (P,) bool, which pairs may win; None for all.

    Returns:
        (Q,) indices into the pairs, ascending; no two share a location.
    """
    if where is not None:
        values = values.masked_fill(~where, -torch.inf)
    # Pairs are sorted by object, so the first of equal values is that of the first object.
    best = segment_argmax(values, pairs.batch_locations, len(gt.counts) * grid.num_locations)
    is_winner = best.index_select(0, pairs.batch_locations) == torch.arange(
        len(values), device=values.device
    )
    return is_winner.nonzero().squeeze(1)
