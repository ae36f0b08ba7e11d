"""Datasets: registration from the config, checks, cleaning, reading images, loading."""

from .augmentations import build_train_augmentations
from .catalog import DatasetReport, load_table
from .checking import check_datasets
from .classes import resolve_num_classes
from .cleaning import clean_boxes
from .dataset_mapper import CheckedDatasetMapper
from .datasets import register_builtin_datasets
from .fast_mapper import IMAGE_CACHE, FastDatasetMapper
from .formats import FORMATS, read_coco_json
from .image_files import READ_ERRORS, image_size, read_image
from .loading_processes import NotingMapper, naming_lost_file
from .model_inputs import has_objects, map_record
from .records import choose_records, class_index, dataset_name, image_record, load_dataset
from .register import register_custom_datasets
from .table import BoxTable, TableBuilder
from .train_loader import TrainingBatches, build_train_loader, build_train_mapper, derive_seed

__all__ = [
    "FORMATS",
    "IMAGE_CACHE",
    "READ_ERRORS",
    "BoxTable",
    "CheckedDatasetMapper",
    "DatasetReport",
    "FastDatasetMapper",
    "NotingMapper",
    "TableBuilder",
    "TrainingBatches",
    "build_train_augmentations",
    "build_train_loader",
    "build_train_mapper",
    "check_datasets",
    "choose_records",
    "class_index",
    "clean_boxes",
    "dataset_name",
    "derive_seed",
    "has_objects",
    "image_record",
    "image_size",
    "load_dataset",
    "load_table",
    "map_record",
    "naming_lost_file",
    "read_coco_json",
    "read_image",
    "register_builtin_datasets",
    "register_custom_datasets",
    "resolve_num_classes",
]
