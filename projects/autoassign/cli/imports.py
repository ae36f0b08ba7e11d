"""Modules outside the package that register label assignments."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence

__all__ = ["ENTRY_POINTS", "import_modules"]

# Installed packages name such modules under this group; they need no --import.
ENTRY_POINTS = "autoassign.strategies"
# Tells child processes, such as the trainings of `autoassign compare`, the modules of --import.
_ENVIRONMENT = "AUTOASSIGN_IMPORT"


def import_modules(names: Sequence[str] = ()) -> None:
    """Import the modules of ``--import`` and of installed entry points, which register themselves.

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
    modules = {f"--import {name}": name for name in names}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        modules[f"the entry point {entry.name} of {ENTRY_POINTS}"] = entry.module
    for source, module in modules.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever the module raises
            raise ValueError(f"{source}: {type(error).__name__}: {error}") from error
