"""A table of boxes in COCO's format, for evaluation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..config import replacing
from .table import BoxTable

__all__ = ["coco_ground_truth", "write_json"]


def coco_ground_truth(
    table: BoxTable, class_names: list[str], category_ids: list[int]
) -> dict[str, Any]:
    """A table as the content of a COCO annotation file."""
    sizes = table.boxes[:, 2:] - table.boxes[:, :2]
    areas = np.where(np.isnan(table.areas), sizes.prod(axis=1), table.areas)
    columns = (
        table.image_ids[table.image_index].tolist(),
        table.classes.tolist(),
        np.hstack([table.boxes[:, :2], sizes]).tolist(),
        areas.tolist(),
        table.is_crowd.astype(int).tolist(),
    )
    return {
        "info": {},
        "images": [
            {
                "id": image_id,
                "file_name": os.path.basename(str(name)),
                "height": height,
                "width": width,
            }
            for image_id, name, (height, width) in zip(
                table.image_ids.tolist(), table.file_names, table.sizes.tolist(), strict=True
            )
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": category_ids[class_index],
                "bbox": box,
                "area": area,
                "iscrowd": is_crowd,
            }
            for number, (image_id, class_index, box, area, is_crowd) in enumerate(
                zip(*columns, strict=True), start=1
            )
        ],
        "categories": [
            {"id": category_id, "name": name}
            for category_id, name in zip(category_ids, class_names, strict=True)
        ],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write or replace a JSON file."""
    with replacing(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        json.dump(content, file)
