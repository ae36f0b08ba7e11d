"""One training at a time in an output folder."""

from __future__ import annotations

import fcntl
import logging
import os
from typing import IO

from ..config import remove_unfinished

__all__ = ["lock_output_dir"]

logger = logging.getLogger(__name__)

# Kept open: closing a file gives up its lock.
_locks: list[IO[str]] = []


def lock_output_dir(output_dir: str) -> None:
    """Make ``output_dir`` and reserve it for this process until it ends, however it does.

    What a killed training has left there under temporary names is removed.

    Raises:
        OSError: the folder cannot be written to, or another process has reserved it.
    """
    try:
        os.makedirs(output_dir, exist_ok=True)
        # POSIX locks, unlike flock's, are not inherited: orphaned data loaders do not hold them.
        file = open(os.path.join(output_dir, ".lock"), "a")  # noqa: SIM115
    except OSError as error:
        is_file = os.path.exists(output_dir) and not os.path.isdir(output_dir)
        reason = "it is a file" if is_file else error.strerror
        raise OSError(f"OUTPUT_DIR {output_dir} cannot be written to: {reason}") from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise OSError(
            f"another training is running in OUTPUT_DIR {output_dir}: wait for it, or give another "
            "folder"
        ) from error
    except OSError as error:
        logger.warning(f"{output_dir} cannot be locked ({error.strerror}): start one training only")
    _locks.append(file)
    remove_unfinished(output_dir)
