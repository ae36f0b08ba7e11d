import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from folder_parts import VOC_SIZE, voc_object, write_image

from autoassign.data import register_custom_datasets

CELL = VOC_SIZE + voc_object("cell", (5, 5, 20, 20))


@pytest.fixture
def register(make_cfg):
    """Return a function that registers the given splits of ``root``."""

    def call(root, train="train", test=""):
        cfg = make_cfg(FORMAT="voc", ROOT=root, TRAIN=train, TEST=test)
        register_custom_datasets(cfg)
        return cfg

    return call


def test_boxes_start_one_pixel_earlier_and_ids_are_integers(register, voc_folder):
    root = voc_folder(train={"a": VOC_SIZE, "b": VOC_SIZE + voc_object("x", (1, 2, 40, 30))})

    register(root)

    empty, record = DatasetCatalog.get("cells_train")
    assert empty["annotations"] == []
    assert record == {
        "file_name": str(root / "JPEGImages" / "b.png"),
        "image_id": 2,
        "height": 30,
        "width": 40,
        "annotations": [
            {
                "bbox": [0, 1, 40, 30],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "iscrowd": 0,
            }
        ],
    }


def test_lists_of_usual_names_are_found(register, voc_folder):
    cfg = register(voc_folder(train={"a": CELL}, trainval={"a": CELL}, val={"b": CELL}), train="")

    assert cfg.DATASETS.TRAIN == ("cells_train",)
    assert cfg.DATASETS.TEST == ("cells_val",)


def test_classes_are_those_of_the_training_splits_in_order(register, voc_folder):
    body = VOC_SIZE + voc_object("z", (5, 5, 9, 9)) + voc_object("b", (5, 5, 9, 9))
    root = voc_folder(train={"a": body}, more={"c": CELL}, test={"d": CELL})

    cfg = register(root, "train,more", "test")

    assert cfg.DATASETS.TRAIN == ("cells_train", "cells_more")
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert MetadataCatalog.get(name).thing_classes == ["b", "cell", "z"]
    assert DatasetCatalog.get("cells_test")[0]["annotations"][0]["category_id"] == 1


def test_classes_come_from_the_test_splits_where_there_is_no_other(register, voc_folder):
    register(voc_folder(test={"a": CELL}), "", "test")

    assert MetadataCatalog.get("cells_test").thing_classes == ["cell"]


def test_a_test_class_that_training_lacks_is_named(register, voc_folder):
    other = VOC_SIZE + voc_object("virus", (5, 5, 20, 20))
    root = voc_folder(train={"a": CELL}, test={"b": other})

    with pytest.raises(ValueError, match=r"b\.xml: the class 'virus' is not one of .*: cell"):
        register(root, "train", "test")


def test_difficult_objects_are_crowds(register, voc_folder):
    body = CELL + voc_object("cell", (5, 5, 9, 9), difficult=1)
    register(voc_folder(train={"a": body}))

    annotations = DatasetCatalog.get("cells_train")[0]["annotations"]

    assert [a["iscrowd"] for a in annotations] == [0, 1]


def test_coinciding_corners_are_zero_area_although_voc_counts_the_last_pixel(
    register, voc_folder, caplog
):
    caplog.set_level("INFO")
    stray = [voc_object("cell", box) for box in ((9, 9, 9, 9), (9, 5, 9, 20), (20, 5, 10, 9))]
    register(voc_folder(train={"a": CELL + "".join(stray)}))

    assert "cells_train: 1 images, 1 boxes; dropped 3 (1 inverted, 2 zero area)" in caplog.text


@pytest.mark.parametrize(
    "size", ["", "<size><width>0</width><height>0</height></size>", "<size><width/></size>"]
)
def test_a_missing_size_is_read_from_the_image(register, voc_folder, size):
    register(voc_folder(train={"a": size + voc_object("cell", (1, 1, 90, 90))}))

    (record,) = DatasetCatalog.get("cells_train")

    assert (record["width"], record["height"]) == (40, 30)
    assert record["annotations"][0]["bbox"] == [0, 0, 40, 30]


def test_a_filename_of_before_does_not_lead_to_another_image(register, voc_folder):
    root = voc_folder(train={"a": CELL, "b": CELL})
    xml = root / "Annotations" / "b.xml"
    xml.write_text(xml.read_text().replace("b.png", "a.png"))

    register(root)

    names = [record["file_name"] for record in DatasetCatalog.get("cells_train")]
    assert names == [str(root / "JPEGImages" / name) for name in ("a.png", "b.png")]


def test_the_image_is_found_by_id_then_by_filename(register, voc_folder):
    root = voc_folder(train={"a": CELL, "b": CELL, "c": CELL})
    images = root / "JPEGImages"
    xml = (root / "Annotations" / "a.xml").read_text()
    (root / "Annotations" / "a.xml").write_text(xml.replace("a.png", "other name.png"))
    write_image(images / "other name.png")
    (images / "a.png").unlink()
    (images / "b.png").unlink()
    write_image(images / "b.JPG")
    (images / "b.txt").write_text("no image")

    register(root)

    names = [record["file_name"] for record in DatasetCatalog.get("cells_train")]
    assert names == [str(images / name) for name in ("other name.png", "b.JPG", "c.png")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<object>", "a.xml is not XML: "),
        (CELL.replace("<name>cell</name>", ""), "a.xml: object 1: field 'name' is missing"),
        (
            CELL + CELL.replace("<xmax>20</xmax>", ""),
            "a.xml: object 2: field 'bndbox/xmax' is missing",
        ),
        (CELL.replace("<ymin>5<", "<ymin>five<"), "field 'bndbox/ymin' is 'five', not a number"),
        (CELL.replace("<width>40<", "<width>wide<"), "field 'size/width' is 'wide', not a number$"),
    ],
)
def test_a_broken_annotation_is_named(register, voc_folder, body, message):
    with pytest.raises(ValueError, match=message):
        register(voc_folder(train={"a": body}))


def test_a_missing_split_or_annotation_is_named(register, voc_folder):
    root = voc_folder(train={"a": CELL}, val={"b": CELL})

    with pytest.raises(FileNotFoundError, match=r"test\.txt does not exist; .*: train, val"):
        register(root, "train", "test")
    (root / "Annotations" / "b.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.xml does not exist"):
        register(root, "train", "val")
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"val\.txt lists no image"):
        register(root, "train", "val")
