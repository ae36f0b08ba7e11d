"""Objects365, versions 1 and 2."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np

from ..catalog import LoadedTable, register_table
from ..formats.coco_json import read_coco_json
from ..table import BoxTable
from ..table_cache import cached_table
from .builtin import clean_and_report, find_file, leave_out_missing_images, set_metadata

__all__ = ["register_objects365"]

# Folders below the root, and names of the annotation file below "annotations".
_FOLDERS = {
    "": ("objects365", "objects365_v1", "Objects365/Obj365_v1"),
    "v2_": ("objects365", "objects365_v2", "Objects365/Obj365_v2"),
}
_JSON_FILES = {
    "": ("objects365_{split}.json", "objects365_{split}_20190423.json"),
    "v2_": ("zhiyuan_objv2_{split}.json",),
}
_NUM_PROBED = 100
_ALL_PARTS = 99


def register_objects365(root: Path) -> None:
    """Register ``objects365_train`` and ``_val`` (v1), ``objects365_v2_train`` and ``_val``.

    Args:
        root: holds objects365/ with annotations/, train/ and val/; the images of v2 lie in the
            folders patch0, patch1, ... of these.
    """
    for version in _FOLDERS:
        for split in ("train", "val"):
            name = f"objects365_{version}{split}"
            register_table(
                name,
                partial(_read, name, root=root, version=version, split=split),
                is_large=True,
                evaluator_type="coco",
            )


def _read(name: str, *, root: Path, version: str, split: str) -> LoadedTable:
    files = [f"annotations/{each.format(split=split)}" for each in _JSON_FILES[version]]
    folder, json_file = find_file(root, _FOLDERS[version], files, name)
    image_root = folder / split
    table, description = cached_table(
        json_file,
        f"{image_root} {_listing_digest(image_root)}",
        partial(_build, name, json_file, image_root, is_train=split == "train"),
    )
    return set_metadata(
        name,
        dataclasses.replace(table, image_root=str(image_root)),
        description["summary"],
        description["class_names"],
        description["category_ids"],
    )


def _listing_digest(image_root: Path) -> str:
    """A digest of the number of files in the folder and in each of its folders."""
    counts = [
        (os.path.relpath(parent, image_root), len(names))
        for parent, _, names in os.walk(image_root, followlinks=True)
    ]
    return hashlib.sha256(repr(sorted(counts)).encode()).hexdigest()


def _build(
    name: str, json_file: Path, image_root: Path, *, is_train: bool
) -> tuple[BoxTable, dict]:
    content = read_coco_json(json_file)
    table = dataclasses.replace(content.table, image_root=str(image_root))
    table = leave_out_missing_images(_with_existing_paths(table), name)
    repaired = f"repaired: {content.repairs}" if content.repairs else ""
    table, summary = clean_and_report(table, repaired)
    if is_train:
        # DATALOADER.FILTER_EMPTY_ANNOTATIONS has no effect on a TableDataset.
        things = np.unique(table.image_index[~table.is_crowd])
        num_empty = len(table) - len(things)
        table = table.select_images(np.isin(np.arange(len(table)), things))
        summary += f"; left out {num_empty} images without objects"
    return table, {
        "summary": summary,
        "class_names": [category.name for category in content.categories],
        "category_ids": [category.id for category in content.categories],
    }


def _with_existing_paths(table: BoxTable) -> BoxTable:
    """The table with the file names that exist on disk.

    The file of v2 names "images/v1/patch8/x.jpg". Its archives unpack to "patch8/x.jpg", and some
    mirrors have all images in one folder. Which of these holds is tried with some images.
    """
    names = table.file_names.tolist()
    step = max(1, len(names) // _NUM_PROBED)
    # How many parts of the path are kept.
    depths = {
        depth: sum(
            os.path.isfile(os.path.join(table.image_root, *name.split("/")[-depth:]))
            for name in names[::step]
        )
        for depth in (_ALL_PARTS, 2, 1)
    }
    depth = max(depths, key=lambda each: depths[each])
    return dataclasses.replace(
        table, file_names=np.array(["/".join(name.split("/")[-depth:]) for name in names])
    )
