"""One split of a dataset, as the readers of all formats return it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..table import BoxTable
from .faults import Repairs

__all__ = ["Split"]


@dataclass
class Split:
    """One split of a user's dataset. Its images have not been opened.

    Attributes:
        name: for the catalogs.
        source: the file or folder that defines it, for messages.
        table: its images and objects.
        class_names: by index.
        category_ids: the id of each class in the dataset.
        repairs: counts of what was repaired.
        json_file: a COCO file with the same content, if there is one.
        boxes_are_relative: whether boxes are relative to the width and height of the image.
        paths: further metadata.
    """

    name: str
    source: Path
    table: BoxTable
    class_names: list[str]
    category_ids: list[int]
    repairs: Repairs = field(default_factory=Repairs)
    json_file: Path | None = None
    boxes_are_relative: bool = False
    paths: dict[str, str] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata to register, as detectron2 has it."""
        return {
            "thing_classes": self.class_names,
            "thing_dataset_id_to_contiguous_id": {
                category_id: index for index, category_id in enumerate(self.category_ids)
            },
            **self.paths,
        }
