"""Prediction on images and videos that belong to no dataset."""

from .predictor import Predictor

__all__ = ["Predictor"]
