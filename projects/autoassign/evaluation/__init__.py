"""Evaluators."""

from .coco import FastCOCOEvaluator

__all__ = ["FastCOCOEvaluator"]
