"""Lines over the iterations of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .style import literal, style_panel

__all__ = ["Lines", "plot_lines"]

# Name -> (x, y) points, ascending in x.
Lines = Mapping[str, Sequence[tuple[float, float]]]

_MARKERS = "os^Dv"
# Beyond so many points a line needs no markers.
_MAX_MARKERS = 30


def plot_lines(
    panel: Axes, lines: Lines, *, bands: Mapping[str, Sequence[float]] | None = None
) -> None:
    """Draw one line for each name.

    Args:
        panel: where to draw; its x axis starts at 0.
        lines: the points.
        bands: by name, the half height of a band around each point of a line.
    """
    for index, (name, points) in enumerate(lines.items()):
        x, y = np.array(points).T
        color = f"C{index % 10}"
        marker = _MARKERS[index % len(_MARKERS)] if len(x) <= _MAX_MARKERS else ""
        panel.plot(x, y, color=color, marker=marker, markersize=4, label=literal(name))
        if bands:
            half = np.array(bands[name])
            panel.fill_between(x, y - half, y + half, color=color, alpha=0.15, linewidth=0)
    if not panel.lines:
        panel.text(0.5, 0.5, "nothing logged", ha="center", transform=panel.transAxes)
    panel.set_xlim(left=0)
    style_panel(panel)
