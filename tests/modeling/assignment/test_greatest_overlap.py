"""The greatest IoU with any object of the image, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from autoassign.modeling import GroundTruth, make_grid
from autoassign.modeling.assignment import greatest_overlap as module
from autoassign.modeling.assignment import tiles

GRID = make_grid((8, 16, 32), ((13, 20), (7, 10), (4, 5)), torch.device("cpu"))


def random_batch(
    counts: tuple[int, ...], scale: float, seed: int = 0
) -> tuple[Tensor, GroundTruth]:
    """Predicted boxes of about ``scale`` pixels, and objects of 5 to 60 pixels."""
    generator = torch.Generator().manual_seed(seed)
    options = {"dtype": torch.float64, "generator": generator}
    ltrb = scale * torch.rand(len(counts), GRID.num_locations, 4, **options)
    boxes = torch.cat((GRID.locations - ltrb[..., :2], GRID.locations + ltrb[..., 2:]), dim=-1)
    corner = 150 * torch.rand(sum(counts), 2, **options) - 10
    side = 5 + 55 * torch.rand(sum(counts), 2, **options)
    gt = GroundTruth(
        boxes=torch.cat((corner, corner + side), dim=1),
        classes=torch.zeros(sum(counts), dtype=torch.long),
        counts=counts,
    )
    return boxes, gt


def assert_equals_torchvision(boxes: Tensor, wanted: Tensor, gt: GroundTruth) -> None:
    actual = module.max_iou(boxes, wanted, gt, GRID)
    assert actual.shape == wanted.shape
    for image, objects in enumerate(gt.boxes.split(gt.counts)):
        expected = torch.zeros_like(actual[image])
        if len(objects):
            expected = box_iou(boxes[image], objects).amax(dim=1)
        here = wanted[image]
        torch.testing.assert_close(actual[image][here], expected[here], rtol=1e-12, atol=1e-15)


def random_wanted(boxes: Tensor, share: float) -> Tensor:
    return torch.rand(boxes.shape[:2], generator=torch.Generator().manual_seed(1)) < share


@pytest.mark.parametrize("scale", [1.0, 25.0, 400.0, 1e4])
@pytest.mark.parametrize("counts", [(7,), (3, 0, 12), (0, 40), (1, 0)])
@pytest.mark.parametrize("share", [0.03, 0.5, 1.0])
def test_equals_torchvision(counts, scale, share):
    boxes, gt = random_batch(counts, scale)
    assert_equals_torchvision(boxes, random_wanted(boxes, share), gt)


@pytest.mark.parametrize("pairs_at_once", [1, 64 * 5, 64 * 100])
def test_work_in_many_chunks_gives_the_same(monkeypatch, pairs_at_once):
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", pairs_at_once)
    boxes, gt = random_batch((60, 3, 0, 25), scale=60.0)
    assert_equals_torchvision(boxes, random_wanted(boxes, 0.7), gt)


def test_number_of_pairs_at_once_is_bounded(monkeypatch):
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", 64 * 50)
    sizes = []
    compute = module._max_iou_with

    def recorded(boxes, objects):
        sizes.append(boxes.shape[0] * boxes.shape[1] * objects.shape[1])
        return compute(boxes, objects)

    monkeypatch.setattr(module, "_max_iou_with", recorded)
    boxes, gt = random_batch((40, 10), scale=1e4)
    module.max_iou(boxes, random_wanted(boxes, 1.0), gt, GRID)
    assert len(sizes) > 5
    assert max(sizes) <= 64 * 50


def test_objects_are_compared_only_with_tiles_they_touch(monkeypatch):
    compared = []
    compute = module._max_iou_with

    def recorded(boxes, objects):
        compared.append(objects.shape[:2])
        return compute(boxes, objects)

    monkeypatch.setattr(module, "_max_iou_with", recorded)
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", 1)  # a tile at a time
    # Four tiles of 64 × 64 pixels; predicted boxes reach 3 pixels beyond their tile.
    grid = make_grid((8,), ((16, 16),), torch.device("cpu"))
    boxes = torch.cat((grid.locations - 3, grid.locations + 3), dim=1)[None]
    gt = GroundTruth(
        boxes=torch.tensor([[10.0, 10.0, 40.0, 40.0], [20.0, 20.0, 60.0, 60.0]]),
        classes=torch.tensor([0, 0]),
        counts=(2,),
    )
    module.max_iou(boxes, torch.ones(1, 256, dtype=torch.bool), gt, grid)
    assert compared == [(1, 2)]


def test_without_objects_or_wanted_locations_it_is_zero():
    boxes, gt = random_batch((0, 0), scale=30.0)
    assert module.max_iou(boxes, random_wanted(boxes, 1.0), gt, GRID).eq(0).all()
    boxes, gt = random_batch((5, 5), scale=30.0)
    assert module.max_iou(boxes, random_wanted(boxes, 0.0), gt, GRID).eq(0).all()


def test_box_without_area_has_iou_zero():
    _, gt = random_batch((4,), scale=1.0)
    boxes = GRID.locations.repeat(1, 1, 2).double()
    wanted = torch.ones(boxes.shape[:2], dtype=torch.bool)
    assert module.max_iou(boxes, wanted, gt, GRID).eq(0).all()
