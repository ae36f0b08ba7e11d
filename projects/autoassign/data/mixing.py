"""Mosaic and mixup: training images made of several images of the dataset."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.data import MapDataset
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import resize

__all__ = ["MixedDataset", "mixup", "mosaic"]

_GRAY = 114
# Each image of a mosaic is scaled by a factor drawn from here.
_MOSAIC_SCALES = (0.5, 1.0)
# An object of which less of the area is left in a mosaic is no object there.
_MIN_VISIBLE = 0.1


class MixedDataset(Dataset):
    """The samples of a dataset, some of them mixed with others.

    Random numbers are those of Python's ``random``.
    """

    def __init__(self, dataset: MapDataset, *, mosaic_prob: float, mixup_prob: float) -> None:
        """
        Args:
            dataset: of samples that a mapper has made: ``image`` (C, H, W), and ``instances`` with
                ``gt_boxes`` and ``gt_classes``.
            mosaic_prob: how probably a sample is a mosaic of itself and three others.
            mixup_prob: how probably another sample, which may be a mosaic, is blended with it.
        """
        self._dataset = dataset
        self._mosaic_prob = mosaic_prob
        self._mixup_prob = mixup_prob

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self._mosaic_or_sample(index)
        if random.random() < self._mixup_prob:
            sample = mixup(sample, self._mosaic_or_sample(random.randrange(len(self))))
        return sample

    def _mosaic_or_sample(self, index: int) -> dict[str, Any]:
        if random.random() >= self._mosaic_prob:
            return self._dataset[index]
        indices = [index, *(random.randrange(len(self)) for _ in range(3))]
        center = (random.uniform(0.25, 0.75), random.uniform(0.25, 0.75))
        scales = [random.uniform(*_MOSAIC_SCALES) for _ in range(4)]
        return mosaic([self._dataset[x] for x in indices], center, scales)


def mosaic(
    samples: Sequence[dict[str, Any]], center: tuple[float, float], scales: Sequence[float]
) -> dict[str, Any]:
    """Four images around a point, each with a corner there.

    After YOLOv4 (arXiv 2004.10934). What no image covers is gray. Boxes are clipped to the
    visible part of their image; those of which less than a tenth of the area is left are dropped.

    Args:
        samples: upper left, upper right, lower left, lower right. The result has the size of the
            first one, and its other entries.
        center: the point, (x, y) relative to that size.
        scales: what each image is scaled by.
    """
    first = samples[0]["image"]
    height, width = first.shape[1:]
    center_x, center_y = round(center[0] * width), round(center[1] * height)
    canvas = torch.full_like(first, _GRAY)
    boxes, classes = [], []
    for number, (sample, scale) in enumerate(zip(samples, scales, strict=True)):
        h, w = (max(1, round(side * scale)) for side in sample["image"].shape[1:])
        image = resize(sample["image"], [h, w], antialias=True)
        is_right, is_lower = number % 2, number // 2
        # Where the image's upper left corner is, and the part of the canvas that is its own.
        x, y = center_x - (0 if is_right else w), center_y - (0 if is_lower else h)
        x0, x1 = (center_x, min(width, x + w)) if is_right else (max(0, x), center_x)
        y0, y1 = (center_y, min(height, y + h)) if is_lower else (max(0, y), center_y)
        canvas[:, y0:y1, x0:x1] = image[:, y0 - y : y1 - y, x0 - x : x1 - x]
        old_h, old_w = sample["image"].shape[1:]
        factors = torch.tensor([w / old_w, h / old_h, w / old_w, h / old_h])
        moved = sample["instances"].gt_boxes.tensor * factors + torch.tensor([x, y, x, y])
        visible, is_left = _clip(moved, (x0, y0, x1, y1))
        boxes.append(visible[is_left])
        classes.append(sample["instances"].gt_classes[is_left])
    return {**samples[0], "image": canvas, "instances": _instances(canvas, boxes, classes)}


def _clip(boxes: Tensor, region: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """(N, 4) parts of boxes in a region, and (N,) whether enough of each is left."""
    x0, y0, x1, y1 = region
    low, high = torch.tensor([x0, y0, x0, y0]), torch.tensor([x1, y1, x1, y1])
    clipped = boxes.maximum(low).minimum(high)
    return clipped, Boxes(clipped).area() > _MIN_VISIBLE * Boxes(boxes).area()


def mixup(sample: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The mean of two images, with the objects of both.

    After arXiv 1710.09412 and, for detection, 1902.04103. The images share their upper left corner;
    where there is only one of them, its pixels are kept. The result is as large as needed for
    both: a landscape of 1333 × 800 and a portrait of 800 × 1333 give 1333 × 1333.

    Args:
        sample: an image; the result has its other entries.
        other: another one.
    """
    images = (sample["image"], other["image"])
    channels = images[0].shape[0]
    height, width = (max(image.shape[i] for image in images) for i in (1, 2))
    total = torch.zeros((channels, height, width))
    count = torch.zeros((height, width))
    for image in images:
        total[:, : image.shape[1], : image.shape[2]] += image
        count[: image.shape[1], : image.shape[2]] += 1
    blended = torch.where(count > 0, total / count.clamp(min=1), _GRAY)
    blended = blended.round().to(images[0].dtype)
    both = [sample["instances"], other["instances"]]
    boxes, classes = [x.gt_boxes.tensor for x in both], [x.gt_classes for x in both]
    return {**sample, "image": blended, "instances": _instances(blended, boxes, classes)}


def _instances(image: Tensor, boxes: list[Tensor], classes: list[Tensor]) -> Instances:
    height, width = image.shape[1:]
    return Instances(
        (height, width), gt_boxes=Boxes(torch.cat(boxes)), gt_classes=torch.cat(classes)
    )
