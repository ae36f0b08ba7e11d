"""The objects of a batch as flat tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    _source: GroundTruth | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_instances(cls, instances: Sequence[Instances]) -> GroundTruth:
        """From detectron2's ``gt_boxes`` and ``gt_classes``."""
        return cls(
            boxes=torch.cat([x.gt_boxes.tensor for x in instances]),
            classes=torch.cat([x.gt_classes for x in instances]),
            counts=tuple(len(x) for x in instances),
        )

    def to(self, device: torch.device) -> GroundTruth:
        """The same objects on this device; the copy to a GPU is not waited for."""
        return GroundTruth(
            boxes=self.boxes.to(device, non_blocking=True),
            classes=self.classes.to(device, non_blocking=True),
            counts=self.counts,
            _source=self,
        )

    @cached_property
    def host_boxes(self) -> Tensor:
        """:attr:`boxes` on the CPU, where their pairs are counted without waiting for a GPU.

        Objects that :meth:`to` has brought to the GPU are known there already.
        """
        source = self if self._source is None else self._source
        return source.boxes.cpu()

    @cached_property
    def objects_per_image(self) -> Tensor:
        """(N,) number of objects of each image."""
        return torch.tensor(self.counts).to(self.boxes.device, non_blocking=True)

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
    def place_in_image(self) -> Tensor:
        """(M,) number of each object within its image, from 0."""
        index = torch.arange(len(self.boxes), device=self.boxes.device)
        return index - self.first_object[self.image_index]

    @cached_property
    def centers(self) -> Tensor:
        """(M, 2) x and y of the center of each box in pixels."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @cached_property
    def areas(self) -> Tensor:
        """(M,) area of each box in pixels²."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)

    def padded_boxes(self) -> tuple[Tensor, Tensor]:
        """(N, m, 4) boxes of each image, zeros after the last, and (N, m) which are real."""
        most = max(self.counts)
        boxes = self.boxes.new_zeros(len(self.counts), most, 4)
        boxes[self.image_index, self.place_in_image] = self.boxes
        is_object = torch.arange(most, device=boxes.device) < self.objects_per_image[:, None]
        return boxes, is_object
