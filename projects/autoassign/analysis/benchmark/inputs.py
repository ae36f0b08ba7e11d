"""Random inputs for timing a detection loss.

The module needs torch alone, so that a script in another environment (``tools/mmdet_baseline.py``)
can load this file by its path and time other implementations on the very same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LossInputs", "make_loss_inputs", "make_objects"]


@dataclass(frozen=True)
class LossInputs:
    """Dense predictions, level by level, and the objects of every image.

    The predictions are leaf tensors that require gradients. Shapes: N images, K classes, level
    size H × W, n objects in an image.

    Attributes:
        cls_logits: one (N, K, H, W) tensor per level.
        ltrb: one (N, 4, H, W) tensor per level; distances to the four sides in pixels.
        obj_logits: one (N, 1, H, W) tensor per level.
        extra_logits: one (N, 1, H, W) tensor per level; what strategies ask for in addition.
        gt_boxes: one (n, 4) tensor per image; xyxy in pixels.
        gt_classes: one (n,) tensor of int64 per image.
        strides: pixels between neighbouring locations, per level.
        image_size: (height, width) in pixels.
        num_classes: K.
        features: one (N, C, H, W) tensor per level; for strategies that see features.
    """

    cls_logits: list[Tensor]
    ltrb: list[Tensor]
    obj_logits: list[Tensor]
    extra_logits: list[Tensor]
    gt_boxes: list[Tensor]
    gt_classes: list[Tensor]
    strides: tuple[int, ...]
    image_size: tuple[int, int]
    num_classes: int
    features: list[Tensor]


def make_loss_inputs(
    num_objects: int,
    *,
    num_images: int = 2,
    image_size: tuple[int, int] = (800, 1344),
    strides: Sequence[int] = (8, 16, 32, 64, 128),
    num_classes: int = 80,
    box_size: tuple[float, float] = (10.0, 120.0),
    box_scale: float = 1.0,
    feature_channels: int = 0,
    seed: int = 0,
) -> LossInputs:
    """Draw the predictions of a half-trained detector and random objects to train it on.

    Class logits are drawn from N(-4, 1), objectness and extra logits and features from N(0, 1),
    distances uniformly from 5 to 60 pixels. Widths and heights of the objects are uniform in
    ``box_size``, and every object lies inside the image. The same arguments give the same numbers,
    and the predictions do not depend on the number of objects.

    Args:
        num_objects: objects in each image.
        num_images: images in the batch.
        image_size: (height, width) in pixels; a level has ceil(height / stride) rows.
        strides: pixels between neighbouring locations, per level.
        num_classes: number of object classes.
        box_size: least and greatest side of an object in pixels.
        box_scale: multiplies the predicted distances: 16 makes every predicted box 16× too large.
        feature_channels: C; 0 for no features.
        seed: of the generator.

    Raises:
        ValueError: the objects do not fit in the image, or ``box_size`` is in descending order.
    """
    height, width = image_size
    least, greatest = box_size
    if not least <= greatest <= min(image_size):
        raise ValueError(
            f"objects of {least:g} to {greatest:g} px: the sizes must ascend and fit in "
            f"{height}×{width} px"
        )
    generator = torch.Generator().manual_seed(seed)
    cls_logits, ltrb, obj_logits, extra_logits = [], [], [], []
    for stride in strides:
        size = (math.ceil(height / stride), math.ceil(width / stride))
        cls_logits.append(torch.randn(num_images, num_classes, *size, generator=generator) - 4)
        distances = torch.rand(num_images, 4, *size, generator=generator) * 55 + 5
        ltrb.append(distances * box_scale)
        obj_logits.append(torch.randn(num_images, 1, *size, generator=generator))
        extra_logits.append(torch.randn(num_images, 1, *size, generator=generator))

    gt_boxes, gt_classes = [], []
    for _ in range(num_images):
        boxes, classes = make_objects(num_objects, image_size, num_classes, generator, box_size)
        gt_boxes.append(boxes)
        gt_classes.append(classes)

    features = []
    if feature_channels:
        shape = (num_images, feature_channels)
        features = [torch.randn(*shape, *x.shape[2:], generator=generator) for x in ltrb]
    for level in (*features, *cls_logits, *ltrb, *obj_logits, *extra_logits):
        level.requires_grad_()
    return LossInputs(
        cls_logits=cls_logits,
        ltrb=ltrb,
        obj_logits=obj_logits,
        extra_logits=extra_logits,
        gt_boxes=gt_boxes,
        gt_classes=gt_classes,
        strides=tuple(strides),
        image_size=image_size,
        num_classes=num_classes,
        features=features,
    )


def make_objects(
    num_objects: int,
    image_size: tuple[int, int],
    num_classes: int,
    generator: torch.Generator,
    box_size: tuple[float, float] = (10.0, 120.0),
) -> tuple[Tensor, Tensor]:
    """(n, 4) random boxes inside an image, xyxy in pixels, and their (n,) classes."""
    height, width = image_size
    sides = torch.empty(num_objects, 2).uniform_(*box_size, generator=generator)
    room = torch.tensor([width, height]) - sides
    top_left = torch.rand(num_objects, 2, generator=generator) * room
    classes = torch.randint(num_classes, (num_objects,), generator=generator)
    return torch.cat((top_left, top_left + sides), dim=1), classes
