"""Training, where detectron2's DefaultTrainer is not enough."""

from .launch import launch
from .setup import setup_config
from .trainer import Trainer

__all__ = ["Trainer", "launch", "setup_config"]
