"""A user's dataset, named in the config only, registered with detectron2."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from ..config import first_of
from .catalog import DatasetReport, LoadedTable, register_table
from .cleaning import clean_boxes
from .duplicates import near_duplicates, shared_images
from .formats import FORMATS, Split
from .ground_truth import coco_ground_truth, write_json
from .image_files import check_images
from .suspicions import suspicions
from .table import BoxTable
from .validation_split import choose_validation_images

__all__ = ["register_custom_datasets"]

# What `python -m autoassign.data.shapes` makes, and the quick start's configs name.
SHAPES_FOLDER = "datasets/shapes"

logger = logging.getLogger(__name__)

# Images of two splits up to which look-alikes are searched before training: some seconds.
_MAX_COMPARED = 1000


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A split whose images and boxes can be used, under the name that it will have."""

    name: str
    split: Split
    table: BoxTable
    # A COCO file that evaluation may read instead of the table.
    json_file: Path | None
    report: DatasetReport


def register_custom_datasets(cfg: CfgNode) -> None:
    """Register the splits that ``cfg.DATASETS.CUSTOM`` names, and use them.

    Sets ``cfg.DATASETS.TRAIN`` and ``cfg.DATASETS.TEST`` to the registered names, such as
    ``bccd_train``; does nothing where ``cfg.DATASETS.CUSTOM.FORMAT`` is "". Every image is
    checked (:func:`~autoassign.data.image_files.check_images`), every box cleaned
    (:func:`~autoassign.data.cleaning.clean_boxes`), with one line in the log per dataset, and a
    warning for each suspicion. Test splits are evaluated on what is left: where that differs from
    the user's annotation file, and for VOC and YOLO, the metadata's ``json_file`` is written to
    ``ground_truth/`` in ``cfg.OUTPUT_DIR``. With ``VAL_FRACTION``, the test splits are parts of the
    training splits (:func:`~.validation_split.choose_validation_images`), whose images are listed
    in ``splits/`` there. Names registered before are replaced. Each worker process makes the call
    for itself.

    Args:
        cfg: a config that is not frozen.

    Raises:
        OSError: a folder, an annotation or an image is missing.
        ValueError: the options or an annotation are wrong, or nothing is left to train on.
    """
    custom = cfg.DATASETS.CUSTOM
    if not custom.FORMAT:
        return
    custom.FORMAT = custom.FORMAT.strip().lower()
    if custom.ROOT == SHAPES_FOLDER and not Path(custom.ROOT).exists():
        raise FileNotFoundError(
            f"DATASETS.CUSTOM.ROOT {custom.ROOT} does not exist: `python -m "
            "autoassign.data.shapes` generates it"
        )
    train_splits, test_splits = _read_splits(custom)
    train_names = {split.name for split in train_splits}
    prepared = {
        name: _prepare(split, name in train_names, custom.SKIP_UNREADABLE)
        for name, split in {x.name: x for x in (*train_splits, *test_splits)}.items()
    }
    train, test = ([prepared[x.name] for x in splits] for splits in (train_splits, test_splits))
    if custom.VAL_FRACTION:
        train, test = _split_off_validation(cfg, train)
    for each in {x.name: x for x in (*train, *test)}.values():
        _register(each, Path(cfg.OUTPUT_DIR) if each in test else None)
    _warn_of_shared_images(train, test)
    cfg.DATASETS.TRAIN = tuple(each.name for each in train)
    cfg.DATASETS.TEST = tuple(each.name for each in test)


def _read_splits(custom: CfgNode) -> tuple[list[Split], list[Split]]:
    if custom.FORMAT not in FORMATS:
        raise ValueError(
            f"DATASETS.CUSTOM.FORMAT is {custom.FORMAT!r}; allowed: {', '.join(FORMATS)}"
        )
    train, test = FORMATS[custom.FORMAT](custom)
    known: dict[str, Split] = {}
    for split in (*train, *test):
        other = known.setdefault(split.name, split)
        if (other.source, other.paths) != (split.source, split.paths):
            raise ValueError(
                f"DATASETS.CUSTOM: two different splits, or one with two image folders, would be "
                f"called {split.name}: {other.source} and {split.source}"
            )
    if custom.VAL_FRACTION and test:
        raise ValueError(
            "DATASETS.CUSTOM.VAL_FRACTION sets a part of the training images aside, but there are "
            f"test images already: {test[0].name}. Name the training split alone in "
            "DATASETS.CUSTOM.TRAIN, or leave VAL_FRACTION at 0."
        )
    return train, test


def _prepare(split: Split, is_train: bool, skip_unreadable: bool) -> _Prepared:
    """Check the images and clean the boxes of a split."""
    table = check_images(split.table, split.name, skip_unreadable=skip_unreadable)
    if split.boxes_are_relative:
        scales = table.sizes[table.image_index][:, [1, 0, 1, 0]]
        table = dataclasses.replace(table, boxes=table.boxes * scales)
    found = suspicions(table, split.class_names, is_train=is_train)
    cleaned, cleaning = clean_boxes(table)
    summary = f"{cleaning}; repaired: {split.repairs}" if split.repairs else str(cleaning)
    logger.info(f"{split.name}: {summary}")
    for sentence in found:
        logger.warning(f"{split.name}: {sentence}")
    if is_train and cleaned.is_crowd.all():
        raise ValueError(
            f"{split.source} has no usable annotation to train on ({summary}; crowd and difficult "
            "objects are not trained on)"
        )
    is_as_read = len(cleaned) == len(split.table) and not (
        cleaning.num_dropped or cleaning.num_clipped
    )
    json_file = split.json_file if is_as_read else None
    return _Prepared(split.name, split, cleaned, json_file, DatasetReport(summary, found))


def _split_off_validation(
    cfg: CfgNode, prepared: list[_Prepared]
) -> tuple[list[_Prepared], list[_Prepared]]:
    custom = cfg.DATASETS.CUSTOM
    root = Path(custom.ROOT).expanduser().resolve()
    train, validation = [], []
    for whole in prepared:
        chosen = choose_validation_images(
            whole.table, root, fraction=custom.VAL_FRACTION, seed=custom.VAL_SEED
        )
        parts = {"train": _part(whole, "train", ~chosen), "val": _part(whole, "val", chosen)}
        for part in parts.values():
            if not len(part.table):
                raise ValueError(
                    f"DATASETS.CUSTOM.VAL_FRACTION {custom.VAL_FRACTION} of the {len(whole.table)} "
                    f"images of {whole.name} leaves none for {part.name}"
                )
        train.append(parts["train"])
        validation.append(parts["val"])
        logger.info(f"{whole.name}: {chosen.sum()} of {len(whole.table)} images are for validation")
        write_json(
            Path(cfg.OUTPUT_DIR) / "splits" / f"{whole.name}.json",
            {
                "fraction": custom.VAL_FRACTION,
                "seed": custom.VAL_SEED,
                **{key: part.table.paths() for key, part in parts.items()},
            },
        )
    return train, validation


def _part(whole: _Prepared, label: str, keep: np.ndarray) -> _Prepared:
    table = whole.table.select_images(keep)
    counts = f"{len(table)} images, {len(table.boxes)} boxes"
    summary = f"{counts} of {whole.name} ({whole.report.summary})"
    return dataclasses.replace(
        whole,
        name=f"{whole.name}_{label}",
        table=table,
        json_file=None,
        report=dataclasses.replace(whole.report, summary=summary),
    )


def _register(prepared: _Prepared, evaluation_dir: Path | None) -> None:
    name, split, table = prepared.name, prepared.split, prepared.table
    content = LoadedTable(table, split.class_names, prepared.report)
    register_table(name, lambda: content, evaluator_type="coco", **split.metadata)
    json_file = prepared.json_file
    if json_file is None and evaluation_dir is not None:
        json_file = evaluation_dir / "ground_truth" / f"{name}.json"
        write_json(json_file, coco_ground_truth(table, split.class_names, split.category_ids))
    if json_file is not None:
        MetadataCatalog.get(name).json_file = str(json_file)


def _warn_of_shared_images(train: list[_Prepared], test: list[_Prepared]) -> None:
    """Warn of images that are in a training and in another, test split, or look the same."""
    if not comm.is_main_process():
        return
    for one, other in itertools.product(train, test):
        if one.name == other.name:
            continue
        files, others = one.table.paths(), other.table.paths()
        shared, rest = shared_images(files, others)
        if shared:
            logger.warning(
                f"{len(shared)} images are in both {one.name} and {other.name}: {first_of(shared)}"
            )
        if len(files) + len(rest) > _MAX_COMPARED:
            continue
        pairs = near_duplicates(files, rest)
        if pairs:
            listing = first_of([f"{a} and {b}" for a, b in pairs])
            logger.warning(
                f"{len({b for _, b in pairs})} images of {other.name} look like images of "
                f"{one.name}: {listing}"
            )
