"""Datasets in YOLO's format: a data.yaml as ultralytics has it, or images/ and labels/ folders."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from .faults import Faults, Repairs, describe, read_lines
from .image_index import has_file, is_image, list_files
from .options import TEST_NAMES, dataset_name, split_list, usual_splits
from .split import Split
from .yolo_labels import yolo_table

__all__ = ["yolo_splits"]

# Folders that hold all images.
_WHOLE = ("images", ".")


def yolo_splits(custom: CfgNode) -> tuple[list[Split], list[Split]]:
    """Return the training and the test splits that ``cfg.DATASETS.CUSTOM`` names.

    ``ROOT`` is a data.yaml, a folder that holds one, or a folder with images/ and labels/.
    ``TRAIN`` and ``TEST`` are keys of the data.yaml, or folders or lists of images; where both are
    empty, they are what the data.yaml or the folders call train and val. Without a data.yaml the
    classes are those of a classes.txt, or are called "0", "1", ...

    Raises:
        OSError: a file or folder is missing.
        ValueError: the data.yaml or a label file is wrong; file, line and field are named, for all
            kinds of faults at once.
    """
    dataset = _find_dataset(Path(custom.ROOT).expanduser().resolve())
    train, test = (split_list(custom[key]) for key in ("TRAIN", "TEST"))
    if not train and not test:
        train, test = dataset.default_splits()
    class_names = dataset.class_names()
    splits, num_classes = {}, 0
    for name in dict.fromkeys((*train, *test)):
        repairs = Repairs()
        table, greatest = yolo_table(
            dataset.list_images(name),
            class_names,
            Faults(dataset.folder),
            repairs,
            has_keypoints="kpt_shape" in dataset.content,
        )
        num_classes = max(num_classes, greatest)
        splits[name] = Split(
            name=dataset_name(dataset.folder, "" if name in _WHOLE else name),
            source=dataset.source,
            table=table,
            class_names=[],
            category_ids=[],
            repairs=Repairs(+repairs),
            boxes_are_relative=True,
            paths={"dirname": str(dataset.folder), "split": name},
        )
    for split in splits.values():
        if class_names is None:
            split.repairs["classes without a name, called by their numbers"] = num_classes
        split.class_names = class_names or [str(index) for index in range(num_classes)]
        split.category_ids = list(range(len(split.class_names)))
    return [splits[name] for name in train], [splits[name] for name in test]


@dataclass(frozen=True)
class _Dataset:
    """A folder, and the data.yaml that describes it if there is one."""

    folder: Path
    yaml_file: Path | None = None
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.yaml_file or self.folder

    def default_splits(self) -> tuple[list[str], list[str]]:
        if self.yaml_file is not None:
            return ["train"], [key for key in TEST_NAMES if self.content.get(key)][:1]
        for parent in ("images", "."):
            train, test = usual_splits(
                self.folder / parent, lambda folder: has_file(folder, is_image)
            )
            if train:
                return [str(Path(parent, x)) for x in train], [str(Path(parent, x)) for x in test]
        return ["images" if (self.folder / "images").is_dir() else "."], []

    def list_images(self, split: str) -> list[Path]:
        entries = self.content.get(split, split)
        images: list[Path] = []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str):
                raise ValueError(f"{self.source}: field {split!r} is {describe(entry)}, not a path")
            images += _images_of(self._find(entry))
        if not images:
            raise ValueError(f"{self.source}: the split {split!r} has no image")
        return images

    def _find(self, entry: str) -> Path:
        path = self.content.get("path") or "."
        if not isinstance(path, str):
            raise ValueError(f"{self.source}: field 'path' is {describe(path)}, not a path")
        # `path` may be relative to this folder or to the current one, or be that of a machine on
        # which the data was before. Roboflow writes "../train/images" for "train/images".
        bases = (self.folder / Path(path).expanduser(), Path(path), self.folder)
        candidates = [base / each for base in bases for each in (entry, entry.removeprefix("../"))]
        found = next((each for each in candidates if each.exists()), None)
        if found is None:
            raise FileNotFoundError(f"{self.source}: {candidates[0]} does not exist")
        # Not resolved: the labels of linked images lie beside the link.
        return Path(os.path.abspath(found))

    def class_names(self) -> list[str] | None:
        """The names of the data.yaml or of a classes.txt; None where there is neither."""
        if self.yaml_file is None:
            for folder in (self.folder, self.folder / "labels"):
                if (folder / "classes.txt").is_file():
                    return _nonempty_lines(folder / "classes.txt") or None
            return None
        names = self.content["names"]
        if isinstance(names, dict):
            by_index = {str(index): name for index, name in names.items()}
            names = [by_index.get(str(index)) for index in range(len(names))]
        if not isinstance(names, list) or not names or any(x is None for x in names):
            raise ValueError(
                f"{self.source}: field 'names' is {describe(self.content['names'])}, not a list of "
                "names or a map from 0, 1, 2, ... to names"
            )
        return [str(name) for name in names]


def _find_dataset(root: Path) -> _Dataset:
    if root.is_file():
        return _Dataset(root.parent, root, _read_yaml(root))
    if not root.is_dir():
        raise FileNotFoundError(f"DATASETS.CUSTOM.ROOT: {root} does not exist")
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    found = [path for path in files if path.stem.lower() == "data"][:1]
    # Other YAML files may lie in the folder, such as a training's.
    found = found or [path for path in files if b"names" in path.read_bytes()]
    if len(found) > 1:
        raise ValueError(
            f"{root} holds {len(found)} YAML files with class names "
            f"({', '.join(path.name for path in found[:5])}): name one in DATASETS.CUSTOM.ROOT"
        )
    return _Dataset(root, found[0], _read_yaml(found[0])) if found else _Dataset(root)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "names" not in content:
        raise ValueError(f"{path} is not a data.yaml of YOLO: it has no field 'names'")
    return content


def _images_of(source: Path) -> list[Path]:
    """The images of a folder, or those that a text file lists."""
    if source.is_dir():
        return [path for path in list_files(source) if is_image(path)]
    images = []
    for line in _nonempty_lines(source):
        # Relative to the list's folder, or to the one above it.
        candidates = [source.parent / line, source.parent.parent / line]
        images.append(next((path for path in candidates if path.is_file()), candidates[0]))
    return images


def _nonempty_lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path) if line.strip()]
