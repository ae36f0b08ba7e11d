import copy

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from folder_parts import write_image
from PIL import Image

from autoassign.data import CheckedDatasetMapper


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "photo.png"
    write_image(path)
    box = {"bbox": [4, 6, 20, 30], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    return {
        "file_name": str(path),
        "height": 30,
        "width": 40,
        "annotations": [{**box, "iscrowd": 0}, {**box, "iscrowd": 1}],
    }


@pytest.fixture
def mapper(make_cfg):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (60,)
    cfg.INPUT.RANDOM_FLIP = "none"
    return CheckedDatasetMapper(cfg, is_train=True)


def test_it_maps_as_detectron2_does(mapper, record):
    before = copy.deepcopy(record)

    result = mapper(record)

    assert result["image"].shape == (3, 60, 80)
    assert result["instances"].gt_boxes.tensor.tolist() == [[8, 12, 40, 60]]
    assert result["instances"].gt_classes.tolist() == [1]
    assert record == before


def test_an_image_without_objects_has_instances_of_length_zero(mapper, record):
    instances = mapper({**record, "annotations": []})["instances"]

    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.shape == (0,)


@pytest.mark.parametrize("content", [b"", b"no image at all", None])
def test_an_unreadable_image_is_named(mapper, record, tmp_path, content):
    path = tmp_path / "photo.png"
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)

    with pytest.raises(ValueError, match=r"photo\.png: the image cannot be read"):
        mapper(record)


def test_an_image_that_has_gone_is_named(mapper, record, tmp_path):
    (tmp_path / "photo.png").unlink()

    with pytest.raises(ValueError, match=r"photo\.png: the image cannot be read"):
        mapper(record)


def test_a_size_that_is_not_the_annotated_one_is_named(mapper, record):
    with pytest.raises(ValueError, match=r"photo\.png, got \(40, 30\), expect \(41, 30\)"):
        mapper({**record, "width": 41})


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pixels_of_more_than_8_bits_are_an_error_that_names_the_file(mapper, record, mode):
    path = record["file_name"].replace("png", "tiff")
    Image.new(mode, (40, 30)).save(path)
    with pytest.raises(ValueError, match=r"photo\.tiff.*more than 8 bits"):
        mapper({**record, "file_name": path})


def test_boxes_are_those_of_detectron2_to_the_last_bit(record):
    rng = np.random.default_rng(0)
    record["annotations"] = [
        {
            "bbox": (rng.uniform(0, 40, 4) if mode == BoxMode.XYWH_ABS else corners).tolist(),
            "bbox_mode": mode,
            "category_id": number,
            "iscrowd": number % 5 == 4,
        }
        for number, (corners, mode) in enumerate(
            zip(
                np.sort(rng.uniform(0, 40, (40, 2, 2)), axis=1).reshape(-1, 4),
                [BoxMode.XYXY_ABS, BoxMode.XYWH_ABS] * 20,
                strict=True,
            )
        )
    ]
    # A crop that leaves some boxes outside.
    transforms = [T.CropTransform(5, 0, 20, 20), T.ResizeTransform(20, 20, 67, 67)]
    transforms.append(T.HFlipTransform(67))
    expected, actual = (
        make(True, augmentations=transforms, image_format="BGR")(record)["instances"]
        for make in (DatasetMapper, CheckedDatasetMapper)
    )
    assert 0 < len(expected) < 32
    assert torch.equal(actual.gt_boxes.tensor, expected.gt_boxes.tensor)
    assert torch.equal(actual.gt_classes, expected.gt_classes)
