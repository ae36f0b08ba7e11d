"""The test dataset of a run, and its images ranked by the detections on them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as utils

from ...data import load_dataset
from ...runs import TrainedRun
from .image_ranking import ImageScore, MatchedBox, Ranking, rank_images
from .images import jpeg_uri

__all__ = ["TestDataset", "read_ranking", "read_test_dataset", "scored_image", "worst_and_best"]

_MAX_SIDE = 560  # pixels of an embedded image
# With more boxes, labels would hide the image: they appear at the pointer only.
_MAX_LABELS = 15


@dataclass(frozen=True)
class TestDataset:
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


def read_test_dataset(run: TrainedRun) -> TestDataset:
    """Load the first test dataset of a run.

    Raises:
        OSError: a file of the dataset is missing.
        ValueError: the config names no test dataset, or the dataset is malformed or empty.
    """
    name, records = load_dataset(run.cfg, splits=("TEST",))
    metadata = MetadataCatalog.get(name)
    class_names = list(metadata.get("thing_classes") or ())
    if not class_names:
        raise ValueError(f"{name} has no classes (metadata 'thing_classes')")
    index_of_id = metadata.get("thing_dataset_id_to_contiguous_id")
    return TestDataset(
        name, records, class_names, index_of_id or {i: i for i in range(len(class_names))}
    )


def read_ranking(run: TrainedRun, dataset: TestDataset) -> Ranking:
    """Rank the images by the detections that the evaluation has left.

    Raises:
        OSError: there are none.
        ValueError: the file is malformed, or does not belong to this dataset.
    """
    path = run.results_file
    name = path.relative_to(run.folder)
    if not path.is_file():
        raise FileNotFoundError(f"the run's folder has no {name}")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        is_valid = isinstance(results, list) and all(map(_is_detection, results))
    except (KeyError, TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"{name} is not a list of detections in COCO's format: JSON objects with image_id, "
            "category_id, bbox (x, y, width, height) and score"
        )
    try:
        return rank_images(dataset.records, results, dataset.index_of_id)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _is_detection(result: dict[str, Any]) -> bool:
    return (
        isinstance(result["image_id"], int | str)
        and isinstance(result["category_id"], int)
        and len(result["bbox"]) == 4
        and all(map(math.isfinite, (*result["bbox"], result["score"])))
    )


def worst_and_best(ranking: Ranking, num_images: int) -> dict[str, list[ImageScore]]:
    """The first and the last images; none of them in both."""
    num_worst = min(num_images, (len(ranking.images) + 1) // 2)
    rest = ranking.images[num_worst:]
    return {"Worst": ranking.images[:num_worst], "Best": rest[-num_images:][::-1]}


def scored_image(score: ImageScore, class_names: Sequence[str]) -> dict[str, Any]:
    """An image with its boxes, for the page's template."""
    content = {
        "name": Path(score.record["file_name"]).name,
        "f1": score.f1,
        "counts": score.counts,
        "error": "",
    }
    try:
        image = utils.read_image(score.record["file_name"], format="RGB")
    except OSError as error:
        return {**content, "error": str(error)}
    height, width = image.shape[:2]
    return content | {
        "photo": jpeg_uri(image, _MAX_SIDE),
        "width": width,
        "height": height,
        "pictures": {
            title: {
                "crowded": len(boxes) > _MAX_LABELS,
                "boxes": [_labelled_box(x, width, height, class_names) for x in boxes],
            }
            for title, boxes in (("ground truth", score.objects), ("detections", score.detections))
        },
    }


def _labelled_box(
    matched: MatchedBox, width: int, height: int, class_names: Sequence[str]
) -> dict[str, Any]:
    """Label and place of a box; left, top, right and bottom are its margins in percent."""
    x, y, box_width, box_height = matched.box
    return {
        "kind": matched.kind,
        "name": class_names[matched.class_index],
        "score": "" if matched.score is None else f"{matched.score:.2f}",
        "left": 100 * x / width,
        "top": 100 * y / height,
        "right": 100 - 100 * (x + box_width) / width,
        "bottom": 100 - 100 * (y + box_height) / height,
    }
