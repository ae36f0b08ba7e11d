"""Evaluators, chosen by the dataset."""

from .build import build_evaluator, metric_names
from .coco import METRICS, FastCOCOEvaluator
from .voc import VOCEvaluator
from .widerface import WiderFaceEvaluator

__all__ = [
    "METRICS",
    "FastCOCOEvaluator",
    "VOCEvaluator",
    "WiderFaceEvaluator",
    "build_evaluator",
    "metric_names",
]
