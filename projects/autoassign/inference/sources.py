"""What to predict on: images, folders of images, glob patterns, videos and cameras."""

from __future__ import annotations

import glob
import itertools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

from ..data import READ_ERRORS, image_size, read_image

__all__ = ["ImageFile", "Source", "UnreadableError", "Video", "find_sources"]

# OpenCV writes all of these.
_WRITABLE_IMAGES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
# What is looked for in folders.
_IMAGES = _WRITABLE_IMAGES | {".gif"}
_WRITABLE_VIDEOS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4"))
_VIDEOS = _WRITABLE_VIDEOS | {".mpeg", ".mpg", ".webm", ".wmv"}
_CAMERA = "camera:"
# Decoded and drawn, they take 2 GB of memory.
_MAX_PIXELS = 64_000_000
# Matplotlib's canvases have no longer sides.
_MAX_SIDE = 2**16 - 1
# Nor do the formats that what is drawn is written in.
_MAX_SIDES = {".jpeg": 65500, ".jpg": 65500, ".webp": 2**14 - 1}


class UnreadableError(Exception):
    """An input is no image or video that can be read; the message says why."""


@dataclass(frozen=True)
class Source:
    """Something to predict on.

    Attributes:
        path: where it is read from.
        name: the relative path of what is written for it, unique in a run and valid Unicode.
    """

    path: str
    name: str

    def __str__(self) -> str:
        return _printable(self.path)

    def check_regular_file(self) -> None:
        """
        Raises:
            UnreadableError: it is missing, or something that reading may wait for.
        """
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise UnreadableError("it is not a regular file")


class ImageFile(Source):
    """An image; of an animated one, the first frame."""

    def read(self) -> np.ndarray:
        """The image, turned as its EXIF data says: (H, W, 3) uint8, BGR.

        Raises:
            UnreadableError: it cannot be read, has more than 8 bits a channel, more than 64 million
                pixels or a side longer than the format of ``name`` and matplotlib allow.
        """
        self.check_regular_file()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                height, width = image_size(self.path)
            max_side = _MAX_SIDES.get(PurePath(self.name).suffix.lower(), _MAX_SIDE)
            if height * width > _MAX_PIXELS or max(height, width) > max_side:
                raise UnreadableError(
                    f"the image is too large: {width} × {height}; at most {_MAX_PIXELS} pixels and "
                    f"sides of {max_side} are read"
                )
            return read_image(self.path)
        except (*READ_ERRORS, ValueError) as error:  # ValueError: a PNG with oversized chunks
            raise UnreadableError(f"the image cannot be read: {error}") from error


class Video(Source):
    """A video file or a camera (``camera:N``)."""

    @property
    def is_camera(self) -> bool:
        """Whether it ends only when it is told to."""
        return self.path.startswith(_CAMERA)

    def open(self) -> cv2.VideoCapture:
        """The video, to be released after use.

        Raises:
            UnreadableError: OpenCV cannot open it.
        """
        self.check_regular_file()
        if str(self) != self.path:  # OpenCV crashes
            raise UnreadableError("a video's name has to be UTF-8: rename it")
        target = int(self.path.removeprefix(_CAMERA)) if self.is_camera else self.path
        try:
            capture = cv2.VideoCapture(target)
        except cv2.error:  # a camera's number that is no C int
            capture = None
        if capture is None or not capture.isOpened():
            raise UnreadableError("OpenCV cannot open it as a video")
        return capture


def find_sources(inputs: Sequence[str]) -> list[ImageFile | Video]:
    """The images and videos that the inputs of a command line mean.

    * ``camera:N``: the camera with this number.
    * A folder: the images below it, at any depth, by the suffixes of their names.
    * A file: a video, where its name ends as one's, else an image.
    * A glob pattern, ``**`` for any depth: the files it matches.

    A file that is meant twice, also through links, is taken once. Links to nothing, FIFOs and
    devices are taken, too: reading them says what is wrong with them.

    Returns:
        The sources in the order of the inputs, those of one input by name. Their names are
        relative to the folder or to what precedes the pattern's first wildcard; a name that is
        taken already gets a number.

    Raises:
        FileNotFoundError: an input does not exist, matches nothing, or is a folder without images.
        ValueError: a camera is not numbered.
    """
    files: dict[str, tuple[str, str]] = {}
    for path, name in itertools.chain.from_iterable(map(_expand, inputs)):
        files.setdefault(os.path.realpath(path), (path, name))
    taken: set[str] = set()
    return [_source(path, _printable(name), taken) for path, name in files.values()]


def _expand(text: str) -> list[tuple[str, str]]:
    """Path and relative name of every source that an input means."""
    if text.startswith(_CAMERA):
        if not text.removeprefix(_CAMERA).isdecimal():
            raise ValueError(f"{text}: a camera is named camera:0, camera:1, ...")
        return [(text, text.replace(":", "_"))]
    path = Path(text)
    if path.is_dir():
        images = [p for p in path.rglob("*") if p.suffix.lower() in _IMAGES]
        return _relative_to(path, images, f"{text}: the folder has no images in it")
    if path.exists():
        return [(str(path.absolute()), path.name)]
    if glob.has_magic(text):
        parts = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
        matches = [Path(match) for match in glob.glob(text, recursive=True)]
        return _relative_to(Path(*parts), matches, f"{text}: no file matches this pattern")
    raise FileNotFoundError(f"{text} does not exist")


def _relative_to(folder: Path, paths: list[Path], if_none: str) -> list[tuple[str, str]]:
    files = sorted(path for path in paths if not path.is_dir())
    if not files:
        raise FileNotFoundError(if_none)
    return [(str(path.absolute()), _inside(path.relative_to(folder))) for path in files]


def _inside(path: Path) -> str:
    """``path`` without "..": a pattern such as "a/*/../../*.png" leaves its folder."""
    return str(Path(*(part for part in path.parts if part != "..")))


def _source(path: str, name: str, taken: set[str]) -> ImageFile | Video:
    if path.startswith(_CAMERA) or PurePath(path).suffix.lower() in _VIDEOS:
        return Video(path, _unused(name, _WRITABLE_VIDEOS, ".mp4", taken))
    return ImageFile(path, _unused(name, _WRITABLE_IMAGES, ".png", taken))


def _unused(name: str, suffixes: frozenset[str], default: str, taken: set[str]) -> str:
    """``name`` with a suffix that can be written, numbered where it is taken; now it is taken."""
    path = PurePath(name)
    if path.suffix.lower() not in suffixes:
        path = path.with_name(path.name + default)
    numbered = (path.with_name(f"{path.stem}_{i}{path.suffix}") for i in itertools.count(2))
    names = (candidate.as_posix() for candidate in itertools.chain([path], numbered))
    # casefold: for file systems that ignore case.
    unused = next(name for name in names if name.casefold() not in taken)
    taken.add(unused.casefold())
    return unused


def _printable(path: str) -> str:
    """A path whose bytes may not be UTF-8, as text that can be printed and written as JSON."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
