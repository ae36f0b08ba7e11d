"""Shared parts of the readers of well-known datasets."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog

from ...config import first_of
from ..catalog import DatasetReport, LoadedTable
from ..cleaning import clean_boxes
from ..table import BoxTable

__all__ = ["clean_and_report", "find_file", "leave_out_missing_images", "set_metadata"]

logger = logging.getLogger(__name__)

# More missing images than this are not a known flaw of a dataset, but an incomplete download.
_MAX_MISSING = 0.01


def find_file(
    root: Path, folders: Sequence[str], files: Sequence[str], name: str
) -> tuple[Path, Path]:
    """The first of some folders below ``root`` that has one of some files, and this file.

    Raises:
        FileNotFoundError: none does; the message says where it was looked for.
    """
    for folder in folders:
        for file in files:
            if (root / folder / file).is_file():
                return root / folder, root / folder / file
    raise FileNotFoundError(
        f"{name}: there is no {root / folders[0] / files[0]}, nor with {', '.join(folders[1:])} in "
        f"the place of {folders[0]}; DETECTRON2_DATASETS names the folder that holds the datasets "
        "(default: datasets)"
    )


def leave_out_missing_images(table: BoxTable, name: str) -> BoxTable:
    """Leave out the images whose files are missing, with a warning that counts them.

    Raises:
        FileNotFoundError: more than 1 % are missing.
    """
    exists = files_exist(table)
    if exists.all():
        return table
    missing = [table.path(index) for index in np.flatnonzero(~exists)]
    files = first_of(missing)
    message = f"{len(missing)} of its {len(table)} images do not exist: {files}"
    if len(missing) > _MAX_MISSING * len(table):
        raise FileNotFoundError(f"{name}: {message}")
    logger.warning(f"{name}: left out because {message}")
    return table.select_images(exists)


def files_exist(table: BoxTable) -> np.ndarray:
    """(N,) mask of images whose file exists. Listing folders is faster than asking file by file."""

    @functools.cache
    def names_in(folder: str) -> set[str]:
        return set(os.listdir(folder)) if os.path.isdir(folder) else set()

    paths = map(os.path.split, table.paths())
    return np.array([name in names_in(folder) for folder, name in paths], dtype=bool)


def clean_and_report(table: BoxTable, remark: str) -> tuple[BoxTable, str]:
    """Clean the boxes; returns the table and its summary with the remark, which may be ""."""
    table, report = clean_boxes(table)
    return table, f"{report}; {remark}" if remark else str(report)


def set_metadata(
    name: str,
    table: BoxTable,
    summary: str,
    class_names: list[str],
    category_ids: list[int] | None = None,
) -> LoadedTable:
    """Log the summary of a dataset and set its classes in detectron2's metadata."""
    logger.info(f"{name}: {summary}")
    metadata = MetadataCatalog.get(name).set(thing_classes=class_names)
    if category_ids is not None:
        metadata.thing_dataset_id_to_contiguous_id = {
            category_id: index for index, category_id in enumerate(category_ids)
        }
    return LoadedTable(table, class_names, DatasetReport(summary))
