"""The AP of a run: each evaluation, and each class at the last one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from ...runs import METRICS, TrainedRun
from .markup import Html, Section, missing, number, table

__all__ = ["ap_section"]


def ap_section(
    run: TrainedRun, records: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> Section:
    """AP tables.

    Args:
        run: the run.
        records: dataset dicts of the test dataset, for the number of objects; may be empty.
        class_names: of that dataset.
    """
    prefix = run.metric_prefix
    evaluations = [row for row in run.metrics.rows if f"{prefix}AP" in row]
    if not evaluations:
        return Section("ap", "Average precision", missing("The run has no evaluation."))
    best = max(evaluations, key=lambda row: _or_zero(row[f"{prefix}AP"]))
    rows = [
        (
            run.iterations_done(row),
            *(number(row.get(f"{prefix}{name}")) for name in METRICS),
            "best AP" if row is best else "",
        )
        for row in evaluations
    ]
    body = (
        f'<p class="note">In percent, on {escape(run.test_dataset or "the test dataset")}. A dash: '
    )
    body += "there are no objects of that size or class, or nothing was detected.</p>"
    body += table(("iterations", *METRICS, "note"), rows, sortable=True)
    body += f"<h3>Classes</h3>{_class_table(run, evaluations[-1], records, class_names)}"
    return Section("ap", "Average precision", Html(body))


def _class_table(
    run: TrainedRun,
    row: dict[str, float],
    records: Sequence[dict[str, Any]],
    class_names: Sequence[str],
) -> Html:
    prefix = f"{run.metric_prefix}AP-"
    values = {
        key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)
    }
    if not values:
        return missing("The evaluation has no AP of single classes.")
    counts: Counter[str] = Counter()
    for record in records:
        for annotation in record.get("annotations", ()):
            if not annotation.get("iscrowd", 0):
                counts[class_names[annotation["category_id"]]] += 1
    head = ["class", "AP"] + (["objects"] if counts else [])
    rows = [
        [name, _with_bar(value)] + ([counts[name]] if counts else [])
        for name, value in sorted(values.items())
    ]
    return table(head, rows, sortable=True)


def _with_bar(value: float) -> Html:
    width = _or_zero(value) * 0.12
    return Html(
        f'<span class="value">{number(value)}</span>'
        f'<span class="bar" style="width:{width:.2f}rem"></span>'
    )


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
