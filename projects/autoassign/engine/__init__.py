"""Training, where detectron2's DefaultTrainer is not enough."""

from .console import show_evaluation
from .launch import launch
from .setup import setup_config
from .stop_signals import TrainingStopped
from .trainer import Trainer

__all__ = ["Trainer", "TrainingStopped", "launch", "setup_config", "show_evaluation"]
