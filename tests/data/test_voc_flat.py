"""VOC annotations in any folder, without ImageSets."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from folder_parts import VOC_SIZE, voc_object, write_image

from autoassign.data import register_custom_datasets

CELL = VOC_SIZE + voc_object("cell", (5, 5, 20, 20))


@pytest.fixture
def register(make_cfg, tmp_path):
    """Return a function that writes annotations and images, and registers the folder."""

    def call(annotations: dict[str, str], images: list[str], **custom):
        root = tmp_path / "flat"
        for name, body in annotations.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"<annotation>{body}</annotation>")
        for name in images:
            write_image(root / name)
        cfg = make_cfg(FORMAT="voc", ROOT=root, **custom)
        register_custom_datasets(cfg)
        names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
        return {
            name: [r["file_name"].rsplit("flat/")[1] for r in DatasetCatalog.get(name)]
            for name in names
        }

    return call


def test_xml_beside_the_images(register):
    found = register({"a.xml": CELL, "b.xml": CELL}, ["a.png", "b.JPG", "c.png"])

    assert found == {"flat": ["a.png", "b.JPG"]}
    assert MetadataCatalog.get("flat").thing_classes == ["cell"]


def test_xml_apart_from_the_images(register):
    found = register(
        {"annotations/a.xml": CELL, "annotations/sub/b.xml": CELL}, ["images/a.png", "images/b.png"]
    )

    assert found == {"flat": ["images/a.png", "images/b.png"]}


@pytest.mark.parametrize("splits", [{"TRAIN": "train", "TEST": "valid"}, {}])
def test_folders_as_splits_with_the_same_names_in_each(register, splits):
    """As Roboflow exports VOC, and with annotations and images apart."""
    names = [f"{split}/{kind}/a" for split in ("train", "valid") for kind in ("labels", "images")]
    annotations = {f"{name}.xml": CELL for name in names if "labels" in name}
    images = [f"{name}.png" for name in names if "images" in name]

    found = register(annotations, images, **splits)

    assert found == {"flat_train": ["train/images/a.png"], "flat_valid": ["valid/images/a.png"]}


def test_folders_as_splits_in_capitals(register):
    found = register({"Train/a.xml": CELL, "Valid/a.xml": CELL}, ["Train/a.png", "Valid/a.png"])
    assert found == {"flat_Train": ["Train/a.png"], "flat_Valid": ["Valid/a.png"]}


def test_a_folder_called_train_that_holds_images_alone_is_no_split(register):
    found = register({"xml/a.xml": CELL, "xml/b.xml": CELL}, ["train/a.png", "val/b.png"])

    assert found == {"flat": ["train/a.png", "val/b.png"]}


def test_images_in_a_folder_that_is_named(register):
    found = register(
        {"xml/a.xml": CELL}, ["photos/a.png", "masks/a.png"], TRAIN="xml", TRAIN_IMAGES="photos"
    )

    assert found == {"flat_xml": ["photos/a.png"]}


def test_the_name_in_the_annotation_decides_between_endings(register):
    body = "<filename>a.png</filename>" + CELL

    assert register({"a.xml": body}, ["a.png", "a.jpg"]) == {"flat": ["a.png"]}


def test_an_annotation_called_after_the_whole_file_name(register):
    assert register({"a.png.xml": CELL}, ["a.png"]) == {"flat": ["a.png"]}


def test_a_list_with_labels_and_windows_line_ends(register, tmp_path):
    folder = tmp_path / "flat" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "cell_train.txt").write_bytes(b"\xef\xbb\xbfa  1\r\nb -1\r\nthe c\r\n")
    annotations = {f"Annotations/{name}.xml": CELL for name in ("a", "b", "the c")}

    found = register(
        annotations, [f"JPEGImages/{x}.png" for x in ("a", "b", "the c")], TRAIN="cell_train"
    )

    assert [name.split("/")[1] for name in found["flat_cell_train"]] == [
        "a.png",
        "b.png",
        "the c.png",
    ]


def test_masks_elsewhere_are_no_images_of_a_devkit(register, tmp_path):
    folder = tmp_path / "flat" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("a\n")

    found = register(
        {"Annotations/a.xml": CELL}, ["JPEGImages/a.jpg", "SegmentationClass/a.png"], TRAIN="train"
    )

    assert found == {"flat_train": ["JPEGImages/a.jpg"]}


@pytest.mark.parametrize(
    ("value", "is_crowd"),
    [("true", 1), ("True", 1), ("false", 0), ("", 0), ("Unspecified", 0), ("1", 1), ("0", 0)],
)
def test_difficult_in_words(register, value, is_crowd):
    body = CELL + voc_object("cell", (5, 5, 9, 9), difficult=value)

    register({"a.xml": body}, ["a.png"])

    (record,) = DatasetCatalog.get("flat")
    assert record["annotations"][1]["iscrowd"] == is_crowd


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (CELL.replace("<width>40<", "<width>inf<"), "field 'size/width' is 'inf', not a size"),
        (CELL.replace("<width>40<", "<width>nan<"), "field 'size/width' is 'nan', not a size"),
        (
            CELL.replace("<width>40<", f"<width>{'9' * 400}<"),
            "field 'size/width' is '999.*, not a size",
        ),
        (CELL.replace("<difficult>0<", "<difficult>maybe<"), "'difficult' is 'maybe', not 0 or 1"),
        ("<a>" * 9, "a.xml is not XML"),
    ],
)
def test_a_value_without_meaning_is_named(register, body, message):
    with pytest.raises(ValueError, match=message):
        register({"a.xml": body}, ["a.png"])


def test_boxes_without_end_are_dropped(register, caplog):
    caplog.set_level("INFO")
    body = CELL + voc_object("cell", (5, 5, "inf", 9)) + voc_object("cell", (5, "nan", 9, 9))

    register({"a.xml": body}, ["a.png"])

    assert "flat: 1 images, 1 boxes; dropped 2 (2 non-finite)" in caplog.text


def test_an_unknown_encoding_is_named(register, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.xml").write_bytes(
        b'<?xml version="1.0" encoding="foo-8"?><annotation/>'
    )

    with pytest.raises(ValueError, match=r"flat: a\.xml is not XML: "):
        register({}, ["a.png"])


@pytest.mark.parametrize(
    ("declaration", "hint"),
    [("", r" \(it is not UTF-8 and names no encoding\)$"), ('<?xml encoding="cp1252"?>', "[^)]$")],
)
def test_xml_that_is_not_utf_8_is_named(register, tmp_path, declaration, hint):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.xml").write_bytes(f"{declaration}<a>ä</a>".encode("cp1252"))

    with pytest.raises(ValueError, match=rf"a\.xml is not XML: .*{hint}"):
        register({}, ["a.png"])


def test_a_list_that_is_not_utf_8_is_named(register, tmp_path):
    folder = tmp_path / "flat" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_bytes("ä\n".encode("latin-1"))

    with pytest.raises(ValueError, match=r"train\.txt is not text in UTF-8"):
        register({}, [], TRAIN="train")


def test_faults_of_all_files_are_told_at_once(register):
    annotations = {
        "a.xml": CELL.replace("<name>cell</name>", ""),
        "b.xml": CELL.replace("<name>cell</name>", ""),
        "c.xml": CELL.replace("<xmax>20<", "<xmax>x<"),
        "d.xml": CELL,
    }

    with pytest.raises(ValueError, match="flat: ") as error:
        register(annotations, [f"{name}.png" for name in "abcd"])

    assert str(error.value).split("flat: ")[1].split("; ") == [
        "a.xml: object 1: field 'name' is missing or empty (1 more like it)",
        "c.xml: object 1: field 'bndbox/xmax' is 'x', not a number",
    ]
