"""The command ``autoassign``, one module per verb; :mod:`.verbs` has the table of verbs."""

import warnings

from .arguments import add_options_argument, parse_arguments
from .verbs import main

__all__ = ["add_options_argument", "main", "parse_arguments"]

# fvcore calls it when it is imported. Here, so that worker processes are quiet too.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
