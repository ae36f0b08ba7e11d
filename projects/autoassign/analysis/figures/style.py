"""What all figures have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config import replacing

__all__ = ["COLORMAP", "literal", "save_figure", "style_panel"]

COLORMAP = "viridis"


def literal(text: str) -> str:
    """Escape dollar signs, between which matplotlib would read a formula."""
    return text.replace("$", r"\$")


def style_panel(panel: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """A light grid behind the data, and axes at the left and the bottom only."""
    panel.grid(alpha=0.3, axis=grid)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a PNG; ``options`` are those of ``Figure.savefig``."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=130, **options)
