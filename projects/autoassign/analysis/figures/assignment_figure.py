"""How one object is assigned: its weight maps on all levels (AutoAssign's Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ...modeling import ImageExplanation, ObjectMaps
from .map_rows import draw_map_rows, map_rows_figure, object_row, rows_size
from .overlays import draw_box, draw_image, whole
from .style import literal, save_figure

__all__ = ["draw_assignment", "draw_assignment_comparison"]

_IMAGE_INCHES = 2.6
_BARS_INCHES = 1.7


def draw_assignment(explanation: ImageExplanation, title: str, path: str | Path) -> None:
    """Draw every map of an image's only object on every level, and the levels' shares, as a PNG."""
    (maps,) = explanation.objects
    rows = [object_row(name.replace(" ", "\n"), explanation, name) for name in maps.maps]
    width, height = rows_size(rows)
    region = whole(explanation.image)
    left_heights = [_IMAGE_INCHES * region.height_over_width, _BARS_INCHES]
    # The rest of the left column stays empty.
    left_heights.append(max(0.01, height - sum(left_heights)))
    figure = Figure(
        figsize=(_IMAGE_INCHES + width, max(height, sum(left_heights) + 0.4) + 0.35),
        layout="constrained",
    )
    figure.suptitle(literal(title), fontsize=11)
    left, right = figure.subfigures(1, 2, width_ratios=[_IMAGE_INCHES, width])
    grid = left.add_gridspec(3, 1, height_ratios=left_heights)
    image_panel = left.add_subplot(grid[0])
    draw_image(image_panel, explanation.image, region, grey=False)
    draw_box(image_panel, maps.box)
    image_panel.set_anchor("N")
    _draw_shares(left.add_subplot(grid[1]), explanation.strides, maps)
    draw_map_rows(right, rows)
    save_figure(figure, path)


def draw_assignment_comparison(
    labels: Sequence[str], explanations: Sequence[ImageExplanation], title: str, path: str | Path
) -> None:
    """Draw the primary map of an image's only object as each detector assigns it, as a PNG."""
    rows = []
    for label, explanation in zip(labels, explanations, strict=True):
        primary = explanation.objects[0].primary
        label = "\n".join([literal(label), *primary.split()])
        rows.append(object_row(label, explanation, primary))
    figure = map_rows_figure(rows, title, show_shares=True)
    # The layout gives long labels less room than they take.
    save_figure(figure, path, bbox_inches="tight", pad_inches=0.06)


def _draw_shares(panel: Axes, strides: tuple[int, ...], maps: ObjectMaps) -> None:
    bars = panel.bar([str(stride) for stride in strides], maps.level_shares, color="#31688e")
    panel.bar_label(bars, [f"{share:.0%}" for share in maps.level_shares], fontsize=8)
    panel.set_title(f"share of the {maps.primary}", fontsize=9)
    panel.set_xlabel("stride", fontsize=9)
    panel.set(ylim=(0, 1.12), yticks=[0, 0.5, 1])
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
