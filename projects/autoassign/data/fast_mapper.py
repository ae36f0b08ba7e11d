"""A mapper for training that decodes and resizes several times as fast as detectron2's."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.utils import comm
from fvcore.transforms.transform import ScaleTransform
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from .augmentations import build_train_augmentations, largest_scale
from .dataset_mapper import CheckedDatasetMapper
from .image_cache import ImageCache
from .image_files import check_mode, orientation_of

__all__ = ["IMAGE_CACHE", "FastDatasetMapper", "TorchResizeTransform"]

# The folder in OUTPUT_DIR that keeps decoded images while a training runs.
IMAGE_CACHE = "decoded_images"

# By the divisor of both sides. All turn the image as its EXIF data says.
_DECODING_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Images of reduced size are resized by this factor or more, as decoders average plain blocks of
# pixels: at 2, pixels differ by a third of what they do at 1.
_MIN_SHRINKING = 2


class FastDatasetMapper(CheckedDatasetMapper):
    """A :class:`CheckedDatasetMapper` for training with faster decoding and resizing.

    JPEG files are decoded by OpenCV, and images are resized by torch. Both filter as Pillow does:
    pixels differ by 2 of 255 at most. Only images at least four times as large as training can
    need them are decoded at a half, a quarter or an eighth of their size, still at least twice as
    large as needed: pixels of photographs differ by 0.5 on average, those of finer patterns by
    more. Boxes and sizes are the same always.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        largest_scale: Callable[[int, int], float] | None = None,
        cache: ImageCache | None = None,
    ) -> None:
        """
        Args:
            augmentations: of images and boxes.
            image_format: order of the channels, "BGR" or "RGB"; other formats are decoded by
                Pillow.
            largest_scale: the greatest factor by which the augmentations scale an image of a
                height and width. Without it, images are decoded at their full size.
            cache: keeps the decoded images.
        """
        super().__init__(
            is_train=True,
            augmentations=[
                _ResizedByTorch(x) if isinstance(x, T.ResizeShortestEdge | T.ResizeScale) else x
                for x in augmentations
            ],
            image_format=image_format,
        )
        self._largest_scale = largest_scale
        self._cache = cache

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:  # type: ignore[override]  # training
        return {
            "augmentations": build_train_augmentations(cfg),
            "image_format": cfg.INPUT.FORMAT,
            # A crop magnifies what it keeps.
            "largest_scale": None if cfg.INPUT.CROP.ENABLED else partial(largest_scale, cfg),
            "cache": _build_cache(cfg),
        }

    def _map(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        result = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        image, divisor = self._read(result)
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        if divisor > 1:
            transforms = T.TransformList([ScaleTransform(divisor, divisor, 1, 1), transforms])
        result["image"] = _to_tensor(augmented.image)
        if "annotations" in dataset_dict:
            result["annotations"] = dataset_dict["annotations"]
            self._transform_annotations(result, transforms, augmented.image.shape[:2])
        return result

    def _read(self, record: dict[str, Any]) -> tuple[np.ndarray, int]:
        """The image of a record, (H, W, C), and what its sides have been divided by."""
        file_name = record["file_name"]
        height, width = record.get("height", 0), record.get("width", 0)
        divisor = self._divisor(height, width)
        decode = partial(self._decode_checked, record, divisor)
        if self._cache is None:
            image = decode()
        else:
            options = (height, width, divisor, self.image_format)
            image = self._cache.get(file_name, *options, make=decode)
        if divisor > 1 and image.shape[:2] != (height, width):
            return image, divisor
        detection_utils.check_image_size(record, image)
        return image, 1

    def _decode_checked(self, record: dict[str, Any], divisor: int) -> np.ndarray:
        """(H, W, C) of the size annotated, or of this divided by the divisor."""
        image, used = self._decode(record["file_name"], divisor)
        if used > 1:
            if image.shape[:2] == (record["height"] // used, record["width"] // used):
                return image
            image, _ = self._decode(record["file_name"], 1)  # for a message with its true size
        detection_utils.check_image_size(record, image)
        return image

    def _decode(self, file_name: str, divisor: int) -> tuple[np.ndarray, int]:
        """(H, W, C), and what the sides have been divided by: 1 if OpenCV cannot decode it."""
        with open(file_name, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as header:
            check_mode(header)
            is_for_opencv = self.image_format in ("BGR", "RGB") and _is_plain_jpeg(header, content)
        image = None
        if is_for_opencv:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), _DECODING_FLAGS[divisor])
        if image is None:
            return detection_utils.read_image(file_name, self.image_format), 1
        if self.image_format == "RGB":
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return image, divisor

    def _divisor(self, height: int, width: int) -> int:
        if self._largest_scale is None or not height or not width:
            return 1
        scale = self._largest_scale(height, width)
        return max(
            divisor
            for divisor in _DECODING_FLAGS
            # Only whole parts: boxes keep their places to the last bit.
            if divisor == 1
            or (_MIN_SHRINKING * divisor * scale <= 1 and not (height % divisor or width % divisor))
        )


def _build_cache(cfg: CfgNode) -> ImageCache | None:
    options = cfg.DATALOADER
    # detectron2's loader for PreciseBN, without loading processes, would keep as much again.
    is_second = cfg.TEST.PRECISE_BN.ENABLED and not options.NUM_WORKERS
    if not options.CACHE_GB or is_second:
        return None
    return ImageCache(
        Path(cfg.OUTPUT_DIR, IMAGE_CACHE),
        max_bytes=options.CACHE_GB * 1e9,
        num_writers=comm.get_local_size() * max(1, options.NUM_WORKERS),
    )


def _is_plain_jpeg(header: Image.Image, content: bytes) -> bool:
    """Whether OpenCV decodes a file to the pixels that Pillow gives."""
    return (
        header.format in ("JPEG", "MPO")
        and header.mode in ("RGB", "L")
        # OpenCV fills what is missing of a truncated file with gray; Pillow raises an error.
        and b"\xff\xd9" in content[-64:]
        # Pillow looks for the orientation there too.
        and not ("xmp" in header.info and orientation_of(header) != 1)
    )


def _to_tensor(image: np.ndarray) -> Tensor:
    """(C, H, W) of an image (H, W, C) of uint8."""
    if image.strides[1] < 0:  # a view by np.flip, which OpenCV mirrors back faster than NumPy
        image = cv2.flip(image[:, ::-1], 1).reshape(image.shape)
    planes = np.empty((image.shape[2], *image.shape[:2]), dtype=image.dtype)
    cv2.split(image, list(planes))
    return torch.from_numpy(planes)


class _ResizedByTorch(T.Augmentation):
    """An augmentation that resizes, by torch instead of Pillow."""

    def __init__(self, augmentation: T.Augmentation) -> None:
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        found = self.augmentation.get_transform(image)
        if not isinstance(found, T.ResizeTransform):
            return found
        return TorchResizeTransform(found.h, found.w, found.new_h, found.new_w)


class TorchResizeTransform(T.ResizeTransform):
    """A bilinear :class:`detectron2.data.transforms.ResizeTransform` with torch's kernels.

    They weight pixels as Pillow's do, with weights of fewer bits.
    """

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image.

        Args:
            img: (H, W, C) uint8.
            interp: another interpolation is left to Pillow.
        """
        if interp is not None or img.dtype != np.uint8:
            return super().apply_image(img, interp)
        image = torch.from_numpy(np.require(img, requirements=["C", "W"])).permute(2, 0, 1)
        resized = resize(image, [self.new_h, self.new_w], antialias=True)
        return resized.permute(1, 2, 0).numpy()
