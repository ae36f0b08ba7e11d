"""The objects of a batch as flat tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from detectron2.structures import Instances
from torch import Tensor

__all__ = ["GroundTruth"]


@dataclass(frozen=True)
class GroundTruth:
    """The M objects of a batch of N images, image by image.

    Attributes:
        boxes: (M, 4) xyxy in pixels.
        classes: (M,) class indices.
        counts: number of objects of each image (N of them, on the host).
    """

    boxes: Tensor
    classes: Tensor
    counts: tuple[int, ...]

    @classmethod
    def from_instances(cls, instances: Sequence[Instances]) -> GroundTruth:
        """From detectron2's ``gt_boxes`` and ``gt_classes``."""
        return cls(
            boxes=torch.cat([x.gt_boxes.tensor for x in instances]),
            classes=torch.cat([x.gt_classes for x in instances]),
            counts=tuple(len(x) for x in instances),
        )

    @cached_property
    def objects_per_image(self) -> Tensor:
        """(N,) number of objects of each image."""
        return torch.tensor(self.counts, device=self.boxes.device)

    @cached_property
    def first_object(self) -> Tensor:
        """(N,) index of the first object of each image."""
        return self.objects_per_image.cumsum(0) - self.objects_per_image

    @cached_property
    def image_index(self) -> Tensor:
        """(M,) image of each object."""
        images = torch.arange(len(self.counts), device=self.boxes.device)
        return images.repeat_interleave(self.objects_per_image, output_size=len(self.boxes))

    @cached_property
    def areas(self) -> Tensor:
        """(M,) area of each box in pixels²."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)

    def padded_boxes(self) -> tuple[Tensor, Tensor]:
        """(N, m, 4) boxes of each image, zeros after the last, and (N, m) which are real."""
        most = max(self.counts)
        nth = torch.arange(len(self.boxes), device=self.boxes.device)
        nth = nth - self.first_object[self.image_index]
        boxes = self.boxes.new_zeros(len(self.counts), most, 4)
        boxes[self.image_index, nth] = self.boxes
        is_object = torch.arange(most, device=boxes.device) < self.objects_per_image[:, None]
        return boxes, is_object
