import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from folder_parts import annotation
from PIL import Image

from autoassign.data import BoxTable, TableBuilder, register_custom_datasets
from autoassign.data.duplicates import difference_hash, near_duplicates
from autoassign.data.suspicions import suspicions


def table_of(boxes: list[tuple], width: int = 400, height: int = 300) -> BoxTable:
    builder = TableBuilder()
    index = builder.add_image("a.jpg", 0, height, width)
    for box in boxes:
        builder.add_object(index, 0, box)
    return builder.build()


def about(boxes: list[tuple], names: tuple = ("cat",), is_train: bool = True) -> list[str]:
    return suspicions(table_of(boxes), list(names), is_train=is_train)


def corners(x0: float, y0: float, x1: float, y1: float) -> tuple:
    """What a box in xyxy becomes where it is read as xywh."""
    return x0, y0, x0 + x1, y0 + y1


def test_corners_instead_of_sizes():
    boxes = [corners(10, 10, 50, 60)] * 4 + [corners(200, 150, 390, 290)] * 9

    assert about(boxes) == [
        "9 of 13 boxes leave the image: is bbox xyxy instead of xywh?",
    ]


def test_boxes_of_another_scale():
    (sentence,) = about([(10, 10, 50, 60)] * 5 + [(390, 290, 800, 310)] * 5)

    assert sentence.startswith("5 of 10 boxes leave the image: were images of another size")


def test_a_few_boxes_over_the_edge_are_ordinary():
    assert about([(10, 10, 50, 60)] * 9 + [(390, 290, 800, 310)]) == []
    assert about([(-0.9, 10, 400.9, 60)] * 9) == []


def test_shares_instead_of_pixels():
    (sentence,) = about([(0.1, 0.1, 0.5, 0.5), (0.5, 0.5, 1, 1)])

    assert "shares of the image's size instead of pixels" in sentence


def test_classes_without_objects_matter_in_training():
    names = ("cat", "dog", "cow")

    assert about([(1, 1, 9, 9)], names) == ["2 of 3 classes have no object: dog, cow"]
    assert about([(1, 1, 9, 9)], names, is_train=False) == []


def test_classes_of_one_name():
    (sentence, _) = about([(1, 1, 9, 9)], ("cat", "dog", "Cat "))

    assert sentence == "2 classes have the same name: cat, Cat "


@pytest.mark.parametrize("boxes", [[], [(float("nan"), 1, 5, 5)]])
def test_nothing_is_said_without_usable_boxes(boxes):
    assert not [x for x in about(boxes) if "boxes" in x]


def test_they_are_warnings_before_training(make_cfg, coco_folder, caplog):
    boxes = [[1, 1, 39, 29], [10, 10, 35, 28], [20, 15, 38, 30]]
    objects = [annotation(i, 7, box) for i, box in enumerate(boxes, start=1)]

    register_custom_datasets(
        make_cfg(
            FORMAT="coco",
            ROOT=coco_folder(annotations=objects),
            TRAIN="train.json",
            TRAIN_IMAGES="images",
        )
    )

    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == [
        "pets_train: 2 of 3 boxes leave the image: is bbox xyxy instead of xywh?",
        "pets_train: 1 of 2 classes have no object: dog",
    ]


def scene(seed: int) -> Image.Image:
    """A smooth random picture, as photographs are."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)


def test_a_copy_of_other_size_and_quality_is_a_near_duplicate(tmp_path):
    for number in range(6):
        scene(number).save(tmp_path / f"{number}.png")
    scene(2).resize((91, 70)).save(tmp_path / "copy.jpg", quality=40)
    scene(99).save(tmp_path / "other.jpg")
    files = [str(tmp_path / f"{number}.png") for number in range(6)]
    others = [str(tmp_path / name) for name in ("copy.jpg", "other.jpg")]

    assert near_duplicates(files, others) == [(files[2], others[0])]


def test_images_without_contrast_and_broken_ones_are_left_out(tmp_path):
    Image.new("RGB", (40, 30), "white").save(tmp_path / "a.png")
    Image.new("RGB", (40, 30), "black").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"x")

    assert difference_hash(str(tmp_path / "a.png")) is None
    files = [str(tmp_path / f"{name}.png") for name in "abc"]
    assert near_duplicates(files, files) == []


def test_images_in_both_splits_are_warned_of(make_cfg, coco_folder, coco_content, caplog):
    root = coco_folder("train.json", "val.json")
    for number, name in enumerate(("a.png", "b.png")):
        scene(number).resize((40, 30)).save(root / "images" / name)
    cfg = make_cfg(
        FORMAT="coco",
        ROOT=root,
        TRAIN="train.json",
        TEST="val.json",
        TRAIN_IMAGES="images",
        TEST_IMAGES="images",
    )

    register_custom_datasets(cfg)

    assert "2 images are in both pets_train and pets_val" in caplog.text
    assert "look like" not in caplog.text


def test_images_that_look_the_same_in_both_splits_are_warned_of(make_cfg, tmp_path, caplog):
    for split in ("train", "val"):
        (tmp_path / f"labels/{split}").mkdir(parents=True)
        (tmp_path / f"images/{split}").mkdir(parents=True)
        for number in range(3):
            name = f"{split}/{number}_{split}"
            (tmp_path / f"labels/{name}.txt").write_text("0 0.5 0.5 0.1 0.1")
            seed = number if number else {"train": 10, "val": 20}[split]
            scene(seed).save(tmp_path / f"images/{name}.png")
    cfg = make_cfg(FORMAT="yolo", ROOT=tmp_path)

    register_custom_datasets(cfg)

    train, val = cfg.DATASETS.TRAIN[0], cfg.DATASETS.TEST[0]
    assert f"2 images of {val} look like images of {train}: " in caplog.text
    assert len(DatasetCatalog.get(train)) == 3


def test_a_split_that_is_trained_and_tested_on_is_meant(make_cfg, coco_folder, caplog):
    cfg = make_cfg(
        FORMAT="coco",
        ROOT=coco_folder(),
        TRAIN="train.json",
        TEST="train.json",
        TRAIN_IMAGES="images",
        TEST_IMAGES="images",
    )
    register_custom_datasets(cfg)
    assert not [x for x in caplog.records if x.levelname == "WARNING"]
