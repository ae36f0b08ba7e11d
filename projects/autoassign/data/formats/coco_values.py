"""Values of COCO files, also as annotation tools write them."""

from __future__ import annotations

import math
from typing import Any

from .faults import NotReadableError

__all__ = ["as_box", "as_crowd", "as_file_name", "as_id", "as_size", "as_text", "polygon_box"]

# The largest height or width that is accepted.
_MAX_SIZE = 10**6


def as_id(value: Any) -> int | str:
    """An id: an integer, also where it is written as 7.0 or "7", else text as it is."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        digits = text.removeprefix("-")
        return int(text) if digits.isdecimal() and digits.isascii() and len(text) < 20 else text
    raise NotReadableError("an integer")


def as_size(value: Any) -> int:
    """A height or width in pixels; 0 where it is not known."""
    if type(value) is int and 0 < value <= _MAX_SIZE:
        return value
    if value is None or value == "" or value == 0:
        return 0
    number = _as_number(value)
    if math.isnan(number):
        return 0
    if not 0 < number <= _MAX_SIZE or not number.is_integer():
        raise NotReadableError(f"a whole number of pixels from 1 to {_MAX_SIZE}")
    return int(number)


def as_file_name(value: Any) -> str:
    """A path that a file system can have."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise NotReadableError("a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise NotReadableError("a string that Unicode has") from error
    return value


def as_text(value: Any) -> str:
    """A name, without the whitespace around it; also a number that serves as one."""
    return as_file_name(f"{value}" if type(value) in (int, float) else value).strip()


def as_crowd(value: Any) -> bool:
    """``iscrowd`` or ``ignore``: 0, 1, true, false, also as text; missing and NaN are 0."""
    if value is None or value == "":
        return False
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    number = _as_number(value)
    if math.isnan(number):
        return False
    if number not in (0, 1):
        raise NotReadableError("0 or 1")
    return number == 1


def as_box(value: Any) -> tuple[float, float, float, float]:
    """Four numbers, also as text. A number too large for a float is infinite."""
    if not isinstance(value, list) or len(value) != 4:
        raise NotReadableError("four numbers")
    x, y, width, height = (_as_number(number) for number in value)
    return x, y, width, height


def polygon_box(segmentation: Any) -> tuple[float, float, float, float]:
    """The xywh box around polygons: [x, y, x, y, ...], or a list of such lists."""
    if not isinstance(segmentation, list) or not segmentation:
        raise NotReadableError("a list of polygons")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if any(not isinstance(each, list) or len(each) < 4 or len(each) % 2 for each in polygons):
        raise NotReadableError("a list of polygons")
    xs = [_as_number(x) for polygon in polygons for x in polygon[0::2]]
    ys = [_as_number(y) for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _as_number(value: Any) -> float:
    if isinstance(value, bool | int | float | str):
        try:
            return float(value)
        except OverflowError:
            return math.inf
        except ValueError as error:
            raise NotReadableError("a number") from error
    raise NotReadableError("a number")
