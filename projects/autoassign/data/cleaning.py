"""Removal of boxes that are of no use in training and evaluation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .table import BoxTable

__all__ = ["CleaningReport", "clean_boxes"]

# Pixels a box may stick out and be left alone: a COCO file rounds x and width to two decimals
# each, and such a file should stay its own ground truth.
_ROUNDING = 0.011
_FAULTS = ("", "non-finite", "inverted", "zero area", "outside the image")


@dataclass(frozen=True)
class CleaningReport:
    """What :func:`clean_boxes` has kept and changed; ``str()`` gives it in one line.

    Attributes:
        num_images: images, with and without boxes.
        num_boxes: boxes kept.
        num_dropped: reason -> number of boxes, for reasons that occur.
        num_clipped: boxes clipped to their image; ``num_boxes`` includes them.
    """

    num_images: int
    num_boxes: int
    num_dropped: dict[str, int]
    num_clipped: int

    def __str__(self) -> str:
        line = f"{_grouped(self.num_images)} images, {_grouped(self.num_boxes)} boxes"
        changes = []
        if self.num_dropped:
            reasons = ", ".join(f"{_grouped(n)} {why}" for why, n in self.num_dropped.items())
            changes.append(f"dropped {_grouped(sum(self.num_dropped.values()))} ({reasons})")
        if self.num_clipped:
            changes.append(f"clipped {_grouped(self.num_clipped)}")
        return f"{line}; {', '.join(changes)}" if changes else line


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def clean_boxes(table: BoxTable) -> tuple[BoxTable, CleaningReport]:
    """Drop unusable boxes and clip those that stick out of their image.

    Dropped: boxes with a non-finite coordinate, inverted ones, those of zero area and those
    that do not overlap the image. Crowd boxes are treated alike.

    Args:
        table: images whose sizes are known.

    Returns:
        The table after cleaning, with all its images, and the report. A clipped object has at
        most the area of its box.
    """
    faults = _find_faults(table)
    kept = table.select_objects(faults == 0)
    limits = table.sizes[kept.image_index][:, [1, 0, 1, 0]]
    inside = np.clip(kept.boxes, 0, limits)
    clipped = (np.abs(kept.boxes - inside) > _ROUNDING).any(axis=1)
    boxes = np.where(clipped[:, None], inside, kept.boxes)
    # The area may be that of a mask, smaller than the box. NaN stays NaN.
    areas = np.where(
        clipped, np.minimum(kept.areas, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)), kept.areas
    )
    counts = np.bincount(faults, minlength=len(_FAULTS))
    return dataclasses.replace(kept, boxes=boxes, areas=areas), CleaningReport(
        num_images=len(table),
        num_boxes=len(boxes),
        num_dropped={
            name: int(count) for name, count in zip(_FAULTS[1:], counts[1:], strict=True) if count
        },
        num_clipped=int(clipped.sum()),
    )


def _find_faults(table: BoxTable) -> np.ndarray:
    """(M,) index into _FAULTS of the first fault of each box, 0 for none."""
    heights, widths = table.sizes[table.image_index].T
    x0, y0, x1, y1 = table.boxes.T
    return np.select(
        [
            ~np.isfinite(table.boxes).all(axis=1),
            (x1 < x0) | (y1 < y0),
            (x1 == x0) | (y1 == y0),
            (x1 <= 0) | (y1 <= 0) | (x0 >= widths) | (y0 >= heights),
        ],
        range(1, len(_FAULTS)),
        default=0,
    )
