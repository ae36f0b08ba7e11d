"""Loss and AP curves of a run."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...runs import read_metrics

__all__ = ["draw_curves"]

AP_KEYS = ("bbox/AP", "bbox/AP50", "bbox/AP75")


def draw_curves(metrics_json: str | Path, path: str | Path) -> None:
    """Draw the losses and the box AP of a run over its iterations, as a PNG with two panels.

    Args:
        metrics_json: detectron2's metrics.json.
        path: the file to write.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_metrics`.
    """
    rows = read_metrics(metrics_json).rows
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
