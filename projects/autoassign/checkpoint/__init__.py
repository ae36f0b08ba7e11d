"""Reading, writing and conversion of weights."""

from .checkpointer import PointCheckpointer, nonfinite_tensors
from .conversion import convert_checkpoint, to_mmdetection
from .description import CheckpointDescription
from .resuming import find_checkpoint, peek
from .strictness import Strictness
from .weight_files import (
    check_weight_suffix,
    local_weight_file,
    read_weight_file,
    write_weight_file,
)
from .weights_family import follow_weights
from .zoo import PUBLISHED, check_published, zoo_weights

__all__ = [
    "PUBLISHED",
    "CheckpointDescription",
    "PointCheckpointer",
    "Strictness",
    "check_published",
    "check_weight_suffix",
    "convert_checkpoint",
    "find_checkpoint",
    "follow_weights",
    "local_weight_file",
    "nonfinite_tensors",
    "peek",
    "read_weight_file",
    "to_mmdetection",
    "write_weight_file",
    "zoo_weights",
]
