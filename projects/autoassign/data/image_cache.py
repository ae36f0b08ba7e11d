"""Decoded images in files, for sets that fit into the memory of a machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np

__all__ = ["ImageCache"]


class ImageCache:
    """Arrays in a folder, each under what it was made from.

    Several processes may use one folder. Reading is fast while the files are in the page cache of
    the operating system.
    """

    def __init__(self, folder: str | Path, *, max_bytes: float, num_writers: int = 1) -> None:
        """
        Args:
            folder: is made if there is none. Unfinished files that a killed process has left there
                are removed: no process may be writing yet.
            max_bytes: what all files may have; later arrays are not kept.
            num_writers: processes that fill the folder; each may fill an equal part of it.
        """
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self._folder.glob("*.unfinished"):
            unfinished.unlink(missing_ok=True)
        used = sum(entry.stat().st_size for entry in os.scandir(self._folder))
        self._room = (max_bytes - used) / num_writers

    def path(self, file_name: str, *options: object) -> Path:
        """Where the array of an image file is; a change of the file or the options moves it."""
        stat = os.stat(file_name)
        source = (os.path.abspath(file_name), stat.st_size, stat.st_mtime_ns, *options)
        return self._folder / f"{hashlib.sha256(repr(source).encode()).hexdigest()[:32]}.npy"

    def get(self, file_name: str, *options: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of an image file: what is kept, or what ``make`` returns, which is kept."""
        path = self.path(file_name, *options)
        array = self.read(path)
        if array is None:
            array = make()
            self.write(path, array)
        return array

    def read(self, path: Path) -> np.ndarray | None:
        """The array, or None if there is none."""
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # also what a power failure has left
            return None

    def write(self, path: Path, array: np.ndarray) -> None:
        """Keep an array, if there is room for it."""
        self._room -= array.nbytes
        if self._room < 0:
            return
        unfinished = path.with_name(f"{uuid4().hex}.unfinished")
        try:
            with open(unfinished, "wb") as file:
                np.save(file, array, allow_pickle=False)
            unfinished.replace(path)
        except OSError:  # the disk is full, or the folder has been removed
            self._room = 0
            unfinished.unlink(missing_ok=True)
