"""COCO files as annotation tools export them."""

import codecs
import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from folder_parts import annotation, write_image

from autoassign.data import load_table, register_custom_datasets


@pytest.fixture
def register(make_cfg, tmp_path):
    """Return a function that writes a file and images, registers them and returns the dicts."""

    def call(content, images, json_name="train.json", encode=None, **custom):
        root = tmp_path / "set"
        for image in images:
            write_image(root / image)
        path = root / json_name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(text.encode() if encode is None else encode(text))
        cfg = make_cfg(FORMAT="coco", ROOT=root, **{"TRAIN": json_name, **custom})
        register_custom_datasets(cfg)
        call.cfg = cfg
        return DatasetCatalog.get(cfg.DATASETS.TRAIN[0])

    return call


def boxes_of(records: list[dict]) -> list[list]:
    return [[a["bbox"] for a in record["annotations"]] for record in records]


def image(image_id: object = 7, name: object = "a.png", **fields: object) -> dict:
    return {"id": image_id, "file_name": name, "height": 30, "width": 40, **fields}


CATS = [{"id": 1, "name": "cat"}]


def content(images: list, annotations: list, categories: list = CATS) -> dict:
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("splits", [{"TRAIN": "train", "TEST": "valid"}, {"TRAIN": ""}])
def test_roboflow(register, splits):
    """Folders train and valid, files _annotations.coco.json, a category 0 without objects."""
    export = {
        "info": {"year": "2024", "version": "1", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "", "name": "Public Domain"}],
        "categories": [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "rbc", "supercategory": "cells"},
            {"id": 2, "name": "wbc", "supercategory": "cells"},
        ],
        "images": [
            {
                **image(0, "a_png.rf.0a1b.jpg"),
                "license": 1,
                "date_captured": "2024-01-01T00:00:00+00:00",
                "extra": {"name": "a.png"},
            }
        ],
        "annotations": [
            {**annotation(0, 0, [5, 5, 10.5, 20]), "category_id": 1, "segmentation": []},
            {**annotation(1, 0, [5, 5, 10, 20]), "category_id": 2, "segmentation": []},
        ],
    }
    name = "_annotations.coco.json"
    register(export, ["valid/a_png.rf.0a1b.jpg"], f"valid/{name}")

    records = register(export, ["train/a_png.rf.0a1b.jpg"], f"train/{name}", **splits)

    assert register.cfg.DATASETS.TRAIN == ("set_train__annotations.coco",)
    assert register.cfg.DATASETS.TEST == ("set_valid__annotations.coco",)
    for split in ("train", "valid"):
        dataset = f"set_{split}__annotations.coco"
        assert MetadataCatalog.get(dataset).thing_classes == ["rbc", "wbc"]
        (record,) = DatasetCatalog.get(dataset)
        assert record["file_name"].endswith(f"set/{split}/a_png.rf.0a1b.jpg")
    assert [a["category_id"] for a in records[0]["annotations"]] == [0, 1]
    assert "names only a supercategory" in load_table("set_train__annotations.coco").report.summary
    with open(MetadataCatalog.get("set_valid__annotations.coco").json_file) as file:
        assert [c["id"] for c in json.load(file)["categories"]] == [1, 2]


def test_a_category_0_with_objects_is_a_class(register):
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "rbc", "supercategory": "cells"},
    ]
    objects = [annotation(1, 7, [1, 1, 8, 8], category_id=0)]

    register(content([image()], objects, categories), ["a.png"])

    assert MetadataCatalog.get("set_train").thing_classes == ["cells", "rbc"]


def test_cvat(register):
    """Folders annotations and images, attributes, masks without a box as polygons."""
    objects = [
        {
            **annotation(1, 1, [5.0, 5.0, 10.0, 20.0]),
            "segmentation": [],
            "attributes": {"occluded": False, "rotation": 0.0},
        },
        {**annotation(2, 1, []), "segmentation": [[5, 6, 25, 6, 25, 16], [3, 8, 4, 9]]},
    ]
    export = content([{**image(1, "sub/a.png"), "license": 0, "flickr_url": ""}], objects)

    records = register(export, ["images/sub/a.png"], "annotations/instances_default.json")

    assert records[0]["file_name"].endswith("set/images/sub/a.png")
    assert boxes_of(records) == [[[5, 5, 15, 25], [3, 6, 25, 16]]]
    summary = load_table("set_instances_default").report.summary
    assert summary.endswith(
        "repaired: 1 boxes taken from polygons, 1 images found at another path than written"
    )


def test_label_studio(register):
    r"""File names with folders of the server, or backslashes; annotation ids from 0."""
    images = [
        image(0, "images/8a7b0c-a.png"),
        image(1, "images\\b.png"),
        image(2, r"C:\Users\me\upload\1\c.png"),
        image(3, "/label-studio/data/media/upload/1/d.png"),
    ]
    objects = [
        {**annotation(i, i, [1.5, 1.5, 8, 8]), "segmentation": [], "ignore": 0} for i in range(4)
    ]

    names = [f"images/{x}.png" for x in ("8a7b0c-a", "b", "c", "d")]
    records = register(content(images, objects), names, "result.json")

    assert [r["file_name"].rsplit("set/")[1] for r in records] == names
    assert boxes_of(records) == [[[1.5, 1.5, 9.5, 9.5]]] * 4


def test_labelme(register):
    """labelme2coco: ids as text, polygons, no iscrowd."""
    objects = [
        {
            "id": "1",
            "image_id": "7",
            "category_id": "1",
            "bbox": ["5", "5", "10", "20"],
            "area": "200",
            "segmentation": [[5, 5, 15, 25]],
        }
    ]
    export = content([image("7", height="30", width=40.0)], objects, [{"id": "1", "name": "cat"}])

    records = register(export, ["a.png"])

    assert records[0]["image_id"] == 7
    assert (records[0]["height"], records[0]["width"]) == (30, 40)
    assert boxes_of(records) == [[[5, 5, 15, 25]]]


@pytest.mark.parametrize(
    "size",
    [{}, {"height": None, "width": None}, {"height": 0}, {"width": ""}, {"width": float("nan")}],
)
def test_a_missing_size_is_read_from_the_image(register, size):
    entry = {**{k: v for k, v in image().items() if k in size or not size}, **size}
    entry = {"id": 7, "file_name": "a.png", **size}

    records = register(content([entry], [annotation(1, 7, [1, 1, 99, 99])]), ["a.png"])

    assert (records[0]["height"], records[0]["width"]) == (30, 40)
    assert boxes_of(records) == [[[1, 1, 40, 30]]]


@pytest.mark.parametrize(
    ("field", "value", "is_crowd"),
    [
        ("iscrowd", None, 0),
        ("iscrowd", "1", 1),
        ("iscrowd", True, 1),
        ("iscrowd", float("nan"), 0),
        ("ignore", 1, 1),
        ("ignore", 0, 0),
        ("area", None, 0),
        ("area", float("nan"), 0),
        ("area", -1, 0),
        ("area", 10**400, 0),
        ("id", None, 0),
        ("id", 2**70, 0),
        ("id", [1], 0),
    ],
)
def test_a_field_that_training_does_without_is_repaired(register, field, value, is_crowd):
    objects = [
        {**annotation(1, 7, [1, 1, 8, 8]), field: value},
        annotation(2, 7, [1, 1, 8, 8]),
    ]

    (record,) = register(content([image()], objects), ["a.png"], TEST="train.json")

    assert [a["iscrowd"] for a in record["annotations"]] == [is_crowd, 0]
    with open(MetadataCatalog.get("set_train").json_file) as file:
        written = json.load(file)["annotations"]
    assert [a["id"] for a in written] == [1, 2]
    expected = 64 if field == "area" else 50
    assert [a["area"] for a in written] == [expected, 50]


def test_numbers_too_large_for_a_float_are_boxes_without_end(register):
    objects = [
        annotation(1, 7, [10**400, 1, 8, 8]),
        annotation(2, 7, [1, 1, 1e400, 8]),
        annotation(3, 7, [1, 1, 8, 8]),
    ]

    records = register(content([image()], objects), ["a.png"])

    assert boxes_of(records) == [[[1, 1, 9, 9]]]
    assert "dropped 2 (2 non-finite)" in load_table("set_train").report.summary


def test_ids_that_are_no_numbers_are_replaced(register):
    images = [image("img-b", "b.png"), image("img-a", "a.png")]
    categories = [{"id": "x", "name": "dog"}, {"id": "w", "name": "cat"}]
    objects = [annotation(1, "img-a", [1, 1, 8, 8], category_id="x")]

    records = register(content(images, objects, categories), ["a.png", "b.png"])

    assert MetadataCatalog.get("set_train").thing_classes == ["dog", "cat"]
    assert [record["image_id"] for record in records] == [1, 2]
    assert [len(record["annotations"]) for record in records] == [0, 1]


def test_annotations_may_come_before_images_and_categories(register):
    export = {
        "annotations": [annotation(1, 7, [1, 1, 8, 8], category_id=5)],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
        "images": [image(9, "b.png"), image()],
    }

    first, second = register(export, ["a.png", "b.png"])

    assert (first["image_id"], first["annotations"]) == (9, [])
    assert second["annotations"][0]["category_id"] == 1


def test_images_and_annotations_listed_twice(register):
    objects = [annotation(1, 7, [1, 1, 8, 8]), annotation(1, 7, [1, 1, 9, 9])]

    records = register(content([image(), image()], objects), ["a.png"], TEST="train.json")

    assert boxes_of(records) == [[[1, 1, 9, 9], [1, 1, 10, 10]]]
    summary = load_table("set_train").report.summary
    assert summary.endswith("repaired: 1 images listed twice, 1 repeated ids of annotations")


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32"),
    ],
    ids=["BOM", "UTF-16", "UTF-32"],
)
def test_encodings_that_say_what_they_are(register, encode):
    export = content([image(name="ä.png")], [annotation(1, 7, [1, 1, 8, 8])])
    text = json.dumps(export, ensure_ascii=False)

    (record,) = register(text, ["ä.png"], encode=encode, TEST="train.json")

    assert record["file_name"].endswith("ä.png")
    # pycocotools would not read the file itself.
    with open(MetadataCatalog.get("set_train").json_file) as file:
        assert len(json.load(file)["annotations"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"images": [' + '{"a": ' * 100_000, "nested too deeply"),
        ('{"images": [{"id": ' + "1" * 5000 + "}]}", "is not JSON that can be read"),
        ('{"images": []} {}', "expected nothing more"),
        ('{"images": [], "images": []}', "has the key 'images' twice"),
        ('{"images": [],}', "expected a key in double quotes"),
        ('{"images" []}', "expected ':' at character 10"),
        ('{"images": [{"id": 1} {"id": 2}]}', "expected ',' or ']' at character 22"),
        ("[]", "its top level is not an object"),
        ('{"images": {}}', "has no list 'images'"),
        ('{"images": [3], "annotations": [], "categories": []}', r"images\[0\] is not an object"),
    ],
)
def test_text_that_is_not_a_coco_file(register, text, message):
    with pytest.raises(ValueError, match=message) as error:
        register(text, [])
    assert "train.json" in str(error.value)


def test_text_of_another_encoding_is_named(register):
    text = json.dumps(content([image(name="ä.png")], []), ensure_ascii=False)
    with pytest.raises(ValueError, match=r"train\.json is not JSON: it is not text in utf-8"):
        register(text, [], encode=lambda text: text.encode("latin-1"))


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png", "", 7, None])
def test_a_file_name_that_no_file_can_have(register, name):
    with pytest.raises(ValueError, match="images: field 'file_name' of the entry with id 7 is "):
        register(content([image(name=name)], []), [])


def test_an_image_of_the_same_name_in_several_folders_is_not_guessed(register):
    export = content([image(name="a.png")], [annotation(1, 7, [1, 1, 8, 8])])

    with pytest.raises(FileNotFoundError, match=r"1 of 1 images do not exist: .*set/a\.png"):
        register(export, ["one/a.png", "two/a.png"])
    # The end of the path tells which one it is.
    export["images"][0]["file_name"] = "/data/two/a.png"
    assert register(export, [])[0]["file_name"].endswith("set/two/a.png")
