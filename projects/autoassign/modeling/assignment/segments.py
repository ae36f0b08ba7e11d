"""Reductions over segments: values that share an object, a location or an image.

A segment is named by an index for each value; segments need not be contiguous.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "segment_argmax",
    "segment_logsumexp",
    "segment_max",
    "segment_mean",
    "segment_rank",
    "segment_sum",
    "segment_topk",
]


def segment_sum(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) sums of the (P,) values of each segment; differentiable."""
    return values.new_zeros(num_segments).index_add(0, segments, values)


def segment_mean(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) means of the (P,) values, 0 for an empty segment; differentiable."""
    counts = segment_sum(torch.ones_like(values), segments, num_segments)
    return segment_sum(values, segments, num_segments) / counts.clamp(min=1)


def segment_max(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) maxima of the (P,) values, -inf for an empty segment; no gradient."""
    empty = torch.full((num_segments,), -torch.inf, dtype=values.dtype, device=values.device)
    return empty.scatter_reduce(0, segments, values.detach(), "amax")


def segment_logsumexp(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) log Σ exp of the (P,) values of each segment, none empty; differentiable."""
    greatest = segment_max(values, segments, num_segments)
    total = segment_sum((values - greatest[segments]).exp(), segments, num_segments)
    return total.log() + greatest


@torch.no_grad()
def segment_argmax(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) index of the greatest value of each segment, the first of equal ones.

    A segment that is empty, or has no value above -inf, gets the number of values P.
    """
    greatest = segment_max(values, segments, num_segments)
    is_greatest = (values == greatest.index_select(0, segments)) & (values > -torch.inf)
    index = torch.arange(len(values), device=values.device).masked_fill(~is_greatest, len(values))
    first = index.new_full((num_segments,), len(values))
    return first.scatter_reduce(0, segments, index, "amin")


@torch.no_grad()
def segment_rank(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(P,) rank of each value within its segment: 0 for the greatest, the first of equal ones."""
    order = values.argsort(descending=True, stable=True)
    order = order[segments.index_select(0, order).argsort(stable=True)]
    counts = torch.zeros(num_segments, dtype=torch.long, device=values.device)
    counts.index_add_(0, segments, torch.ones_like(segments))
    start = (counts.cumsum(0) - counts).index_select(0, segments.index_select(0, order))
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(values), device=values.device) - start
    return rank


def segment_topk(values: Tensor, segments: Tensor, num_segments: int, k: int | Tensor) -> Tensor:
    """(P,) whether each value is among the k greatest of its segment, the first of equal ones.

    Args:
        values: (P,).
        segments: (P,) segment of each value.
        num_segments: number of segments.
        k: a number, or (num_segments,) one for each segment.
    """
    if isinstance(k, Tensor):
        k = k.index_select(0, segments)
    return segment_rank(values, segments, num_segments) < k
