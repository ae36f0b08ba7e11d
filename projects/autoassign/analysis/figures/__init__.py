"""Figures of a training run and of what a label assignment decides."""

from .assignment_figure import draw_assignment, draw_assignment_comparison
from .evolution_figure import draw_evolutions
from .line_chart import Lines, plot_lines
from .objectness_figure import draw_objectness, score_rows
from .overlays import region_around
from .prediction_grid import draw_prediction_grid
from .prior_figure import draw_priors, format_priors, read_priors, write_priors
from .style import COLORMAP, literal, save_figure, style_panel
from .training_curves import assignment_charts, draw_training_curves, training_charts

__all__ = [
    "COLORMAP",
    "Lines",
    "assignment_charts",
    "draw_assignment",
    "draw_assignment_comparison",
    "draw_evolutions",
    "draw_objectness",
    "draw_prediction_grid",
    "draw_priors",
    "draw_training_curves",
    "format_priors",
    "literal",
    "plot_lines",
    "read_priors",
    "region_around",
    "save_figure",
    "score_rows",
    "style_panel",
    "training_charts",
    "write_priors",
]
