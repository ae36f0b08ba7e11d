"""How predictions are flattened and the objects of a batch are indexed."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances

from autoassign.modeling import GroundTruth, Predictions

SIZES = ((2, 3), (1, 2))


def levels(channels: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Value = image · 1000 + channel · 100 + level · 10 + location within the level."""
    tensors = []
    for level, (height, width) in enumerate(SIZES):
        image = torch.arange(2).view(2, 1, 1) * 1000
        channel = torch.arange(channels).view(1, channels, 1) * 100
        values = image + channel + level * 10 + torch.arange(height * width)
        tensors.append(values.view(2, channels, height, width).to(dtype))
    return tensors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype):
    predictions = Predictions.from_levels(
        cls_logits=levels(3, dtype),
        ltrb=levels(4, dtype),
        obj_logits=levels(1, dtype),
        extra={"ctr": levels(1, dtype)},
    )
    assert predictions.cls_logits.dtype == torch.float32
    assert predictions.ltrb.dtype == torch.float32
    assert predictions.obj_logits.dtype == torch.float32
    assert predictions.extra["ctr"].dtype == torch.float32


def test_levels_are_flattened_one_after_another():
    predictions = Predictions.from_levels(
        cls_logits=levels(3, torch.float64),
        ltrb=levels(4, torch.float64),
        obj_logits=levels(1, torch.float64),
        extra={"shape": levels(2, torch.float64)},
    )
    assert predictions.cls_logits.shape == (2, 8, 3)
    assert predictions.ltrb.shape == (2, 8, 4)
    assert predictions.obj_logits.shape == (2, 8)
    assert predictions.cls_logits.dtype == torch.float64
    places = [0, 1, 2, 3, 4, 5, 10, 11]
    assert predictions.cls_logits[1, :, 2].tolist() == [1200 + x for x in places]
    assert predictions.ltrb[0, :, 3].tolist() == [300 + x for x in places]
    assert predictions.obj_logits[1].tolist() == [1000 + x for x in places]
    assert predictions.extra["shape"][1, :, 1].tolist() == [1100 + x for x in places]


def test_head_without_objectness():
    assert Predictions.from_levels(cls_logits=levels(3), ltrb=levels(4)).obj_logits is None


def instances(boxes: list[list[float]], classes: list[int]) -> Instances:
    result = Instances((64, 96))
    result.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    result.gt_classes = torch.tensor(classes, dtype=torch.long)
    return result


def test_objects_of_the_batch_are_joined():
    gt = GroundTruth.from_instances(
        [
            instances([[0, 1, 2, 3], [4, 5, 6, 7]], [3, 1]),
            instances([], []),
            instances([[8, 9, 10, 11]], [2]),
        ]
    )
    assert gt.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert gt.classes.tolist() == [3, 1, 2]
    assert gt.counts == (2, 0, 1)
    assert gt.objects_per_image.tolist() == [2, 0, 1]
    assert gt.first_object.tolist() == [0, 2, 2]
    assert gt.image_index.tolist() == [0, 0, 2]
    boxes, is_object = gt.padded_boxes()
    assert is_object.tolist() == [[True, True], [False, False], [True, False]]
    assert boxes[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert boxes[2].tolist() == [[8, 9, 10, 11], [0, 0, 0, 0]]


def test_batch_without_objects():
    gt = GroundTruth.from_instances([instances([], []), instances([], [])])
    assert gt.counts == (0, 0)
    assert gt.image_index.tolist() == []
    boxes, is_object = gt.padded_boxes()
    assert boxes.shape == (2, 0, 4)
    assert is_object.shape == (2, 0)
