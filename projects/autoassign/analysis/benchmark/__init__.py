"""Measurements behind ``autoassign benchmark``."""

from .evaluation import EvaluationRow, measure_evaluation
from .loss import LossRow, measure_loss, strategy_names

__all__ = [
    "EvaluationRow",
    "LossRow",
    "measure_evaluation",
    "measure_loss",
    "strategy_names",
]
