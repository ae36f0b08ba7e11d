import pytest
import torch
from detectors import OPTIONS, assert_same, picture
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model
from detectron2.structures import Instances
from narrow_model import narrow_cfg
from torch import nn

from autoassign.modeling import PointDetector, PointDetectorWithTTA

AUG = ("TEST.AUG.ENABLED", True, "TEST.AUG.MAX_SIZE", 400)
EVERY_SIZE = (0.0, 1e5)
NO_SIZE = (1e5, 1e5)


@pytest.fixture(scope="module")
def model() -> PointDetector:
    torch.manual_seed(0)
    model = build_model(narrow_cfg(*OPTIONS)).eval()
    nn.init.normal_(model.head.cls_score.weight, std=0.3)
    return model


def augmented(
    model: PointDetector, sizes: tuple[int, ...], *options: object
) -> PointDetectorWithTTA:
    cfg = narrow_cfg(*OPTIONS, *AUG, "TEST.AUG.MIN_SIZES", sizes, *options)
    return PointDetectorWithTTA(cfg, model)


def image(mirrored: bool = False) -> torch.Tensor:
    pixels = torch.from_numpy(picture(90, 120)).permute(2, 0, 1)
    return pixels.flip(2) if mirrored else pixels


def detect(model: nn.Module, pixels: torch.Tensor) -> Instances:
    with torch.no_grad():
        return model([{"image": pixels, "height": 90, "width": 120}])[0]["instances"]


@pytest.mark.parametrize("size", [90, 64, 160])
def test_one_size_without_mirroring_is_plain_inference(model, size):
    resized = (
        ResizeShortestEdge(size, 400).get_transform(picture(90, 120)).apply_image(picture(90, 120))
    )
    plain = detect(model, torch.from_numpy(resized).permute(2, 0, 1))
    assert_same(detect(augmented(model, (size,), "TEST.AUG.FLIP", False), image()), plain)


def test_with_mirroring_the_mirror_image_has_the_mirrored_boxes(model):
    views = augmented(model, (96,), "TEST.AUG.FLIP", True)
    found, mirrored = detect(views, image()), detect(views, image(mirrored=True))
    x1, y1, x2, y2 = mirrored.pred_boxes.tensor.unbind(1)
    mirrored.pred_boxes.tensor = torch.stack((120 - x2, y1, 120 - x1, y2), dim=1)
    assert_same(found, mirrored)


@pytest.mark.parametrize(
    ("ranges", "alone"), [([EVERY_SIZE, NO_SIZE], 64), ([NO_SIZE, EVERY_SIZE], 128)]
)
def test_a_size_may_be_kept_from_contributing(model, ranges, alone):
    options = ("TEST.AUG.FLIP", False)
    both = augmented(model, (64, 128), *options, "TEST.AUG.SIZE_RANGES", ranges)
    assert_same(detect(both, image()), detect(augmented(model, (alone,), *options), image()))


def test_ranges_are_in_pixels_of_the_original_image(model):
    options = ("TEST.AUG.FLIP", True, "TEST.AUG.SIZE_RANGES", [(20.0, 60.0), (20.0, 60.0)])
    views = augmented(model, (64, 128), *options)
    # Clipping to the image makes boxes smaller.
    found = detect(views, image()).pred_boxes
    assert len(found)
    assert found.area().sqrt().max() <= 60.01
    assert detect(model, image()).pred_boxes.area().sqrt().max() > 61


def test_views_are_suppressed_together(model):
    once = augmented(model, (96,), "TEST.AUG.FLIP", False)
    twice = augmented(model, (96, 96), "TEST.AUG.FLIP", False)
    assert_same(detect(twice, image()), detect(once, image()))


@pytest.mark.parametrize("ranges", [[EVERY_SIZE], [(1.0,), (2.0,)]])
def test_ranges_that_do_not_fit_the_sizes_are_an_error(model, ranges):
    with pytest.raises(ValueError, match=r"a pair .* for each of TEST\.AUG\.MIN_SIZES"):
        augmented(model, (64, 128), "TEST.AUG.SIZE_RANGES", ranges)


def test_another_architecture_is_an_error():
    with pytest.raises(ValueError, match="PointDetector, not PointDetector"):
        PointDetectorWithTTA(narrow_cfg(*AUG), nn.Linear(1, 1))
