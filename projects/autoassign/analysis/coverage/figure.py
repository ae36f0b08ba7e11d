"""The figure of a coverage: three panels with a row for each strategy, a column for each size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..figures import COLORMAP, literal, save_figure
from .measure import Coverage
from .table import count_and_share, mean_per_object, size_labels

__all__ = ["draw_coverage"]

_ROW_INCHES = 0.42
# Height of a stacked bar as a share of its row, and its width as a share of its column.
_BAR = 0.62


def draw_coverage(coverages: Sequence[Coverage], title: str, path: str | Path) -> None:
    """Draw objects without a location, locations per object, and levels, as a PNG."""
    learned = np.array([x.objects - x.without for x in coverages])
    without = np.array([mean_per_object(x.without, x.objects) for x in coverages])
    locations = np.array(
        [mean_per_object(x.locations, n) for x, n in zip(coverages, learned, strict=True)]
    )
    height = _ROW_INCHES * len(coverages) + 2.1
    figure = Figure(figsize=(15, height), layout="constrained")
    figure.suptitle(literal(title), fontsize=11)
    panels = figure.subplots(1, 3, sharey=True)
    texts = [
        count_and_share(n, m)
        for x in coverages
        for n, m in zip(x.without.tolist(), x.objects.tolist(), strict=True)
    ]
    _draw_cells(panels[0], without, texts, "Reds", Normalize(0, 1))
    panels[0].set_title("objects that no location learns", fontsize=10)
    greatest = max(10.0, float(np.nanmax(locations, initial=1.0)))
    texts = [f"{x:.0f}" if x >= 9.95 else f"{x:.1f}" for x in locations.flat]
    _draw_cells(panels[1], locations, texts, "Blues", LogNorm(1, greatest))
    panels[1].set_title("locations that learn an object (mean, effective)", fontsize=10)
    _draw_levels(panels[2], coverages, learned)
    panels[2].set_title("levels at which it is learned", fontsize=10)
    names = [x.strategy for x in coverages]
    panels[0].set_yticks(range(len(names)), [literal(x) for x in names])
    for panel in panels:
        labels = [
            f"{label.replace(' ', chr(10), 1)}\n({count})"
            for label, count in zip(size_labels(), coverages[0].objects, strict=True)
        ]
        panel.set_xticks(range(len(labels)), labels, fontsize=8)
        panel.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(names) - 0.5, -0.5))
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    figure.supxlabel("size of objects: √area in pixels as trained (number of objects)", fontsize=9)
    save_figure(figure, path)


def _draw_cells(
    panel: Axes, values: np.ndarray, texts: Sequence[str], colormap: str, norm: Normalize
) -> None:
    """A colored cell with its number for each strategy and size; grey where there is none."""
    panel.set_facecolor("0.93")
    y, x = (np.arange(length + 1) - 0.5 for length in values.shape)
    panel.pcolormesh(x, y, values, cmap=colormap, norm=norm, edgecolors="white", linewidth=1.5)
    for ((row, column), value), text in zip(np.ndenumerate(values), texts, strict=True):
        if not np.isnan(value):
            color = "white" if norm(value) > 0.6 else "black"
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=color)


def _draw_levels(panel: Axes, coverages: Sequence[Coverage], learned: np.ndarray) -> None:
    """For each strategy and size a bar that is divided among the levels."""
    strides = coverages[0].strides
    colors = matplotlib.colormaps[COLORMAP](np.linspace(0.95, 0.05, len(strides)))
    for row, each in enumerate(coverages):
        shares = mean_per_object(each.level_shares, learned[row])
        for column, of_levels in enumerate(shares):
            if np.isnan(of_levels).any():
                continue
            left = column - 0.45
            for share, color in zip(of_levels, colors, strict=True):
                panel.barh(row, 0.9 * share, _BAR, left=left, color=color)
                left += 0.9 * share
    panel.legend(
        handles=[Patch(color=c, label=f"{s}") for c, s in zip(colors, strides, strict=True)],
        title="stride",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize=8,
        title_fontsize=8,
        frameon=False,
    )
