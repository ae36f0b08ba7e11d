"""Reading and writing of weights."""

from .checkpointer import PointCheckpointer
from .weight_files import local_weight_file, read_weight_file

__all__ = ["PointCheckpointer", "local_weight_file", "read_weight_file"]
