"""Datasets in COCO's JSON format, as COCO lies on disk and as annotation tools export it."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from ..table import BoxTable
from .coco_json import CocoFile, read_coco_json
from .faults import Repairs
from .image_index import ImageIndex, has_file, list_files
from .options import dataset_name, dataset_root, split_list, usual_splits
from .split import Split

__all__ = ["coco_splits"]


def coco_splits(custom: CfgNode) -> tuple[list[Split], list[Split]]:
    """Return the training and the test splits that ``cfg.DATASETS.CUSTOM`` names.

    ``TRAIN`` and ``TEST`` name annotation files, or folders that hold one each; if both are empty,
    they are folders of usual names (train, valid, ...), or else the only annotation file below
    ``ROOT`` is the training split. A split is called after the root folder and its annotation
    file, or the file's path if several files have the same name. Images are looked for below
    ``TRAIN_IMAGES`` or ``TEST_IMAGES`` (default: ``ROOT``), and if they are not where the file
    says, by the end of their path in this folder and that of the file.

    Raises:
        OSError: the root folder, an annotation file or an image folder is missing.
        ValueError: the number of image folders fits neither one for all nor one for each, or see
            :func:`~autoassign.data.formats.coco_json.read_coco_json`.
    """
    root = dataset_root(custom)
    names = {key: split_list(custom[key]) for key in ("TRAIN", "TEST")}
    if not any(names.values()):
        names["TRAIN"], names["TEST"] = usual_splits(
            root, lambda folder: has_file(folder, _is_json)
        )
    files = {key: _json_files(root, key, paths) for key, paths in names.items()}
    if not any(names.values()):
        files["TRAIN"] = [_only_json_file(root, "DATASETS.CUSTOM.ROOT")]
    json_files = list(dict.fromkeys((*files["TRAIN"], *files["TEST"])))
    contents = dict(zip(json_files, _read_all(json_files), strict=True))
    stems = Counter(json_file.stem for json_file in json_files)

    def split(json_file: Path, image_root: Path) -> Split:
        label = json_file.stem
        if stems[label] > 1:
            label = os.path.relpath(json_file.with_suffix(""), root)
        return _split(dataset_name(root, label), json_file, image_root, contents[json_file])

    train, test = (
        [
            split(json_file, image_root)
            for json_file, image_root in zip(
                files[key], _image_roots(custom, root, key, len(files[key])), strict=True
            )
        ]
        for key in ("TRAIN", "TEST")
    )
    return train, test


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _json_files(root: Path, key: str, paths: list[str]) -> list[Path]:
    files = [root / path for path in paths]
    files = [_only_json_file(x, f"DATASETS.CUSTOM.{key}") if x.is_dir() else x for x in files]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"DATASETS.CUSTOM.{key}: {file} does not exist")
    return files


def _image_roots(custom: CfgNode, root: Path, key: str, num_files: int) -> list[Path]:
    option = f"DATASETS.CUSTOM.{key}_IMAGES"
    # Without a folder, file names are relative to the root.
    folders = [root / path for path in split_list(custom[f"{key}_IMAGES"])] or [root]
    if len(folders) == 1:
        folders *= num_files
    if len(folders) != num_files:
        raise ValueError(
            f"{option} names {len(folders)} folders for the {num_files} annotation files of "
            f"DATASETS.CUSTOM.{key}: name one for all of them, or one for each"
        )
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{option}: {folder} is not a folder")
    return folders


def _only_json_file(folder: Path, option: str) -> Path:
    found = [path for path in list_files(folder) if _is_json(path)]
    if not found:
        raise ValueError(f"{option}: {folder} holds no JSON file")
    if len(found) > 1:
        listing = ", ".join(str(path.relative_to(folder)) for path in found[:5])
        raise ValueError(
            f"{option}: {folder} holds {len(found)} JSON files ({listing}); name the annotation "
            "files in DATASETS.CUSTOM.TRAIN, TEST or both"
        )
    return found[0]


def _read_all(json_files: list[Path]) -> list[CocoFile]:
    """The files' content, without the category that only names the others' supercategory.

    Roboflow writes such a category, with id 0, and no object is ever of it.
    """
    contents = [read_coco_json(path) for path in json_files]
    if not all(_begins_with_supercategory(content) for content in contents):
        return contents
    return [
        dataclasses.replace(
            content,
            table=dataclasses.replace(content.table, classes=content.table.classes - 1),
            categories=content.categories[1:],
            repairs=Repairs(
                {**content.repairs, "category left out that names only a supercategory": 1}
            ),
            is_strict=False,
        )
        for content in contents
    ]


def _begins_with_supercategory(content: CocoFile) -> bool:
    first, *others = content.categories
    return (
        bool(others)
        and first.id == 0
        and all(each.supercategory == first.name for each in others)
        and not (content.table.classes == 0).any()
    )


def _split(name: str, json_file: Path, image_root: Path, content: CocoFile) -> Split:
    table, num_moved = _with_found_images(content.table, image_root, json_file.parent)
    repairs = Repairs(content.repairs)
    if num_moved:
        repairs["images found at another path than written"] = num_moved
    return Split(
        name=name,
        source=json_file,
        table=table,
        class_names=[category.name for category in content.categories],
        category_ids=[category.id for category in content.categories],
        repairs=repairs,
        json_file=json_file if content.is_strict else None,
        paths={"image_root": str(image_root)},
    )


def _with_found_images(
    table: BoxTable, image_root: Path, json_folder: Path
) -> tuple[BoxTable, int]:
    """The table with the paths of its images, and how many are not where the file says.

    Missing images keep the path below the image folder.
    """
    index = ImageIndex([image_root, json_folder])
    paths = []
    num_moved = 0
    for named in table.file_names.tolist():
        path = os.path.join(image_root, named)
        if not os.path.isfile(path):
            found = index.find(named, near=json_folder)
            if found is not None:
                path = str(found)
                # Beside the annotation file is where exports have them.
                num_moved += found != json_folder / named
        paths.append(path)
    return dataclasses.replace(table, file_names=np.array(paths)), num_moved
