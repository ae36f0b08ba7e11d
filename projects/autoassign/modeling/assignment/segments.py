"""Reductions over segments: values that share an object, a location or an image.

A segment is named by an index for each value; segments need not be contiguous, except for
:func:`segment_topk`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "segment_argmax",
    "segment_logsumexp",
    "segment_max",
    "segment_mean",
    "segment_rank",
    "segment_softmax",
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
def segment_softmax(values: Tensor, segments: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """(P,) softmax of the values of each segment, and (num_segments,) log Σ exp, none empty.

    The first is the gradient of the second.
    """
    greatest = segment_max(values, segments, num_segments)
    shares = (values - greatest.index_select(0, segments)).exp_()
    total = segment_sum(shares, segments, num_segments)
    return shares.div_(total.index_select(0, segments)), total.log() + greatest


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
def segment_rank(values: Tensor, segments: Tensor, num_segments: int, *, ties: Tensor) -> Tensor:
    """(P,) rank of each value within its segment: 0 for the greatest.

    Of equal values the one of the least ``ties`` comes first, and of those the first.
    """
    order = ties.argsort(stable=True)
    order = order[values.index_select(0, order).argsort(descending=True, stable=True)]
    order = order[segments.index_select(0, order).argsort(stable=True)]
    counts = torch.zeros(num_segments, dtype=torch.long, device=values.device)
    counts.index_add_(0, segments, torch.ones_like(segments))
    start = (counts.cumsum(0) - counts).index_select(0, segments.index_select(0, order))
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(values), device=values.device) - start
    return rank


@torch.no_grad()
def segment_topk(
    values: Tensor, segments: Tensor, k: int | Tensor, *, ties: Callable[[Tensor], Tensor]
) -> Tensor:
    """(P,) whether each value is among the k greatest of its segment.

    The cost is that of a matrix with a row for each segment that occurs, as wide as the longest.

    Args:
        values: (P,).
        segments: (P,) segment of each value; values of a segment follow one another.
        k: a number, or one for each segment.
        ties: what breaks ties, given (Q,) indices of values: of equal values the one with the
            least counts as greater, and of those the first.

    Raises:
        ValueError: other values lie between those of a segment.
    """
    is_kept = torch.zeros_like(segments, dtype=torch.bool)
    if len(values) == 0:
        return is_kept
    present, row, counts = segments.unique_consecutive(return_inverse=True, return_counts=True)
    k = k[present] if isinstance(k, Tensor) else torch.full_like(present, k)
    num_repeated = (present.sort().values.diff() == 0).sum()
    # Copied together, because the host waits for a GPU at each copy.
    longest, greatest_k, num_repeated = torch.stack((counts.max(), k.max(), num_repeated)).tolist()
    if num_repeated:
        raise ValueError("the values of a segment do not follow one another")
    # What is less than the k-th value of its row need not be sorted.
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    matrix = values.new_full((len(counts), longest), -torch.inf)
    matrix[row, place] = values
    greatest = matrix.topk(min(max(1, greatest_k), longest), dim=1).values
    least = greatest.gather(1, (k - 1).clamp(0, greatest.shape[1] - 1)[:, None]).squeeze(1)
    index = (values >= least[row]).nonzero().squeeze(1)
    rank = segment_rank(values[index], row[index], len(counts), ties=ties(index))
    is_kept[index] = rank < k[row[index]]
    return is_kept
