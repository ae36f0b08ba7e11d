"""The numbers of a coverage as text and as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from .measure import SIZES, Coverage

__all__ = [
    "count_and_share",
    "coverage_as_dict",
    "format_coverage",
    "mean_per_object",
    "size_labels",
]


def size_labels() -> list[str]:
    """What the sizes are called, with their bounds in pixels."""
    bounds = [0.0, *SIZES.values()]
    ranges = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(bounds[:-1])]
    return [
        f"{name} {text}" for name, text in zip(SIZES, [*ranges, f"≥ {bounds[-2]:g}"], strict=True)
    ]


def mean_per_object(sums: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Sums divided by the numbers of objects of their rows; NaN where there are none."""
    objects = objects.reshape(-1, *[1] * (sums.ndim - 1))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(objects > 0, sums / objects, np.nan))


def count_and_share(number: int, total: int) -> str:
    """A number and its share in a total, such as "3 (1.5%)"; 0 alone, and a dash without any."""
    if total == 0:
        return "–"
    return f"{number} ({number / total:.1%})" if number else "0"


def format_coverage(coverages: Sequence[Coverage]) -> str:
    """Tables of all strategies: objects without a location, locations per object, levels."""
    objects = coverages[0].objects
    header = ["", *size_labels(), "all"]
    counts = ["objects", *map(str, objects), str(objects.sum())]
    without, locations = [], []
    for each in coverages:
        without.append(
            [each.strategy, *map(count_and_share, each.without.tolist(), objects.tolist())]
        )
        without[-1].append(count_and_share(int(each.without.sum()), int(objects.sum())))
        learned = objects - each.without
        means = mean_per_object(each.locations, learned)
        mean = each.locations.sum() / max(1, learned.sum())
        locations.append([each.strategy, *map(_number, means), _number(mean)])
    strides = coverages[0].strides
    levels = [[each.strategy, *(f"{x:.1%}" for x in _overall_shares(each))] for each in coverages]
    return "\n\n".join(
        [
            "objects that no location learns, by size (√area in pixels, as trained)\n"
            + _aligned([header, counts, *without]),
            "locations that learn an object, on average over those that have any (effective "
            "number where\nthey are weighted)\n" + _aligned([header, *locations]),
            "share of the levels in what objects are learned at, by stride\n"
            + _aligned([["", *map(str, strides)], *levels]),
        ]
    )


def coverage_as_dict(coverages: Sequence[Coverage]) -> dict[str, Any]:
    """All counts, in JSON types; sizes as in the tables, lists in their order."""
    return {
        "sizes": {name: None if bound == float("inf") else bound for name, bound in SIZES.items()},
        "strides": list(coverages[0].strides),
        "objects": coverages[0].objects.tolist(),
        "strategies": {
            each.strategy: {
                "objects_without_location": each.without.tolist(),
                "mean_locations": _nullable(
                    mean_per_object(each.locations, each.objects - each.without)
                ),
                "level_shares": _nullable(
                    mean_per_object(each.level_shares, each.objects - each.without)
                ),
            }
            for each in coverages
        },
    }


def _overall_shares(coverage: Coverage) -> np.ndarray:
    """(L,) mean share of each level over all objects that are learned; zeros without any."""
    total = coverage.level_shares.sum()
    return np.asarray(coverage.level_shares.sum(axis=0) / (total or 1.0))


def _nullable(values: np.ndarray) -> list[Any]:
    """Nested lists, None for NaN."""
    return [_nullable(x) if x.ndim else (None if np.isnan(x) else float(x)) for x in values]


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    align = ["left", *["right"] * (len(rows[0]) - 1)]
    return tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True)
