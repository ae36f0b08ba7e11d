"""The modules of ``--import``, which register label assignments or backbones."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

__all__ = ["import_modules"]

# Tells child processes, such as the trainings of `autoassign compare`, the modules of --import.
_ENVIRONMENT = "AUTOASSIGN_IMPORT"


def import_modules(names: Sequence[str] = ()) -> None:
    """Import the modules of ``--import``, which register themselves.

    No config or checkpoint can name a module: a file that a user was sent must not run code. A
    worker process calls this again, without names: it has those of its parent.

    Args:
        names: modules, which may lie in the current folder.

    Raises:
        ValueError: a module cannot be imported.
    """
    names = list(dict.fromkeys([*os.environ.get(_ENVIRONMENT, "").split(), *names]))
    os.environ[_ENVIRONMENT] = " ".join(names)
    if names and "" not in sys.path:
        sys.path.append("")  # the current folder, last so that it hides no installed package
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module raises anything
            raise ValueError(f"--import {name}: {type(error).__name__}: {error}") from error
