"""Output files of predictions, which are complete after every write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.data import Metadata
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

__all__ = ["DetectionFiles", "VideoFile", "write_image"]


class _JsonList:
    """A JSON file that ends in a list which grows; complete JSON after every call."""

    def __init__(self, path: Path, head: str, tail: str) -> None:
        self._file = path.open("wb")
        self._tail = tail.encode()
        self._file.write(head.encode())
        self._end = self._file.tell()
        self._separator = ""
        self.extend([])

    def extend(self, items: Iterable[Any]) -> None:
        text = ",\n".join(json.dumps(item) for item in items)
        if text:
            text = self._separator + text
            self._separator = ",\n"
        self._file.seek(self._end)
        self._file.write(text.encode() + self._tail)
        self._file.flush()
        self._end = self._file.tell() - len(self._tail)

    def close(self) -> None:
        self._file.close()


class DetectionFiles:
    """Detections in COCO's formats, written as they come.

    * ``detections.json``: a list of ``image_id``, ``category_id``, ``bbox`` (x, y, width and
      height in pixels) and ``score``, as ``COCO.loadRes`` takes it.
    * ``images.json``: an annotation file without annotations, as ``COCO`` takes it: ``images``
      (``id``, ``file_name``, ``height``, ``width``, the input's path as ``source`` and, of a
      video, ``frame`` from 0) and ``categories``.

    Both files are complete JSON at any time.

    Attributes:
        num_images: images in images.json.
    """

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        """
        Args:
            folder: exists.
            metadata: ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``.
        """
        index_of_id = metadata.thing_dataset_id_to_contiguous_id
        self._id_of_index = {index: category_id for category_id, index in index_of_id.items()}
        categories = [
            {"id": self._id_of_index[index], "name": name}
            for index, name in enumerate(metadata.thing_classes)
        ]
        head = f'{{"categories": {json.dumps(categories)},\n"annotations": [],\n"images": [\n'
        self._images = _JsonList(folder / "images.json", head, "\n]}\n")
        self._detections = _JsonList(folder / "detections.json", "[\n", "\n]\n")
        self.num_images = 0

    def add(self, image: dict[str, Any], instances: Instances) -> None:
        """Write the detections of the next image.

        Args:
            image: what is known of it, without ``id``, ``height`` and ``width``.
            instances: on the CPU, in pixels of the image.
        """
        height, width = instances.image_size
        image_id = self.num_images + 1
        image = {"id": image_id, **image, "height": height, "width": width}
        results = instances_to_coco_json(instances, image_id)
        for result in results:
            result["category_id"] = self._id_of_index[result["category_id"]]
        # The image first: a result must not refer to one that is not there.
        self._images.extend([image])
        self.num_images = image_id
        self._detections.extend(results)

    def close(self) -> None:
        """Close both files."""
        self._images.close()
        self._detections.close()


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image, and the folders above it.

    Args:
        path: its suffix names the format.
        image: (H, W, 3) uint8, BGR.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Not cv2.imwrite, which crashes where a folder's name is not UTF-8.
        is_encoded, content = cv2.imencode(path.suffix, image)
    except cv2.error:  # larger than the format allows
        is_encoded = False
    if not is_encoded:
        raise OSError(f"{path}: the image cannot be written")
    path.write_bytes(content.data)


class VideoFile:
    """A video that is written frame by frame, and can be played once it is closed."""

    def __init__(self, path: Path, fps: float) -> None:
        """
        Args:
            path: ``.avi`` is written as Motion JPEG, everything else as MPEG-4.
            fps: frames per second; 25 where it is no positive number.
        """
        self._path = path
        self._fps = fps if 0 < fps < float("inf") else 25.0
        self._writer: cv2.VideoWriter | None = None

    def write(self, image: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8, BGR, of the size of the first one.

        Raises:
            OSError: the video cannot be written.
        """
        if self._writer is None:
            self._writer = self._open(width=image.shape[1], height=image.shape[0])
        self._writer.write(image)

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        codec = "MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"
        try:
            path = str(self._path).encode().decode()  # OpenCV crashes on others
        except UnicodeEncodeError as error:
            raise OSError(f"{self._path}: a video's name has to be UTF-8") from error
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), self._fps, (width, height))
        if not writer.isOpened():
            raise OSError(f"{path}: OpenCV cannot write this video (codec {codec})")
        return writer

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
