"""Finds the images of annotations whose paths are incomplete or of another machine."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image

__all__ = ["ImageIndex", "has_file", "is_image", "list_files"]


def is_image(path: Path) -> bool:
    """Whether Pillow can read files with the suffix of this path."""
    return path.suffix.lower() in Image.registered_extensions()


def list_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, following links; hidden files and folders are left out."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        # A link may lead to a folder above it.
        folders[:] = [] if real in seen else sorted(x for x in folders if not x.startswith("."))
        if real not in seen:
            yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        seen.add(real)


def has_file(folder: Path, is_wanted: Callable[[Path], bool]) -> bool:
    """Whether such a file is below the folder, which need not exist."""
    return any(map(is_wanted, list_files(folder)))


class ImageIndex:
    """The images below some folders, which are listed on first use."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Images by their lower-case name without suffix; each list is sorted."""
        found: dict[str, set[Path]] = defaultdict(set)
        for folder in self._folders:
            for path in list_files(folder):
                if is_image(path):
                    found[path.stem.lower()].add(path)
        return {stem: sorted(paths) for stem, paths in found.items()}

    def find(self, named: str, near: Path) -> Path | None:
        r"""Find an image by the end of its path.

        Args:
            named: a path that may begin with folders of another machine, contain backslashes, or
                lack the suffix.
            near: a folder; of images that match equally, the one closest to it is taken.

        Returns:
            The image of this name whose path has the longest common end with ``named``. None if
            there is no such image, or several match equally.
        """
        parts = Path(named.replace("\\", "/")).parts
        if not parts:
            return None
        name = parts[-1].lower()
        stem = os.path.splitext(name)[0] if is_image(Path(name)) else name
        candidates = self._by_stem.get(stem, [])
        with_ending = [path for path in candidates if path.name.lower() == name]
        candidates = with_ending or candidates
        likeness = [_likeness(path, parts, near) for path in candidates]
        best = max(likeness, default=(0, 0))
        return candidates[likeness.index(best)] if likeness.count(best) == 1 else None


def _likeness(path: Path, parts: tuple[str, ...], near: Path) -> tuple[int, int]:
    """The number of equal folders before the name, and how close the path is to ``near``."""
    folders = path.parts[:-1]
    num_equal = _common_length(folders[::-1], parts[-2::-1])
    num_shared = _common_length(folders, near.parts)
    return num_equal, 2 * num_shared - len(folders)


def _common_length(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
