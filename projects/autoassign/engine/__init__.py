"""Training, where detectron2's DefaultTrainer is not enough."""

from .console import show_evaluation
from .evolution_hook import check_evolution_options
from .hooks import best_metric, check_average_options
from .launch import launch
from .lazy_training import train_lazily
from .optimizer import build_optimizer
from .output_dir import lock_folder
from .parameter_groups import parameter_groups
from .schedule import scale_iterations, scale_to_batch_size
from .setup import setup_config
from .stop_signals import TrainingStopped
from .trainer import Trainer

__all__ = [
    "Trainer",
    "TrainingStopped",
    "best_metric",
    "build_optimizer",
    "check_average_options",
    "check_evolution_options",
    "launch",
    "lock_folder",
    "parameter_groups",
    "scale_iterations",
    "scale_to_batch_size",
    "setup_config",
    "show_evaluation",
    "train_lazily",
]
