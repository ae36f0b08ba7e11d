"""WIDER FACE, from its own text annotations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..catalog import LoadedTable, register_table
from ..formats.faults import Faults, describe, read_lines
from ..image_files import check_images
from ..table import BoxTable, TableBuilder
from .builtin import clean_and_report, find_file, leave_out_missing_images, set_metadata

__all__ = ["read_widerface_text", "register_widerface"]

ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
_FOLDERS = ("widerface", "WIDER_FACE", "WIDERFace")


def register_widerface(root: Path) -> None:
    """Register ``widerface_train`` and ``widerface_val``.

    Args:
        root: holds widerface/ with WIDER_train, WIDER_val and wider_face_split as they are
            unpacked; for AP on easy, medium and hard faces also eval_tools.
    """
    folder = next((root / name for name in _FOLDERS if (root / name).is_dir()), root / _FOLDERS[0])
    for split in ("train", "val"):
        name = f"widerface_{split}"
        register_table(
            name,
            partial(_read, name, root=root, split=split),
            thing_classes=["face"],
            evaluator_type="widerface",
            subsets_dir=str(folder / "eval_tools" / "ground_truth"),
        )


def _read(name: str, *, root: Path, split: str) -> LoadedTable:
    text = f"wider_face_split/wider_face_{split}_bbx_gt.txt"
    folder, text_file = find_file(root, _FOLDERS, [text], name)
    table = read_widerface_text(text_file, folder / f"WIDER_{split}" / "images")
    # The sizes are in the images only.
    table = check_images(leave_out_missing_images(table, name), name, skip_unreadable=False)
    num_invalid = int(table.is_crowd.sum())
    table, summary = clean_and_report(table, f"{num_invalid} marked as invalid, taken as crowds")
    return set_metadata(name, table, summary, ["face"])


def read_widerface_text(path: Path, image_root: Path) -> BoxTable:
    """Read wider_face_train_bbx_gt.txt or its like.

    For each image there is a line with its name, one with the number of its faces, and one for
    each face: x, y, width, height, blur, expression, illumination, invalid, occlusion and pose. An
    image without faces has one such line of zeros nevertheless.

    Returns:
        The table, with the attributes of the faces; those marked as invalid, which cannot be
        recognized, are crowds. Image ids are the names without ending. Sizes are unknown.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is wrong; file and line are named.
    """
    lines = read_lines(path)
    builder = TableBuilder(ATTRIBUTES)
    position = 0
    while position < len(lines):
        name = lines[position].strip()
        if not name:
            position += 1
            continue
        count = _read_count(path, lines, position + 1)
        faces = lines[position + 2 : position + 2 + max(count, 1)]
        if len(faces) < count:
            raise ValueError(f"{path} ends before the {count} faces of {name}")
        index = builder.add_image(name, name.rpartition(".")[0])
        faults = Faults(path)
        for offset, line in enumerate(faces[:count]):
            _add_face(builder, index, line, faults, position + 3 + offset)
        faults.raise_if_any()
        has_zeros = count == 0 and any(not line.replace("0", "").strip() for line in faces)
        position += 2 + (count or int(has_zeros))
    return builder.build(str(image_root))


def _read_count(path: Path, lines: list[str], position: int) -> int:
    text = lines[position].strip() if position < len(lines) else ""
    if not text.isdecimal():
        raise ValueError(
            f"{path}, line {position + 1}: {describe(text)} is not the number of faces of "
            f"{lines[position - 1].strip()}"
        )
    return int(text)


def _add_face(
    builder: TableBuilder, image_index: int, line: str, faults: Faults, number: int
) -> None:
    try:
        x, y, width, height, *attributes = (int(word) for word in line.split())
        values = dict(zip(ATTRIBUTES, attributes, strict=True))
        box = (x, y, x + width, y + height)
        builder.add_object(image_index, 0, box, is_crowd=values["invalid"] == 1, **values)
    except (ValueError, OverflowError):
        faults.add("face", f"line {number}: {describe(line.strip())} is not ten whole numbers")
