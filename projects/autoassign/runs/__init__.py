"""All that is known about a trained run: config, weights, class names, metrics, evolution."""

from .class_names import class_metadata
from .detector import (
    LoadedDetector,
    explaining_build_errors,
    load_detector,
    load_detector_from_config,
    load_trained_config,
)
from .evolution import Evolution, evolution_folder, load_evolutions, save_iteration, start_evolution
from .folder import TrainedRun, evaluation_folder
from .metrics import Metrics, iterations_done, read_metrics, repair_metrics
from .weights import check_weights_exist

__all__ = [
    "Evolution",
    "LoadedDetector",
    "Metrics",
    "TrainedRun",
    "check_weights_exist",
    "class_metadata",
    "evaluation_folder",
    "evolution_folder",
    "explaining_build_errors",
    "iterations_done",
    "load_detector",
    "load_detector_from_config",
    "load_evolutions",
    "load_trained_config",
    "read_metrics",
    "repair_metrics",
    "save_iteration",
    "start_evolution",
]
