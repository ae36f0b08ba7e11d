"""How weights sharpen and settle on levels during training (AutoAssign's Figure 7)."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...runs import Evolution, load_evolutions
from .heat import COLORMAP
from .map_rows import MapRow, draw_map_rows, rows_size

__all__ = ["draw_evolution", "draw_evolutions"]

_DPI = 130
_MAX_ROWS = 5
_SHARES_INCHES = 2.2
_LEAST_WIDTH = 6.0


def draw_evolutions(run_dir: str | Path, folder: str | Path | None = None) -> list[Path]:
    """Draw every object that a training has kept, as evolution_0.png, evolution_1.png ...

    Args:
        run_dir: ``OUTPUT_DIR`` of the training.
        folder: where the files go; None: ``evolution`` in ``run_dir``.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, ValueError: see :func:`load_evolutions`.
    """
    kept = Path(run_dir) / "evolution"
    evolutions = load_evolutions(kept)
    target = kept if folder is None else Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, evolution in enumerate(evolutions):
        paths.append(target / f"evolution_{number}.png")
        draw_evolution(evolution, paths[-1])
    return paths


def draw_evolution(evolution: Evolution, path: str | Path) -> None:
    """Draw one object as a PNG: maps of up to 5 iterations, the levels' shares over all of them."""
    count = len(evolution.iterations)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MAX_ROWS)).round().astype(int))
    rows = [
        MapRow(f"iteration {evolution.iterations[i]}", explanation, shown, shown.primary)
        for i in chosen.tolist()
        for explanation in [evolution.explanations[i]]
        for shown in explanation.objects
    ]
    width, height = rows_size(rows)
    figure = Figure(
        figsize=(max(width + 0.3, _LEAST_WIDTH), height + _SHARES_INCHES + 0.4),
        layout="constrained",
    )
    primary = rows[0].shown.primary
    figure.suptitle(f"{evolution.name}: {primary} during training", fontsize=11)
    upper, lower = figure.subfigures(2, 1, height_ratios=[height, _SHARES_INCHES])
    draw_map_rows(upper, rows, show_shares=True)
    axes = lower.subplots()
    _draw_shares(axes, evolution)
    axes.set_ylabel(f"share of the\n{primary}", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _draw_shares(axes: Axes, evolution: Evolution) -> None:
    strides = evolution.explanations[0].strides
    colours = matplotlib.colormaps[COLORMAP](np.linspace(0.1, 0.95, len(strides)))
    axes.stackplot(
        evolution.iterations,
        evolution.level_shares.T,
        labels=[f"stride {stride}" for stride in strides],
        colors=colours,
    )
    axes.set(xlim=(evolution.iterations[0], max(evolution.iterations[-1], 1)), ylim=(0, 1))
    axes.set_xlabel("iteration", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(labelsize=8)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(  # in the order of the stack
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
        fontsize=8,
    )  # fmt: skip
