"""Reading and writing of weights."""

from .checkpointer import PointCheckpointer, nonfinite_tensors
from .description import CheckpointDescription
from .resuming import find_checkpoint, peek
from .strictness import Strictness
from .weight_files import local_weight_file, read_weight_file

__all__ = [
    "CheckpointDescription",
    "PointCheckpointer",
    "Strictness",
    "find_checkpoint",
    "local_weight_file",
    "nonfinite_tensors",
    "peek",
    "read_weight_file",
]
