import json
import re

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from folder_parts import annotation

from autoassign.data import register_custom_datasets


@pytest.fixture
def register(make_cfg):
    """Return a function that registers ``root`` with the given options."""

    def call(root, train="train.json", **custom):
        options = {"TRAIN_IMAGES": "images", "TEST_IMAGES": "images", **custom}
        cfg = make_cfg(FORMAT="coco", ROOT=root, TRAIN=train, **options)
        register_custom_datasets(cfg)
        return cfg

    return call


def without(entry: dict, field: str) -> dict:
    return {key: value for key, value in entry.items() if key != field}


def test_records_classes_and_metadata(register, coco_folder):
    root = coco_folder()

    cfg = register(root)

    assert cfg.DATASETS.TRAIN == ("pets_train",)
    assert cfg.DATASETS.TEST == ()
    metadata = MetadataCatalog.get("pets_train")
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {1: 0, 3: 1}
    assert metadata.json_file == str(root / "train.json")
    assert metadata.image_root == str(root / "images")
    assert metadata.evaluator_type == "coco"
    first, second = DatasetCatalog.get("pets_train")
    assert first["file_name"] == str(root / "images" / "a.png")
    assert [a["category_id"] for a in first["annotations"]] == [0, 1]
    assert second["annotations"] == [
        {"bbox": [2, 3, 32, 28], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0}
    ]


def test_crowds_are_kept_and_masks_left_out(register, coco_folder):
    square = [[1, 1, 9, 1, 9, 9, 1, 9]]
    crowd = annotation(1, 7, [1, 1, 8, 8], iscrowd=1, segmentation=square)
    register(coco_folder(annotations=[crowd, annotation(2, 7, [1, 1, 8, 8])]))

    crowd, thing = DatasetCatalog.get("pets_train")[0]["annotations"]

    assert crowd["iscrowd"] == 1
    assert "segmentation" not in crowd
    assert thing["iscrowd"] == 0


def test_an_image_without_annotations_is_kept_empty(register, coco_folder):
    register(coco_folder(annotations=[annotation(1, 7, [1, 1, 8, 8])]))

    assert DatasetCatalog.get("pets_train")[1]["annotations"] == []


def test_equal_stems_are_told_apart_by_their_folder(register, coco_folder):
    root = coco_folder("train/_a.json", "valid/_a.json")

    cfg = register(root, "train/_a.json", TEST="valid/_a.json")

    assert cfg.DATASETS.TRAIN == ("pets_train__a",)
    assert cfg.DATASETS.TEST == ("pets_valid__a",)


def test_files_of_unusual_names_have_to_be_named(register, coco_folder):
    root = coco_folder("train.json", "sub/val.json")
    with pytest.raises(
        ValueError, match=r"2 JSON files \(train\.json, sub/val\.json\); .* TEST or both$"
    ):
        register(root, "")


def test_several_files_with_an_image_folder_each_and_without_any(register, coco_folder):
    root = coco_folder("one.json", "two.json")
    (root / "images" / "a.png").rename(root / "a.png")
    (root / "images" / "b.png").rename(root / "b.png")

    cfg = register(root, "one.json, two.json", TRAIN_IMAGES="")
    assert cfg.DATASETS.TRAIN == ("pets_one", "pets_two")

    cfg = register(root, "one.json, two.json", TRAIN_IMAGES=".,.")
    assert cfg.DATASETS.TRAIN == ("pets_one", "pets_two")
    with pytest.raises(ValueError, match="names 3 folders for the 2 annotation files"):
        register(root, "one.json,two.json", TRAIN_IMAGES=".,.,.")


def test_one_file_in_both_train_and_test_is_one_dataset(register, coco_folder):
    root = coco_folder()

    cfg = register(root, TEST="train.json")

    assert cfg.DATASETS.TRAIN == cfg.DATASETS.TEST == ("pets_train",)
    (root / "other").mkdir()
    with pytest.raises(ValueError, match=r"be called pets_train: .*train\.json"):
        register(root, TEST="train.json", TEST_IMAGES="other")


@pytest.mark.parametrize(
    ("custom", "missing"),
    [
        ({"TEST": "nothing.json"}, "nothing.json does not exist"),
        ({"TRAIN_IMAGES": "nowhere"}, "nowhere is not a folder"),
        ({"root": "/no/such/root"}, "/no/such/root is not a folder"),
    ],
)
def test_a_missing_file_or_folder_is_named(register, coco_folder, custom, missing):
    with pytest.raises(FileNotFoundError, match=missing):
        register(**{"root": coco_folder(), **custom})


@pytest.mark.parametrize("text", ["{", "<xml/>", "", "\x00\x01"])
def test_a_file_that_is_not_json_is_named(register, coco_folder, text):
    root = coco_folder()
    (root / "train.json").write_text(text)

    with pytest.raises(ValueError, match=r"train\.json is not JSON"):
        register(root)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(register, coco_folder, coco_content, key):
    root = coco_folder()
    (root / "train.json").write_text(json.dumps(without(coco_content, key)))

    with pytest.raises(ValueError, match=rf"train\.json has no list '{key}'"):
        register(root)


@pytest.mark.parametrize(
    ("key", "field", "entry"),
    [
        ("images", "file_name", "the entry with id 9"),
        ("annotations", "bbox", "the entry with id 13"),
        ("annotations", "image_id", "the entry with id 13"),
        ("images", "id", "entry number 1"),
        ("categories", "name", "the entry with id 1"),
    ],
)
def test_a_missing_field_is_named(register, coco_folder, coco_content, key, field, entry):
    entries = coco_content[key]
    root = coco_folder(**{key: [*entries[:-1], without(entries[-1], field)]})
    message = rf"train\.json: {key}: {entry} has no field '{field}'"

    with pytest.raises(ValueError, match=message):
        register(root)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_id": 99}, "field 'image_id' of entry number 0 is 99, which is not in 'images'"),
        (
            {"category_id": 2},
            "field 'category_id' of entry number 0 is 2, which is not in 'categories'",
        ),
        ({"bbox": [1, 2, 3]}, "field 'bbox' of the entry with id 5 is [1, 2, 3], not four numbers"),
        ({"bbox": [1, 2, 3, "a"]}, "is [1, 2, 3, 'a'], not a number"),
        ({"bbox": {"x": 1}}, "is {'x': 1}, not four numbers"),
        ({"bbox": None}, "field 'bbox' of the entry with id 5 is None, not four numbers"),
        ({"bbox": [], "segmentation": [[1, 2, 3]]}, "is [[1, 2, 3]], not a list of polygons"),
        ({"image_id": None}, "field 'image_id' of the entry with id 5 is None, not an integer"),
        ({"iscrowd": 2}, "field 'iscrowd' of the entry with id 5 is 2, not 0 or 1"),
    ],
)
def test_a_wrong_field_of_an_annotation_is_named(register, coco_folder, fields, message):
    root = coco_folder(annotations=[{**annotation(5, 7, [1, 1, 8, 8]), **fields}])

    with pytest.raises(ValueError, match=rf"train\.json: annotations: .*{re.escape(message)}"):
        register(root)


def test_all_kinds_of_faults_are_told_at_once(register, coco_folder, coco_content):
    annotations = [
        without(annotation(1, 7, [1, 1, 8, 8]), "bbox"),
        without(annotation(2, 7, [1, 1, 8, 8]), "bbox"),
        annotation(3, 8, [1, 1, 8, 8]),
    ]
    images = [*coco_content["images"], {"id": 10, "width": -1}]

    with pytest.raises(ValueError, match=r"train\.json: ") as error:
        register(coco_folder(annotations=annotations, images=images))

    sentences = str(error.value).split(": ", 1)[1].split("; ")
    assert sentences == [
        "images: the entry with id 10 has no field 'file_name'",
        "images: field 'width' of the entry with id 10 is -1, not a whole number of pixels from 1 "
        "to 1000000",
        "annotations: the entry with id 1 has no field 'bbox' (1 more like it)",
        "annotations: field 'image_id' of entry number 2 is 8, which is not in 'images'",
    ]


@pytest.mark.parametrize("key", ["images", "categories"])
def test_an_id_of_two_things_is_named(register, coco_folder, coco_content, key):
    entries = [{**entry, "id": 1} for entry in coco_content[key]]
    with pytest.raises(ValueError, match=f"{key}: the entry with id 1 has the id of another"):
        register(coco_folder(**{key: entries}, annotations=[]))


def test_ground_truth_is_the_file_itself_where_nothing_changed(register, coco_folder):
    root = coco_folder()

    cfg = register(root, "", TEST="train.json")

    assert cfg.DATASETS.TRAIN == ()
    assert MetadataCatalog.get("pets_train").json_file == str(root / "train.json")


def test_ground_truth_follows_the_cleaning(register, coco_folder, tmp_path):
    root = coco_folder(
        annotations=[
            annotation(0, 7, [1, 1, 0, 8]),
            annotation(4, 7, [35, 5, 10, 10], area=80.5, iscrowd=1),
            annotation(5, 9, [35, 5, 10, 10], area=20.5),
            annotation(6, 9, [1, 1, 8, 8.25], area=40.5),
        ]
    )

    register(root, "", TEST="train.json")

    json_file = MetadataCatalog.get("pets_train").json_file
    assert json_file == str(tmp_path / "output" / "ground_truth" / "pets_train.json")
    with open(json_file) as file:
        content = json.load(file)
    assert content["annotations"] == [
        # Of the mask's 80.5 pixels no more than the 5 x 10 of the clipped box can be in the image.
        annotation(1, 7, [35, 5, 5, 10], area=50, iscrowd=1),
        annotation(2, 9, [35, 5, 5, 10], area=20.5),
        annotation(3, 9, [1, 1, 8, 8.25], area=40.5),
    ]


def test_ground_truth_gets_what_coco_evaluation_needs(register, coco_folder):
    bare = {"image_id": 7, "category_id": 1, "bbox": [1, 1, 8, 8]}

    register(coco_folder(annotations=[{"id": 0, **bare}, {"id": 1, **bare}]), TEST="train.json")

    with open(MetadataCatalog.get("pets_train").json_file) as file:
        annotations = json.load(file)["annotations"]
    assert annotations == [
        {"id": 1, "area": 64, "iscrowd": 0, **bare},
        {"id": 2, "area": 64, "iscrowd": 0, **bare},
    ]


def test_a_box_counts_whatever_its_mask(register, coco_folder):
    masks = [[[]], [[1, 1, 9, 9]], {"counts": "broken"}]
    register(
        coco_folder(
            annotations=[
                annotation(i, 7, [1, 1, 8, 8], segmentation=mask)
                for i, mask in enumerate(masks, start=1)
            ]
        )
    )
    assert len(DatasetCatalog.get("pets_train")[0]["annotations"]) == len(masks)
