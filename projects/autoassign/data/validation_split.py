"""Splits validation images off the training images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from .table import BoxTable

__all__ = ["choose_validation_images"]


def choose_validation_images(
    table: BoxTable, root: Path, *, fraction: float, seed: int
) -> np.ndarray:
    """Choose images for validation by their names.

    A hash of seed and path gives each image a number between 0 and 1, and images below the fraction
    are for validation. So the choice is the same on every machine, holds about the fraction of
    each class, and does not change when images are added.

    The exception are classes of two or more images that would all be on one side. So that both
    sides have one, the image whose number is nearest to the fraction is moved, rarest class first.
    When images are added to such a class, a moved image may come back, and another may be moved.

    Args:
        table: the images and their objects.
        root: names are taken relative to this folder.
        fraction: share of the images, between 0 and 1.
        seed: selects another choice.

    Returns:
        (N,) mask of the images for validation.
    """
    draws = np.array([_draw(path, root, seed) for path in table.paths()])
    chosen = draws < fraction
    things = ~table.is_crowd
    pairs = np.unique(np.stack([table.classes, table.image_index], axis=1)[things], axis=0)
    classes, counts = np.unique(pairs[:, 0], return_counts=True)
    for class_index in classes[np.argsort(counts, kind="stable")].tolist():
        images = pairs[pairs[:, 0] == class_index, 1]
        if len(images) > 1 and len(np.unique(chosen[images])) == 1:
            moved = images[np.abs(draws[images] - fraction).argmin()]
            chosen[moved] = not chosen[moved]
    return chosen


def _draw(path: str, root: Path, seed: int) -> float:
    name = Path(os.path.relpath(path, root)).as_posix()
    digest = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
