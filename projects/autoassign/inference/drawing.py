"""Detections drawn into their image."""

import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer
from matplotlib.colors import hsv_to_rgb

__all__ = ["draw_detections"]

_GOLDEN_RATIO = (5**0.5 - 1) / 2


def draw_detections(image: np.ndarray, instances: Instances, metadata: Metadata) -> np.ndarray:
    """Draw boxes with class and score; a class has the same colour in all images.

    Args:
        image: (H, W, 3) uint8, BGR; it is not changed.
        instances: ``pred_boxes`` in pixels of the image, ``scores`` and ``pred_classes``.
        metadata: ``thing_classes``.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    if not len(instances):
        return image
    names = metadata.thing_classes
    classes = instances.pred_classes.tolist()
    drawn = Visualizer(image[:, :, ::-1], metadata).overlay_instances(
        boxes=instances.pred_boxes,
        labels=[
            f"{names[index]} {score:.2f}"
            for index, score in zip(classes, instances.scores.tolist(), strict=True)
        ],
        assigned_colors=[_colour(index) for index in classes],
    )
    return np.ascontiguousarray(drawn.get_image()[:, :, ::-1])


def _colour(index: int) -> np.ndarray:
    """RGB from 0 to 1: bright, because Visualizer writes on black; neighbours far apart in hue."""
    return hsv_to_rgb([(index * _GOLDEN_RATIO) % 1, 0.65, 1.0])
