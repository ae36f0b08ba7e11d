"""The AP of the candidates as bars, and over the course of training as curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..figures import literal, plot_lines, save_figure, style_panel
from .results import TrialResult, mean_over_seeds

__all__ = ["draw_ap_bars", "draw_ap_curves"]

# More curves than this would hide each other in one panel.
_MAX_LINES = 5
_PANELS_PER_ROW = 4


def draw_ap_bars(names: Sequence[str], results: Sequence[TrialResult], path: Path) -> None:
    """Draw a bar per candidate as a PNG: mean AP, its deviation, and a dot for each seed."""
    figure = Figure(figsize=(9, 1.4 + 0.5 * len(names)), layout="constrained")
    panel = figure.subplots()
    for row, name in enumerate(names):
        color = f"C{row % 10}"
        ap = mean_over_seeds([x for x in results if x.trial.name == name], "AP")
        if math.isnan(ap.mean):
            panel.text(0, row, " no finished run", va="center", color="gray")
            continue
        panel.barh(row, ap.mean, 0.62, color=color, alpha=0.55)
        end = ap.mean
        if len(ap.values) > 1:
            end = max(*ap.values, ap.mean + ap.error)
            panel.errorbar(ap.mean, row, xerr=ap.error, color="black", linewidth=1, capsize=5)
            # Above and below the line, so that equal seeds do not hide each other.
            heights = [row + 0.14 * (-1) ** seed for seed in range(len(ap.values))]
            panel.plot(ap.values, heights, "o", markersize=4, color=color, markeredgecolor="black")
        panel.text(end, row, f"  {ap}", va="center")
    panel.set_yticks(range(len(names)), [literal(name) for name in names])
    panel.set(
        xlabel="AP (bar: mean over the seeds, line: ± one standard deviation, dots: seeds)",
        ylim=(len(names) - 0.5, -0.5),
    )
    panel.set_xlim(0, 1.2 * panel.get_xlim()[1])  # room for the numbers
    style_panel(panel, grid="x")
    save_figure(figure, path)


def draw_ap_curves(
    names: Sequence[str], results: Sequence[TrialResult], path: Path, *, over_minutes: bool
) -> None:
    """Draw AP during training as a PNG: the mean over the seeds, and a band of one deviation.

    More candidates than a panel can show have a panel each, beside the first one's curve. The x
    axis is iterations, or minutes of training.
    """
    lines, bands = _curves(names, results, over_minutes)
    xlabel = "minutes of training" if over_minutes else "iteration"
    if len(lines) <= _MAX_LINES:
        figure = Figure(figsize=(9, 5), layout="constrained")
        panel = figure.subplots()
        plot_lines(panel, lines, bands=bands)
        # Not of the figure: the legend would lie on them.
        panel.set(xlabel=xlabel, ylabel="AP")
        panel.set_ylim(bottom=0)
        if lines:
            figure.legend(loc="outside lower center", ncols=3, frameon=False)
    else:
        figure = _panel_for_each(lines, bands)
        figure.supxlabel(xlabel, fontsize="medium")
        figure.supylabel("AP", fontsize="medium")
    save_figure(figure, path)


def _curves(
    names: Sequence[str], results: Sequence[TrialResult], over_minutes: bool
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[float]]]:
    """By name, where there is any: points of the mean AP, and the deviation at each of them."""
    lines, bands = {}, {}
    for name in names:
        own = [x for x in results if x.trial.name == name]
        seconds = [x.seconds_per_iteration for x in own if x.seconds_per_iteration is not None]
        curve = _mean_curve(own)
        if not curve or (over_minutes and not seconds):
            continue
        scale = statistics.median(seconds) / 60 if over_minutes else 1
        lines[name] = [(iteration * scale, mean) for iteration, mean, _ in curve]
        bands[name] = [deviation for _, _, deviation in curve]
    return lines, bands


def _panel_for_each(
    lines: dict[str, list[tuple[float, float]]], bands: dict[str, list[float]]
) -> Figure:
    rows = math.ceil(len(lines) / _PANELS_PER_ROW)
    figure = Figure(figsize=(12, 0.6 + 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, _PANELS_PER_ROW, sharex=True, sharey=True).ravel()
    first = next(iter(lines))
    for panel, name in zip(panels, lines, strict=False):
        panel.plot(*zip(*lines[first], strict=True), "--", color="gray")
        plot_lines(panel, {name: lines[name]}, bands=bands)
        panel.set_title(literal(name), fontsize="medium")
        panel.set_ylim(bottom=0)
    for panel in panels[len(lines) :]:
        panel.set_axis_off()
    figure.suptitle(f"dashed: {literal(first)}", fontsize="medium", x=0.99, ha="right")
    return figure


def _mean_curve(results: Sequence[TrialResult]) -> list[tuple[int, float, float]]:
    """(iteration, mean, deviation) of the evaluations that all trials with any have made."""
    # AP is NaN before anything is detected.
    curves = [
        {done: 0.0 if math.isnan(ap) else ap for done, ap in x.curve} for x in results if x.curve
    ]
    points = []
    for done in sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []:
        values = [curve[done] for curve in curves]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        points.append((done, statistics.fmean(values), deviation))
    return points
