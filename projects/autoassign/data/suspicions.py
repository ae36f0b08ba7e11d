"""Signs that annotations which can be read are wrong nevertheless."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..config import first_of
from .table import BoxTable

__all__ = ["suspicions"]

# The share of boxes outside the image that is suspicious, and the share that must fit as corners.
_MIN_SHARE = 0.3
_MOST = 0.95
# Pixels by which rounding may move a corner.
_TOLERANCE = 1.0
_MAX_NAMES = 5


def suspicions(table: BoxTable, class_names: list[str], *, is_train: bool) -> list[str]:
    """Sentences about what looks wrong.

    Args:
        table: with the sizes of all images, before cleaning.
        class_names: by index.
        is_train: whether to name classes without objects.
    """
    found = []
    is_finite = np.isfinite(table.boxes).all(axis=1)
    boxes, limits = table.boxes[is_finite], table.sizes[table.image_index[is_finite]][:, ::-1]
    if len(boxes):
        found += _about_boxes(boxes, limits)
    found += _about_names(class_names)
    if is_train:
        empty = np.flatnonzero(table.count_objects(len(class_names)) == 0)
        if len(empty):
            listing = first_of([class_names[index] for index in empty], _MAX_NAMES)
            found.append(f"{len(empty)} of {len(class_names)} classes have no object: {listing}")
    return found


def _about_boxes(boxes: np.ndarray, limits: np.ndarray) -> list[str]:
    low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    leaves = ((boxes[:, 2:] > limits + _TOLERANCE) | (low < -_TOLERANCE)).any(axis=1)
    # If width and height are in fact the lower right corner.
    fits_as_corners = ((size > low) & (size <= limits + _TOLERANCE)).all(axis=1)
    found = []
    looks_like_corners = fits_as_corners.mean() >= _MOST
    if looks_like_corners and (leaves & fits_as_corners).sum() >= _MIN_SHARE * len(boxes):
        found.append(
            f"{leaves.sum()} of {len(boxes)} boxes leave the image: is bbox xyxy instead of xywh?"
        )
    elif leaves.sum() >= _MIN_SHARE * len(boxes):
        found.append(
            f"{leaves.sum()} of {len(boxes)} boxes leave the image: were images of another size "
            "annotated?"
        )
    if (np.abs(boxes) <= 1).all() and (limits > 2).all():
        found.append(
            "no box is larger than one pixel: are the coordinates shares of the image's size "
            "instead of pixels?"
        )
    return found


def _about_names(class_names: list[str]) -> list[str]:
    plain = Counter(name.strip().lower() for name in class_names)
    repeated = [name for name in class_names if plain[name.strip().lower()] > 1]
    if not repeated:
        return []
    return [f"{len(repeated)} classes have the same name: {first_of(repeated, _MAX_NAMES)}"]
