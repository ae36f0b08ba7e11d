"""Detections drawn into their image."""

import cv2
import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer
from matplotlib.colors import hsv_to_rgb

__all__ = ["draw_detections"]

_GOLDEN_RATIO = (5**0.5 - 1) / 2


def draw_detections(
    image: np.ndarray, instances: Instances, metadata: Metadata, *, min_length: int = 0
) -> np.ndarray:
    """Draw boxes with class and score; a class has the same color in all images.

    The text has the same size in all small images, so it may hide the objects of a tiny one.

    Args:
        image: (H, W, 3) uint8, BGR; it is not changed.
        instances: ``pred_boxes`` in pixels of the image, ``scores`` and ``pred_classes``.
        metadata: ``thing_classes``.
        min_length: pixels of the drawing's longer side, at least; a smaller image is enlarged.

    Returns:
        (H, W, 3) uint8, BGR; larger where ``min_length`` asks for it. An image without detections
        is returned as it is.
    """
    if not len(instances):
        return image
    boxes = instances.pred_boxes.clone()
    height, width = image.shape[:2]
    factor = min_length / max(height, width)
    if factor > 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        boxes.scale(size[0] / width, size[1] / height)
    names = metadata.thing_classes
    classes = instances.pred_classes.tolist()
    drawn = Visualizer(image[:, :, ::-1], metadata).overlay_instances(
        boxes=boxes,
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
