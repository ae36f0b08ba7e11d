"""Label files of YOLO: a line for each object, in shares of the image's width and height."""

from __future__ import annotations

import math
import os
from pathlib import Path

from ..table import BoxTable, TableBuilder
from .faults import Faults, Repairs, describe

__all__ = ["label_file", "yolo_table"]

# Shares beyond this are no rounding, but pixels or something else.
_MAX_SHARE = 2.0


def label_file(image: Path) -> Path:
    """Where the labels of an image are: in labels/ for images/, else beside the image."""
    text = str(image.with_suffix(".txt"))
    before, separator, after = text.rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{before}{os.sep}labels{os.sep}{after}" if separator else text)


def yolo_table(
    images: list[Path],
    class_names: list[str] | None,
    faults: Faults,
    repairs: Repairs,
    *,
    has_keypoints: bool = False,
) -> tuple[BoxTable, int]:
    """Read the labels of images.

    A line is a class and a box (center, width, height), or a class and a polygon, whose box is
    taken. An image without a label file has no objects.

    Args:
        images: the images; they are not opened.
        class_names: None allows classes of any number.
        faults: takes up what is wrong.
        repairs: takes up what is repaired.
        has_keypoints: keypoints follow each box.

    Returns:
        The table, its boxes (xyxy) in shares of the image's size and its sizes unknown; and the
        greatest class plus 1.

    Raises:
        ValueError: a label file is wrong, or no image has one. File and line are named.
    """
    num_classes = math.inf if class_names is None else len(class_names)
    builder = TableBuilder()
    num_missing, greatest = 0, -1
    for image_id, image in enumerate(images, start=1):
        index = builder.add_image(str(image), image_id)
        path = label_file(image)
        if not path.is_file():
            num_missing += 1
            continue
        labels = _read_labels(path, num_classes, faults, has_keypoints)
        for label in dict.fromkeys(labels):
            builder.add_object(index, *label)
            greatest = max(greatest, label[0])
        repairs["repeated labels left out"] += len(labels) - len(set(labels))
    if num_missing == len(images):
        faults.add("labels", f"no image has a label file; {label_file(images[0])} does not exist")
    faults.raise_if_any()
    repairs["images without a label file, taken as empty"] = num_missing
    return builder.build(), greatest + 1


_Label = tuple[int, tuple[float, float, float, float]]


def _read_labels(
    path: Path, num_classes: float, faults: Faults, has_keypoints: bool
) -> list[_Label]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        faults.add("encoding", f"{os.path.relpath(path, faults.source)} is not text in UTF-8")
        return []
    labels = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            labels.append(_parse(words, num_classes, has_keypoints))
        except _FaultyLabelError as error:
            name = os.path.relpath(path, faults.source)
            faults.add(error.kind, f"{name}, line {number}: {error}")
    return labels


class _FaultyLabelError(Exception):
    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def _parse(words: list[str], num_classes: float, has_keypoints: bool) -> _Label:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise _FaultyLabelError("number", f"{describe(' '.join(words))} is not numbers") from error
    class_index, *shares = values
    if not (0 <= class_index < num_classes and class_index.is_integer()):
        allowed = "a whole number" if num_classes == math.inf else f"0 to {num_classes - 1}"
        raise _FaultyLabelError("class", f"the class is {words[0]}; allowed: {allowed}")
    if has_keypoints:
        shares = shares[:4]
    if any(abs(share) > _MAX_SHARE for share in shares):
        raise _FaultyLabelError(
            "share",
            f"{describe(' '.join(words))} is not in shares of the image's size, from 0 to 1: is it "
            "in pixels?",
        )
    if len(shares) == 4:
        x, y, width, height = shares
        return int(class_index), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(shares) >= 6 and len(shares) % 2 == 0:
        xs, ys = shares[0::2], shares[1::2]
        return int(class_index), (min(xs), min(ys), max(xs), max(ys))
    raise _FaultyLabelError(
        "length",
        f"{len(words)} values; a class is followed by a box of 4 numbers, or by a polygon of at "
        "least 3 points",
    )
