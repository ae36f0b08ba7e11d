"""The registry of label assignments, below everything that adds to it or reads it."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata

from detectron2.utils.registry import Registry

__all__ = ["LABEL_ASSIGNMENT_REGISTRY", "load_strategies"]

LABEL_ASSIGNMENT_REGISTRY = Registry("LABEL_ASSIGNMENT")
LABEL_ASSIGNMENT_REGISTRY.__doc__ = """
Label assignments, chosen by ``MODEL.LABEL_ASSIGNMENT.NAME``: subclasses of
:class:`~autoassign.modeling.LabelAssignment`. Their options are added to every config.
"""
# Installed packages name modules that register label assignments under this entry point group.
ENTRY_POINTS = "autoassign.strategies"


@functools.cache
def load_strategies() -> None:
    """Import the label assignments of this package and of installed ones: they register themselves.

    They are imported by name because the options of a strategy live in its file: every config
    needs them.

    Raises:
        ValueError: the module of an entry point cannot be imported.
    """
    importlib.import_module("autoassign.modeling")
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            importlib.import_module(entry.module)
        except Exception as error:  # third-party code raises anything
            raise ValueError(
                f"the entry point {entry.name} of {ENTRY_POINTS}: {type(error).__name__}: {error}"
            ) from error
