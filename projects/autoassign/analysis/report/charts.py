"""Line charts as inline SVG, whose colours are those of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.ticker import MaxNLocator

from .markup import Html

__all__ = ["Points", "line_chart"]

# (iteration, value) pairs, ascending.
Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 34
# Beyond so many points a line needs no markers.
_MAX_MARKERS = 30


def line_chart(
    title: str, series: Mapping[str, Points], *, limits: tuple[float, float] | None = None
) -> Html:
    """A figure with one line for each series over the iterations.

    Args:
        title: above the chart.
        series: name -> points; a point that is not finite is left out.
        limits: of the vertical axis; None for those of the values.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()
    }
    finite = {name: points for name, points in finite.items() if points}
    caption = f"<figcaption>{escape(title)}</figcaption>"
    if not finite:
        return Html(
            f'<figure class="chart">{caption}<p class="missing">Nothing logged.</p></figure>'
        )
    xs = [x for points in finite.values() for x, _ in points]
    ys = [y for points in finite.values() for _, y in points]
    x_end = max(*xs, 1)
    x_ticks = [x for x in _locator(integer=True).tick_values(0, x_end) if 0 <= x <= x_end]
    y_ticks = _enclosing_ticks(*(limits or (min(ys), max(ys))))
    scale = _Scale((0, x_end), (y_ticks[0], y_ticks[-1]))
    lines = "".join(
        _line(scale, name, points, index) for index, (name, points) in enumerate(finite.items())
    )
    legend = "".join(
        f'<li class="s{index % 8}"><span class="key"></span>{escape(name)} '
        f"<b>{points[-1][1]:.4g}</b></li>"
        for index, (name, points) in enumerate(finite.items())
    )
    label = f"{title} over {max(xs):.0f} iterations; last values: " + ", ".join(
        f"{name} {points[-1][1]:.4g}" for name, points in finite.items()
    )
    return Html(
        f'<figure class="chart">{caption}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{_axes(scale, x_ticks, y_ticks)}{lines}</svg>"
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _locator(*, integer: bool = False) -> MaxNLocator:
    return MaxNLocator(nbins=5, integer=integer, steps=[1, 2, 2.5, 5, 10])


def _enclosing_ticks(low: float, high: float) -> list[float]:
    """Round numbers, the first one not above a range and the last one not below it."""
    if low == high:
        # A constant is seen against 0, and 0 against 1.
        low, high = min(low, 0.0), max(high, 0.0) or float(low == 0)
    ticks = [float(x) for x in _locator().tick_values(low, high)]
    first = max(index for index, x in enumerate(ticks) if x <= low)
    last = min(index for index, x in enumerate(ticks) if x >= high)
    return ticks[first : last + 1]


class _Scale:
    """From values to places in the picture."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_range = x_range
        self.y_range = y_range

    def x(self, value: float) -> float:
        low, high = self.x_range
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        # Values outside limits that were given lie on the edge.
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _axes(scale: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y_ticks:
        y = scale.y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:.4g}</text>')
    for tick in x_ticks:
        x = scale.x(tick)
        anchor = "end" if x > right - 12 else "middle"
        parts.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
        parts.append(f'<text x="{x}" y="{bottom + 17}" text-anchor="{anchor}">{tick:.6g}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    return "".join(parts)


def _line(scale: _Scale, name: str, points: Points, index: int) -> str:
    places = [(scale.x(x), scale.y(y)) for x, y in points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    markers = ""
    if len(points) <= _MAX_MARKERS:
        markers = "".join(
            f'<circle cx="{x}" cy="{y}" r="3"><title>{escape(name)}, iteration {point[0]:.0f}: '
            f"{point[1]:.4g}</title></circle>"
            for (x, y), point in zip(places, points, strict=True)
        )
    return f'<g class="s{index % 8}"><path class="line" d="{path}"/>{markers}</g>'
