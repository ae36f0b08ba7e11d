"""Rows of weight maps, a column for each pyramid level: what several figures are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage

from ...modeling import ImageExplanation, Peak
from .overlays import Region, draw_box, draw_heat, draw_image, draw_peak, region_around
from .style import literal

__all__ = ["MapRow", "draw_map_rows", "map_rows_figure", "object_row", "rows_size"]

_CELL_INCHES = 1.7
# Many rows get smaller cells.
_MAX_HEIGHT_INCHES = 15.0
# Width of a level without a location, as a share of a cell.
_EMPTY_WIDTH = 0.16


@dataclass(frozen=True)
class MapRow:
    """One map, to be drawn level by level.

    Attributes:
        label: stands beside the row.
        image: (H, W, 3) uint8, RGB.
        region: the part of the image that is drawn.
        offset: place of each level's first location, in strides.
        levels: stride -> the (Hi, Wi) values of a level; NaN where a location has none.
        greatest: the value of the brightest color.
        box: (4,) xyxy of the object, to be outlined.
        peak: the location to be marked.
        shares: stride -> the level's share of the object's primary map.
    """

    label: str
    image: np.ndarray
    region: Region
    offset: float
    levels: Mapping[int, np.ndarray]
    greatest: float
    box: np.ndarray | None = None
    peak: Peak | None = None
    shares: Mapping[int, float] = field(default_factory=dict)

    def is_empty(self, stride: int) -> bool:
        """Whether the level of this stride has no value."""
        return stride not in self.levels or bool(np.isnan(self.levels[stride]).all())


def object_row(label: str, explanation: ImageExplanation, name: str) -> MapRow:
    """The row of the map ``name`` of an image's only object."""
    (maps,) = explanation.objects
    strides, levels, peak = explanation.strides, maps.maps[name], maps.peak
    # Only a single location is the peak, not one of several with the same value.
    primary = maps.maps[maps.primary]
    if peak is not None and sum(np.count_nonzero(x == peak.value) for x in primary) > 1:
        peak = None
    return MapRow(
        label=label,
        image=explanation.image,
        region=region_around(maps.box, explanation.image, strides[0]),
        offset=explanation.offset,
        levels=dict(zip(strides, levels, strict=True)),
        greatest=max((float(np.nanmax(x)) for x in levels if not np.isnan(x).all()), default=0.0),
        box=maps.box,
        peak=peak,
        shares=dict(zip(strides, maps.level_shares.tolist(), strict=True)),
    )


def map_rows_figure(rows: Sequence[MapRow], title: str, *, show_shares: bool = False) -> Figure:
    """A figure of nothing but rows; see :func:`draw_map_rows`."""
    width, height = rows_size(rows)
    figure = Figure(figsize=(width + 0.3, height + 0.35), layout="constrained")
    figure.suptitle(literal(title), fontsize=11)
    draw_map_rows(figure, rows, show_shares=show_shares)
    return figure


def rows_size(rows: Sequence[MapRow]) -> tuple[float, float]:
    """Width and height in inches that :func:`draw_map_rows` needs."""
    ratios = sum(row.region.height_over_width for row in rows)
    cell = min(_CELL_INCHES, _MAX_HEIGHT_INCHES / ratios)
    widths = _column_widths(rows)
    width = (sum(widths) + 0.12 * len(widths)) * cell + 1.5
    return width, cell * ratios + 0.14 * len(rows) + 0.35


def draw_map_rows(figure: FigureBase, rows: Sequence[MapRow], *, show_shares: bool = False) -> None:
    """Draw each row's map at every level, with a scale of its own that starts at 0.

    A cross marks the location of an object's greatest primary value, unless several locations
    share it. Levels at which no row has a location are drawn as a narrow strip.

    Args:
        figure: what to draw into, of :func:`rows_size`.
        rows: the maps.
        show_shares: write each level's share of the primary map into its cell.
    """
    strides = _strides(rows)
    grid = figure.add_gridspec(
        len(rows),
        len(strides),
        width_ratios=_column_widths(rows),
        height_ratios=[row.region.height_over_width for row in rows],
    )
    columns = dict(enumerate(strides))
    for column, stride in list(columns.items()):
        if all(row.is_empty(stride) for row in rows):
            _draw_empty_level(figure.add_subplot(grid[:, column]), stride)
            del columns[column]
    for number, row in enumerate(rows):
        panels = [figure.add_subplot(grid[number, column]) for column in columns]
        heat = None
        for panel, stride in zip(panels, columns.values(), strict=True):
            if number == 0:
                panel.set_title(f"stride {stride}", fontsize=9)
            heat = _draw_cell(panel, row, stride) or heat
            if show_shares and not row.is_empty(stride):
                _draw_text(panel, 0.03, 0.97, f"{row.shares[stride]:.0%}", ha="left", va="top")
        if panels:
            panels[0].set_ylabel(row.label, fontsize=9, rotation=0, ha="right", va="center")
            # Beside all cells of every row, so that the columns stay aligned.
            bar = figure.colorbar(
                heat or ScalarMappable(), ax=panels, aspect=14, pad=0.02, shrink=0.95
            )
            bar.ax.tick_params(labelsize=7)
            bar.ax.locator_params(nbins=5)
            if heat is None:
                bar.ax.cla()
                bar.ax.set_axis_off()


def _strides(rows: Sequence[MapRow]) -> list[int]:
    return sorted({stride for row in rows for stride in row.levels})


def _column_widths(rows: Sequence[MapRow]) -> list[float]:
    return [
        _EMPTY_WIDTH if all(row.is_empty(stride) for row in rows) else 1.0
        for stride in _strides(rows)
    ]


def _draw_cell(panel: Axes, row: MapRow, stride: int) -> AxesImage | None:
    draw_image(panel, row.image, row.region)
    heat = None
    if row.is_empty(stride):
        _draw_text(panel, 0.5, 0.5, "no location", ha="center", va="center")
    else:
        heat = draw_heat(panel, row.levels[stride], stride, row.offset, row.greatest)
    if row.box is not None:
        draw_box(panel, row.box)
    if row.peak is not None and sorted(row.levels)[row.peak.level] == stride:
        draw_peak(panel, row.peak)
    return heat


def _draw_text(panel: Axes, x: float, y: float, text: str, *, ha: str, va: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    panel.text(x, y, text, fontsize=8, ha=ha, va=va, transform=panel.transAxes, bbox=box)


def _draw_empty_level(panel: Axes, stride: int) -> None:
    panel.set(xticks=[], yticks=[], facecolor="0.95")
    panel.spines[:].set_visible(False)
    panel.text(
        0.5, 0.5, f"stride {stride}: no location", rotation=90, fontsize=8, color="0.4",
        ha="center", va="center", transform=panel.transAxes,
    )  # fmt: skip
