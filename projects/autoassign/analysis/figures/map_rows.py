"""Rows of weight maps, a column for each pyramid level: what several figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.image import AxesImage

from ...modeling.explanation import ImageExplanation, ObjectMaps
from .heat import Region, draw_box, draw_heat, draw_image, draw_peak, region_of

__all__ = ["CELL_INCHES", "MapRow", "draw_map_rows", "rows_size"]

CELL_INCHES = 1.7
# Width of a level without a location, as a share of a cell.
_EMPTY_WIDTH = 0.16


@dataclass(frozen=True)
class MapRow:
    """One map of one object.

    Attributes:
        label: what stands beside the row.
        explanation: of the object's image.
        shown: the object.
        name: the map's name.
    """

    label: str
    explanation: ImageExplanation
    shown: ObjectMaps
    name: str

    @property
    def region(self) -> Region:
        """The part of the image that is shown."""
        return region_of(self.explanation.image, self.shown.box, self.explanation.strides[0])

    def level(self, stride: int) -> np.ndarray | None:
        """The map at the level of this stride; None where there is no location."""
        if stride not in self.explanation.strides:
            return None
        level = self.shown.maps[self.name][self.explanation.strides.index(stride)]
        return None if np.isnan(level).all() else level

    def share(self, stride: int) -> float:
        """Share of the level in the sum of the primary map."""
        return float(self.shown.level_shares[self.explanation.strides.index(stride)])


def rows_size(rows: Sequence[MapRow]) -> tuple[float, float]:
    """Width and height in inches that :func:`draw_map_rows` needs."""
    widths = _widths(rows)
    width = (sum(widths) + 0.12 * len(widths)) * CELL_INCHES + 1.1
    height = sum(CELL_INCHES * row.region.height_over_width + 0.14 for row in rows)
    return width, height + 0.35


def draw_map_rows(figure: FigureBase, rows: Sequence[MapRow], *, show_shares: bool = False) -> None:
    """Draw each row's map at every level, with a scale of its own that starts at 0.

    The cross marks the location of the object's greatest primary value, where that is one and
    not a tie. Levels at which no row has a location are shown as a narrow strip.

    Args:
        figure: what to draw into, of :func:`rows_size`.
        rows: the maps.
        show_shares: write each level's share of the primary map into its cell.
    """
    strides = _strides(rows)
    grid = figure.add_gridspec(
        len(rows),
        len(strides),
        width_ratios=_widths(rows),
        height_ratios=[row.region.height_over_width for row in rows],
    )
    cells: list[list[Axes]] = [[] for _ in rows]
    heats: list[list[AxesImage]] = [[] for _ in rows]
    for column, stride in enumerate(strides):
        if all(row.level(stride) is None for row in rows):
            _draw_empty_level(figure.add_subplot(grid[:, column]), stride)
            continue
        for number, row in enumerate(rows):
            axes = figure.add_subplot(grid[number, column])
            if number == 0:
                axes.set_title(f"stride {stride}", fontsize=9)
            heat = _draw_cell(axes, row, stride)
            if show_shares and heat is not None:
                _draw_share(axes, row.share(stride))
            if not cells[number]:
                axes.set_ylabel(row.label, fontsize=9)
            cells[number].append(axes)
            if heat is not None:
                heats[number].append(heat)
    for of_row, drawn in zip(cells, heats, strict=True):
        if drawn:
            # Beside all cells, also those without a location, so that the columns stay columns.
            bar = figure.colorbar(drawn[-1], ax=of_row, aspect=14, pad=0.02, shrink=0.95)
            bar.ax.tick_params(labelsize=7)
            bar.ax.locator_params(nbins=5)


def _strides(rows: Sequence[MapRow]) -> list[int]:
    return sorted({stride for row in rows for stride in row.explanation.strides})


def _widths(rows: Sequence[MapRow]) -> list[float]:
    return [
        _EMPTY_WIDTH if all(row.level(stride) is None for row in rows) else 1.0
        for stride in _strides(rows)
    ]


def _draw_cell(axes: Axes, row: MapRow, stride: int) -> AxesImage | None:
    draw_image(axes, row.explanation.image, row.region)
    level = row.level(stride)
    heat = None
    if level is None:
        axes.text(
            0.5, 0.5, "no location", fontsize=8, ha="center", va="center",
            transform=axes.transAxes, bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )  # fmt: skip
    else:
        greatest = max(np.nanmax(x) for x in row.shown.maps[row.name] if not np.isnan(x).all())
        heat = draw_heat(axes, level, stride, row.explanation.offset, float(greatest))
    draw_box(axes, row.shown.box)
    peak = row.shown.peak
    if peak is not None and row.explanation.strides[peak.level] == stride:
        levels = row.shown.maps[row.shown.primary]
        if sum(np.count_nonzero(x == peak.value) for x in levels) == 1:
            draw_peak(axes, peak)
    return heat


def _draw_share(axes: Axes, share: float) -> None:
    axes.text(
        0.03, 0.97, f"{share:.0%}", fontsize=8, ha="left", va="top", transform=axes.transAxes,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )  # fmt: skip


def _draw_empty_level(axes: Axes, stride: int) -> None:
    axes.set(xticks=[], yticks=[], facecolor="0.95")
    axes.spines[:].set_visible(False)
    axes.text(
        0.5, 0.5, f"stride {stride}: no location", rotation=90, fontsize=8, color="0.4",
        ha="center", va="center", transform=axes.transAxes,
    )  # fmt: skip
