"""Ranks and greatest values of segments against loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoassign.modeling.assignment import segment_rank, segment_softmax, segment_topk

# Few values, so that many are equal: value, tie, segment.
rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4)), max_size=40)


def expected_ranks(values: list[int], ties: list[int], segments: list[int]) -> list[int]:
    ranks = [0] * len(values)
    for segment in set(segments):
        members = [i for i, x in enumerate(segments) if x == segment]
        members.sort(key=lambda i: (-values[i], ties[i], i))
        for rank, i in enumerate(members):
            ranks[i] = rank
    return ranks


@given(rows)
def test_ranks_are_those_of_a_loop(rows):
    values, ties, segments = (list(x) for x in zip(*rows, strict=True)) if rows else ([], [], [])
    value_tensor = torch.tensor(values, dtype=torch.float64)
    segment_tensor = torch.tensor(segments, dtype=torch.long)
    actual = segment_rank(value_tensor, segment_tensor, 5, ties=torch.tensor(ties))
    assert actual.tolist() == expected_ranks(values, ties, segments)


@given(rows, st.lists(st.integers(0, 6), min_size=5, max_size=5), st.booleans())
def test_the_greatest_are_those_of_least_rank(rows, numbers, is_descending):
    rows.sort(key=lambda row: row[2], reverse=is_descending)
    values, ties, segments = (list(x) for x in zip(*rows, strict=True)) if rows else ([], [], [])
    tie_tensor = torch.tensor(ties)
    arguments = (
        torch.tensor(values, dtype=torch.float64),
        torch.tensor(segments, dtype=torch.long),
    )
    ranks = expected_ranks(values, ties, segments)
    actual = segment_topk(*arguments, torch.tensor(numbers), ties=lambda i: tie_tensor[i])
    expected = [rank < numbers[x] for rank, x in zip(ranks, segments, strict=True)]
    assert actual.tolist() == expected
    actual = segment_topk(*arguments, 2, ties=lambda i: tie_tensor[i])
    assert actual.tolist() == [rank < 2 for rank in ranks]


@pytest.mark.parametrize("k", [1, 5])
def test_minus_infinity_is_a_value(k):
    values = torch.tensor([-torch.inf, 1.0, -torch.inf])
    is_kept = segment_topk(values, torch.zeros(3).long(), k, ties=lambda i: i)
    assert is_kept.tolist() == [k > 1, True, k > 1]


def test_a_segment_in_two_parts_is_refused():
    values, segments = torch.arange(4.0), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="do not follow one another"):
        segment_topk(values, segments, 1, ties=lambda i: i)


def test_softmax_of_each_segment():
    values = torch.tensor([1.0, 500.0, 3.0, 500.0, -1000.0]).double()
    segments = torch.tensor([0, 1, 0, 1, 2])
    shares, total = segment_softmax(values, segments, 3)
    of_first = values[[0, 2]].softmax(0)
    expected = torch.tensor([of_first[0], 0.5, of_first[1], 0.5, 1.0]).double()
    torch.testing.assert_close(shares, expected)
    expected = torch.stack([values[segments == i].logsumexp(0) for i in range(3)])
    torch.testing.assert_close(total, expected)
