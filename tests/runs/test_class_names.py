import json
import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from narrow_model import narrow_cfg

from autoassign.runs.class_names import class_metadata


def test_the_names_of_coco_are_known_without_its_files():
    cfg = narrow_cfg("DATASETS.TEST", ("coco_2017_val",))
    metadata = class_metadata(cfg, 80)
    assert metadata.thing_classes[:2] == ["person", "bicycle"]
    assert metadata.thing_dataset_id_to_contiguous_id[90] == 79


def test_a_dataset_with_another_number_of_classes_is_passed_over(caplog):
    cfg = narrow_cfg("DATASETS.TEST", ("coco_2017_val",))
    with caplog.at_level(logging.WARNING, "autoassign"):
        metadata = class_metadata(cfg, 2)
    assert metadata.thing_classes == ["class 0", "class 1"]
    assert metadata.thing_dataset_id_to_contiguous_id == {0: 0, 1: 1}
    assert "names and dataset ids of the 2 classes are not known" in caplog.text
    assert "category ids in results are 0 to 1" in caplog.text


@pytest.fixture
def custom(tmp_path) -> list[str]:
    """Options of a folder with two classes and without images."""
    image = {"id": 1, "file_name": "missing.jpg", "height": 8, "width": 8}
    categories = [{"id": 7, "name": "b"}, {"id": 3, "name": "a"}]
    content = {"images": [image], "annotations": [], "categories": categories}
    (tmp_path / "val.json").write_text(json.dumps(content))
    (tmp_path / "val").mkdir()
    options = ("FORMAT", "coco", "ROOT", tmp_path, "TEST", "val.json", "TEST_IMAGES", "val")
    return [f"DATASETS.CUSTOM.{x}" if i % 2 == 0 else str(x) for i, x in enumerate(options)]


def test_names_and_ids_of_a_folder_come_from_its_annotations_without_its_images(custom):
    metadata = class_metadata(narrow_cfg(*custom), 2)
    assert metadata.thing_classes == ["a", "b"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}


def test_the_names_of_a_folder_precede_those_of_the_datasets_it_replaces(custom):
    name = "two_other_classes"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).thing_classes = ["x", "y"]
    try:
        cfg = narrow_cfg("DATASETS.TEST", (name,), *custom)
        assert class_metadata(cfg, 2).thing_classes == ["a", "b"]
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_folder_that_is_gone_is_no_error():
    options = ("DATASETS.CUSTOM.FORMAT", "coco", "DATASETS.CUSTOM.ROOT", "/nowhere")
    assert class_metadata(narrow_cfg(*options), 1).thing_classes == ["class 0"]


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_names_given_must_be_as_many_as_the_classes_and_differ(names):
    with pytest.raises(ValueError, match="the detector has 2 classes"):
        class_metadata(narrow_cfg(), 2, names)
