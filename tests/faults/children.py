"""Trainings in child processes that are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["in_child", "train", "train_until_file_operation"]

_TESTS = str(Path(__file__).parents[1])


def in_child(function: Callable[..., None], *args: Any, seconds: float | None = None) -> int:
    """Call a function in a process of its own, which SIGKILL ends after some seconds.

    Returns:
        The exit code, negative after a signal.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_runs"])  # imports once for all processes
    with pytest.MonkeyPatch.context() as patch:
        # That of the server, which does not get sys.path.
        patch.setenv("PYTHONPATH", os.pathsep.join([_TESTS, *sys.path]))
        process = context.Process(target=function, args=args)
        process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
    process.join(120)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def train(shapes: Path, output: Path, *options: object) -> None:
    """Train or go on, printing to files beside the output folder."""
    import torch
    from training_runs import run

    torch.set_num_threads(1)
    for number in (1, 2):
        os.dup2(os.open(f"{output}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    run(shapes, output, *options, flags=("--resume",))


def train_until_file_operation(number: int, shapes: Path, output: Path, *options: object) -> None:
    """As :func:`train`; SIGKILL comes before this operation on a file of the output folder.

    Opening to read or to write, renaming, removing and truncating are operations. The number of
    them is written to a file beside the folder.
    """
    operations = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal operations
        if event not in ("open", "os.rename", "os.remove", "os.truncate"):
            return
        if isinstance(args[0], str | Path) and str(args[0]).startswith(f"{output}/"):
            operations += 1
            if operations == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    train(shapes, output, *options)
    Path(f"{output}.operations").write_text(str(operations))
