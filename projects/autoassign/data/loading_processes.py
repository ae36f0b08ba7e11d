"""Which file a loading process worked on when it died."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import get_worker_info

__all__ = ["NotingMapper"]

_MAX_BYTES = 1024


class NotingMapper:
    """A mapper that notes in shared memory which file each loading process works on."""

    def __init__(
        self, mapper: Callable[[dict[str, Any]], dict[str, Any]], num_processes: int
    ) -> None:
        """
        Args:
            mapper: turns a dataset dict into an input of the model.
            num_processes: of the loader.
        """
        self._mapper = mapper
        self._notes = torch.zeros((num_processes, _MAX_BYTES), dtype=torch.uint8).share_memory_()

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """What the mapper returns."""
        process = get_worker_info()
        if process is not None:
            note = f"{os.getpid()} {dataset_dict.get('file_name', 'an image')}".encode()[
                :_MAX_BYTES
            ]
            row = self._notes[process.id].numpy().data
            row[: len(note)] = note
            row[len(note) :] = bytes(_MAX_BYTES - len(note))
        return self._mapper(dataset_dict)

    def forget(self) -> None:
        """Clear the notes, for new processes."""
        self._notes.zero_()

    def file_of_dead_process(self) -> str | None:
        """The file that a process worked on which is not alive any more; None if all are."""
        alive = {str(process.pid) for process in multiprocessing.active_children()}
        for row in self._notes:
            note = bytes(row.tolist()).rstrip(b"\0").decode(errors="replace")
            process, _, file_name = note.partition(" ")
            if process and process not in alive:
                return file_name
        return None
