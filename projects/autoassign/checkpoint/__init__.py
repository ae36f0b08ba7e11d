"""Reading and writing of weights."""

from .checkpointer import PointCheckpointer

__all__ = ["PointCheckpointer"]
