"""What to predict on: images, folders of images, glob patterns, videos and cameras."""

from __future__ import annotations

import glob
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np

from ..data.image_files import READ_ERRORS, read_image

__all__ = ["ImageFile", "Source", "UnreadableError", "Video", "find_sources"]

# Formats that are looked for in folders; OpenCV writes all of them.
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
)
_WRITABLE_VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4"))
_CAMERA = "camera:"
# Of cameras that do not say how fast they are.
_DEFAULT_FPS = 25.0


class UnreadableError(Exception):
    """An input is no image or video that can be read; the message says why."""


@dataclass(frozen=True)
class ImageFile:
    """An image; ``name`` is the relative path of what is written for it, unique in a run."""

    path: str
    name: str

    def read(self) -> np.ndarray:
        """The image, turned as its EXIF data says: (H, W, 3) uint8, BGR.

        Raises:
            UnreadableError: it cannot be read, or has more than 8 bits a channel.
        """
        try:
            return read_image(self.path)
        except (*READ_ERRORS, ValueError) as error:  # ValueError: a PNG with oversized chunks
            raise UnreadableError(f"the image cannot be read: {error}") from error


@dataclass(frozen=True)
class Video:
    """A video file or a camera (``camera:N``); ``name`` as for :class:`ImageFile`."""

    path: str
    name: str

    @property
    def is_camera(self) -> bool:
        """Whether it ends only when it is told to."""
        return self.path.startswith(_CAMERA)

    def open(self) -> OpenVideo:
        """The video, to be closed after use.

        Raises:
            UnreadableError: OpenCV cannot open it.
        """
        target = int(self.path.removeprefix(_CAMERA)) if self.is_camera else self.path
        try:
            capture = cv2.VideoCapture(target)
        except cv2.error as error:  # a camera's number that is no C int
            raise UnreadableError("OpenCV cannot open it as a video") from error
        return OpenVideo(capture)


class OpenVideo:
    """The frames of a video, one at a time.

    Attributes:
        fps: frames a second.
        num_frames: what the file claims to hold; None where it does not say.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        if not capture.isOpened():
            raise UnreadableError("OpenCV cannot open it as a video")
        self._capture = capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else _DEFAULT_FPS
        num_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = num_frames if num_frames > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames left, each (H, W, 3) uint8, BGR."""
        while True:
            is_frame, image = self._capture.read()
            if not is_frame:
                return
            yield image

    def close(self) -> None:
        """Give the file or the camera back."""
        self._capture.release()


Source = ImageFile | Video


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """The images and videos that the inputs of a command line mean.

    * ``camera:N``: the camera with this number.
    * A folder: the images below it, at any depth (:data:`IMAGE_SUFFIXES`).
    * A file: a video, where its name ends as one's (:data:`VIDEO_SUFFIXES`), else an image.
    * A glob pattern, ``**`` for any depth: the files it matches.

    A file that is meant twice, also through links, is taken once. A link to nothing is taken for a
    file, so that it is missed when it is read.

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
    return [_source(path, name, taken) for path, name in files.values()]


def _expand(text: str) -> list[tuple[str, str]]:
    """Path and relative name of every source that an input means."""
    if text.startswith(_CAMERA):
        if not text.removeprefix(_CAMERA).isdecimal():
            raise ValueError(f"{text}: a camera is named camera:0, camera:1, ...")
        return [(text, text.replace(":", "_"))]
    path = Path(text)
    if path.is_dir():
        images = [p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
        return _relative_to(path, images, f"{text}: the folder has no images in it")
    if path.exists():
        return [(str(path.absolute()), path.name)]
    if glob.has_magic(text):
        parts = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
        matches = [Path(match) for match in glob.glob(text, recursive=True)]
        return _relative_to(Path(*parts), matches, f"{text}: no file matches this pattern")
    raise FileNotFoundError(f"{text} does not exist")


def _relative_to(folder: Path, paths: list[Path], if_none: str) -> list[tuple[str, str]]:
    files = sorted(path for path in paths if path.is_file() or _is_broken_link(path))
    if not files:
        raise FileNotFoundError(if_none)
    return [(str(path.absolute()), str(path.relative_to(folder))) for path in files]


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _source(path: str, name: str, taken: set[str]) -> Source:
    suffix = PurePath(path).suffix.lower()
    if path.startswith(_CAMERA) or suffix in VIDEO_SUFFIXES:
        return Video(path, _unused(name, _WRITABLE_VIDEO_SUFFIXES, ".mp4", taken))
    return ImageFile(path, _unused(name, IMAGE_SUFFIXES, ".png", taken))


def _unused(name: str, suffixes: frozenset[str], default: str, taken: set[str]) -> str:
    """``name`` with a suffix that can be written, numbered where it is taken; now it is taken."""
    path = PurePath(name)
    if path.suffix.lower() not in suffixes:
        path = path.with_name(path.name + default)
    candidate = path
    for number in itertools.count(2):
        key = candidate.as_posix().casefold()  # for file systems that ignore case
        if key not in taken:
            taken.add(key)
            return candidate.as_posix()
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
    raise AssertionError("unreachable")
