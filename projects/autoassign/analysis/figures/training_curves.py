"""What a training has logged over its iterations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ...evaluation import METRICS
from ...runs import TrainedRun
from .line_chart import Lines, plot_lines
from .style import save_figure

__all__ = ["assignment_charts", "draw_training_curves", "training_charts"]


def training_charts(run: TrainedRun) -> dict[str, Lines]:
    """Title -> lines, whose names end with their last values."""
    losses = sorted({key for row in run.metrics.rows for key in row if key.startswith("loss_")})
    return {
        "training loss": _lines((key, _logged(run, key)) for key in ("total_loss", *losses)),
        "AP": _lines(
            (name, [(done, x.get(name, math.nan)) for done, x in run.evaluations.items()])
            for name in METRICS
        ),
        "learning rate": _lines([("lr", _logged(run, "lr"))]),
        "seconds per iteration": _lines([("time", _logged(run, "time"))]),
    }


def assignment_charts(run: TrainedRun) -> dict[str, Lines]:
    """As :func:`training_charts`, of the label assignment; the ends of a range share a chart."""
    keys = sorted({key for row in run.metrics.rows for key in row if key.startswith("assignment/")})
    names = {
        key: key.removeprefix("assignment/").replace("num_", "number of ").replace("_", " ")
        for key in keys
    }
    titles = {key: re.sub(" (min|max)$", "", name) for key, name in names.items()}
    return {
        title: _lines((names[key], _logged(run, key)) for key in keys if titles[key] == title)
        for title in titles.values()
    }


def draw_training_curves(run: TrainedRun, path: str | Path) -> None:
    """Draw the losses and the box AP of a run over its iterations, as a PNG with two panels."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    charts = training_charts(run)
    for panel, title in zip(figure.subplots(1, 2), ("training loss", "AP"), strict=True):
        plot_lines(panel, charts[title])
        panel.set(title=title, xlabel="iteration", ylim=(0, 100) if title == "AP" else None)
        if charts[title]:
            panel.legend(frameon=False)
    save_figure(figure, path)


def _logged(run: TrainedRun, key: str) -> list[tuple[float, float]]:
    return [(run.iterations_done(row), row[key]) for row in run.metrics.rows if key in row]


def _lines(named: Iterable[tuple[str, Sequence[tuple[float, float]]]]) -> Lines:
    """The finite points by name and last value; without the names that have none."""
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in named}
    return {f"{name}  {points[-1][1]:.4g}": points for name, points in finite.items() if points}
