"""Boxes no detector can learn from, or be judged by, taken out of detectron2 dataset dicts."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from detectron2.structures import BoxMode

__all__ = ["CleaningReport", "clean_boxes"]

# Pixels a box may stick out and be left alone: a COCO file rounds x and width to two decimals
# each, and such a file should stay its own ground truth.
_ROUNDING = 0.011


@dataclass(frozen=True)
class CleaningReport:
    """What :func:`clean_boxes` saw and did; ``str()`` gives it in one line.

    Attributes:
        num_images: images, with and without boxes.
        num_boxes: boxes kept.
        num_dropped: reason -> boxes dropped for it; reasons without a box are absent.
        num_clipped: boxes cut to their image, counted in ``num_boxes`` too.
    """

    num_images: int
    num_boxes: int
    num_dropped: dict[str, int]
    num_clipped: int

    def __str__(self) -> str:
        line = f"{_grouped(self.num_images)} images, {_grouped(self.num_boxes)} boxes"
        changes = []
        if self.num_dropped:
            reasons = ", ".join(f"{_grouped(n)} {why}" for why, n in self.num_dropped.items())
            changes.append(f"dropped {_grouped(sum(self.num_dropped.values()))} ({reasons})")
        if self.num_clipped:
            changes.append(f"clipped {_grouped(self.num_clipped)}")
        return "; ".join([line, ", ".join(changes)] if changes else [line])


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def clean_boxes(records: list[dict]) -> tuple[list[dict], CleaningReport]:
    """Drop unusable boxes and clip those that stick out of their image.

    Dropped: boxes with a non-finite coordinate, inverted ones, those of zero area and those
    that do not overlap the image. Crowd boxes are treated alike.

    Args:
        records: detectron2 dataset dicts with ``height``, ``width`` and ``annotations``, whose
            boxes are in one ``bbox_mode`` per image. They are not modified.

    Returns:
        The dataset dicts after cleaning, images that lost all their boxes included, and the
        report. An annotation that needed no change is passed on as it is; a clipped one has
        its box in ``BoxMode.XYXY_ABS`` (pixels).
    """
    cleaned = []
    num_boxes, num_clipped, num_dropped = 0, 0, Counter[str]()
    for record in records:
        annotations, faults, clipped = _clean_image(record)
        cleaned.append({**record, "annotations": annotations})
        num_boxes += len(annotations)
        num_clipped += clipped
        num_dropped.update(faults)
    return cleaned, CleaningReport(len(cleaned), num_boxes, dict(num_dropped), num_clipped)


def _clean_image(record: dict) -> tuple[list[dict], list[str], int]:
    """Return the annotations kept, one reason per box dropped, and the number of boxes clipped."""
    annotations = record["annotations"]
    if not annotations:
        return [], [], 0
    boxes = BoxMode.convert(
        np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64),
        annotations[0]["bbox_mode"],
        BoxMode.XYXY_ABS,
    )
    width, height = record["width"], record["height"]
    faults = _find_faults(boxes, width, height)
    inside = np.clip(boxes, 0, [width, height, width, height])
    sticks_out = (np.abs(boxes - inside) > _ROUNDING).any(axis=1)

    kept = []
    for annotation, fault, box, out in zip(annotations, faults, inside, sticks_out, strict=True):
        if fault:
            continue
        if out:
            annotation = {**annotation, "bbox": box.tolist(), "bbox_mode": BoxMode.XYXY_ABS}
        kept.append(annotation)
    return kept, [str(fault) for fault in faults if fault], int((sticks_out & (faults == "")).sum())


def _find_faults(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Say for each of the (N, 4) xyxy ``boxes`` why it is unusable, "" where it is not."""
    x0, y0, x1, y1 = boxes.T
    faults = {
        "non-finite": ~np.isfinite(boxes).all(axis=1),
        "inverted": (x1 < x0) | (y1 < y0),
        "zero area": (x1 == x0) | (y1 == y0),
        "outside the image": (x1 <= 0) | (y1 <= 0) | (x0 >= width) | (y0 >= height),
    }
    return np.select(list(faults.values()), list(faults), default="")
