"""How weights sharpen and settle on levels during training (AutoAssign's Figure 7)."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...runs import Evolution, evolution_folder, load_evolutions
from .map_rows import draw_map_rows, object_row, rows_size
from .style import COLORMAP, literal, save_figure

__all__ = ["draw_evolution", "draw_evolutions"]

_MAX_ROWS = 5
_SHARES_INCHES = 2.2
_MIN_WIDTH_INCHES = 6.0


def draw_evolutions(run_dir: str | Path, folder: str | Path | None = None) -> list[Path]:
    """Draw every object that a training has recorded, as evolution_0.png, evolution_1.png ...

    Args:
        run_dir: ``OUTPUT_DIR`` of the training.
        folder: for the files; ``evolution`` in ``run_dir`` by default.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_evolutions`.
    """
    recorded = evolution_folder(run_dir)
    evolutions = load_evolutions(recorded)
    target = recorded if folder is None else Path(folder)
    paths = [target / f"evolution_{number}.png" for number in range(len(evolutions))]
    for evolution, path in zip(evolutions, paths, strict=True):
        draw_evolution(evolution, path)
    return paths


def draw_evolution(evolution: Evolution, path: str | Path) -> None:
    """Draw one object as a PNG: maps of up to 5 iterations, the levels' shares over all of them."""
    count = len(evolution.iterations)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MAX_ROWS)).round().astype(int))
    primary = evolution.explanations[0].objects[0].primary
    rows = [
        object_row(f"iteration\n{evolution.iterations[i]}", evolution.explanations[i], primary)
        for i in chosen.tolist()
    ]
    width, height = rows_size(rows)
    figure = Figure(
        figsize=(max(width + 0.3, _MIN_WIDTH_INCHES), height + _SHARES_INCHES + 0.4),
        layout="constrained",
    )
    figure.suptitle(literal(f"{evolution.name}: {primary} during training"), fontsize=11)
    upper, lower = figure.subfigures(2, 1, height_ratios=[height, _SHARES_INCHES])
    draw_map_rows(upper, rows, show_shares=True)
    panel = lower.subplots()
    _draw_shares(panel, evolution)
    panel.set_ylabel(f"share of the\n{primary}", fontsize=9)
    save_figure(figure, path)


def _draw_shares(panel: Axes, evolution: Evolution) -> None:
    strides = evolution.explanations[0].strides
    panel.stackplot(
        evolution.iterations,
        evolution.level_shares.T,
        labels=[f"stride {stride}" for stride in strides],
        colors=matplotlib.colormaps[COLORMAP](np.linspace(0.1, 0.95, len(strides))),
    )
    panel.set(xlim=(evolution.iterations[0], max(evolution.iterations[-1], 1)), ylim=(0, 1))
    panel.set_xlabel("iteration", fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.tick_params(labelsize=8)
    panel.legend(  # in the order of the stack
        reverse=True, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8
    )
