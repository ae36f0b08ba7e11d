"""The test dataset of a run and the detections on it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..data import register_custom_datasets
from .ranking import Ranking, rank_images
from .run_folder import Run

__all__ = ["DatasetOfRun", "read_dataset", "read_ranking"]


@dataclass(frozen=True)
class DatasetOfRun:
    """The dataset that a run was evaluated on.

    Attributes:
        name: of the dataset.
        records: dataset dicts; at least one.
        class_names: of its classes.
        index_of_id: category id in the annotation file -> class.
    """

    name: str
    records: list[dict[str, Any]]
    class_names: list[str]
    index_of_id: Mapping[int, int]


def read_dataset(run: Run) -> DatasetOfRun:
    """Load the first test dataset of a run.

    Raises:
        OSError: a file of the dataset is missing.
        ValueError: the config names no test dataset, or the dataset is wrong or empty.
    """
    cfg = run.cfg.clone()
    cfg.defrost()
    # Registering may write a cleaned ground truth, which only an evaluation reads.
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        # It renames the datasets of DATASETS.CUSTOM where an option has moved their folder.
        register_custom_datasets(cfg)
    if not cfg.DATASETS.TEST:
        raise ValueError("the config names no test dataset (DATASETS.TEST)")
    name = cfg.DATASETS.TEST[0]
    if name not in DatasetCatalog:
        raise ValueError(f"{name} is not a registered dataset")
    records = DatasetCatalog.get(name)
    if not records:
        raise ValueError(f"{name} has no image")
    metadata = MetadataCatalog.get(name)
    class_names = list(metadata.get("thing_classes") or ())
    if not class_names:
        raise ValueError(f"{name} has no classes (metadata 'thing_classes')")
    index_of_id = metadata.get("thing_dataset_id_to_contiguous_id")
    if index_of_id is None:
        index_of_id = {index: index for index in range(len(class_names))}
    return DatasetOfRun(name, records, class_names, index_of_id)


def read_ranking(run: Run, dataset: DatasetOfRun) -> Ranking:
    """Rank the images by the detections that the evaluation has left.

    Raises:
        OSError: there are none.
        ValueError: the file is broken, or does not belong to this dataset.
    """
    path = run.results_file
    shown = path.relative_to(run.folder)
    if not path.is_file():
        raise FileNotFoundError(f"the run's folder has no {shown}")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        return rank_images(dataset.records, results, dataset.index_of_id)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{shown}: {error}") from error
