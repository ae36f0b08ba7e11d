"""A cache on disk for tables that take long to read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from iopath.common.file_io import file_lock, get_cache_dir

from .ground_truth import write_json
from .table import BoxTable

__all__ = ["cached_table"]

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 1  # to be raised if the same annotations give another table
_NOT_KEPT = ("attributes", "image_root")
_COLUMNS = [x.name for x in dataclasses.fields(BoxTable) if x.name not in _NOT_KEPT]


def cached_table(
    source: Path, key: str, build: Callable[[], tuple[BoxTable, dict[str, Any]]]
) -> tuple[BoxTable, dict[str, Any]]:
    """A table from the cache, which is filled by the first call.

    If several processes ask at the same time, one builds the table. Its arrays are memory-mapped,
    so that the processes of a machine share them.

    Args:
        source: the annotation file; a change of its size or time makes the cached table invalid.
        key: what else the table depends on.
        build: makes the table, without attributes, and a description in JSON types.

    Returns:
        The table, without its image folder, and the description.
    """
    stat = source.stat()
    state = f"{_FORMAT_VERSION} {source.resolve()} {stat.st_size} {stat.st_mtime_ns} {key}"
    digest = hashlib.sha256(state.encode()).hexdigest()[:16]
    parent = Path(get_cache_dir()) / "autoassign"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{source.stem}-{digest}"
    with file_lock(str(folder)):
        if not folder.is_dir():
            logger.info(f"Reading {source}; the result is kept in {folder}")
            _write(folder, *build())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _COLUMNS}
    with open(folder / "description.json", encoding="utf-8") as file:
        return BoxTable(**arrays), json.load(file)


def _write(folder: Path, table: BoxTable, description: dict[str, Any]) -> None:
    # The folder appears under its name when it is complete.
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex}")
    unfinished.mkdir()
    try:
        for name in _COLUMNS:
            np.save(unfinished / f"{name}.npy", getattr(table, name), allow_pickle=False)
        write_json(unfinished / "description.json", description)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
