"""How one object is assigned: its weight maps on all levels (AutoAssign's Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ...modeling.explanation import ImageExplanation, ObjectMaps
from .heat import draw_box, draw_image, whole
from .map_rows import MapRow, draw_map_rows, rows_size

__all__ = ["draw_assignment", "draw_comparison"]

_DPI = 130
_IMAGE_INCHES = 2.6
_BARS_INCHES = 1.7


def draw_assignment(
    explanation: ImageExplanation, shown: ObjectMaps, title: str, path: str | Path
) -> None:
    """Draw every map of one object on every level, and the levels' shares, as a PNG.

    Args:
        explanation: of the object's image.
        shown: one of its objects.
        title: heading of the picture.
        path: the file to write.
    """
    rows = [MapRow(_wrapped(name), explanation, shown, name) for name in shown.maps]
    figure = _draw_page(rows, explanation, shown, title)
    figure.savefig(path, dpi=_DPI)


def draw_comparison(
    labels: Sequence[str],
    explanations: Sequence[ImageExplanation],
    objects: Sequence[ObjectMaps],
    title: str,
    path: str | Path,
) -> None:
    """Draw the primary map of one object as several detectors assign it, a row each, as a PNG.

    Args:
        labels: what each detector is called.
        explanations: the image as each detector assigns it.
        objects: the object in each of them.
        title: heading of the picture.
        path: the file to write.
    """
    rows = [
        MapRow(f"{label}\n{shown.primary}", explanation, shown, shown.primary)
        for label, explanation, shown in zip(labels, explanations, objects, strict=True)
    ]
    width, height = rows_size(rows)
    figure = Figure(figsize=(width + 0.3, height + 0.35), layout="constrained")
    figure.suptitle(title, fontsize=11)
    draw_map_rows(figure, rows, show_shares=True)
    figure.savefig(path, dpi=_DPI)


def _draw_page(
    rows: Sequence[MapRow], explanation: ImageExplanation, shown: ObjectMaps, title: str
) -> Figure:
    """The image and the bars at the left, the maps at the right."""
    width, height = rows_size(rows)
    region = whole(explanation.image)
    image_height = _IMAGE_INCHES * region.height_over_width
    left_height = image_height + _BARS_INCHES + 0.4
    figure = Figure(
        figsize=(_IMAGE_INCHES + width, max(height, left_height) + 0.35), layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    left, right = figure.subfigures(1, 2, width_ratios=[_IMAGE_INCHES, width])
    heights = [image_height, _BARS_INCHES]
    # What is left stays free below the bars.
    heights.append(max(0.01, height - sum(heights)))
    grid = left.add_gridspec(3, 1, height_ratios=heights)
    image_axes, bar_axes = left.add_subplot(grid[0]), left.add_subplot(grid[1])
    draw_image(image_axes, explanation.image, region, grey=False)
    draw_box(image_axes, shown.box)
    image_axes.set_anchor("N")
    _draw_shares(bar_axes, explanation, shown)
    draw_map_rows(right, rows)
    return figure


def _draw_shares(axes: Axes, explanation: ImageExplanation, shown: ObjectMaps) -> None:
    shares = shown.level_shares
    bars = axes.bar([str(stride) for stride in explanation.strides], shares, color="#31688e")
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], fontsize=8)
    axes.set_title(f"share of the {shown.primary}", fontsize=9)
    axes.set_xlabel("stride", fontsize=9)
    axes.set_ylim(0, 1.12)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _wrapped(name: str) -> str:
    """The words of a map's name under one another, where the row's label has little room."""
    return name.replace(" ", "\n")
