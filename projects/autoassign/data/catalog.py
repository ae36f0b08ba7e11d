"""Box tables in detectron2's dataset catalog."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch.utils.data as torchdata
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from .cleaning import clean_boxes
from .formats.coco_json import read_coco_json
from .image_files import check_images
from .suspicions import suspicions
from .table import BoxTable, TableBuilder

__all__ = ["DatasetReport", "LoadedTable", "TableDataset", "load_table", "register_table"]


@dataclass(frozen=True)
class DatasetReport:
    """Findings about a dataset.

    Attributes:
        summary: images, boxes, and what was dropped, clipped and repaired, in one line.
        suspicions: sentences about what looks wrong.
    """

    summary: str
    suspicions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LoadedTable:
    """The images and objects of a dataset, its classes, and findings about it."""

    table: BoxTable
    class_names: list[str]
    report: DatasetReport


class TableDataset(torchdata.Dataset):
    """A dataset that makes the dict of an image on access, for datasets of millions of images.

    detectron2 takes such a dataset as it is: ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` has no effect.
    """

    def __init__(self, table: BoxTable) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # Raises the IndexError that ends a loop.
        return self.table.record(range(len(self))[index])


class _Loader:
    """The function that the catalog calls for a dataset; it reads the table once."""

    def __init__(self, read: Callable[[], LoadedTable], is_large: bool) -> None:
        self._read = read
        self._is_large = is_large
        self._loaded: LoadedTable | None = None

    def load(self) -> LoadedTable:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def __call__(self) -> list[dict[str, Any]] | TableDataset:
        table = self.load().table
        return TableDataset(table) if self._is_large else table.records()


def register_table(
    name: str, read: Callable[[], LoadedTable], *, is_large: bool = False, **metadata: Any
) -> None:
    """Register a dataset, replacing one of the same name.

    Every call of the catalog makes new dicts from the table, which is kept.

    Args:
        name: the dataset's name.
        read: called once, when the dataset is first used.
        is_large: the catalog returns a :class:`TableDataset` instead of a list of dicts.
        **metadata: for detectron2's MetadataCatalog.
    """
    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)
    DatasetCatalog.register(name, _Loader(read, is_large))
    MetadataCatalog.get(name).set(**metadata)


def load_table(name: str) -> LoadedTable:
    """The table of any registered dataset.

    Datasets with a COCO annotation file are read without their masks, in little memory.

    Raises:
        OSError, ValueError: the dataset cannot be read.
    """
    loader = DatasetCatalog.data[name]
    if isinstance(loader, _Loader):
        return loader.load()
    metadata = MetadataCatalog.get(name)
    if metadata.get("json_file") and metadata.get("image_root"):
        content = read_coco_json(Path(metadata.json_file))
        names = [category.name for category in content.categories]
        table = dataclasses.replace(content.table, image_root=str(metadata.image_root))
    else:
        table, names = _table_of_dicts(loader()), list(metadata.thing_classes)
    if (table.sizes == 0).any():
        table = check_images(table, name, skip_unreadable=False)
    found = suspicions(table, names, is_train=True)
    table, report = clean_boxes(table)
    return LoadedTable(table, names, DatasetReport(str(report), found))


def _table_of_dicts(records: list[dict[str, Any]]) -> BoxTable:
    builder = TableBuilder()
    for number, record in enumerate(records):
        index = builder.add_image(
            record["file_name"], number, record.get("height", 0), record.get("width", 0)
        )
        for annotation in record.get("annotations", ()):
            box = np.array([annotation["bbox"]], dtype=np.float64)
            x0, y0, x1, y1 = BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYXY_ABS)[0]
            builder.add_object(
                index,
                annotation["category_id"],
                (x0, y0, x1, y1),
                is_crowd=bool(annotation.get("iscrowd", 0)),
            )
    return builder.build()
