"""Output folders: one process at a time, and no training over another."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import IO

from detectron2.utils import comm

from ..checkpoint import find_checkpoint
from ..config import remove_unfinished

__all__ = ["lock_folder", "lock_output_dir", "prepare_output_dir"]

logger = logging.getLogger(__name__)

# Kept open: closing a file gives up its lock.
_locks: list[IO[str]] = []


def lock_folder(folder: str | Path) -> IO[str]:
    """Reserve a folder for this process, until the file returned is closed or the process ends.

    Raises:
        BlockingIOError: another process has reserved it.
        OSError: the folder cannot be written to.
    """
    # POSIX locks, unlike flock's, are not inherited: orphaned data loaders do not hold them.
    file = open(os.path.join(folder, ".lock"), "a")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise BlockingIOError(f"another process has reserved {folder}") from error
    except OSError as error:
        logger.warning(f"{folder} cannot be locked ({error.strerror}): start one process only")
    return file


def lock_output_dir(output_dir: str) -> None:
    """Make ``output_dir`` and reserve it for this process until it ends, however it does.

    What a killed training has left there under temporary names is removed.

    Raises:
        OSError: the folder cannot be written to, or another process has reserved it.
    """
    try:
        os.makedirs(output_dir, exist_ok=True)
        _locks.append(lock_folder(output_dir))
    except BlockingIOError as error:
        raise OSError(
            f"another training is running in OUTPUT_DIR {output_dir}: wait for it, or give another "
            "folder"
        ) from error
    except OSError as error:
        is_file = os.path.exists(output_dir) and not os.path.isdir(output_dir)
        reason = "it is a file" if is_file else error.strerror
        raise OSError(f"OUTPUT_DIR {output_dir} cannot be written to: {reason}") from error
    remove_unfinished(output_dir)


def prepare_output_dir(output_dir: str, *, resume: bool) -> None:
    """Reserve a training's folder on the main process, and do not let it overwrite another one.

    Args:
        output_dir: the folder.
        resume: whether the training that is there goes on.

    Raises:
        FileExistsError: it holds a training, and ``resume`` is False.
        OSError: see :func:`lock_output_dir`.
    """
    if comm.is_main_process():
        lock_output_dir(output_dir)
    if not resume:
        _refuse_to_overwrite(output_dir)


def _refuse_to_overwrite(output_dir: str) -> None:
    try:
        checkpoint = find_checkpoint(output_dir)
    except ValueError as error:  # none of its files can be resumed from
        raise FileExistsError(
            f"OUTPUT_DIR {output_dir} holds checkpoints already: {error}. Give another OUTPUT_DIR, "
            "or remove them."
        ) from error
    if checkpoint is not None:
        raise FileExistsError(
            f"OUTPUT_DIR {output_dir} holds a training already (its last checkpoint is "
            f"{os.path.basename(checkpoint)}). Give another OUTPUT_DIR, or --resume, which "
            "continues from that checkpoint with its weights, optimizer, schedule and iteration, "
            "and does not read MODEL.WEIGHTS. To start from these weights anew, give another "
            f"OUTPUT_DIR and MODEL.WEIGHTS {checkpoint}."
        )
    metrics = os.path.join(output_dir, "metrics.json")
    if os.path.exists(metrics) and os.path.getsize(metrics):
        raise FileExistsError(
            f"OUTPUT_DIR {output_dir} holds the metrics of a training that ended before its first "
            "checkpoint: there is nothing to --resume. Give another OUTPUT_DIR, or remove this one."
        )
