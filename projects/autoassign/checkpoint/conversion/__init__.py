"""Conversion of other tools' checkpoints."""

from .convert import convert_checkpoint, to_mmdetection
from .families import find_family

__all__ = ["convert_checkpoint", "find_family", "to_mmdetection"]
