"""Datasets in PASCAL VOC's XML format: with ImageSets as VOC has it, or any folder of XML files."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode

from ..table import BoxTable, TableBuilder
from .faults import Faults, read_lines
from .image_index import ImageIndex, has_file, list_files
from .options import dataset_name, dataset_root, split_list, usual_splits
from .split import Split
from .voc_xml import VocImage, read_voc_xml

__all__ = ["read_voc_list", "voc_splits", "voc_table"]


def voc_splits(custom: CfgNode) -> tuple[list[Split], list[Split]]:
    """Return the training and the test splits that ``cfg.DATASETS.CUSTOM`` names.

    A name in ``TRAIN`` or ``TEST`` is that of a list, ``ImageSets/Main/<name>.txt``, or of a folder
    below ``ROOT`` with XML files; if both are empty, they are those of usual names (train, valid,
    ...), or else all XML files below ``ROOT`` are the training split. The image of an annotation
    has its name, else that of its ``<filename>``; of several, the one closest to the annotation is
    taken. Images are looked for below ``TRAIN_IMAGES`` or ``TEST_IMAGES`` (default: ``JPEGImages``
    if it exists, else ``ROOT``).

    Difficult objects become crowds: they are left out of training, and detections of them count
    neither for nor against a detector. The classes are those of the objects in the training
    splits, or in the test splits if there is no training split, in alphabetical order.

    Raises:
        OSError: the root folder, a split or an annotation is missing.
        ValueError: an annotation is wrong (:func:`~.voc_xml.read_voc_xml`), a split is empty, or
            a test split has a class that training lacks. One message names all kinds of faults.
    """
    root = dataset_root(custom)
    train, test = split_list(custom.TRAIN), split_list(custom.TEST)
    if not train and not test:
        train, test = usual_splits(root, lambda folder: _is_split(root, folder))
        train = train or ["."]
    images = {name: _read_split(root, name) for name in (*train, *test)}
    class_names = sorted(
        {item.name for name in train or test for image in images[name] for item in image.objects}
    )

    def split(name: str, images_option: str) -> Split:
        default = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
        folders = [root / folder for folder in split_list(images_option)] or [default]
        for folder in folders:
            if not folder.is_dir():
                raise FileNotFoundError(f"DATASETS.CUSTOM: {folder} is not a folder")
        source = _split_file(root, name)
        return Split(
            name=dataset_name(root, "" if name == "." else name),
            source=source if source.is_file() else root / name,
            table=voc_table(images[name], class_names, folders),
            class_names=class_names,
            category_ids=list(range(len(class_names))),
            paths={"dirname": str(root), "split": name},
        )

    return (
        [split(name, custom.TRAIN_IMAGES) for name in train],
        [split(name, custom.TEST_IMAGES) for name in test],
    )


def _is_split(root: Path, folder: Path) -> bool:
    return _split_file(root, folder.name).is_file() or has_file(folder, _is_xml)


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _split_file(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Main" / f"{split}.txt"


def _read_split(root: Path, name: str) -> list[VocImage]:
    list_file = _split_file(root, name)
    folder = root / name
    if list_file.is_file():
        source = list_file
        annotations = [root / "Annotations" / f"{each}.xml" for each in read_voc_list(list_file)]
    elif folder.is_dir():
        source = folder
        annotations = [path for path in list_files(folder) if _is_xml(path)]
    else:
        known = sorted(other.stem for other in list_file.parent.glob("*.txt"))
        raise FileNotFoundError(
            f"{list_file} does not exist; splits of this folder: {', '.join(known) or 'none'}"
        )
    if not annotations:
        raise ValueError(
            f"{source} " + ("holds no XML file" if folder == source else "lists no image")
        )
    return read_annotations(annotations)


def read_voc_list(path: Path) -> list[str]:
    """The image ids of a VOC list: a line each, also with a label after the id.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not text in UTF-8.
    """
    ids = [line.strip() for line in read_lines(path)]
    # "000012 -1" in the lists of single classes; an id itself may have a space.
    return [_without_label(each) for each in ids if each]


def _without_label(line: str) -> str:
    first, _, last = line.rpartition(" ")
    return first.strip() if first and last in ("-1", "0", "1") else line


def read_annotations(paths: list[Path]) -> list[VocImage]:
    """Read annotation files, and say what is wrong in all of them at once.

    Raises:
        FileNotFoundError: one of them does not exist.
        ValueError: see :func:`~.voc_xml.read_voc_xml`.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" ({len(missing) - 1} more)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"the annotation {missing[0]} does not exist{more}")
    faults = Faults(paths[0].parent)
    images = [read_voc_xml(path, faults) for path in paths]
    faults.raise_if_any()
    return [image for image in images if image is not None]


def voc_table(
    images: list[VocImage], class_names: list[str], image_folders: list[Path]
) -> BoxTable:
    """The images and objects of annotation files; image ids count from 1, difficult are crowds.

    Raises:
        ValueError: an object is of a class that ``class_names`` lacks.
    """
    index = ImageIndex(image_folders)
    class_index = {name: i for i, name in enumerate(class_names)}
    faults = Faults(images[0].source.parent)
    builder = TableBuilder()
    for image_id, image in enumerate(images, start=1):
        path = _find_image(image, index, image_folders[0])
        number = builder.add_image(str(path), image_id, image.height, image.width)
        for item in image.objects:
            if item.name in class_index:
                builder.add_object(
                    number, class_index[item.name], item.box, is_crowd=item.difficult
                )
            else:
                faults.add(
                    f"class {item.name}",
                    f"{image.source.name}: the class {item.name!r} is not one of the training "
                    f"data's: {', '.join(class_names)}",
                )
    faults.raise_if_any()
    return builder.build()


def _find_image(image: VocImage, index: ImageIndex, image_folder: Path) -> Path:
    """The image with the annotation's name, else the one that its ``<filename>`` names.

    Copied and renamed annotations often keep an old ``<filename>``. If there is neither, the path
    to report as missing is the conventional one, ``<id>.jpg``.
    """
    stem, near = image.source.stem, image.source.parent
    found = index.find(stem, near=near) or index.find(image.filename, near=near)
    return found or image_folder / f"{stem}.jpg"
