"""Prediction on images and videos that belong to no dataset."""

from .predictor import Predictor
from .runner import Runner
from .sources import find_sources

__all__ = ["Predictor", "Runner", "find_sources"]
