"""PASCAL VOC, Objects365 and WIDER FACE in small."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets.pascal_voc import CLASS_NAMES, load_voc_instances
from folder_parts import VOC_SIZE, annotation, voc_object, write_image

from autoassign.data import (
    CheckedDatasetMapper,
    register_builtin_datasets,
    resolve_num_classes,
    table_cache,
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "datasets"


@pytest.fixture
def load(root):
    """Return a function that registers everything below the root and loads one dataset."""

    def call(name: str):
        register_builtin_datasets(root)
        return DatasetCatalog.get(name)

    return call


def write_text(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- PASCAL VOC


@pytest.fixture
def voc(root):
    """Write VOC 2007 and 2012 with two images each, one of them with a difficult object."""

    def write(folder: str = ""):
        for year in (2007, 2012):
            base = root / folder / f"VOC{year}"
            bodies = {
                f"{year}_1": voc_object("cat", (5, 5, 20, 20))
                + voc_object("dog", (1, 2, 40, 30), 1),
                f"{year}_2": voc_object("person", (2.5, 2, 9, 9)),
            }
            for image_id, body in bodies.items():
                xml = f"<annotation>{VOC_SIZE}{body}</annotation>"
                write_text(base / f"Annotations/{image_id}.xml", xml)
                write_image(base / f"JPEGImages/{image_id}.jpg")
            for split in ("trainval", "test"):
                write_text(base / f"ImageSets/Main/{split}.txt", "\n".join(bodies) + "\n")

    return write


@pytest.mark.parametrize("folder", ["", "VOCdevkit", "voc"])
def test_voc_trains_on_what_detectron2_gives(voc, load, root, folder):
    voc(folder)
    for year in (2007, 2012):
        expected = load_voc_instances(str(root / folder / f"VOC{year}"), "trainval", CLASS_NAMES)
        records = load(f"voc_{year}_trainval")
        assert [{**x, "annotations": 0} for x in records] == [
            {**x, "annotations": 0} for x in expected
        ]
        for record, other in zip(records, expected, strict=True):
            assert record["annotations"] == [{**x, "iscrowd": 0} for x in other["annotations"]]


def test_difficult_objects_are_crowds_in_evaluation(voc, load):
    voc()

    assert [a["iscrowd"] for a in load("voc_2007_test")[0]["annotations"]] == [0, 1]
    metadata = MetadataCatalog.get("voc_2007_test")
    assert (metadata.evaluator_type, metadata.year) == ("pascal_voc", 2007)
    assert metadata.thing_classes == list(CLASS_NAMES)


def test_voc_counts_what_it_read(voc, load, caplog):
    caplog.set_level("INFO")
    voc()
    load("voc_2007_test")
    assert "voc_2007_test: 2 images, 3 boxes; 1 difficult" in caplog.text


def test_a_missing_voc_says_where_it_was_looked_for(load, root):
    with pytest.raises(FileNotFoundError) as error:
        load("voc_2012_trainval")
    assert f"{root}/VOC2012/ImageSets/Main/trainval.txt" in str(error.value)
    assert "VOCdevkit/VOC2012" in str(error.value)
    assert "DETECTRON2_DATASETS" in str(error.value)


def test_both_years_train_together(voc, load, make_cfg):
    voc()
    load("voc_2007_test")
    cfg = make_cfg()
    cfg.DATASETS.TRAIN = ("voc_2007_trainval", "voc_2012_trainval")
    cfg.DATASETS.TEST = ("voc_2007_test",)
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = 0

    resolve_num_classes(cfg)

    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 20
    assert len(get_detection_dataset_dicts(cfg.DATASETS.TRAIN)) == 4


# ---- Missing images


def test_a_few_missing_images_are_left_out_and_counted(voc, load, root, caplog):
    voc()
    base = root / "VOC2007"
    names = [f"many_{number}" for number in range(200)]
    for name in names:
        xml = f"<annotation>{VOC_SIZE}{voc_object('cat', (5, 5, 20, 20))}</annotation>"
        write_text(base / f"Annotations/{name}.xml", xml)
    write_image(base / "JPEGImages/many_0.jpg")
    content = (base / "JPEGImages/many_0.jpg").read_bytes()
    for name in names[1:-2]:
        (base / f"JPEGImages/{name}.jpg").write_bytes(content)
    write_text(base / "ImageSets/Main/trainval.txt", "\n".join(names))

    assert len(load("voc_2007_trainval")) == 198
    assert "voc_2007_trainval: left out because 2 of its 200 images do not exist" in caplog.text
    (base / "JPEGImages/many_1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="3 of its 200 images do not exist"):
        load("voc_2007_trainval")


# ---- Objects365


def objects365(root, version: int, name: str = "objects365") -> list[str]:
    """Write a training and a validation set of three images; returns the file names on disk."""
    categories = [{"id": i, "name": n} for i, n in ((2, "Sneakers"), (1, "Person"), (365, "Table"))]
    folder = root / name
    for split in ("train", "val"):
        if version == 1:
            written = on_disk = [f"obj365_{split}_{i:012d}.jpg" for i in range(3)]
            json_file = f"objects365_{split}.json"
        else:
            written = [f"images/v{1 + i % 2}/patch{i}/objects365_v1_{i:08d}.jpg" for i in range(3)]
            on_disk = [path.split("/", 2)[2] for path in written]
            json_file = f"zhiyuan_objv2_{split}.json"
        images = [
            {"id": 10 + i, "file_name": each, "height": 30, "width": 40, "license": 3}
            for i, each in enumerate(written)
        ]
        objects = [
            {**annotation(1, 10, [1, 1, 8, 8], category_id=365), "isfake": 0, "isreflected": 0},
            annotation(2, 10, [30, 20, 20, 20], category_id=1),
            annotation(3, 11, [5, 5, 0, 8], category_id=2),
            annotation(4, 12, [5, 5, 9, 8], category_id=2, iscrowd=1),
            annotation(5, 12, [5, 5, 9, 8], category_id=2),
        ]
        content = {"images": images, "annotations": objects, "categories": categories}
        write_text(folder / "annotations" / json_file, json.dumps(content))
        for path in on_disk:
            write_image(folder / split / path)
    return on_disk


@pytest.mark.parametrize(
    ("version", "folder", "name"),
    [
        (1, "objects365", "objects365_"),
        (2, "objects365", "objects365_v2_"),
        (2, "Objects365/Obj365_v2", "objects365_v2_"),
    ],
)
def test_objects365(root, load, caplog, version, folder, name):
    caplog.set_level("INFO")
    on_disk = objects365(root, version, folder)

    train, val = load(f"{name}train"), load(f"{name}val")

    # The second image's only box has no area.
    assert [record["image_id"] for record in train] == [10, 12]
    assert [record["image_id"] for record in val] == [10, 11, 12]
    assert [r["file_name"] for r in val] == [str(root / folder / "val" / path) for path in on_disk]
    assert [a["bbox"] for a in train[0]["annotations"]] == [[1, 1, 9, 9], [30, 20, 40, 30]]
    assert [a["category_id"] for a in train[0]["annotations"]] == [2, 0]
    assert [a["iscrowd"] for a in val[2]["annotations"]] == [1, 0]
    metadata = MetadataCatalog.get(f"{name}val")
    assert metadata.thing_classes == ["Person", "Sneakers", "Table"]
    assert metadata.thing_dataset_id_to_contiguous_id == {1: 0, 2: 1, 365: 2}
    assert (
        f"{name}train: 3 images, 4 boxes; dropped 1 (1 zero area), clipped 1; left out 1 images"
        in caplog.text
    )


def test_objects365_is_read_once(root, load, monkeypatch):
    objects365(root, 2)
    first = list(load("objects365_v2_train"))

    def not_again(*args):
        raise AssertionError("read again")

    monkeypatch.setattr("autoassign.data.datasets.objects365.read_coco_json", not_again)
    again = load("objects365_v2_train")
    assert list(again) == first
    monkeypatch.undo()


def test_objects365_is_read_again_when_file_or_images_change(root, load):
    objects365(root, 2)
    assert len(load("objects365_v2_val")) == 3
    path = root / "objects365/annotations/zhiyuan_objv2_val.json"
    content = json.loads(path.read_text())
    content["images"] *= 70
    content["images"] = [{**image, "id": number} for number, image in enumerate(content["images"])]
    content["annotations"] = []
    path.write_text(json.dumps(content))
    assert len(load("objects365_v2_val")) == 210
    # Two of 210 images have this one's file, and are less than a hundredth.
    for image in content["images"][:208]:
        image["file_name"] = content["images"][0]["file_name"]
    path.write_text(json.dumps(content))
    assert len(load("objects365_v2_val")) == 210
    (root / "objects365/val/patch1/objects365_v1_00000001.jpg").unlink()
    assert len(load("objects365_v2_val")) == 209


def test_an_interrupted_cache_is_not_used(root, load, monkeypatch):
    objects365(root, 1)
    monkeypatch.setattr(table_cache, "write_json", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load("objects365_val")
    monkeypatch.undo()
    monkeypatch.setenv("FVCORE_CACHE", str(root.parent / "cache"))

    assert len(load("objects365_val")) == 3
    folders = [p for p in (root.parent / "cache/autoassign").iterdir() if p.is_dir()]
    assert len(folders) == 1


def test_detectron2s_loader_takes_large_datasets_as_they_are(root, load, make_cfg):
    objects365(root, 1)
    train = load("objects365_train")
    cfg = make_cfg()
    cfg.DATASETS.TRAIN = ("objects365_train",)
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = 0
    resolve_num_classes(cfg)

    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 3
    assert len(get_detection_dataset_dicts("objects365_train")) == 2
    mapped = CheckedDatasetMapper(cfg, is_train=True)(train[0])
    assert len(mapped["instances"]) == 2
    with pytest.raises(IndexError):
        train[2]


# ---- WIDER FACE

WIDER = """0--Parade/one.jpg
2
5 6 10 12 2 0 1 0 1 0
30 20 4 0 0 0 0 0 0 0
0--Parade/empty.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/two.jpg
1
1 2 3 4 0 0 0 1 0 1
"""


@pytest.fixture
def widerface(root):
    def write(text: str = WIDER, folder: str = "widerface", split: str = "val"):
        base = root / folder
        write_text(base / f"wider_face_split/wider_face_{split}_bbx_gt.txt", text)
        for name in ("0--Parade/one", "0--Parade/empty", "1--Handshaking/two"):
            write_image(base / f"WIDER_{split}/images/{name}.jpg")

    return write


@pytest.mark.parametrize("folder", ["widerface", "WIDER_FACE"])
def test_widerface(widerface, load, root, caplog, folder):
    caplog.set_level("INFO")
    widerface(folder=folder)

    one, empty, two = load("widerface_val")

    assert one["file_name"] == str(root / folder / "WIDER_val/images/0--Parade/one.jpg")
    assert one["image_id"] == "0--Parade/one"
    assert (one["height"], one["width"]) == (30, 40)
    (face,) = one["annotations"]
    assert face["bbox"] == [5, 6, 15, 18]
    keys = ("iscrowd", "blur", "expression", "illumination", "invalid", "occlusion", "pose")
    assert [face[key] for key in keys] == [0, 2, 0, 1, 0, 1, 0]
    assert empty["annotations"] == []
    assert two["annotations"][0]["iscrowd"] == 1
    assert (
        "widerface_val: 3 images, 2 boxes; dropped 1 (1 zero area); 1 marked as invalid, taken as "
        "crowds" in caplog.text
    )
    assert MetadataCatalog.get("widerface_val").evaluator_type == "widerface"


def test_an_empty_image_may_be_the_last_or_lack_its_line_of_zeros(widerface, load):
    lines = WIDER.splitlines()
    widerface("\n".join(lines[:4] + lines[7:] + lines[4:6]))
    assert [len(r["annotations"]) for r in load("widerface_val")] == [1, 1, 0]
    widerface("\n".join(lines[:6] + lines[7:]))
    assert [len(r["annotations"]) for r in load("widerface_val")] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0--Parade/one.jpg\n2\n5 6 10 12 2 0 1 0 1 0\n",
            "ends before the 2 faces",
        ),
        ("0--Parade/one.jpg\nx\n", "line 2: 'x' is not the number of faces of 0--Parade/one"),
        ("0--Parade/one.jpg", "line 2: '' is not the number"),
        ("0--Parade/one.jpg\n1\n5 6 10 12\n", "line 3: '5 6 10 12' is not ten whole numbers"),
        ("0--Parade/one.jpg\n1\n5 6 a 12 2 0 1 0 1 0\n", "line 3: '5 6 a 12 .*is not ten whole"),
        (f"0--Parade/one.jpg\n1\n5 6 {'9' * 400} 12 2 0 1 0 1 0\n", "line 3: .* is not ten whole"),
    ],
)
def test_a_wrong_line_is_named(widerface, load, text, message):
    widerface(text)
    with pytest.raises(ValueError, match=rf"wider_face_val_bbx_gt\.txt.*{message}"):
        load("widerface_val")
