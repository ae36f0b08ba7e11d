"""Images that occur in two splits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from .image_files import READ_ERRORS

__all__ = ["difference_hash", "near_duplicates", "shared_images"]

# Bits of 64 in which the hashes of two copies of an image may differ, of other size or quality.
_MAX_DISTANCE = 3
# Nearly empty images, of which few parts differ, all have similar hashes.
_MIN_CONTRAST = 8
_MIN_BITS = 8
_BIT_COUNTS = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)
_CHUNK_SIZE = 64


def difference_hash(file_name: str) -> bytes | None:
    """The 64 bits of an image's dHash: whether each of 8 × 8 gray values is below its right one.

    Returns:
        None for an image that is nearly empty, which would equal any other such image.

    Raises:
        one of READ_ERRORS: the image cannot be read.
    """
    with Image.open(file_name) as image:
        image.draft("L", (72, 64))  # JPEG can be decoded to an eighth of its size
        small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    is_below = small[:, :-1] < small[:, 1:]
    if np.ptp(small) < _MIN_CONTRAST or is_below.sum() < _MIN_BITS:
        return None
    return np.packbits(is_below).tobytes()


def shared_images(files: Sequence[str], others: Sequence[str]) -> tuple[list[str], list[str]]:
    """The images that are in both splits, and the ones that are in the second split only."""
    shared = set(files) & set(others)
    return sorted(shared), [path for path in others if path not in shared]


def near_duplicates(
    files: Sequence[str],
    others: Sequence[str],
    *,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda parts, total: parts,
) -> list[tuple[str, str]]:
    """Pairs of images, one of each split, that look the same: same dHash but for a few bits.

    Args:
        files: images of one split; those that cannot be read are left out.
        others: images of the other one.
        progress: wraps the parts that are read one after the other, given their number.
    """
    (names, hashes), (other_names, other_hashes) = (_hash_all(x, progress) for x in (files, others))
    pairs = []
    for first in range(0, len(hashes), _CHUNK_SIZE):
        differing = hashes[first : first + _CHUNK_SIZE, None] ^ other_hashes[None]
        distances = _BIT_COUNTS[differing].sum(axis=2)
        pairs += [
            (names[first + row], other_names[column])
            for row, column in np.argwhere(distances <= _MAX_DISTANCE).tolist()
        ]
    return pairs


def _hash_all(
    files: Sequence[str], progress: Callable[[Iterable[Any], int], Iterable[Any]]
) -> tuple[list[str], np.ndarray]:
    """Names and (N, 8) bytes of the hashes of the images that have one."""

    def hash_part(part: Sequence[str]) -> list[tuple[str, bytes]]:
        found = []
        for name in part:
            with contextlib.suppress(*READ_ERRORS, ValueError):
                value = difference_hash(name)
                if value is not None:
                    found.append((name, value))
        return found

    parts = [files[first : first + _CHUNK_SIZE] for first in range(0, len(files), _CHUNK_SIZE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [x for part in progress(pool.map(hash_part, parts), len(parts)) for x in part]
    data = b"".join(value for _, value in found)
    return [name for name, _ in found], np.frombuffer(data, dtype=np.uint8).reshape(-1, 8)
