"""A split of a user's dataset in the XML format of PASCAL VOC."""

import functools
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.structures import BoxMode
from PIL import Image

from .paths import dataset_name, dataset_root, split_list

__all__ = ["VocImage", "VocObject", "VocSplit", "read_voc_xml", "voc_splits"]

_BOX_FIELDS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """An ``<object>``: its class, its box (xyxy, pixels, from 0) and whether it is difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocImage:
    """An annotation file: its ``<filename>``, size (pixels, 0 where it has none) and objects."""

    source: Path
    filename: str
    height: int
    width: int
    objects: tuple[VocObject, ...]


@dataclass
class VocSplit:
    """The images listed in ``ImageSets/Main/<split>.txt`` of the folder ``root``.

    Difficult objects become crowd annotations: they are left out of training, and detections of
    them count neither for nor against a detector in COCO evaluation.
    """

    name: str
    root: Path
    split: str
    images: list[VocImage]
    class_names: list[str]

    # Only COCO datasets come with a file that COCO evaluation reads.
    json_file = None

    @property
    def source(self) -> Path:
        """The file that lists the split's images."""
        return _split_file(self.root, self.split)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata to set once the split is loaded."""
        return {
            "thing_classes": self.class_names,
            "dirname": str(self.root),
            "split": self.split,
        }

    def load(self) -> list[dict]:
        """Return detectron2 dataset dicts, whose ``image_id`` counts from 1 in the split's order.

        ``height`` and ``width`` are 0 where the annotation does not say.

        Raises:
            ValueError: an object is of a class that ``class_names`` lacks.
        """
        find_image = _ImageFinder(self.root / "JPEGImages")
        return [
            {
                "file_name": str(find_image(image)),
                # Integers, because COCO evaluation takes nothing else.
                "image_id": image_id,
                "height": image.height,
                "width": image.width,
                "annotations": [self._annotation(image, item) for item in image.objects],
            }
            for image_id, image in enumerate(self.images, start=1)
        ]

    def _annotation(self, image: VocImage, item: VocObject) -> dict[str, Any]:
        if item.name not in self.class_names:
            raise ValueError(
                f"{image.source}: the class {item.name!r} is not one of the training data's: "
                f"{', '.join(self.class_names)}"
            )
        return {
            "bbox": list(item.box),
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": self.class_names.index(item.name),
            "iscrowd": int(item.difficult),
        }

    def ground_truth(self, records: list[dict]) -> dict[str, Any]:
        """Return ``records``, which are registered under the split's name, in COCO format."""
        # Without boxes detectron2 leaves the list out, and evaluators then refuse to evaluate.
        return {"annotations": [], **convert_to_coco_dict(self.name)}


def voc_splits(custom: CfgNode) -> tuple[list[VocSplit], list[VocSplit]]:
    """Return the training and the test splits that ``cfg.DATASETS.CUSTOM`` names.

    Their classes are those of the objects in the training splits, or in the test splits where
    there is no training split, in alphabetical order.

    Raises:
        FileNotFoundError: the root folder, the list of a split or an annotation is missing.
        ValueError: see :func:`read_voc_xml`; or a split is empty.
    """
    root = dataset_root(custom)
    train, test = split_list(custom.TRAIN), split_list(custom.TEST)
    images = {split: _read_split(root, split) for split in (*train, *test)}
    class_names = sorted(
        {item.name for split in train or test for image in images[split] for item in image.objects}
    )

    def voc_split(split: str) -> VocSplit:
        return VocSplit(dataset_name(root, split), root, split, images[split], class_names)

    return [voc_split(split) for split in train], [voc_split(split) for split in test]


def _split_file(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Main" / f"{split}.txt"


def _read_split(root: Path, split: str) -> list[VocImage]:
    path = _split_file(root, split)
    if not path.is_file():
        known = sorted(other.stem for other in path.parent.glob("*.txt"))
        raise FileNotFoundError(
            f"{path} does not exist; splits of this folder: {', '.join(known) or 'none'}"
        )
    ids = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    images = [read_voc_xml(root / "Annotations" / f"{i}.xml") for i in ids if i]
    if not images:
        raise ValueError(f"{path} lists no image")
    return images


class _ImageFinder:
    """Finds the image file of an annotation in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @functools.cached_property
    def _files_by_stem(self) -> dict[str, str]:
        extensions = Image.registered_extensions()
        names = sorted(os.listdir(self.folder)) if self.folder.is_dir() else []
        split_names = [os.path.splitext(name) for name in names]
        return {stem: stem + ext for stem, ext in split_names if ext.lower() in extensions}

    def __call__(self, image: VocImage) -> Path:
        """Return what is called as the annotation is, else what its ``<filename>`` says.

        Copied or renamed annotations often keep a ``<filename>`` of before. Where neither exists,
        the path to report is the conventional one, ``<id>.jpg``.
        """
        stem = image.source.stem
        if stem not in self._files_by_stem:
            named = self.folder / os.path.basename(image.filename)
            if named.is_file():
                return named
        return self.folder / self._files_by_stem.get(stem, f"{stem}.jpg")


def read_voc_xml(path: Path) -> VocImage:
    """Read one VOC annotation.

    VOC counts pixels from 1 and includes the last one, so a box starts at ``xmin - 1`` in
    coordinates. A box whose corners coincide as written is kept as it is, without any area:
    annotation tools write one at a stray click, and no object is one pixel wide.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not XML, lacks a field or has one that is not a number. File and field
            are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the annotation {path} does not exist")
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f"{path} is not XML: {error}") from error
    has_size = bool(root.findtext("size/width") and root.findtext("size/height"))
    return VocImage(
        source=path,
        filename=(root.findtext("filename") or "").strip(),
        height=int(_number(path, root, "size/height")) if has_size else 0,
        width=int(_number(path, root, "size/width")) if has_size else 0,
        objects=tuple(
            _read_object(path, element, f"object {number}: ")
            for number, element in enumerate(root.findall("object"), start=1)
        ),
    )


def _read_object(path: Path, element: ET.Element, where: str) -> VocObject:
    xmin, ymin, xmax, ymax = (_number(path, element, f"bndbox/{f}", where) for f in _BOX_FIELDS)
    if xmin < xmax and ymin < ymax:
        xmin, ymin = xmin - 1, ymin - 1
    return VocObject(
        name=_text(path, element, "name", where),
        box=(xmin, ymin, xmax, ymax),
        difficult=(element.findtext("difficult") or "").strip() == "1",
    )


def _number(path: Path, element: ET.Element, field: str, where: str = "") -> float:
    text = _text(path, element, field, where)
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{path}: {where}field {field!r} is {text!r}, not a number") from error


def _text(path: Path, element: ET.Element, field: str, where: str = "") -> str:
    text = (element.findtext(field) or "").strip()
    if not text:
        raise ValueError(f"{path}: {where}field {field!r} is missing or empty")
    return text
