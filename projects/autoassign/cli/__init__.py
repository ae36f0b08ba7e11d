"""The command ``autoassign``, one module per verb; :mod:`.verbs` has the table of verbs."""

from .verbs import main

__all__ = ["main"]
