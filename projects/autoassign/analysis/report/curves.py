"""The course of a training: losses, AP, learning rate, and what the assignment did."""

from __future__ import annotations

import re

from ...runs import METRICS, TrainedRun
from .charts import Points, line_chart
from .markup import Html, Section

__all__ = ["curves_section"]

_ASSIGNMENT = "assignment/"
_RANGE_END = re.compile(r"_(min|max)$")


def curves_section(run: TrainedRun) -> Section:
    """Everything that was logged over the iterations."""
    keys = sorted({key for row in run.metrics.rows for key in row})
    losses = ["total_loss", *(key for key in keys if key.startswith("loss_"))]
    metrics = {name: _points(run, f"{run.metric_prefix}{name}") for name in METRICS}
    charts = [
        line_chart("training losses", {key: _points(run, key) for key in losses}),
        line_chart("AP", metrics, limits=(0, 100)),
        line_chart("learning rate", {"lr": _points(run, "lr")}),
        line_chart("seconds per iteration", {"time": _points(run, "time")}),
    ]
    by_chart: dict[str, dict[str, Points]] = {}
    for key in keys:
        if key.startswith(_ASSIGNMENT):
            # The two ends of a range share a chart.
            name = key.removeprefix(_ASSIGNMENT)
            chart = _RANGE_END.sub("", name)
            by_chart.setdefault(chart, {})[_words(name)] = _points(run, key)
    assignment = [line_chart(_words(chart), series) for chart, series in by_chart.items()]
    body = f'<div class="charts">{"".join(charts)}</div><h3>Label assignment</h3>'
    if assignment:
        body += f"<p>On the first worker.</p><div class='charts'>{''.join(assignment)}</div>"
    else:
        body += '<p class="missing">The detector logs no statistics of a label assignment.</p>'
    return Section("curves", "Curves", Html(body))


def _points(run: TrainedRun, key: str) -> Points:
    return [(run.iterations_done(row), row[key]) for row in run.metrics.rows if key in row]


def _words(key: str) -> str:
    return key.replace("num_", "number of ").replace("_", " ")
