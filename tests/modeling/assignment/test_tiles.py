"""IoUs of objects with the predicted boxes that overlap them, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from autoassign.modeling import GroundTruth, make_grid
from autoassign.modeling.assignment import tiles

GRID = make_grid((8, 16, 32), ((13, 20), (7, 10), (4, 5)), torch.device("cpu"))


def random_batch(counts: tuple[int, ...], scale: float) -> tuple[Tensor, GroundTruth]:
    """Predicted boxes of about ``scale`` pixels, and objects of 5 to 60 pixels."""
    options = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(0)}
    ltrb = scale * torch.rand(len(counts), GRID.num_locations, 4, **options)
    boxes = torch.cat((GRID.locations - ltrb[..., :2], GRID.locations + ltrb[..., 2:]), dim=-1)
    corner = 150 * torch.rand(sum(counts), 2, **options) - 10
    objects = torch.cat((corner, corner + 5 + 55 * torch.rand(sum(counts), 2, **options)), dim=1)
    return boxes, GroundTruth(objects, torch.zeros(sum(counts)).long(), counts)


def dense_iou(boxes: Tensor, gt: GroundTruth) -> Tensor:
    """(M, R)."""
    per_image = [
        box_iou(objects, predicted)
        for objects, predicted in zip(gt.boxes.split(gt.counts), boxes, strict=True)
    ]
    return torch.cat(per_image)


def collected(parts: list[tiles.Overlaps], gt: GroundTruth) -> Tensor:
    """(M, R) IoUs of the pairs of all parts, none of which comes twice."""
    dense = torch.zeros(len(gt.boxes), GRID.num_locations, dtype=torch.float64)
    for part in parts:
        row, column = (part.iou > 0).nonzero(as_tuple=True)
        pairs, iou = part.pairs(row, column, gt, GRID), part.iou[row, column]
        assert (dense[pairs.objects, pairs.locations] == 0).all()
        assert torch.equal(
            pairs.batch_locations,
            pairs.locations + gt.image_index[pairs.objects] * GRID.num_locations,
        )
        dense[pairs.objects, pairs.locations] = iou
    return dense


@pytest.mark.parametrize("scale", [0.0, 1.0, 25.0, 400.0])
@pytest.mark.parametrize("counts", [(7,), (3, 0, 12), (0, 40), (0,)])
@pytest.mark.parametrize("pairs_at_once", [1, 64 * 20, 2**17])
def test_all_overlaps_are_found_once(monkeypatch, counts, scale, pairs_at_once):
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", pairs_at_once)
    boxes, gt = random_batch(counts, scale)
    parts = list(tiles.object_overlaps(boxes, gt, GRID))
    expected = dense_iou(boxes, gt)
    torch.testing.assert_close(collected(parts, gt), expected, rtol=1e-12, atol=1e-15)
    objects = torch.cat([part.objects for part in parts]) if parts else torch.zeros(0)
    assert len(objects.unique()) == len(objects)  # each object is in one part


def test_parts_are_bounded(monkeypatch):
    monkeypatch.setattr(tiles, "_PAIRS_AT_ONCE_CPU", 64 * 50)
    boxes, gt = random_batch((40, 10), 400.0)
    sizes = [part.iou.numel() for part in tiles.object_overlaps(boxes, gt, GRID)]
    assert len(sizes) > 5
    assert max(sizes) <= 64 * 50


def test_of_wanted_locations_and_objects_alone():
    boxes, gt = random_batch((6, 9), 30.0)
    wanted = torch.rand(boxes.shape[:2], generator=torch.Generator().manual_seed(1)) < 0.3
    objects = torch.tensor([1, 7, 14])
    parts = list(tiles.object_overlaps(boxes, gt, GRID, wanted=wanted, objects=objects))
    expected = torch.zeros(15, GRID.num_locations, dtype=torch.float64)
    dense = dense_iou(boxes, gt) * wanted[gt.image_index]
    expected[objects] = dense[objects]
    torch.testing.assert_close(collected(parts, gt), expected, rtol=1e-12, atol=1e-15)


def test_the_greatest_ious_of_each_object():
    boxes, gt = random_batch((8,), 30.0)
    expected = dense_iou(boxes, gt).topk(3, dim=1).values
    for part in tiles.object_overlaps(boxes, gt, GRID):
        row, column = part.greatest(3)
        assert part.pairs(row, column, gt, GRID).objects.tolist() == [
            n for n in part.objects.tolist() for _ in range(3)
        ]
        torch.testing.assert_close(part.iou[row, column].view(-1, 3), expected[part.objects])


def test_objects_are_compared_only_with_tiles_they_touch():
    # Four tiles of 64 × 64 pixels; predicted boxes reach 3 pixels beyond their tile.
    grid = make_grid((8,), ((16, 16),), torch.device("cpu"))
    boxes = torch.cat((grid.locations - 3, grid.locations + 3), dim=1)[None]
    objects = torch.tensor([[10.0, 10.0, 40.0, 40.0], [50.0, 20.0, 70.0, 60.0]])
    gt = GroundTruth(objects, torch.tensor([0, 0]), (2,))
    compared = {}
    for part in tiles.object_overlaps(boxes, gt, grid):
        for index, touched in zip(part.objects.tolist(), part.tiles, strict=True):
            compared[index] = touched[touched < len(grid.tiles)].tolist()
    assert compared == {0: [0], 1: [0, 1]}
