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
    opts: Sequence[str] = (),
) -> str:
    """A table of the candidates, notes on what it says, and a table of the classes.

    Args:
        plan: the candidates.
        results: of their trials.
        budget: length of each trial.
        test_datasets: the first one is what is reported.
        opts: keys and values that were set for all candidates.
    """
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
    parts = [_table(headers, rows), _notes(plan, results, budget, test_datasets, opts)]
    classes = class_metrics(results)
    if classes:
        rows = [
            ["class", *(metric.removeprefix("AP-") for metric in classes)],
            *(
                [x.name, *(f"{mean_over_seeds(own, metric)}" for metric in classes)]
                for x, own in zip(plan, per_candidate, strict=True)
            ),
        ]
        if len(classes) >= len(plan):  # the longer side goes down the page
            rows = [list(row) for row in zip(*rows, strict=True)]
        else:
            rows[0][0] = "config"
        parts += ["AP of each class:", _table(rows[0], rows[1:])]
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
    opts: Sequence[str],
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
        f"Data, schedule, optimizer and evaluation are those of {plan[0].file}{_with(opts)}.",
    ]
    notes += [f"Trained with {x}." for x in sorted({x.machine for x in results if x.machine})]
    notes += _differences(plan)
    for title, chosen in (
        ("Failed", [x for x in results if x.status == "failed"]),
        ("Not finished yet", [x for x in results if x.status == "missing"]),
        ("Without any detection, counted as 0", [x for x in results if x.without_detections]),
    ):
        if chosen:
            notes.append(f"{title}: {', '.join(str(x.trial) for x in chosen)}.")
    return "\n".join(f"- {note}" for note in notes)


def _with(opts: Sequence[str]) -> str:
    pairs = zip(opts[::2], opts[1::2], strict=True)
    return f" with {', '.join(f'{key} {value}' for key, value in pairs)}" if opts else ""


def _differences(plan: Sequence[Candidate]) -> list[str]:
    """Notes on what the models of the candidates differ in, and what the first one overrides."""
    first = flatten_options(plan[0].cfg)
    alike: dict[str, list[str]] = {}
    overridden = []
    for candidate in plan[1:]:
        used = flatten_options(candidate.cfg)
        # A row called ATSS need not say that its label assignment is ATSS.
        listing = ", ".join(
            f"{key} {value!r}"
            for key, value in used.items()
            if key.startswith("MODEL.")
            and value != first[key]
            and (key, value) != ("MODEL.LABEL_ASSIGNMENT.NAME", candidate.name)
        )
        alike.setdefault(listing, []).append(candidate.name)
        overridden += [
            f"{candidate.name}: {key} is {used[key]!r}, overriding {own!r} in {candidate.file}."
            for key, own in candidate.overridden.items()
        ]
    alike.pop("", None)
    return [
        f"{', '.join(names)} differ{'s' * (len(names) == 1)} from {plan[0].name} in {listing}."
        for listing, names in alike.items()
    ] + overridden


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
