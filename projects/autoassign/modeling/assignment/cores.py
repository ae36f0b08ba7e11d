"""Cores of objects and the level of the least loss: what FSAF and SAPD have in common."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import focal_terms, iou_log_loss
from ..pairs import Pairs, inside_pairs
from ..predictions import Predictions
from .geometry import pair_levels
from .segments import segment_mean

__all__ = ["core_pairs", "level_losses", "location_losses", "with_least_distances"]

# A location belongs to a core that covers more than this share of its cell (MMDetection).
_MIN_SHARE = 0.01
# Least distance, in strides (MMDetection).
_MIN_DISTANCE = 4e-4


def core_pairs(grid: Grid, gt: GroundTruth, scale: float) -> tuple[Pairs, Tensor]:
    """Pairs whose location's cell touches the core of the object, on every level.

    The core is the box scaled about its center, the cell of a location the square of one stride
    around it.

    Returns:
        P pairs, and (P,) shares of the cells inside the cores, above 0.01.
    """
    cells = _cells(gt.host_boxes, grid, scale)
    pairs = inside_pairs(cells, gt.image_index, grid, fallback=False)

    strides = grid.location_strides.index_select(0, pairs.locations)[:, None]
    locations = grid.locations.index_select(0, pairs.locations)
    centers, reach = (x.index_select(0, pairs.objects) for x in _cores(gt.boxes, scale))
    overlap = torch.minimum(locations + strides / 2, centers + reach) - torch.maximum(
        locations - strides / 2, centers - reach
    )
    share = (overlap.clamp(min=0) / strides).prod(dim=1)
    touching = (share > _MIN_SHARE).nonzero().squeeze(1)
    return pairs.select(touching), share[touching]


def _cells(boxes: Tensor, grid: Grid, scale: float) -> Tensor:
    """(M, L, 4) cores of boxes, half a cell wider on each side."""
    centers, reach = _cores(boxes, scale)
    half_cell = boxes.new_tensor(grid.strides)[:, None] / 2
    low, high = (centers - reach)[:, None] - half_cell, (centers + reach)[:, None] + half_cell
    return torch.cat((low, high), dim=2)


def _cores(boxes: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(M, 2) centers of boxes, and half the sides of their cores, in pixels."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return centers, scale * (boxes[:, 2:] - boxes[:, :2]) / 2


def with_least_distances(predictions: Predictions, grid: Grid) -> Predictions:
    """The predictions with boxes that all have an area, so that -log IoU has a gradient."""
    least = _MIN_DISTANCE * grid.location_strides.to(predictions.ltrb)[:, None]
    return replace(predictions, ltrb=torch.maximum(predictions.ltrb, least))


@torch.no_grad()
def location_losses(
    positives: Pairs,
    predictions: Predictions,
    grid: Grid,
    gt: GroundTruth,
    *,
    ignored: Pairs | None = None,
) -> Tensor:
    """(P,) focal loss of all classes + -log IoU of each pair, if its location learned its object.

    The classes of the ``ignored`` pairs have no loss at their locations.
    """
    places, row = positives.batch_locations.unique(return_inverse=True)
    logits = predictions.location_logits(places)  # (U, K)
    positive, negative = focal_terms(logits)
    if ignored is not None:
        row_of = torch.full((predictions.ltrb[..., 0].numel(),), -1, device=row.device)
        row_of[places] = torch.arange(len(places), device=row.device)
        ignored_row = row_of[ignored.batch_locations]
        has_row = ignored_row >= 0
        negative[ignored_row[has_row], gt.classes[ignored.objects][has_row]] = 0
    classes = gt.classes.index_select(0, positives.objects)
    others = negative.sum(dim=1)[row] - negative[row, classes]
    box_loss = iou_log_loss(
        predictions.pair_boxes(grid, positives), gt.boxes.index_select(0, positives.objects)
    )
    return others + positive[row, classes] + box_loss


def level_losses(losses: Tensor, pairs: Pairs, grid: Grid, gt: GroundTruth) -> Tensor:
    """(M, L) mean of the (P,) losses of each object's pairs on a level, inf where it has none."""
    num_levels = len(grid.strides)
    segments = pairs.objects * num_levels + pair_levels(pairs, grid)
    mean = segment_mean(losses, segments, len(gt.boxes) * num_levels)
    is_empty = torch.ones_like(mean, dtype=torch.bool)
    is_empty[segments] = False
    return mean.masked_fill(is_empty, torch.inf).view(-1, num_levels)
