"""The numbers of a comparison as Markdown to read and as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence

from tabulate import tabulate

from ...config import flatten_options
from ...evaluation import METRICS
from .budget import Budget
from .candidates import Candidate
from .results import TrialResult, class_metrics, mean_over_seeds, paired_difference

__all__ = ["csv_text", "markdown"]

# Attribute of TrialResult and column of the CSV -> heading and format of the table.
_COSTS = {
    "seconds_per_iteration": ("s/iteration", ".3g"),
    "minutes": ("minutes", ".1f"),
    "peak_memory_mb": ("memory (MB)", ".0f"),
}


def markdown(
    plan: Sequence[Candidate],
    results: Sequence[TrialResult],
    *,
    budget: Budget,
    test_datasets: Sequence[str],
) -> str:
    """A table of the candidates, notes on what it says, and a table of the classes."""
    per_candidate = [[r for r in results if r.trial.name == x.name] for x in plan]
    first, *others = per_candidate
    differences = ["–", *(f"{paired_difference(x, first, 'AP'):+.2f}" for x in others)]
    metrics = [metric for metric in METRICS if metric != "AP"]
    headers = ["config", "AP", f"AP − {plan[0].name}", *metrics]
    headers += ["iterations", *(heading for heading, _ in _COSTS.values()), "seeds"]
    rows = [
        [
            candidate.name,
            f"{mean_over_seeds(own, 'AP')}",
            difference,
            *(f"{mean_over_seeds(own, metric)}" for metric in metrics),
            str(candidate.cfg.SOLVER.MAX_ITER),
            *(_median(own, name, spec) for name, (_, spec) in _COSTS.items()),
            f"{sum(r.finished for r in own)} of {len(own)}",
        ]
        for candidate, own, difference in zip(plan, per_candidate, differences, strict=True)
    ]
    parts = [_table(headers, rows), _notes(plan, results, budget, test_datasets)]
    classes = class_metrics(results)
    if classes:
        rows = [
            [
                metric.removeprefix("AP-"),
                *(f"{mean_over_seeds(own, metric)}" for own in per_candidate),
            ]
            for metric in classes
        ]
        parts += ["AP of each class:", _table(["class", *(x.name for x in plan)], rows)]
    return "\n\n".join(parts) + "\n"


def _median(results: Sequence[TrialResult], attribute: str, spec: str) -> str:
    values = [getattr(x, attribute) for x in results if x.finished]
    known = [x for x in values if x is not None]
    return f"{statistics.median(known):{spec}}" if known else "–"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (headers, *rows)]
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(escaped[1:], escaped[0], tablefmt="pipe", colalign=align, disable_numparse=True)


def _notes(
    plan: Sequence[Candidate],
    results: Sequence[TrialResult],
    budget: Budget,
    test_datasets: Sequence[str],
) -> str:
    over_seeds = difference = ""
    if len({x.trial.seed for x in results}) > 1:
        over_seeds = ", mean ± sample standard deviation over the seeds"
        if len(plan) > 1:
            difference = (
                f" AP − {plan[0].name}: mean of the differences between runs of the same seed ± "
                "its standard error."
            )
    notes = [
        f"AP on {test_datasets[0]} after the last iteration{over_seeds}.{difference}",
        f"Budget of each run: {budget}. Minutes and s/iteration are of training alone, memory is "
        "the peak of the GPU, or of the main process on a CPU; each is the median over the runs.",
        f"Data, schedule, optimizer and evaluation are those of {plan[0].file}.",
    ]
    notes += [f"Trained with {x}." for x in sorted({x.machine for x in results if x.machine})]
    first = flatten_options(plan[0].cfg)
    for candidate in plan:
        used = flatten_options(candidate.cfg)
        models = (x for x in used.items() if x[0].startswith("MODEL.") and x not in first.items())
        if listing := ", ".join(f"{key} {value!r}" for key, value in models):
            notes.append(f"{candidate.name} differs from {plan[0].name} in {listing}.")
        notes += [
            f"{candidate.name}: {key} is {used[key]!r}, overriding {own!r} in {candidate.file}."
            for key, own in candidate.overridden.items()
        ]
    for title, chosen in (
        ("Failed", [x for x in results if x.status == "failed"]),
        ("Not finished yet", [x for x in results if x.status == "missing"]),
        ("Without any detection, counted as 0", [x for x in results if x.without_detections]),
    ):
        if chosen:
            notes.append(f"{title}: {', '.join(str(x.trial) for x in chosen)}.")
    return "\n".join(f"- {note}" for note in notes)


def csv_text(plan: Sequence[Candidate], results: Sequence[TrialResult]) -> str:
    """One row per trial; unknown values are empty."""
    files = {x.name: x.file for x in plan}
    metrics = [*METRICS, *class_metrics(results)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ["config", "seed", "status", "iterations", *_COSTS, *metrics]
    writer.writerow([*columns, "config_file", "output_dir"])
    for x in results:
        run = [x.trial.name, x.trial.seed, x.status, x.trial.iterations]
        run += [getattr(x, name) for name in _COSTS]
        run += [x.metrics.get(metric) for metric in metrics]
        writer.writerow([*run, files[x.trial.name], x.trial.output_dir])
    return buffer.getvalue()
