"""Datasets: registration from the config, cleaning, reading images."""

from .classes import resolve_num_classes
from .cleaning import CleaningReport, clean_boxes
from .dataset_mapper import CheckedDatasetMapper
from .register import register_custom_datasets

__all__ = [
    "CheckedDatasetMapper",
    "CleaningReport",
    "clean_boxes",
    "register_custom_datasets",
    "resolve_num_classes",
]
