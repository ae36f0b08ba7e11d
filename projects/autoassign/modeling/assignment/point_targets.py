"""What strategies share that give each location at most one object (FCOS, ATSS, DSLA).

Nothing here carries a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from torch import Tensor

from ..grid import Grid, Pairs
from .base import segment_max
from .structures import GroundTruth

__all__ = [
    "center_distance",
    "center_sampling_radius",
    "centerness",
    "level_ranges",
    "pair_ltrb",
    "pair_offsets",
    "select_winners",
]

# Objects of 4 to 8 strides belong to a level: 64 to 128 pixels to that of stride 16.
_LEAST_STRIDES = 4
_GREATEST_STRIDES = 8
# The greatest size of the coarsest level, in pixels: no bound (FCOS).
_UNBOUNDED = 1e8
# Least denominator of center-ness, in pixels.
_EPS = 0.01


def center_sampling_radius(cfg: CfgNode, strategy: str) -> float | None:
    """The radius that the options of a strategy give, in strides; None: no center sampling.

    Raises:
        ValueError: the radius is not positive.
    """
    options = cfg.MODEL.LABEL_ASSIGNMENT[strategy]
    if not options.CENTER_SAMPLING:
        return None
    if options.CENTER_SAMPLING_RADIUS <= 0:
        raise ValueError(
            f"MODEL.LABEL_ASSIGNMENT.{strategy}.CENTER_SAMPLING_RADIUS is "
            f"{options.CENTER_SAMPLING_RADIUS}; it is positive (CENTER_SAMPLING False switches it "
            "off)"
        )
    return options.CENTER_SAMPLING_RADIUS


def pair_ltrb(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P, 4) distances in pixels from each pair's location to the sides of its object."""
    locations = grid.locations.index_select(0, pairs.locations)
    boxes = gt.boxes.index_select(0, pairs.objects)
    return torch.cat((locations - boxes[:, :2], boxes[:, 2:] - locations), dim=1)


def pair_offsets(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P, 2) x and y from the center of each pair's object to its location, in strides."""
    centers = (gt.boxes[:, :2] + gt.boxes[:, 2:]) / 2
    offsets = grid.locations.index_select(0, pairs.locations) - centers.index_select(
        0, pairs.objects
    )
    return offsets / grid.location_strides.index_select(0, pairs.locations)[:, None]


def center_distance(pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(P,) the greater of the x and y distances to the object's center, in strides."""
    return pair_offsets(pairs, grid, gt).abs().amax(dim=1)


def level_ranges(strides: Sequence[int]) -> list[tuple[float, float]]:
    """Least and greatest size, in pixels, of the objects that each level is made for.

    The size is the greatest of the four distances. With strides 8 to 128 these are FCOS's
    [0, 64], [64, 128], [128, 256], [256, 512], [512, 1e8]; the finest of fewer levels takes all
    smaller objects, the coarsest all larger ones.
    """
    low = [float(_LEAST_STRIDES * stride) for stride in strides]
    high = [float(_GREATEST_STRIDES * stride) for stride in strides]
    return list(zip([0.0, *low[1:]], [*high[:-1], _UNBOUNDED], strict=True))


def centerness(ltrb: Tensor) -> Tensor:
    """(P,) √(min(l, r) / max(l, r) · min(t, b) / max(t, b)) of (P, 4) distances in pixels.

    Source: FCOS (arXiv 1904.01355), Eq. 3; the center score of DSLA has the same form.
    """
    opposite = ltrb.view(-1, 2, 2)  # (l, t), (r, b)
    least = opposite.amin(dim=1).clamp(min=0)
    greatest = opposite.amax(dim=1).clamp(min=_EPS)
    return (least / greatest).prod(dim=1).sqrt()


def select_winners(values: Tensor, pairs: Pairs, num_batch_locations: int) -> Tensor:
    """Index of the pair that each location keeps: that of the greatest value.

    Of equal values the first object of the image (in the order of its annotations) wins, on every
    device and whatever the order of the pairs.

    Args:
        values: (P,) what is compared; pairs at -inf never win.
        pairs: the P pairs.
        num_batch_locations: N · R.

    Returns:
        (Q,) indices into the pairs, ascending; no two share a location.
    """
    greatest = segment_max(values, pairs.batch_locations, num_batch_locations)
    is_greatest = values == greatest.index_select(0, pairs.batch_locations)
    best = (is_greatest & (values > -torch.inf)).nonzero().squeeze(1)
    locations = pairs.batch_locations.index_select(0, best)
    objects = pairs.objects.index_select(0, best)
    none = torch.iinfo(objects.dtype).max
    first = objects.new_full((num_batch_locations,), none)
    first.scatter_reduce_(0, locations, objects, "amin")
    return best[objects == first.index_select(0, locations)]
