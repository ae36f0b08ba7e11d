"""The checkpoint that a training resumes from."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.logger import log_first_n

__all__ = ["find_checkpoint", "peek"]

_LAST = "last_checkpoint"
_PATTERNS = ("model_[0-9]*.pth", "model_final.pth", "model_best.pth")


def find_checkpoint(folder: str | Path) -> str | None:
    """Find the checkpoint that the training in ``folder`` resumes from.

    It is the one that ``last_checkpoint`` names. If that is missing, empty or damaged, or names a
    damaged file, a warning says so, and it is the undamaged one with the most iterations.

    Returns:
        Its path; None if the folder has no checkpoint of a training.

    Raises:
        ValueError: there are checkpoints, but all of them are damaged or hold weights only.
    """
    folder = Path(folder)
    found = {path for pattern in _PATTERNS for path in folder.glob(pattern)}
    if not found and not (folder / _LAST).exists():
        return None
    last = _named_in(folder / _LAST)
    if last in found and _iteration(last) is not None:
        return str(last)
    problem = f"{last} is damaged" if last in found else f"{folder / _LAST} names no checkpoint"
    iterations = {path: _iteration(path) for path in found}
    whole = {path: number for path, number in iterations.items() if number is not None}
    if not whole:
        others = ", ".join(sorted(path.name for path in found - {last}))
        raise ValueError(
            f"{problem}, and there is no other to resume from"
            + (f": damaged or without the state of a training are {others}" if others else "")
        )
    newest = max(whole, key=lambda path: (whole[path], path.name))
    message = f"{problem}; the newest undamaged checkpoint is {newest}."
    log_first_n(logging.WARNING, message, name=__name__, key="message")
    return str(newest)


def peek(path: str | Path) -> dict[str, Any] | None:
    """Read a checkpoint that this package has written, without reading its tensors.

    Returns:
        Its content, with tensors that are read from the file when they are used; None if the file
        is missing or damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # damaged bytes may raise anything
        return None


def _named_in(file: Path) -> Path | None:
    try:
        name = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return file.parent / name


def _iteration(path: Path) -> int | None:
    """The last iteration of a training's checkpoint; None if it is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            if file.testzip() is not None:  # a checksum is wrong
                return None
        return (peek(path) or {})["trainer"]["iteration"]
    except Exception:  # damaged bytes may raise anything
        return None
