"""Image files of a dataset: that they exist, that they can be decoded, how large they are."""

import logging
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from detectron2.data import detection_utils
from PIL import Image

__all__ = [
    "READ_ERRORS",
    "check_image_files",
    "check_pixel_format",
    "fill_missing_sizes",
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
# Files named in a message about many.
_MAX_NAMES = 3


def check_image_files(records: list[dict], name: str, *, skip_unreadable: bool) -> list[dict]:
    """Make sure that the images of a dataset can be used.

    Args:
        records: detectron2 dataset dicts.
        name: the dataset's name, for messages.
        skip_unreadable: True: decode every image once and leave out, with one warning, those
            that are missing or broken. False: only make sure that every file exists.

    Returns:
        The dataset dicts to use.

    Raises:
        FileNotFoundError: an image is missing, and ``skip_unreadable`` is False.
        ValueError: no image is left.
    """
    if skip_unreadable:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            usable = list(pool.map(_can_be_read, (record["file_name"] for record in records)))
    else:
        usable = [os.path.isfile(record["file_name"]) for record in records]
    bad = [record["file_name"] for record, good in zip(records, usable, strict=True) if not good]
    if not bad:
        return records

    files = ", ".join(bad[:_MAX_NAMES]) + (", ..." if len(bad) > _MAX_NAMES else "")
    if not skip_unreadable:
        raise FileNotFoundError(
            f"{name}: {len(bad)} of {len(records)} images do not exist: {files}. "
            "DATASETS.CUSTOM.SKIP_UNREADABLE True leaves such images out."
        )
    if len(bad) == len(records):
        raise ValueError(f"{name}: none of its {len(records)} images can be read: {files}")
    logger.warning(
        f"{name}: left out {len(bad)} of {len(records)} images that cannot be read: {files}"
    )
    return [record for record, good in zip(records, usable, strict=True) if good]


def fill_missing_sizes(records: list[dict]) -> list[dict]:
    """Take a ``height`` or ``width`` of 0 from the image itself.

    Raises:
        ValueError: such an image cannot be read; it is named.
    """
    return [
        record if record["height"] > 0 and record["width"] > 0 else {**record, **_read_size(record)}
        for record in records
    ]


def _read_size(record: dict) -> dict[str, int]:
    file_name = record["file_name"]
    try:
        height, width = read_image(file_name).shape[:2]
    except READ_ERRORS as error:
        raise ValueError(f"{file_name}: the image cannot be read: {error}") from error
    return {"height": height, "width": width}


def _can_be_read(file_name: str) -> bool:
    try:
        read_image(file_name)
    except READ_ERRORS:
        return False
    return True


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
            at 255.
    """
    with Image.open(file_name) as image:
        # Of 16-bit RGB only the decoder's raw mode tells, such as "RGB;16B".
        raw_modes = " ".join(str(tile.args) for tile in image.tile)
        if image.mode.startswith(("I", "F")) or ";16" in raw_modes:
            raise OSError(
                f"its pixels have mode {image.mode}, more than 8 bits: convert it to 8 bits first"
            )
