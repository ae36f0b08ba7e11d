import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import BoxMode
from folder_parts import VOC_SIZE, annotation, voc_object, write_image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoassign.data import TableBuilder, load_table, register_custom_datasets
from autoassign.data.checking import check_datasets
from autoassign.data.checking.statistics import Histogram, InputScale, measure

SCALE = InputScale(short_side=60, max_side=200, strides=(8, 16), offset=0.0)


def test_strides_and_scale_are_those_of_the_config(make_cfg):
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (640, 800, 700)
    cfg.MODEL.POINT_HEAD.IN_FEATURES = ["p4", "p3"]
    cfg.MODEL.POINT_HEAD.LOCATION_OFFSET = 0.5

    assert InputScale.from_config(cfg) == InputScale(700, 1333, (8, 16), 0.5)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    assert InputScale.from_config(cfg).strides == (8, 16, 32, 64, 128)


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (30, 300), (900, 900)])
def test_images_are_resized_as_detectron2_does(size):
    height, _ = ResizeShortestEdge.get_output_shape(*size, 60, 200)

    assert SCALE.factors(np.array([size])) * size[0] == pytest.approx(height, abs=0.5)


@given(
    corner=st.tuples(st.floats(0, 40), st.floats(0, 40)),
    size=st.tuples(st.floats(0.1, 20), st.floats(0.1, 20)),
    offset=st.sampled_from([0.0, 0.5]),
)
def test_whether_a_location_lies_inside_agrees_with_trying_all(corner, size, offset):
    scale = InputScale(60, 200, (8,), offset)
    x0, y0 = corner
    x1, y1 = x0 + size[0], y0 + size[1]
    places = [(i + offset) * 8 for i in range(20)]
    expected = any(x0 < x < x1 for x in places) and any(y0 < y < y1 for y in places)

    assert scale.has_location(np.array([[x0, y0, x1, y1]])).tolist() == [expected]


def test_a_histogram_counts_what_is_beyond_its_ends():
    histogram = Histogram([1, 2, 4])
    histogram.add(np.array([0, 1, 1.9, 2, 3.9, 4, 99]))
    assert histogram.as_dict() == {"edges": [1, 2, 4], "counts": [3, 4]}


def test_counts_by_hand():
    builder = TableBuilder()
    first = builder.add_image("a.png", 0, 30, 40)  # trained at twice its size
    builder.add_object(first, 0, (1, 1, 11, 11))
    builder.add_object(first, 0, (1, 1, 11, 9))  # IoU 0.8 with the one before
    builder.add_object(first, 2, (20.5, 20.5, 23.5, 23.5))  # 41 to 47 px: between 40 and 48
    builder.add_object(first, 2, (0, 0, 40, 30), is_crowd=True)
    builder.add_image("b.png", 1, 30, 40)
    third = builder.add_image("c.png", 2, 60, 60)
    builder.add_object(third, 0, (0, 0, 60, 60))

    result = measure(builder.build(), ["a", "b", "c"], SCALE).as_dict()

    assert result["images"] == 3
    assert result["images_without_objects"] == 1
    assert result["objects"] == 4
    assert result["crowds"] == 1
    assert result["most_objects_in_an_image"] == 3
    assert result["objects_overlapping_another_by_half"] == 2
    assert result["objects_with_a_side_below_the_finest_stride"] == 1
    assert result["objects_without_a_location_inside"] == 1
    assert result["classes"] == [
        {"name": "a", "objects": 3, "images": 2},
        {"name": "b", "objects": 0, "images": 0},
        {"name": "c", "objects": 1, "images": 1},
    ]
    sizes = result["square_root_of_area_as_trained"]
    # 20, √(20 · 16), 6 and 60 px.
    expected, _ = np.histogram([20, 320**0.5, 6, 60], bins=sizes["edges"])
    assert sizes["counts"] == expected.tolist()


def test_measuring_in_parts_gives_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    builder = TableBuilder()
    for number in range(20):
        index = builder.add_image(f"{number}.png", number, *rng.integers(20, 80, 2).tolist())
        for _ in range(number % 4):
            x, y, w, h = rng.integers(1, 15, 4).tolist()
            builder.add_object(index, number % 3, (x, y, x + w, y + h))
    table = builder.build()
    whole = measure(table, ["a", "b", "c"], SCALE).as_dict()

    monkeypatch.setattr("autoassign.data.checking.statistics._CHUNK_SIZE", 3)

    assert measure(table, ["a", "b", "c"], SCALE).as_dict() == whole


def test_a_check_writes_numbers_and_a_figure(make_cfg, coco_folder, tmp_path):
    # One class name that matplotlib would take for a formula.
    categories = [{"id": 1, "name": "$cat$"}, {"id": 3, "name": "d" * 50}]
    root = coco_folder("train.json", "val.json", categories=categories)
    cfg = make_cfg(
        FORMAT="coco",
        ROOT=root,
        TRAIN="train.json",
        TEST="val.json",
        TRAIN_IMAGES="images",
        TEST_IMAGES="images",
    )
    register_custom_datasets(cfg)

    content = check_datasets(cfg, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST), tmp_path / "check")

    assert json.loads((tmp_path / "check/check.json").read_text()) == content
    assert content["datasets"]["pets_train"]["summary"] == "2 images, 3 boxes"
    assert content["datasets"]["pets_val"]["objects"] == 3
    (pair,) = content["images_in_two_datasets"]
    assert pair["num_same_files"] == 2
    with Image.open(tmp_path / "check/check.png") as image:
        assert image.size == (1540, 935)


def test_a_dataset_without_objects_can_be_drawn(make_cfg, voc_folder, tmp_path):

    root = voc_folder(
        train={"a": VOC_SIZE + voc_object("cell", (1, 1, 9, 9))}, test={"b": VOC_SIZE}
    )
    cfg = make_cfg(FORMAT="voc", ROOT=root, TRAIN="train", TEST="test")
    register_custom_datasets(cfg)

    content = check_datasets(cfg, ("cells_test",), tmp_path, find_duplicates=False)

    assert content["datasets"]["cells_test"]["objects"] == 0
    assert content["images_in_two_datasets"] == []


def test_detectron2s_coco_is_read_without_its_masks(coco_folder, monkeypatch):
    root = coco_folder(
        annotations=[
            annotation(1, 7, [1, 1, 8, 8], segmentation=[[1, 1, 9, 1, 9, 9]]),
            annotation(2, 9, [1, 1, 0, 8]),
        ]
    )
    register_coco_instances("plain", {}, str(root / "train.json"), str(root / "images"))

    loaded = load_table("plain")

    assert loaded.class_names == ["cat", "dog"]
    assert loaded.table.path(0) == str(root / "images/a.png")
    assert loaded.report.summary == "2 images, 1 boxes; dropped 1 (1 zero area)"
    assert loaded.report.suspicions == ["1 of 2 classes have no object: dog"]


def test_a_dataset_that_anyone_registered(tmp_path):
    write_image(tmp_path / "a.png")
    box = {"bbox": [1, 1, 8, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 1}
    DatasetCatalog.register(
        "mine", lambda: [{"file_name": str(tmp_path / "a.png"), "annotations": [box]}]
    )
    MetadataCatalog.get("mine").thing_classes = ["cat"]

    table = load_table("mine").table

    assert table.boxes.tolist() == [[1, 1, 9, 9]]
    assert table.is_crowd.tolist() == [True]
    assert table.sizes.tolist() == [[30, 40]]
