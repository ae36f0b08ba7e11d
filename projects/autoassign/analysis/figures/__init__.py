"""Pictures of a run and of what a label assignment does."""

from ...modeling.explanation import ImageExplanation, ObjectMaps, Peak, explain_image
from .curves import draw_curves
from .prediction_grid import draw_prediction_grid

__all__ = [
    "ImageExplanation",
    "ObjectMaps",
    "Peak",
    "draw_curves",
    "draw_prediction_grid",
    "explain_image",
]
