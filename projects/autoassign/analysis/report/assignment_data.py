"""Objects whose assignment the page's viewer shows level by level."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from ...data import has_objects, map_record
from ...modeling import ImageExplanation, ObjectMaps, explain_image
from ...runs import LoadedDetector
from ..figures import COLORMAP, region_around
from .images import data_uri, jpeg_uri

__all__ = ["MAX_OBJECTS", "assignment_data"]

MAX_OBJECTS = 5  # of an image
_MAX_SIDE = 900  # pixels of an embedded image


def assignment_data(
    detector: LoadedDetector, records: Sequence[dict[str, Any]], num_images: int
) -> tuple[list[dict[str, Any]], str]:
    """The first images that have objects, with these objects' maps, and the color scale.

    Raises:
        OSError, RuntimeError, ValueError: an image cannot be read or explained, or none has an
            object.
    """
    usable = [record for record in records if has_objects(record)][:num_images]
    images = [_image(detector, record) for record in usable]
    images = [image for image in images if image["objects"]]
    if not images:
        raise ValueError("no image of the test dataset has an object")
    return images, _heat_uri(np.arange(256.0)[None], 255)


def _image(detector: LoadedDetector, record: dict[str, Any]) -> dict[str, Any]:
    item = map_record(detector.cfg, record)
    areas = item["instances"].gt_boxes.area().numpy()
    # From the largest to the smallest.
    chosen = np.linspace(0, len(areas) - 1, min(MAX_OBJECTS, len(areas))).round().astype(int)
    explanation = explain_image(
        detector.model,
        item,
        objects=(-areas).argsort(kind="stable")[chosen].tolist(),
        input_format=detector.cfg.INPUT.FORMAT,
    )
    height, width = explanation.image.shape[:2]
    return {
        "name": Path(record["file_name"]).name,
        "source": jpeg_uri(explanation.image, _MAX_SIDE),
        "width": width,
        "height": height,
        "strides": list(explanation.strides),
        "offset": explanation.offset,
        "objects": [_object(detector, explanation, maps) for maps in explanation.objects],
    }


def _object(
    detector: LoadedDetector, explanation: ImageExplanation, maps: ObjectMaps
) -> dict[str, Any]:
    names = sorted(maps.maps, key=lambda name: name != maps.primary)  # the primary one first
    return {
        "index": maps.index,
        "class": detector.class_names[maps.class_index],
        "box": maps.box.tolist(),
        "region": list(region_around(maps.box, explanation.image, explanation.strides[0])),
        "shares": maps.level_shares.tolist(),
        "peak": None if maps.peak is None else list(maps.peak),
        "maps": [_map(name, maps.maps[name]) for name in names],
    }


def _map(name: str, levels: Sequence[np.ndarray]) -> dict[str, Any]:
    greatest = max((float(np.nanmax(x)) for x in levels if not np.isnan(x).all()), default=0.0)
    return {
        "name": name,
        "greatest": greatest,
        "levels": [_cells(level, greatest) for level in levels],
    }


def _cells(level: np.ndarray, greatest: float) -> dict[str, Any] | None:
    """The part of a level that has values: its place, picture, and float32 numbers with NaN."""
    rows, columns = np.nonzero(~np.isnan(level))
    if not len(rows):
        return None
    x, y = int(columns.min()), int(rows.min())
    part = level[y : rows.max() + 1, x : columns.max() + 1].astype("<f4")
    return {
        "x": x,
        "y": y,
        "width": part.shape[1],
        "height": part.shape[0],
        "heat": _heat_uri(part, greatest),
        "values": base64.b64encode(part.tobytes()).decode("ascii"),
    }


def _heat_uri(values: np.ndarray, greatest: float) -> str:
    """A PNG with a pixel for each value, transparent for NaN."""
    buffer = io.BytesIO()
    imsave(buffer, values, vmin=0, vmax=greatest or 1.0, cmap=COLORMAP)
    return data_uri(buffer.getvalue(), "image/png")
