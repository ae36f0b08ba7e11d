"""Pictures of a run: predictions beside ground truth, loss and AP curves."""

from .curves import draw_curves, read_metrics
from .prediction_grid import draw_prediction_grid

__all__ = ["draw_curves", "draw_prediction_grid", "read_metrics"]
