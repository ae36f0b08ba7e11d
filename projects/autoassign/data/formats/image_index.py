"""Finds the images of annotations whose paths are incomplete or of another machine."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image

__all__ = ["ImageIndex", "is_image", "list_files"]


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

    def find(self, named: str, near: Path | None = None) -> Path | None:
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
        ranked = sorted(
            with_ending or candidates, key=lambda path: _likeness(path, parts, near), reverse=True
        )
        if len(ranked) > 1 and _likeness(ranked[0], parts, near) == _likeness(
            ranked[1], parts, near
        ):
            return None
        return ranked[0] if ranked else None


def _likeness(path: Path, parts: tuple[str, ...], near: Path | None) -> tuple[int, int]:
    """The number of equal folders before the name, and how close the path is to ``near``."""
    same = 0
    for a, b in zip(reversed(path.parts[:-1]), reversed(parts[:-1]), strict=False):
        if a != b:
            break
        same += 1
    shared = 0
    if near is not None:
        for a, b in zip(path.parts[:-1], near.parts, strict=False):
            if a != b:
                break
            shared += 1
        shared -= len(path.parts[:-1]) - shared
    return same, shared
