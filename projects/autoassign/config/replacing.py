"""Atomic replacement of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ["remove_unfinished", "replacing"]

_MARK = ".unfinished"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file under a temporary name, which takes the place of ``path`` at the end.

    Whenever the process is killed, ``path`` is the old file or the new one. Of several processes
    that write it at once, the last one wins. The folder is made.

    Args:
        path: the file to write or to replace.

    Yields:
        The name to write to. It has the suffix of ``path``, by which some writers choose a format.

    Raises:
        OSError: the file cannot be written; ``path`` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{uuid4().hex}{_MARK}{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        # A full disk is known to the file object alone, which does not tell its name.
        if error.filename in (None, str(unfinished)):
            reason = error.strerror or error
            raise OSError(f"{path} cannot be written: {reason}") from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: str | Path) -> None:
    """Remove what killed processes have left in ``folder`` under temporary names.

    No other process may be writing there.
    """
    for path in Path(folder).glob(f".*{_MARK}*"):
        path.unlink()
