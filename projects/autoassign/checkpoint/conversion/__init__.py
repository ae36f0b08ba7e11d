"""Conversion of other tools' checkpoints."""

from .convert import convert_checkpoint, to_mmdetection
from .families import STYLES, find_family

__all__ = ["STYLES", "convert_checkpoint", "find_family", "to_mmdetection"]
