"""The AP of the configs as bars, and its course during training as curves."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .results import Result, Spread, spread

__all__ = ["draw_bars", "draw_curves"]

_COLORS = tuple(f"C{i}" for i in range(10))
_MARKERS = "osD^v"


def draw_bars(names: Sequence[str], results: Sequence[Result], path: Path) -> None:
    """One horizontal bar a config: mean AP, its deviation, and a dot for each seed.

    Args:
        names: the configs, from top to bottom.
        results: their runs.
        path: the PNG to write.
    """
    figure = Figure(figsize=(9, 1.4 + 0.5 * len(names)), layout="constrained")
    panel = figure.subplots()
    spreads = [spread([r for r in results if r.name == name], "AP") for name in names]
    right = 1.25 * max(map(_end, spreads)) or 1.0  # room for the numbers
    for row, x in enumerate(spreads):
        color = _COLORS[row % len(_COLORS)]
        if math.isnan(x.mean):
            panel.text(0.01 * right, row, "no finished run", va="center", color="gray")
            continue
        panel.barh(row, x.mean, 0.62, color=color, alpha=0.55)
        if len(x.values) > 1:
            panel.errorbar(x.mean, row, xerr=x.deviation, color="black", linewidth=1, capsize=5)
            # Above and below the line, so that neither it nor seeds that agree hide one.
            heights = [row + 0.14 * (-1) ** seed for seed in range(len(x.values))]
            panel.plot(x.values, heights, "o", markersize=4, color=color, markeredgecolor="black")
        panel.text(_end(x) + 0.015 * right, row, str(x), va="center")
    panel.set_yticks(range(len(names)), names)
    label = "AP (bar: mean over the seeds, line: ± one standard deviation, dots: seeds)"
    panel.set(xlabel=label, xlim=(0, right), ylim=(len(names) - 0.5, -0.5))
    _finish(panel, axis="x")
    figure.savefig(path, dpi=130)


def _end(x: Spread) -> float:
    """How far right a bar with its line and dots reaches."""
    deviation = 0.0 if math.isnan(x.deviation) else x.deviation
    return max((*x.values, 0.0 if math.isnan(x.mean) else x.mean + deviation))


def draw_curves(
    names: Sequence[str], results: Sequence[Result], path: Path, *, over_minutes: bool
) -> None:
    """AP during training: the mean over the seeds, in a band of one deviation on each side.

    Args:
        names: the configs.
        results: their runs.
        path: the PNG to write.
        over_minutes: the axis is minutes of training (a budget of time), not iterations.
    """
    figure = Figure(figsize=(9, 5), layout="constrained")
    panel = figure.subplots()
    for row, name in enumerate(names):
        mine = [r for r in results if r.name == name]
        points = _mean_curve(mine)
        if not points:
            continue
        seconds = [r.seconds_per_iteration for r in mine if r.seconds_per_iteration is not None]
        scale = 1.0
        if over_minutes:
            if not seconds:
                continue
            scale = statistics.median(seconds) / 60
        x = [iteration * scale for iteration, _, _ in points]
        mean = [value for _, value, _ in points]
        low = [value - deviation for _, value, deviation in points]
        high = [value + deviation for _, value, deviation in points]
        color = _COLORS[row % len(_COLORS)]
        marker = _MARKERS[row % len(_MARKERS)]
        panel.plot(x, mean, color=color, marker=marker, markersize=4, label=name)
        panel.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    panel.set(xlabel="minutes of training" if over_minutes else "iteration", ylabel="AP")
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    if panel.lines:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    else:
        panel.text(0.5, 0.5, "no evaluation yet", ha="center", transform=panel.transAxes)
    _finish(panel, axis="both")
    figure.savefig(path, dpi=130)


def _mean_curve(results: Sequence[Result]) -> list[tuple[int, float, float]]:
    """(iteration, mean, deviation) of the evaluations that all runs with any have made."""
    at: dict[int, list[float]] = defaultdict(list)
    curves = [result.curve for result in results if result.curve]
    for curve in curves:
        for iteration, value in curve:
            at[iteration].append(0.0 if math.isnan(value) else value)  # nothing is detected yet
    return [
        (iteration, statistics.fmean(at[iteration]), _deviation(at[iteration]))
        for iteration in sorted(at)
        if len(at[iteration]) == len(curves)
    ]


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _finish(panel: Axes, axis: str) -> None:
    panel.grid(alpha=0.3, axis=axis)  # type: ignore[arg-type]
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
