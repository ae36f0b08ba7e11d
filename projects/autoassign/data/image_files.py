"""Image files of a dataset: that they exist, that they can be decoded, how large they are."""

from __future__ import annotations

import dataclasses
import logging
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
from detectron2.data import detection_utils
from PIL import Image

from ..config import first_of
from .table import BoxTable

__all__ = [
    "READ_ERRORS",
    "check_images",
    "check_mode",
    "check_pixel_format",
    "image_size",
    "orientation_of",
    "read_image",
]

logger = logging.getLogger(__name__)

# What Pillow raises on a missing, foreign, truncated or broken image file.
READ_ERRORS = (
    OSError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_ORIENTATION = 274  # EXIF tag; from 5 on, height and width are exchanged
_MISSING = "does not exist"
_CHUNK_SIZE = 256


def check_images(table: BoxTable, name: str, *, skip_unreadable: bool) -> BoxTable:
    """Check that the images of a dataset can be used, and read their sizes.

    Unusable are images that are missing or broken, that have more than 8 bits a channel, or whose
    size is not the annotated one. If only height and width are exchanged, a warning says so, and
    those of the file are used.

    Args:
        table: sizes may be unknown.
        name: the dataset's name, for messages.
        skip_unreadable: if True, every image is decoded, and a warning counts the unusable ones,
            which are left out. If False, only headers are read, and unusable images are an error.

    Returns:
        The table with the images to use and with their sizes.

    Raises:
        FileNotFoundError: an image is missing, and ``skip_unreadable`` is False.
        ValueError: an image cannot be used, or none is left.
    """
    read = _decoded_size if skip_unreadable else image_size
    found = _read_all(table, read)
    table = _exchange_sizes(table, found, name)
    problems = [
        size if isinstance(size, str) else _disagreement(size, annotated)
        for size, annotated in zip(found, table.sizes.tolist(), strict=True)
    ]
    bad = [index for index, problem in enumerate(problems) if problem]
    if bad:
        _report_unusable(table, problems, bad, name, skip_unreadable)
        usable = np.array([not problem for problem in problems])
        found = [size for size, is_usable in zip(found, usable, strict=True) if is_usable]
        table = table.select_images(usable)
    return dataclasses.replace(table, sizes=np.array(found, dtype=np.int64).reshape(-1, 2))


def _read_all(
    table: BoxTable, read: Callable[[str], tuple[int, int]]
) -> list[tuple[int, int] | str]:
    """Size of each image (height, width), or what is wrong with it."""

    def read_one(index: int) -> tuple[int, int] | str:
        try:
            return read(table.path(index))
        except FileNotFoundError:
            return _MISSING
        except (*READ_ERRORS, ValueError) as error:  # ValueError: a PNG with oversized chunks
            return f"cannot be read: {error}"

    def read_chunk(first: int) -> list[tuple[int, int] | str]:
        return [read_one(i) for i in range(first, min(first + _CHUNK_SIZE, len(table)))]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(chain.from_iterable(pool.map(read_chunk, range(0, len(table), _CHUNK_SIZE))))


def _exchange_sizes(table: BoxTable, found: list[tuple[int, int] | str], name: str) -> BoxTable:
    sizes = table.sizes.copy()
    exchanged = [
        index
        for index, (size, annotated) in enumerate(zip(found, table.sizes.tolist(), strict=True))
        if not isinstance(size, str) and tuple(annotated) == size[::-1] != size
    ]
    if exchanged:
        logger.warning(
            f"{name}: height and width are exchanged in the annotations of {len(exchanged)} of "
            f"{len(table)} images, such as {table.path(exchanged[0])}: those of the files are used"
        )
        sizes[exchanged] = sizes[exchanged][:, ::-1]
    return dataclasses.replace(table, sizes=sizes)


def _disagreement(size: tuple[int, int], annotated: list[int]) -> str:
    if 0 in annotated or size == tuple(annotated):
        return ""
    return f"is {size[1]} × {size[0]}, annotated as {annotated[1]} × {annotated[0]}"


def _report_unusable(
    table: BoxTable, problems: list[str], bad: list[int], name: str, skip_unreadable: bool
) -> None:
    """Warn about the images left out, or raise where they must not be."""
    total = len(table)
    listing = first_of([f"{table.path(index)} {problems[index]}" for index in bad])
    if skip_unreadable and len(bad) == total:
        raise ValueError(f"{name}: none of its {total} images can be used: {listing}")
    if skip_unreadable:
        logger.warning(
            f"{name}: left out {len(bad)} of {total} images that cannot be used: {listing}"
        )
        return
    advice = "" if len(bad) == total else " DATASETS.CUSTOM.SKIP_UNREADABLE True leaves them out."
    missing = [index for index in bad if problems[index] == _MISSING]
    if missing:
        files = first_of([table.path(index) for index in missing])
        raise FileNotFoundError(
            f"{name}: {len(missing)} of {total} images do not exist: {files}.{advice}"
        )
    raise ValueError(f"{name}: {len(bad)} of {total} images cannot be used: {listing}.{advice}")


def image_size(file_name: str) -> tuple[int, int]:
    """Read height and width from the header of an image, rotated as its EXIF data says.

    Raises:
        one of READ_ERRORS: the file is missing or no image, or has more than 8 bits a channel.
    """
    with Image.open(file_name) as image:
        check_mode(image)
        orientation = orientation_of(image)
        width, height = image.size
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def orientation_of(image: Image.Image) -> int:
    """How an image that has not been decoded is to be turned, 1 to 8 as EXIF has it; 1: not."""
    # Pillow decodes a PNG to look for EXIF data at its end.
    has_exif = image.format != "PNG" or "exif" in image.info
    return image.getexif().get(_ORIENTATION, 1) if has_exif else 1


def _decoded_size(file_name: str) -> tuple[int, int]:
    height, width = read_image(file_name).shape[:2]
    return height, width


def read_image(file_name: str) -> np.ndarray:
    """Read an image as the mapper reads it: decoded to the end, turned as its EXIF data says.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        one of READ_ERRORS: the file is missing or broken, or has more than 8 bits a channel.
    """
    check_pixel_format(file_name)
    return detection_utils.read_image(file_name, format="BGR")


def check_pixel_format(file_name: str) -> None:
    """Make sure that the pixels survive the conversion to 8 bits.

    Raises:
        OSError: the file is no image, or has pixels of 16 or 32 bits, which Pillow would cut off
            at 255 (gray) or after their first 8 bits (color).
    """
    with Image.open(file_name) as image:
        check_mode(image)


def check_mode(image: Image.Image) -> None:
    """:func:`check_pixel_format` of an image that has been opened."""
    # Pillow gives images of 16 bits a channel the mode RGB; how they are stored tells.
    stored = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode.startswith(("I", "F")) or ";16" in stored:
        raise OSError(
            f"its pixels ({image.mode}) have more than 8 bits: convert it to 8 bits first"
        )
