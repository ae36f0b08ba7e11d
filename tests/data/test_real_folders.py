"""The real images kept beside the repository, where they are."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from autoassign.data import CheckedDatasetMapper, register_custom_datasets, resolve_num_classes

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def require(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the images of {name} are not in ../shared/data")
    return SHARED / name


def test_bccd(make_cfg, caplog):
    caplog.set_level("INFO")
    cfg = make_cfg(FORMAT="voc", ROOT=require("bccd"), TRAIN="train,val", TEST="test")
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = 0

    register_custom_datasets(cfg)
    resolve_num_classes(cfg)

    assert cfg.MODEL.POINT_HEAD.NUM_CLASSES == 3
    assert MetadataCatalog.get("bccd_test").thing_classes == ["Platelets", "RBC", "WBC"]
    # Counted in the XML files: BloodImage_00343 (train) and BloodImage_00338 (val) have one box
    # each whose corners are one point.
    assert "bccd_train: 205 images, 2 804 boxes; dropped 1 (1 zero area)" in caplog.text
    assert "bccd_val: 87 images, 1 137 boxes; dropped 1 (1 zero area)" in caplog.text
    assert "bccd_test: 72 images, 945 boxes" in caplog.text
    mapped = CheckedDatasetMapper(cfg, is_train=True)(DatasetCatalog.get("bccd_train")[0])
    assert len(mapped["instances"]) == len(DatasetCatalog.get("bccd_train")[0]["annotations"])


def test_tiny_coco(make_cfg):
    root = require("tiny_coco")
    train, val = (f"annotations/instances_{split}2017.json" for split in ("train", "val"))
    cfg = make_cfg(
        FORMAT="coco",
        ROOT=root,
        TRAIN=train,
        TRAIN_IMAGES="train2017",
        TEST=f"{train},{val}",
        TEST_IMAGES="train2017,val2017",
    )

    register_custom_datasets(cfg)
    resolve_num_classes(cfg)

    assert cfg.DATASETS.TRAIN == ("tiny_coco_instances_train2017",)
    for name, num_boxes in zip(cfg.DATASETS.TEST, (470, 382), strict=True):
        records = DatasetCatalog.get(name)
        assert len(records) == 50
        assert sum(len(record["annotations"]) for record in records) == num_boxes
        classes = MetadataCatalog.get("coco_2017_val").thing_classes
        assert MetadataCatalog.get(name).thing_classes == classes
    # Its boxes are clean, so COCO evaluation reads the folder's own file.
    assert MetadataCatalog.get(cfg.DATASETS.TEST[1]).json_file == str(root.resolve() / val)
