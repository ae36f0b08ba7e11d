"""Which file a loading process worked on when it died."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import get_worker_info

__all__ = ["NotingMapper", "naming_lost_file"]

_MAX_BYTES = 1024


class NotingMapper:
    """A mapper that notes in shared memory which file each loading process works on."""

    def __init__(
        self, mapper: Callable[[dict[str, Any]], dict[str, Any]], num_processes: int
    ) -> None:
        self._mapper = mapper
        self._notes = torch.zeros((num_processes, _MAX_BYTES), dtype=torch.uint8).share_memory_()
        _mappers.add(self)

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        process = get_worker_info()
        if process is None:
            return self._mapper(dataset_dict)
        row = self._notes[process.id].numpy().data
        note = f"{os.getpid()} {dataset_dict.get('file_name', 'an image')}".encode(
            errors="surrogateescape"
        )
        note = note[: _MAX_BYTES - 1] + b"\0"
        row[: len(note)] = note
        try:
            return self._mapper(dataset_dict)
        finally:
            row[0] = 0

    def lost_files(self) -> list[str]:
        """The files that processes worked on when they died."""
        alive = {str(process.pid) for process in multiprocessing.active_children()}
        lost = []
        for row in self._notes:
            note = bytes(row.tolist()).partition(b"\0")[0].decode(errors="replace")
            process, _, file_name = note.partition(" ")
            if process and process not in alive:
                lost.append(file_name)
        return lost


_mappers: WeakSet[NotingMapper] = WeakSet()


@contextmanager
def naming_lost_file() -> Iterator[None]:
    """Name the file that a loading process worked on, if its death ends what is run here.

    Raises:
        ChildProcessError: in place of the RuntimeError or OSError that torch's loader raises,
            wherever the process that has started it is.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        is_of_loader = isinstance(error, OSError) or str(error).startswith("DataLoader worker")
        lost = [name for mapper in _mappers for name in mapper.lost_files()]
        if not (lost and is_of_loader) or isinstance(error, ChildProcessError):
            raise
        _mappers.clear()  # the other processes of these loaders may die later
        raise ChildProcessError(
            f"The process that was loading {lost[0]} has died: {str(error).strip(' .')}"
        ) from error
