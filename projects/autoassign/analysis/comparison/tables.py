"""The numbers of a comparison as Markdown for reading and CSV for further work."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence

from ...runs import METRICS
from .budget import Budget
from .conditions import leaves
from .plan import Planned
from .results import Result, class_metrics, spread

__all__ = ["csv_text", "markdown"]

_RUN_COLUMNS = ("config", "seed", "status", "iterations", "seconds_per_iteration", "minutes")


def markdown(
    plan: Sequence[Planned],
    results: Sequence[Result],
    *,
    budget: Budget,
    test_datasets: Sequence[str],
) -> str:
    """A table of the configs, notes on what it shows, and a table of the classes."""
    seeds = sorted({result.seed for result in results})
    by_name = {x.name: [r for r in results if r.name == x.name] for x in plan}
    header = ["config", *METRICS, "iterations", "s/iteration", "minutes", "seeds"]
    rows = [
        [
            x.name,
            *(str(spread(by_name[x.name], metric)) for metric in METRICS),
            str(x.cfg.SOLVER.MAX_ITER),
            _median(by_name[x.name], lambda r: r.seconds_per_iteration, "{:.3g}"),
            _median(by_name[x.name], lambda r: r.minutes, "{:.1f}"),
            f"{sum(r.finished for r in by_name[x.name])} of {len(seeds)}",
        ]
        for x in plan
    ]
    parts = [_table(header, rows), _notes(plan, results, budget, test_datasets)]
    metrics = class_metrics(results)
    if metrics:
        per_class = [
            [metric.removeprefix("AP-"), *(str(spread(by_name[x.name], metric)) for x in plan)]
            for metric in metrics
        ]
        parts.append("AP of each class:")
        parts.append(_table(["class", *(x.name for x in plan)], per_class))
    return "\n\n".join(parts) + "\n"


def _median(
    results: Sequence[Result], value: Callable[[Result], float | None], template: str
) -> str:
    values = [value(result) for result in results if result.finished]
    known = [x for x in values if x is not None]
    return template.format(statistics.median(known)) if known else "–"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whose columns are aligned also where nothing renders it."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def text(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])


def _notes(
    plan: Sequence[Planned],
    results: Sequence[Result],
    budget: Budget,
    test_datasets: Sequence[str],
) -> str:
    num_seeds = len({result.seed for result in results})
    spread_note = ", mean ± sample standard deviation over the seeds" if num_seeds > 1 else ""
    notes = [
        f"AP on {test_datasets[0]} after the last iteration{spread_note}. Budget of each run: "
        f"{budget}. Minutes and s/iteration are of training alone, median over the runs.",
        f"Data, schedule, optimizer and evaluation are those of {plan[0].file}.",
    ]
    for x in plan:
        used = leaves(x.cfg)
        notes += [
            f"{x.name}: {key} would be {own!r} by itself; {used[key]!r} was used."
            for key, own in x.replaced.items()
        ]
    for status, text in (("failed", "failed"), ("missing", "not finished yet")):
        runs = [f"{r.name} seed {r.seed}" for r in results if r.status == status]
        if runs:
            notes.append(f"{text.capitalize()}: {', '.join(runs)}.")
    empty = [f"{r.name} seed {r.seed}" for r in results if r.without_detections]
    if empty:
        notes.append(f"Without any detection, counted as 0: {', '.join(empty)}.")
    return "\n".join(f"- {note}" for note in notes)


def csv_text(plan: Sequence[Planned], results: Sequence[Result]) -> str:
    """One row a run; what is not known is empty."""
    files = {x.name: x.file for x in plan}
    metrics = [*METRICS, *class_metrics(results)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_RUN_COLUMNS, *metrics, "config_file", "output_dir"])
    for r in results:
        values = [r.metrics.get(metric) for metric in metrics]
        run = [r.name, r.seed, r.status, r.iterations, r.seconds_per_iteration, r.minutes]
        writer.writerow([*run, *values, files[r.name], r.output_dir])
    return buffer.getvalue()
