"""Datasets: registration from the config, cleaning, reading images."""

from .classes import resolve_num_classes
from .cleaning import CleaningReport, clean_boxes
from .dataset_mapper import CheckedDatasetMapper
from .register import register_custom_datasets
from .train_loader import TrainingBatches, build_train_loader, derive_seed

__all__ = [
    "CheckedDatasetMapper",
    "CleaningReport",
    "TrainingBatches",
    "build_train_loader",
    "clean_boxes",
    "derive_seed",
    "register_custom_datasets",
    "resolve_num_classes",
]
