"""From sources to files: nothing larger than a batch is held in memory."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from .drawing import draw_detections
from .predictor import Predictor
from .sources import ImageFile, Source, UnreadableError, Video
from .writers import DetectionFiles, VideoFile, write_image

__all__ = ["Runner"]

# Pixels of a drawn image's longer side, at least: labels hide the objects of smaller ones.
_MIN_DRAWN_LENGTH = 640
# Some formats know their duration only, so that the number of frames is an estimate.
_MIN_SHARE_OF_FRAMES = 0.95

# An image, what images.json says of it, and what takes the drawn image.
_Item = tuple[np.ndarray, dict[str, Any], Callable[[np.ndarray], None]]


class Runner:
    """Predicts on sources and writes drawn images and videos, and the detections.

    What cannot be read is named on stderr, and the rest goes on.

    Drawings of small images are enlarged; those of videos keep their size.

    Attributes:
        num_images: images and frames written so far, as many as images.json has.
        num_unreadable: sources that could not be read so far, or not to the end.
    """

    def __init__(
        self, predictor: Predictor, folder: Path, *, max_frames: int | None = None
    ) -> None:
        """
        Args:
            predictor: its batch size is also how many images are read at a time.
            folder: for the files of :class:`~autoassign.inference.writers.DetectionFiles` and,
                under the names of the sources, what is drawn. It exists.
            max_frames: frames of each video or camera, at most; None for all.
        """
        self.num_images = 0
        self.num_unreadable = 0
        self._predictor = predictor
        self._folder = folder
        self._max_frames = max_frames

    def run(self, sources: Sequence[ImageFile | Video]) -> None:
        """Predict on all sources.

        A KeyboardInterrupt ends a camera; at any other time it is raised. After any exception
        the files hold what was done until then.

        Raises:
            OSError: something cannot be written.
        """
        images = [source for source in sources if isinstance(source, ImageFile)]
        videos = [source for source in sources if isinstance(source, Video)]
        with closing(DetectionFiles(self._folder, self._predictor.metadata)) as files:
            if images:
                with tqdm(total=len(images), unit="image") as progress:
                    items = self._image_items(images, progress)
                    self._predict(items, files, progress, min_length=_MIN_DRAWN_LENGTH)
            for video in videos:
                try:
                    self._run_video(video, files)
                except UnreadableError as error:
                    self._report(video, error)
                except KeyboardInterrupt:
                    if not video.is_camera:
                        raise

    def _image_items(self, sources: Iterable[ImageFile], progress: tqdm) -> Iterator[_Item]:
        for source in sources:
            try:
                image = source.read()
            except UnreadableError as error:
                self._report(source, error)
                progress.update()
            else:
                yield image, _entry(source), partial(write_image, self._folder / source.name)

    def _run_video(self, source: Video, files: DetectionFiles) -> None:
        before = self.num_images
        video = source.open()
        # Cameras and damaged headers give 0, -1 or NaN.
        fps, promised = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
        limits = (int(promised) if promised > 0 else None, self._max_frames)
        total = min(filter(None, limits), default=None)
        frames = (image for _, image in iter(video.read, (False, None)))
        try:
            with (
                closing(VideoFile(self._folder / source.name, fps)) as drawn,
                tqdm(desc=source.name, total=total, unit="frame") as progress,
            ):
                items = (
                    (image, {**_entry(source), "frame": index}, drawn.write)
                    for index, image in enumerate(itertools.islice(frames, self._max_frames))
                )
                self._predict(items, files, progress)
        finally:
            video.release()
        num_frames = self.num_images - before
        if num_frames == 0:
            raise UnreadableError("OpenCV finds no frame in it")
        if total is not None and num_frames < _MIN_SHARE_OF_FRAMES * total:
            raise UnreadableError(
                f"it is cut off or damaged: only {num_frames} of {total} frames could be read, "
                "and are predicted"
            )

    def _predict(
        self,
        items: Iterator[_Item],
        files: DetectionFiles,
        progress: tqdm,
        *,
        min_length: int = 0,
    ) -> None:
        metadata = self._predictor.metadata
        while batch := list(itertools.islice(items, self._predictor.batch_size)):
            results = self._predictor([image for image, _, _ in batch])
            for (image, entry, write), instances in zip(batch, results, strict=True):
                # The drawing first: images.json refers to nothing that is not there.
                write(draw_detections(image, instances, metadata, min_length=min_length))
                files.add(entry, instances)
                self.num_images = files.num_images
                progress.update()

    def _report(self, source: Source, error: UnreadableError) -> None:
        self.num_unreadable += 1
        tqdm.write(f"{source}: {error}", file=sys.stderr)


def _entry(source: Source) -> dict[str, Any]:
    return {"file_name": source.name, "source": str(source)}
