"""The augmentations of training: boxes around what was painted."""

import numpy as np
import pytest
from detectron2.structures import BoxMode
from detectron2.utils.env import seed_all_rng
from PIL import Image

from autoassign.data import CheckedDatasetMapper, FastDatasetMapper

# One box in each channel.
BOXES = [(20, 10, 80, 60), (90, 30, 130, 110), (30, 70, 85, 100)]


@pytest.fixture
def record(tmp_path):
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    for channel, (x0, y0, x1, y1) in enumerate(BOXES):
        image[y0:y1, x0:x1, channel] = 255
    Image.fromarray(image).save(tmp_path / "painted.png")
    return {
        "file_name": str(tmp_path / "painted.png"),
        "height": 120,
        "width": 160,
        "annotations": [
            {"bbox": list(map(float, box)), "bbox_mode": BoxMode.XYXY_ABS, "category_id": channel}
            for channel, box in enumerate(BOXES)
        ],
    }


def map_many(make_mapper, cfg, record, count=25):
    cfg.INPUT.FORMAT = "RGB"
    mapper = make_mapper(cfg)
    for seed in range(count):
        seed_all_rng(seed)
        yield mapper(record)


def assert_boxes_fit(mapped):
    """Every object has a box around its pixels, and no other box exists."""
    boxes = dict(
        zip(
            mapped["instances"].gt_classes.tolist(),
            mapped["instances"].gt_boxes.tensor.tolist(),
            strict=True,
        )
    )
    for channel, plane in enumerate(mapped["image"].numpy()):
        rows, columns = np.nonzero(plane > 127)
        if len(rows) == 0:  # a box of parts of a pixel may be left
            x0, y0, x1, y1 = boxes.get(channel, (0, 0, 0, 0))
            assert min(x1 - x0, y1 - y0) < 1
            continue
        extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert boxes[channel] == pytest.approx(extent, abs=1)


@pytest.mark.parametrize("make_mapper", [CheckedDatasetMapper, FastDatasetMapper])
def test_boxes_fit_after_scale_jitter(make_cfg, record, make_mapper):
    cfg = make_cfg()
    cfg.INPUT.SCALE_JITTER, cfg.INPUT.MAX_SIZE_TRAIN = (0.3, 2.0), 200
    sizes = []
    for mapped in map_many(make_mapper, cfg, record):
        assert_boxes_fit(mapped)
        sizes.append(tuple(mapped["image"].shape[1:]))
    # Fitted into 200 × 200, the image has 200 × 150; no side exceeds the square.
    assert max(max(size) for size in sizes) == 200
    assert min(min(size) for size in sizes) < 90
    assert any(size == (200, 200) for size in sizes)


@pytest.mark.parametrize("make_mapper", [CheckedDatasetMapper, FastDatasetMapper])
def test_boxes_fit_after_a_random_crop(make_cfg, record, make_mapper):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.CROP.ENABLED = (90, 200), True
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "relative_range", [0.4, 0.4]
    counts = set()
    for mapped in map_many(make_mapper, cfg, record):
        assert_boxes_fit(mapped)
        counts.add(len(mapped["instances"]))
    assert {2, 3} <= counts


@pytest.mark.parametrize("make_mapper", [CheckedDatasetMapper, FastDatasetMapper])
def test_color_jitter_changes_colors_alone(make_cfg, record, make_mapper):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (120,), "none"
    [plain] = map_many(make_mapper, cfg, record, count=1)
    cfg.INPUT.COLOR_JITTER = 0.4
    brightness = []
    for mapped in map_many(make_mapper, cfg, record):
        assert mapped["instances"].gt_boxes.tensor.equal(plain["instances"].gt_boxes.tensor)
        assert mapped["image"].shape == plain["image"].shape
        brightness.append(mapped["image"].float().mean().item())
    mean = plain["image"].float().mean().item()
    assert min(brightness) < 0.9 * mean
    assert len(set(brightness)) > 10


def test_saturation_is_that_of_the_colors_in_either_order(make_cfg, record):
    cfg = make_cfg()
    cfg.INPUT.COLOR_JITTER = 0.9
    images = []
    for image_format in ("RGB", "BGR"):
        cfg.INPUT.FORMAT = image_format
        mapper = CheckedDatasetMapper(cfg, is_train=True)
        seed_all_rng(0)
        images.append([mapper(record)["image"] for _ in range(5)])
    assert all(rgb.equal(bgr.flip(0)) for rgb, bgr in zip(*images, strict=True))


def test_published_recipes_augment_as_detectron2_does(make_cfg):
    augmentations = CheckedDatasetMapper(make_cfg(), is_train=True).augmentations.augs
    assert [type(x).__name__ for x in augmentations] == ["ResizeShortestEdge", "RandomFlip"]
