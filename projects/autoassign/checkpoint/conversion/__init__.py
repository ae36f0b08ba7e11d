"""Conversion of other tools' checkpoints."""

from .convert import convert_checkpoint, to_mmdetection
from .families import STYLES

__all__ = ["STYLES", "convert_checkpoint", "to_mmdetection"]
