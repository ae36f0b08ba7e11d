"""The figure of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .statistics import Histogram, InputScale, Statistics

__all__ = ["draw_statistics"]

_MAX_CLASSES = 25
_MAX_NAME = 18


def draw_statistics(statistics: Mapping[str, Statistics], scale: InputScale, path: Path) -> None:
    """Draw the statistics of datasets over each other, as a PNG with five panels.

    Args:
        statistics: by the dataset's name; all have the same classes.
        scale: of training.
        path: the file to write.
    """
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    panels = figure.subplot_mosaic(
        [["classes", "sizes", "aspects"], ["classes", "objects_per_image", "image_sides"]],
        width_ratios=[1, 1.2, 1.2],
    )
    _draw_classes(panels["classes"], statistics)
    for key, title, label in (
        ("sizes", f"objects, short side {scale.short_side:g} px; dotted: strides", "√area (px)"),
        ("aspects", "shape of objects", "width / height"),
        ("objects_per_image", "objects in an image", "objects"),
        ("image_sides", "images as they are", "longer side (px)"),
    ):
        histograms = {name: getattr(each, key) for name, each in statistics.items()}
        _draw_histograms(panels[key], histograms, scale.strides if key == "sizes" else ())
        panels[key].set_title(title, fontsize=11)
        panels[key].set(xlabel=label, ylabel="share")
    for stride in scale.strides:
        panels["sizes"].axvline(stride, color="0.4", linewidth=0.8, linestyle=":")
    handles, labels = panels["sizes"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def _draw_classes(panel: Axes, statistics: Mapping[str, Statistics]) -> None:
    total = np.sum([x.objects_of_class for x in statistics.values()], axis=0)
    order = np.argsort(-total, kind="stable")
    drawn = order
    if len(order) > _MAX_CLASSES:  # the rarest matter as much as the most frequent
        half = _MAX_CLASSES // 2
        drawn = np.concatenate([order[: _MAX_CLASSES - half], order[-half:]])
    height = 0.8 / len(statistics)
    for row, each in enumerate(statistics.values()):
        places = np.arange(len(drawn)) + (row - (len(statistics) - 1) / 2) * height
        panel.barh(places, each.objects_of_class[drawn], height=height)
    names = next(iter(statistics.values())).class_names
    short = [x if len(x) <= _MAX_NAME else x[: _MAX_NAME - 1] + "…" for x in names]
    panel.set_yticks(range(len(drawn)), [short[index] for index in drawn], fontsize=8)
    for label in panel.get_yticklabels():
        label.set_parse_math(False)  # a name may have dollar signs
    panel.set_ylim(len(drawn) - 0.5, -0.5)
    panel.set_xscale("symlog", linthresh=1)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(_plain)
    num_hidden = len(order) - len(drawn)
    hidden = f" ({num_hidden} in the middle left out)" if num_hidden else ""
    panel.set_title(f"objects of each class{hidden}", fontsize=11)
    panel.set_xlabel("objects")
    _tidy(panel)


def _draw_histograms(
    panel: Axes, histograms: Mapping[str, Histogram], include: Sequence[float] = ()
) -> None:
    """Draw shares as steps; the axis covers all that are not 0, and the values to include."""
    for name, histogram in histograms.items():
        shares = histogram.counts / max(1, histogram.counts.sum())
        panel.stairs(shares, histogram.edges, label=name, linewidth=1.6)
    edges = next(iter(histograms.values())).edges
    used = np.flatnonzero(np.sum([x.counts for x in histograms.values()], axis=0))
    bins = [*used.tolist(), *np.searchsorted(edges, include).tolist()]
    first, last = max(0, min(bins, default=0) - 1), min(len(edges) - 1, max(bins, default=0) + 2)
    panel.set_ylim(bottom=0)
    if edges[0] > 0:
        panel.set_xscale("log", base=2)
    else:  # counts, of which 0 is one
        panel.set_xscale("symlog", base=2, linthresh=1)
    panel.set_xlim(edges[first], edges[last])
    ticks = edges[first : last + 1]
    powers = ticks[np.isin(ticks, 2.0 ** np.arange(-10, 20))]
    panel.set_xticks(powers if len(powers) > 2 else ticks)
    panel.xaxis.set_major_formatter(_plain)
    panel.xaxis.set_minor_locator(NullLocator())
    _tidy(panel)


def _plain(value: float, position: float = 0) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.3g}"


def _tidy(panel: Axes) -> None:
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
