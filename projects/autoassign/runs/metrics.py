"""The metrics.json that detectron2's JSONWriter leaves in a run's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Metrics", "iterations_done", "read_metrics", "repair_metrics"]


@dataclass(frozen=True)
class Metrics:
    """The content of a metrics.json.

    Attributes:
        rows: one per iteration, ascending. Where the file has an iteration twice, as after
            resuming a run, later values win.
        num_truncated: lines that are cut off, as a killed run leaves them, and not in ``rows``.
    """

    rows: list[dict[str, float]]
    num_truncated: int

    def evaluations(
        self, test_datasets: Sequence[str], max_iter: int
    ) -> dict[int, dict[str, float]]:
        """Iterations done -> metrics on the first test dataset, "AP", "AP50", "AP-cat", ...

        Args:
            test_datasets: ``DATASETS.TEST`` of the run.
            max_iter: ``SOLVER.MAX_ITER`` of the run.
        """
        # detectron2 leaves the dataset's name out where there is only one.
        prefix = "bbox/" if len(test_datasets) <= 1 else f"{test_datasets[0]}/bbox/"
        evaluations = {}
        for row in self.rows:
            metrics = {
                key.removeprefix(prefix): value
                for key, value in row.items()
                if key.startswith(prefix)
            }
            if "AP" in metrics:
                evaluations[iterations_done(row, max_iter)] = metrics
        return evaluations


def iterations_done(row: dict[str, float], max_iter: int) -> int:
    """The number of iterations that were done when a row was written."""
    # detectron2 counts from 0, and writes the last evaluation after training as iteration MAX_ITER.
    return min(int(row["iteration"]) + 1, max_iter)


def read_metrics(path: str | Path) -> Metrics:
    """Read detectron2's metrics.json, which has one JSON object per line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is JSON but not an object of numbers with an "iteration", or no line is
            whole; file and line are named.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    rows: dict[int, dict[str, float]] = {}
    num_truncated = 0
    for number, line in enumerate(lines, start=1):
        row = _parse(line)
        if row is None:
            num_truncated += 1
            # What a resumed run wrote after half a line is whole.
            _, brace, rest = line.rpartition("{")
            row = _parse(brace + rest)
        if row is None:
            continue
        try:
            _check_row(row)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        rows.setdefault(row["iteration"], {}).update(row)
    if num_truncated and not rows:
        raise ValueError(f"{path} has no whole line: it is no metrics.json, or it is damaged")
    return Metrics([rows[iteration] for iteration in sorted(rows)], num_truncated)


def repair_metrics(path: str | Path) -> None:
    """Remove what a killed run has left of a line, so that a resumed one appends a whole line.

    Args:
        path: a metrics.json; it need not exist.
    """
    path = Path(path)
    if not path.is_file():
        return
    content = path.read_bytes()
    last = content.rpartition(b"\n")[2]
    if not last:
        return
    with path.open("r+b") as file:
        if _parse(last.decode("utf-8", "replace")) is None:
            file.truncate(len(content) - len(last))
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _check_row(row: Any) -> None:
    if not isinstance(row, dict) or type(row.get("iteration")) is not int:
        raise ValueError(f'not a JSON object with an "iteration": {str(row)[:80]}')
    for key, value in row.items():
        # bool is a subclass of int, and an int may be too large for a float.
        if type(value) not in (int, float) or (abs(value) > 2**63 and type(value) is int):
            raise ValueError(f'"{key}" is not a number: {json.dumps(value)[:80]}')
