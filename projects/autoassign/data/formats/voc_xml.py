"""One annotation file of PASCAL VOC's XML format."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from .faults import Faults, describe

__all__ = ["VocImage", "VocObject", "read_voc_xml"]

_BOX_FIELDS = ("xmin", "ymin", "xmax", "ymax")
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no", "unspecified", "")
# The largest height or width that is accepted.
_MAX_SIZE = 10**6


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


def read_voc_xml(path: Path, faults: Faults) -> VocImage | None:
    """Read one VOC annotation.

    VOC counts pixels from 1 and includes the last one, so a box starts at ``xmin - 1`` in
    coordinates. A box whose corners coincide as written is kept as it is, without any area:
    annotation tools write one at a stray click, and no object is one pixel wide.

    Args:
        path: the file.
        faults: takes up what is wrong: the file is no XML, or a field is missing or invalid.

    Returns:
        The content, or None if it has a fault.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        root = ET.fromstring(content)
    # LookupError: an encoding that Python does not know.
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        faults.add("XML", f"{path.name} is not XML: {error}{_encoding_hint(content)}")
        return None
    return _Annotation(path, root, faults).read()


def _encoding_hint(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError:
        return "" if b"encoding=" in content else " (it is not UTF-8 and names no encoding)"
    return ""


class _Annotation:
    """Reads the fields of one file, and collects faults."""

    def __init__(self, path: Path, root: ET.Element, faults: Faults) -> None:
        self._path = path
        self._root = root
        self._faults = faults
        self._is_faulty = False

    def read(self) -> VocImage | None:
        objects = tuple(
            self._object(element, f"object {number}: ")
            for number, element in enumerate(self._root.findall("object"), start=1)
        )
        image = VocImage(
            source=self._path,
            filename=_text(self._root, "filename"),
            height=self._size("size/height"),
            width=self._size("size/width"),
            objects=objects,
        )
        return None if self._is_faulty else image

    def _size(self, field: str) -> int:
        text = _text(self._root, field)
        if not text:
            return 0
        number = self._number(self._root, field, "")
        if not 0 <= number <= _MAX_SIZE:
            self._fault(field, f"field {field!r} is {describe(text)}, not a size in pixels")
            return 0
        return int(number)

    def _object(self, element: ET.Element, where: str) -> VocObject:
        xmin, ymin, xmax, ymax = (self._number(element, f"bndbox/{f}", where) for f in _BOX_FIELDS)
        if xmin < xmax and ymin < ymax:
            xmin, ymin = xmin - 1, ymin - 1
        name = _text(element, "name")
        if not name:
            self._fault("name", f"{where}field 'name' is missing or empty")
        difficult = _text(element, "difficult").lower()
        if difficult not in (*_TRUE, *_FALSE):
            self._fault(
                "difficult", f"{where}field 'difficult' is {describe(difficult)}, not 0 or 1"
            )
        return VocObject(name, (xmin, ymin, xmax, ymax), difficult in _TRUE)

    def _number(self, element: ET.Element, field: str, where: str) -> float:
        text = _text(element, field)
        try:
            return float(text)
        except ValueError:
            state = f"is {describe(text)}, not a number" if text else "is missing or empty"
            self._fault(field, f"{where}field {field!r} {state}")
            return 0.0  # of a file that is not used

    def _fault(self, kind: str, sentence: str) -> None:
        self._is_faulty = True
        self._faults.add(kind, f"{self._path.name}: {sentence}")


def _text(element: ET.Element, field: str) -> str:
    return (element.findtext(field) or "").strip()
