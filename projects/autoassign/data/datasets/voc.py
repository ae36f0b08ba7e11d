"""PASCAL VOC 2007 and 2012."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from ..catalog import LoadedTable, register_table
from ..formats.voc import read_annotations, read_voc_list, voc_table
from ..image_files import check_images
from .builtin import clean_and_report, find_file, leave_out_missing_images, set_metadata

__all__ = ["register_voc"]

# Year, list of images, and whether it is for testing.
_SPLITS = (
    (2007, "train", False),
    (2007, "trainval", False),
    (2007, "val", True),
    (2007, "test", True),
    (2012, "train", False),
    (2012, "trainval", False),
    (2012, "val", True),
)


def register_voc(root: Path) -> None:
    """Register ``voc_2007_trainval`` and the like in place of detectron2's.

    Dataset dicts are those of detectron2, with checked files and boxes. Difficult objects are
    crowds in the splits for testing; as in detectron2, they are trained on.

    Args:
        root: holds VOC2007 and VOC2012, or VOCdevkit with them.
    """
    for year, split, is_test in _SPLITS:
        folders = [root / folder for folder in _folders(year)]
        name = f"voc_{year}_{split}"
        register_table(
            name,
            partial(_read, name, root=root, year=year, split=split, is_test=is_test),
            thing_classes=list(CLASS_NAMES),
            dirname=str(next((x for x in folders if x.is_dir()), folders[0])),
            year=year,
            split=split,
            evaluator_type="pascal_voc",
        )


def _folders(year: int) -> tuple[str, ...]:
    return f"VOC{year}", f"VOCdevkit/VOC{year}", f"voc/VOC{year}"


def _read(name: str, *, root: Path, year: int, split: str, is_test: bool) -> LoadedTable:
    folder, list_file = find_file(root, _folders(year), [f"ImageSets/Main/{split}.txt"], name)
    ids = read_voc_list(list_file)
    if not ids:
        raise ValueError(f"{list_file} lists no image")
    images = read_annotations([folder / "Annotations" / f"{each}.xml" for each in ids])
    table = voc_table(images, list(CLASS_NAMES), [folder / "JPEGImages"])
    difficult = table.is_crowd
    table = dataclasses.replace(table, image_ids=np.array(ids), is_crowd=difficult & is_test)
    table = leave_out_missing_images(table, name)
    if (table.sizes == 0).any():
        table = check_images(table, name, skip_unreadable=False)
    table, summary = clean_and_report(table, f"{difficult.sum()} difficult")
    return set_metadata(name, table, summary, list(CLASS_NAMES))
