"""FastDatasetMapper beside the mapper that decodes and resizes as detectron2's."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from detectron2.utils.env import seed_all_rng
from PIL import Image

from autoassign.data import CheckedDatasetMapper, FastDatasetMapper, build_train_mapper

BOX = (40, 30, 130, 90)
# What turns an image as it was seen into what is stored under an EXIF orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photo(width=200, height=160):
    """Smooth colors with some noise."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def painted(width=200, height=160):
    """Black, white inside BOX."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    x0, y0, x1, y1 = BOX
    image[y0:y1, x0:x1] = 255
    return image


@pytest.fixture
def record(tmp_path):
    def write(image, name="photo.jpg", mode="RGB", **options):
        path = tmp_path / name
        stored = Image.fromarray(image).convert(mode)
        if "orientation" in options:
            orientation = options.pop("orientation")
            options["exif"] = Image.Exif()
            options["exif"][274] = orientation
            if orientation in STORED:
                stored = stored.transpose(STORED[orientation])
        stored.save(path, **options)
        annotation = {"bbox": list(map(float, BOX)), "bbox_mode": BoxMode.XYXY_ABS}
        return {
            "file_name": str(path),
            "height": image.shape[0],
            "width": image.shape[1],
            "annotations": [{**annotation, "category_id": 1, "iscrowd": 0}],
        }

    return write


@pytest.fixture
def map_both(make_cfg):
    """Return a function that maps a record slowly and fast, with the same random numbers."""

    def map_both(record, size, *, flip="none", image_format="BGR"):
        cfg = make_cfg()
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (size,), 2000
        cfg.INPUT.RANDOM_FLIP, cfg.INPUT.FORMAT = flip, image_format
        results = []
        for mapper in (CheckedDatasetMapper(cfg, is_train=True), FastDatasetMapper(cfg)):
            seed_all_rng(3)
            results.append(mapper(record))
        slow, fast = results
        assert torch.equal(fast["instances"].gt_boxes.tensor, slow["instances"].gt_boxes.tensor)
        assert fast["image"].shape == slow["image"].shape
        assert fast["image"].is_contiguous()
        return slow["image"].int(), fast["image"].int()

    return map_both


@pytest.mark.parametrize("size", [400, 240, 161, 150, 97])
@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_pixels_differ_by_two_at_most_and_boxes_do_not(record, map_both, size, image_format):
    slow, fast = map_both(record(photo(), quality=95), size, image_format=image_format)
    assert (slow - fast).abs().max() <= 2


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_images_are_flipped_as_detectron2_does(record, map_both, flip):
    slow, fast = map_both(record(photo()), 300, flip=flip)
    assert (slow - fast).abs().max() <= 2


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.jpg", "CMYK"),
        ("a.png", "RGB"),
        ("a.png", "RGBA"),
        ("a.png", "LA"),
        ("a.png", "P"),
        ("a.bmp", "1"),
        ("a.webp", "RGB"),
    ],
)
def test_files_of_all_kinds_are_decoded_as_by_pillow(record, map_both, name, mode):
    slow, fast = map_both(record(photo(), name, mode), 160)
    assert (slow - fast).abs().max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_data_says(record, map_both, orientation):
    slow, fast = map_both(record(photo(), orientation=orientation), 160)
    assert (slow - fast).abs().max() <= 2


def test_an_orientation_that_stands_in_xmp_alone_counts(record, map_both):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>'
    slow, fast = map_both(record(photo(), xmp=xmp), 160)
    assert (slow - fast).abs().max() <= 2


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that gets what OpenCV decodes."""
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(decode(*args)) or decoded[-1])
    return decoded


@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_decoding_at_a_reduced_size_changes_little(record, map_both, decoded, divisor):
    slow, fast = map_both(record(photo(800, 640), quality=95), 320 // divisor)
    assert decoded[0].shape == (640 // divisor, 800 // divisor, 3)
    assert (slow - fast).abs().float().mean() < 0.6


@pytest.mark.parametrize(
    ("width", "height", "size", "divisor"),
    [
        (800, 640, 161, 1),  # half of it would not be twice as large
        (800, 640, 81, 2),
        (800, 632, 32, 8),
        (804, 632, 32, 4),  # eighths of 804 would not be whole
        (801, 640, 32, 1),
    ],
)
def test_an_image_is_decoded_at_least_twice_as_large_as_needed(
    record, map_both, decoded, width, height, size, divisor
):
    map_both(record(photo(width, height)), size)
    assert decoded[0].shape == (height // divisor, width // divisor, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_fit_images_of_reduced_size(record, make_cfg, orientation):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (40,), "none"
    mapped = FastDatasetMapper(cfg)(record(painted(), orientation=orientation))
    rows, columns = np.nonzero(mapped["image"][1].numpy() > 127)
    extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert mapped["instances"].gt_boxes.tensor[0].tolist() == pytest.approx(extent, abs=1)


def test_an_image_that_is_cropped_is_decoded_whole(record, make_cfg, decoded):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.CROP.ENABLED = (40,), True
    FastDatasetMapper(cfg)(record(photo()))
    assert decoded[0].shape == (160, 200, 3)


def test_scale_jitter_decides_how_large_images_are_decoded(record, make_cfg, decoded):
    cfg = make_cfg()
    cfg.INPUT.SCALE_JITTER, cfg.INPUT.MAX_SIZE_TRAIN = (0.5, 2.0), 25
    FastDatasetMapper(cfg)(record(photo()))
    assert decoded[0].shape == (80, 100, 3)


def test_a_truncated_jpeg_is_named(record, make_cfg):
    broken = record(photo())
    with open(broken["file_name"], "r+b") as file:
        file.truncate(3000)
    with pytest.raises(ValueError, match=r"photo\.jpg: the image cannot be read"):
        FastDatasetMapper(make_cfg())(broken)


@pytest.mark.parametrize("size", [20, 300])
def test_a_size_that_is_not_the_annotated_one_is_named(record, make_cfg, size):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (size,)
    with pytest.raises(ValueError, match=r"photo\.jpg, got \(200, 160\), expect \(210, 160\)"):
        FastDatasetMapper(cfg)({**record(photo()), "width": 210})


@pytest.mark.parametrize("cache_gb", [0.0, 0.1])
def test_a_whole_image_of_a_quarter_of_the_annotated_size_is_named(record, make_cfg, cache_gb):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.DATALOADER.CACHE_GB = (80,), cache_gb
    stored = {**record(photo(), "a.png"), "height": 640, "width": 800}
    mapper = FastDatasetMapper(cfg)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.png, got \(200, 160\), expect \(800, 640\)"):
            mapper(stored)


def test_pixels_of_16_bits_are_named(record, make_cfg, tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.zeros((160, 200), np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"deep\.png.*more than 8 bits"):
        FastDatasetMapper(make_cfg())({**record(photo()), "file_name": str(path)})


def test_a_file_that_is_no_image_is_named(record, make_cfg, tmp_path):
    (tmp_path / "none.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none\.jpg: the image cannot be read"):
        FastDatasetMapper(make_cfg())({**record(photo()), "file_name": str(tmp_path / "none.jpg")})


@pytest.mark.parametrize("size", [160, 20])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_cached_image_is_not_decoded_again(record, make_cfg, monkeypatch, size, name):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (size,), "none"
    cfg.DATALOADER.FAST_MAPPER, cfg.DATALOADER.CACHE_GB = True, 0.1
    stored = record(photo(), name)
    first = build_train_mapper(cfg)(stored)
    monkeypatch.setattr(FastDatasetMapper, "_decode", lambda *_: pytest.fail("decoded again"))
    second = build_train_mapper(cfg)(stored)
    assert torch.equal(second["image"], first["image"])
    assert torch.equal(second["instances"].gt_boxes.tensor, first["instances"].gt_boxes.tensor)


def test_a_cached_image_of_another_size_than_annotated_is_named(record, make_cfg):
    cfg = make_cfg()
    cfg.DATALOADER.FAST_MAPPER, cfg.DATALOADER.CACHE_GB = True, 0.1
    stored = record(photo())
    build_train_mapper(cfg)(stored)
    with pytest.raises(ValueError, match=r"photo\.jpg, got \(200, 160\), expect \(210, 160\)"):
        build_train_mapper(cfg)({**stored, "width": 210})


def test_the_loader_of_precise_bn_keeps_no_images(record, make_cfg):
    cfg = make_cfg()
    cfg.DATALOADER.FAST_MAPPER, cfg.DATALOADER.CACHE_GB = True, 0.1
    cfg.DATALOADER.NUM_WORKERS, cfg.TEST.PRECISE_BN.ENABLED = 0, True
    build_train_mapper(cfg)(record(photo()))
    assert not Path(cfg.OUTPUT_DIR, "decoded_images").exists()


def test_the_cache_needs_the_fast_mapper(make_cfg):
    cfg = make_cfg()
    cfg.DATALOADER.CACHE_GB = 1.0
    with pytest.raises(ValueError, match="CACHE_GB needs"):
        build_train_mapper(cfg)
