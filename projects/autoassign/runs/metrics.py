"""The metrics.json that detectron2's JSONWriter leaves in a run's folder."""

import json
from pathlib import Path

__all__ = ["is_cut_off", "read_metrics"]


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """Read detectron2's metrics.json: one JSON object a line.

    A last line that is cut off, as a killed run leaves it, is left out; see :func:`is_cut_off`.

    Returns:
        One row per iteration, ascending. Where the file has an iteration twice, as after
        resuming a run, later values win.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a JSON object of numbers with an "iteration"; file and line are
            named.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    if is_cut_off(path):
        lines.pop()
    rows: dict[int, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = _row(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        rows.setdefault(int(row["iteration"]), {}).update(row)
    return [rows[iteration] for iteration in sorted(rows)]


def is_cut_off(path: str | Path) -> bool:
    """Whether the writer of a metrics.json was killed in the middle of the last line."""
    last = Path(path).read_text(encoding="utf-8", errors="replace").rpartition("\n")[2]
    if not last:
        return False
    try:
        json.loads(last)
    except ValueError:
        return True
    return False


def _row(line: str) -> dict[str, float]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or type(row.get("iteration")) is not int:
        raise ValueError(f'not a JSON object with an "iteration": {line[:80]!r}')
    for key, value in row.items():
        # bool is a subclass of int.
        if type(value) not in (int, float):
            raise ValueError(f'"{key}" is not a number: {json.dumps(value)[:80]}')
    return row
