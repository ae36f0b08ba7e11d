"""Measurements behind ``autoassign benchmark``."""

from .contenders import build_detector, fast_options, make_batch, make_batch_like
from .evaluation import measure_evaluation
from .loading import measure_loading, time_model
from .loss import LossCase, LossRow, loss_of, measure_loss
from .model import DenseOutputs, ModelRow, count_model
from .steps import StepRow, time_inference, time_training

__all__ = [
    "DenseOutputs",
    "LossCase",
    "LossRow",
    "ModelRow",
    "StepRow",
    "build_detector",
    "count_model",
    "fast_options",
    "loss_of",
    "make_batch",
    "make_batch_like",
    "measure_evaluation",
    "measure_loading",
    "measure_loss",
    "time_inference",
    "time_model",
    "time_training",
]
