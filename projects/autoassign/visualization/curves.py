"""Loss and AP curves from the metrics.json that detectron2's JSONWriter leaves."""

import json
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw_curves", "is_cut_off", "read_metrics"]

AP_KEYS = ("bbox/AP", "bbox/AP50", "bbox/AP75")


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


def draw_curves(metrics_json: str | Path, path: str | Path) -> None:
    """Draw the losses and the box AP of a run over its iterations, as a PNG with two panels.

    Args:
        metrics_json: detectron2's metrics.json.
        path: the file to write.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_metrics`.
    """
    rows = read_metrics(metrics_json)
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_panel, ap_panel = figure.subplots(1, 2)
    loss_keys = sorted({key for row in rows for key in row if key.startswith("loss_")})
    _draw_series(loss_panel, rows, ("total_loss", *loss_keys), marker_size=2)
    loss_panel.set(title="training loss", xlabel="iteration", ylabel="loss")
    _draw_series(ap_panel, rows, AP_KEYS, marker_size=6)
    ap_panel.set(title="evaluation", xlabel="iteration", ylabel="AP", ylim=(0, 100))
    figure.savefig(path, dpi=130)


def _draw_series(
    panel: Axes, rows: list[dict[str, float]], keys: tuple[str, ...], marker_size: float
) -> None:
    """One line per key that occurs, its last value in the legend."""
    for key in keys:
        points = [(row["iteration"], row[key]) for row in rows if key in row]
        if points:
            label = f"{key.removeprefix('bbox/')}  {points[-1][1]:.3g}"
            width = 2.2 if key in ("total_loss", "bbox/AP") else 1.2
            x, y = zip(*points, strict=True)
            # Markers also where they are no wider than the line: a single point has no line.
            panel.plot(x, y, "o-", markersize=marker_size, linewidth=width, label=label)
    if panel.lines:
        panel.legend(frameon=False)
    else:
        panel.text(0.5, 0.5, "nothing logged", ha="center", va="center", transform=panel.transAxes)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
