"""A user's dataset, named in the config only, registered with detectron2."""

import json
import logging
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from .cleaning import clean_boxes
from .coco import CocoSplit, coco_splits
from .image_files import check_image_files, fill_missing_sizes
from .voc import VocSplit, voc_splits

__all__ = ["FORMATS", "register_custom_datasets"]

logger = logging.getLogger(__name__)

Split = CocoSplit | VocSplit

# Format -> what turns cfg.DATASETS.CUSTOM into training and test splits.
FORMATS: dict[str, Callable[[CfgNode], tuple[Sequence[Split], Sequence[Split]]]] = {
    "coco": coco_splits,
    "voc": voc_splits,
}


def register_custom_datasets(cfg: CfgNode) -> None:
    """Register the splits that ``cfg.DATASETS.CUSTOM`` names, and use them.

    Sets ``cfg.DATASETS.TRAIN`` and ``cfg.DATASETS.TEST`` to the registered names, such as
    ``bccd_train``; does nothing where ``cfg.DATASETS.CUSTOM.FORMAT`` is "". Every image is
    checked (:func:`~autoassign.data.image_files.check_image_files`), every box cleaned
    (:func:`~autoassign.data.cleaning.clean_boxes`), with one line in the log per dataset. Test
    splits are evaluated on what is left: where that differs from the user's annotation file,
    and for VOC, the metadata's ``json_file`` is written to ``ground_truth/`` in
    ``cfg.OUTPUT_DIR``. Names registered before are replaced. Each worker process makes the call
    for itself.

    Args:
        cfg: a config that is not frozen.

    Raises:
        FileNotFoundError: a folder, an annotation or an image is missing.
        ValueError: the options or an annotation are wrong, or nothing is left to train on.
    """
    custom = cfg.DATASETS.CUSTOM
    if not custom.FORMAT:
        return
    if custom.FORMAT not in FORMATS:
        raise ValueError(
            f"DATASETS.CUSTOM.FORMAT is {custom.FORMAT!r}; allowed: {', '.join(FORMATS)}"
        )
    train, test = FORMATS[custom.FORMAT](custom)
    if not train and not test:
        raise ValueError("DATASETS.CUSTOM.FORMAT is set: name splits in its TRAIN, TEST or both")

    splits: dict[str, Split] = {}
    for split in (*train, *test):
        if splits.setdefault(split.name, split) != split:
            raise ValueError(
                f"DATASETS.CUSTOM: two different splits, or one with two image folders, would be "
                f"called {split.name}: {splits[split.name].source} and {split.source}"
            )
    train_names = tuple(split.name for split in train)
    test_names = tuple(split.name for split in test)
    for name, split in splits.items():
        records = _prepare(split, name in train_names, custom.SKIP_UNREADABLE)
        _register(split, records, Path(cfg.OUTPUT_DIR) if name in test_names else None)
    cfg.DATASETS.TRAIN = train_names
    cfg.DATASETS.TEST = test_names


def _prepare(split: Split, is_train: bool, skip_unreadable: bool) -> list[dict]:
    """Load a split and return dataset dicts with usable images and boxes only."""
    # Metadata can be set once.
    DatasetCatalog.pop(split.name, None)
    MetadataCatalog.pop(split.name, None)
    records = split.load()
    records = check_image_files(records, split.name, skip_unreadable=skip_unreadable)
    records, report = clean_boxes(fill_missing_sizes(records))
    logger.info(f"{split.name}: {report}")
    if is_train and not any(
        not annotation.get("iscrowd", 0) for r in records for annotation in r["annotations"]
    ):
        raise ValueError(
            f"{split.source} has no usable annotation to train on ({report}; crowd and difficult "
            "objects are not trained on)"
        )
    return records


def _register(split: Split, records: list[dict], evaluation_dir: Path | None) -> None:
    # Every user of the catalog gets its own copy, and the one kept is small.
    DatasetCatalog.register(split.name, partial(pickle.loads, pickle.dumps(records)))
    metadata = MetadataCatalog.get(split.name).set(evaluator_type="coco", **split.metadata)
    json_file = split.json_file
    if evaluation_dir is not None:
        ground_truth = split.ground_truth(records)
        if ground_truth is not None:
            path = evaluation_dir / "ground_truth" / f"{split.name}.json"
            _write_json(path, ground_truth)
            json_file = str(path)
    if json_file is not None:
        metadata.json_file = json_file


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several workers write the same file, and none may read another's half.
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.replace(path)
