"""What a label assignment sees, and how it explains itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from detectron2.structures import Instances
from torch import Tensor

from ..grid import Pairs

__all__ = ["Explanation", "GroundTruth", "Predictions", "decode"]


@dataclass(frozen=True)
class Predictions:
    """Predictions at the R locations of N images, all levels after one another.

    Attributes:
        cls_logits: (N, R, K) class logits. In memory the classes lie before the locations, as a
            convolution leaves them, so that flattening costs one copy.
        ltrb: (N, R, 4) distances to the left, top, right and bottom side, >= 0, in pixels.
        obj_logits: (N, R) objectness logits, or None for a head without objectness. The class
            probability is then σ(cls) · σ(obj), for every strategy.
        ctr_logits: (N, R) center-ness logits, or None for a head without center-ness.
    """

    cls_logits: Tensor
    ltrb: Tensor
    obj_logits: Tensor | None
    ctr_logits: Tensor | None = None

    @classmethod
    def from_levels(
        cls,
        cls_logits: Sequence[Tensor],
        ltrb: Sequence[Tensor],
        obj_logits: Sequence[Tensor] | None,
        ctr_logits: Sequence[Tensor] | None = None,
    ) -> Predictions:
        """Flatten per-level (N, K, H, W), (N, 4, H, W), twice (N, 1, H, W), in float32 at least."""
        return cls(
            cls_logits=_flatten(cls_logits).transpose(1, 2),
            ltrb=_flatten(ltrb).transpose(1, 2).contiguous(),
            obj_logits=None if obj_logits is None else _flatten(obj_logits).squeeze(1),
            ctr_logits=None if ctr_logits is None else _flatten(ctr_logits).squeeze(1),
        )


def _flatten(per_level: Sequence[Tensor]) -> Tensor:
    """(N, C, Hi, Wi) of each level to (N, C, R); half precision becomes float32."""
    flat = torch.cat([x.flatten(2) for x in per_level], dim=2)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


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

    def padded_boxes(self) -> tuple[Tensor, Tensor]:
        """(N, m, 4) boxes of each image, zeros after the last, and (N, m) which are real."""
        most = max(self.counts)
        nth = torch.arange(len(self.boxes), device=self.boxes.device)
        nth = nth - self.first_object[self.image_index]
        boxes = self.boxes.new_zeros(len(self.counts), most, 4)
        boxes[self.image_index, nth] = self.boxes
        is_object = torch.arange(most, device=boxes.device) < self.objects_per_image[:, None]
        return boxes, is_object


@dataclass(frozen=True)
class Explanation:
    """What a strategy decided about every pair of a batch, by the numbers its losses are made of.

    Attributes:
        pairs: which object and location each number speaks of (P of them).
        maps: what the strategy computes on its way, by name: (P,) each, without gradient.
        primary: the one of ``maps`` that says how much each location learns its object.
    """

    pairs: Pairs
    maps: dict[str, Tensor]
    primary: str


def decode(ltrb: Tensor, locations: Tensor) -> Tensor:
    """Boxes (..., 4), xyxy in pixels, of (..., 4) distances and (..., 2) locations in pixels."""
    return torch.cat((locations - ltrb[..., :2], locations + ltrb[..., 2:]), dim=-1)
