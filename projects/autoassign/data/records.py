"""Images with their objects, chosen from a dataset or described by hand."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..config import first_of
from .cleaning import clean_boxes
from .image_files import check_images
from .model_inputs import has_objects
from .register import register_custom_datasets
from .table import TableBuilder

__all__ = ["choose_records", "class_index", "dataset_name", "image_record", "load_dataset"]


def load_dataset(
    cfg: CfgNode, name: str | None = None, *, splits: Sequence[str] = ("TEST", "TRAIN")
) -> tuple[str, list[dict[str, Any]]]:
    """Load the dataset that :func:`dataset_name` names.

    Returns:
        The registered name, and the dataset dicts; at least one.

    Raises:
        FileNotFoundError: a file of the dataset is missing.
        ValueError: there is no such dataset, or it is empty.
    """
    name = dataset_name(cfg, name, splits=splits)
    try:
        records = DatasetCatalog.get(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the dataset {name} cannot be read: {error}") from error
    if not records:
        raise ValueError(f"the dataset {name} has no images")
    return name, records


def dataset_name(
    cfg: CfgNode, name: str | None = None, *, splits: Sequence[str] = ("TEST", "TRAIN")
) -> str:
    """The name of a registered dataset.

    Args:
        cfg: names the datasets; it is not changed. Those of ``DATASETS.CUSTOM`` are registered.
        name: a registered dataset; None for the first of the config.
        splits: where in ``DATASETS`` the config's are looked for, in this order.

    Raises:
        FileNotFoundError: a file of DATASETS.CUSTOM is missing.
        ValueError: there is no such dataset.
    """
    cfg = cfg.clone()
    cfg.defrost()
    # Registering may write a cleaned ground truth, which only an evaluation reads.
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        register_custom_datasets(cfg)
    configured = [each for split in splits for each in cfg.DATASETS[split]]
    if name is None:
        if not configured:
            options = ", ".join(f"DATASETS.{split}" for split in (*splits, "CUSTOM"))
            raise ValueError(f"the config names no dataset ({options})")
        name = configured[0]
    if name not in DatasetCatalog:
        known = difflib.get_close_matches(name, DatasetCatalog.list())
        raise ValueError(
            f"there is no dataset {name!r}; those of the config: {', '.join(configured) or 'none'}"
            + (f"; others: {', '.join(known)}" if known else "")
        )
    return name


def choose_records(
    records: Sequence[dict[str, Any]],
    wanted: Sequence[str],
    *,
    num_images: int = 1,
    with_objects: bool = True,
) -> list[dict[str, Any]]:
    """The images that are asked for.

    Args:
        records: dataset dicts.
        wanted: file names, with or without folders or suffix; if empty, the first images.
        num_images: number of images where ``wanted`` is empty.
        with_objects: whether an image needs an object.

    Raises:
        ValueError: there is no such image, several have this name, or it has no object.
    """
    if not wanted:
        usable = [record for record in records if not with_objects or has_objects(record)]
        if not usable:
            raise ValueError(f"none of the {len(records)} images of the dataset has an object")
        return usable[:num_images]
    chosen = [_find_record(records, text) for text in wanted]
    for record in chosen:
        if with_objects and not has_objects(record):
            raise ValueError(f"{record['file_name']} has no object (crowds are not learned)")
    return chosen


def _find_record(records: Sequence[dict[str, Any]], text: str) -> dict[str, Any]:
    paths = [Path(record["file_name"]) for record in records]
    last_parts = Path(text).parts
    # A whole path or name before one without its suffix.
    for candidates in (paths, [path.with_suffix("") for path in paths]):
        found = [
            number
            for number, path in enumerate(candidates)
            if path.parts[-len(last_parts) :] == last_parts
        ]
        if len(found) == 1:
            return records[found[0]]
        if found:
            listing = first_of([paths[number] for number in found], 5)
            raise ValueError(
                f"{text!r} names {len(found)} images of the dataset: {listing}; give more of the "
                "path"
            )
    # A count is easily mistaken for a name here.
    hint = f"; --num-images {text} draws the first {text}" if text.isdecimal() else ""
    raise ValueError(
        f"there is no image {text!r} in the dataset: give a file name, such as "
        f"{paths[0].name}{hint}"
    )


def image_record(
    file_name: str, boxes: Sequence[str], class_names: Sequence[str]
) -> dict[str, Any]:
    """A dataset dict of an image outside any dataset.

    Args:
        file_name: the image.
        boxes: each "x1,y1,x2,y2,CLASS" in pixels of the image; the class by name or index.
        class_names: those of the detector.

    Raises:
        ValueError: the image cannot be read, a box is not of this form, has no area or lies
            outside the image; or there is no such class.
    """
    builder = TableBuilder()
    index = builder.add_image(file_name, 0)
    for text in boxes:
        box, class_name = _box_and_class(text)
        builder.add_object(index, class_index(class_name, class_names), box)
    table = check_images(builder.build(), "--image", skip_unreadable=False)
    cleaned, report = clean_boxes(table)
    if report.num_dropped:
        raise ValueError(f"{file_name}: a --box cannot be used: {', '.join(report.num_dropped)}")
    return cleaned.record(0)


def _box_and_class(text: str) -> tuple[tuple[float, float, float, float], str]:
    parts = text.split(",", 4)
    try:
        x0, y0, x1, y1 = (float(part) for part in parts[:4])
        return (x0, y0, x1, y1), parts[4]
    except (ValueError, IndexError) as error:
        raise ValueError(f"--box is x1,y1,x2,y2,CLASS in pixels, not {text!r}") from error


def class_index(name: str, class_names: Sequence[str]) -> int:
    """The index of a class that is given by name or index.

    Raises:
        ValueError: the detector has no such class.
    """
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    raise ValueError(
        f"there is no class {name!r}; the detector's {len(class_names)} classes: "
        f"{first_of(class_names, 10)}"
    )
