"""Reading and writing of weights."""

from .checkpointer import PointCheckpointer
from .description import CheckpointDescription
from .strictness import Strictness
from .weight_files import local_weight_file, read_weight_file

__all__ = [
    "CheckpointDescription",
    "PointCheckpointer",
    "Strictness",
    "local_weight_file",
    "read_weight_file",
]
