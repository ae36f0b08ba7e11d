"""The command ``autoassign``, one module per verb; :mod:`.verbs` has the table of verbs."""

from .arguments import add_options_argument, parse_arguments
from .verbs import main

__all__ = ["add_options_argument", "main", "parse_arguments"]
