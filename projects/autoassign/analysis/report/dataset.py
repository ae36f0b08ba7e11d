"""The test dataset of a run and the detections on it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from ...data.records import load_dataset
from ...runs import TrainedRun
from .ranking import Ranking, rank_images

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


def read_dataset(run: TrainedRun) -> DatasetOfRun:
    """Load the first test dataset of a run.

    Raises:
        OSError: a file of the dataset is missing.
        ValueError: the config names no test dataset, or the dataset is wrong or empty.
    """
    name, records = load_dataset(run.cfg, splits=("TEST",))
    metadata = MetadataCatalog.get(name)
    class_names = list(metadata.get("thing_classes") or ())
    if not class_names:
        raise ValueError(f"{name} has no classes (metadata 'thing_classes')")
    index_of_id = metadata.get("thing_dataset_id_to_contiguous_id")
    if index_of_id is None:
        index_of_id = {index: index for index in range(len(class_names))}
    return DatasetOfRun(name, records, class_names, index_of_id)


def read_ranking(run: TrainedRun, dataset: DatasetOfRun) -> Ranking:
    """Rank the images by the detections that the evaluation has left.

    Raises:
        OSError: there are none.
        ValueError: the file is broken, or does not belong to this dataset.
    """
    path = run.results_file
    shown = path.relative_to(run.folder)
    if not path.is_file():
        raise FileNotFoundError(f"the run's folder has no {shown}")
    results = _read_results(path)
    if results is None:
        raise ValueError(
            f"{shown} is no list of detections in COCO's format: JSON objects with image_id, "
            "category_id, bbox (x, y, width, height) and score"
        )
    try:
        return rank_images(dataset.records, results, dataset.index_of_id)
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from error


def _read_results(path: Path) -> list[dict[str, Any]] | None:
    """The detections of a file; None if it holds anything else."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        is_right = isinstance(results, list) and all(map(_is_detection, results))
    except (KeyError, TypeError, ValueError):
        return None
    return results if is_right else None


def _is_detection(result: dict[str, Any]) -> bool:
    return (
        isinstance(result["image_id"], int | str)
        and isinstance(result["category_id"], int)
        and len(result["bbox"]) == 4
        and all(map(math.isfinite, (*result["bbox"], result["score"])))
    )
