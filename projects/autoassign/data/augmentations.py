"""The augmentations of training, as the config says."""

from __future__ import annotations

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation

__all__ = ["build_train_augmentations", "largest_scale"]


def build_train_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """detectron2's augmentations, and those of ``INPUT.COLOR_JITTER`` and ``SCALE_JITTER``."""
    options = cfg.INPUT
    augmentations: list[T.Augmentation] = build_augmentation(cfg, is_train=True)
    if options.SCALE_JITTER:
        # In place of ResizeShortestEdge, which detectron2 puts first.
        side = options.MAX_SIZE_TRAIN
        augmentations[:1] = [
            T.ResizeScale(*options.SCALE_JITTER, side, side),
            T.FixedSizeCrop((side, side), pad=False),
        ]
    if options.COLOR_JITTER:
        low, high = 1 - options.COLOR_JITTER, 1 + options.COLOR_JITTER
        saturation = _BGRSaturation if options.FORMAT == "BGR" else T.RandomSaturation
        color = (T.RandomBrightness, T.RandomContrast, saturation)
        augmentations[:0] = [augmentation(low, high) for augmentation in color]
    if options.CROP.ENABLED:
        augmentations.insert(0, T.RandomCrop(options.CROP.TYPE, options.CROP.SIZE))
    return augmentations


def largest_scale(cfg: CfgNode, height: int, width: int) -> float:
    """The greatest factor by which these augmentations scale an image of this size."""
    options = cfg.INPUT
    longest = options.MAX_SIZE_TRAIN / max(height, width)
    if options.SCALE_JITTER:
        return max(options.SCALE_JITTER) * longest
    return min(max(options.MIN_SIZE_TRAIN) / min(height, width), longest)


class _BGRSaturation(T.RandomSaturation):
    """detectron2's, which weights the channels of an image as R, G and B."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return super().get_transform(image[:, :, ::-1])
