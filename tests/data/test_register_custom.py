import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from folder_parts import VOC_SIZE, annotation, voc_object

from autoassign.data import DatasetReport, load_table, register_custom_datasets

CELL = VOC_SIZE + voc_object("cell", (5, 5, 20, 20))


def coco_cfg(make_cfg, root, **custom):
    images = {"TRAIN_IMAGES": "images", "TEST_IMAGES": "images"}
    return make_cfg(**{"FORMAT": "coco", "ROOT": root, "TRAIN": "train.json", **images, **custom})


def test_without_a_format_nothing_happens(make_cfg):
    cfg = make_cfg(ROOT="/no/such/root", TRAIN="train")
    cfg.DATASETS.TRAIN = ("coco_2017_train",)

    register_custom_datasets(cfg)

    assert cfg.DATASETS.TRAIN == ("coco_2017_train",)


def test_an_unknown_format_names_the_allowed_ones(make_cfg):
    with pytest.raises(ValueError, match="FORMAT is 'tfrecord'; allowed: coco, voc, yolo"):
        register_custom_datasets(make_cfg(FORMAT="tfrecord"))


def test_upper_and_lower_case_name_the_same_format(make_cfg, voc_folder):
    cfg = make_cfg(FORMAT="VOC", ROOT=voc_folder(train={"a": CELL}), TRAIN="train")
    register_custom_datasets(cfg)
    assert cfg.DATASETS.TRAIN == ("cells_train",)


@pytest.mark.parametrize(
    ("format_name", "message"),
    [
        ("coco", "holds no JSON file$"),
        ("voc", "holds no XML file"),
        ("yolo", "the split '.' has no image"),
    ],
)
def test_an_empty_folder_is_an_error(make_cfg, tmp_path, format_name, message):
    with pytest.raises(ValueError, match=message):
        register_custom_datasets(make_cfg(FORMAT=format_name, ROOT=tmp_path, TRAIN=" , "))


def test_registering_again_gives_the_same_and_follows_a_changed_folder(make_cfg, coco_folder):
    cfg = coco_cfg(make_cfg, coco_folder(), TEST="train.json")
    register_custom_datasets(cfg)
    before = DatasetCatalog.get("pets_train")

    register_custom_datasets(cfg)
    assert DatasetCatalog.get("pets_train") == before

    coco_folder(
        categories=[{"id": 4, "name": "bird"}],
        annotations=[annotation(1, 7, [1, 1, 8, 8], category_id=4)],
    )
    register_custom_datasets(cfg)
    assert MetadataCatalog.get("pets_train").thing_classes == ["bird"]
    assert len(DatasetCatalog.get("pets_train")[0]["annotations"]) == 1


def test_each_user_of_the_catalog_gets_a_copy(make_cfg, coco_folder):
    register_custom_datasets(coco_cfg(make_cfg, coco_folder()))

    DatasetCatalog.get("pets_train")[0]["annotations"].clear()

    assert len(DatasetCatalog.get("pets_train")[0]["annotations"]) == 2


def test_one_summary_line_per_dataset(make_cfg, coco_folder, caplog):
    caplog.set_level("INFO", logger="autoassign")
    root = coco_folder(
        categories=[{"id": 1, "name": "cat"}],
        annotations=[
            annotation(1, 7, [1, 1, 8, 8]),
            annotation("x", "7", [1, 1, 0, 8], area=None),
        ],
    )

    register_custom_datasets(coco_cfg(make_cfg, root, TEST="train.json"))

    line = (
        "2 images, 1 boxes; dropped 1 (1 zero area); repaired: 1 areas of another type, 1 ids "
        "of annotations missing or of another type, 1 ids in annotations of another type"
    )
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("autoassign")]
    assert lines == [f"pets_train: {line}"]
    assert load_table("pets_train").report == DatasetReport(line)


@pytest.mark.parametrize("fields", [{"bbox": [50, 50, 8, 8]}, {"iscrowd": 1}])
def test_nothing_to_train_on_is_an_error_that_names_the_file(make_cfg, coco_folder, fields):
    root = coco_folder(annotations=[{**annotation(1, 7, [1, 1, 8, 8]), **fields}])

    with pytest.raises(ValueError, match=r"train\.json has no usable annotation"):
        register_custom_datasets(coco_cfg(make_cfg, root))

    register_custom_datasets(coco_cfg(make_cfg, root, TRAIN="", TEST="train.json"))


def test_nothing_to_train_on_names_the_voc_split(make_cfg, voc_folder):
    root = voc_folder(train={"a": VOC_SIZE})

    with pytest.raises(ValueError, match=r"train\.txt has no usable annotation"):
        register_custom_datasets(make_cfg(FORMAT="voc", ROOT=root, TRAIN="train"))


def test_a_missing_image_stops_with_its_name(make_cfg, coco_folder):
    root = coco_folder()
    (root / "images" / "b.png").unlink()

    with pytest.raises(FileNotFoundError, match=r"pets_train: 1 of 2 images .*images/b\.png"):
        register_custom_datasets(coco_cfg(make_cfg, root))


def test_missing_and_broken_images_are_skipped_on_request(make_cfg, voc_folder, caplog):
    root = voc_folder(train=dict.fromkeys("abcde", CELL))
    images = root / "JPEGImages"
    (images / "a.png").unlink()
    (images / "b.png").write_bytes(b"not an image")
    (images / "d.png").write_bytes((images / "c.png").read_bytes()[:1500])
    (images / "e.png").write_bytes(b"")

    cfg = make_cfg(FORMAT="voc", ROOT=root, TRAIN="train", SKIP_UNREADABLE=True)
    register_custom_datasets(cfg)

    names = [record["file_name"] for record in DatasetCatalog.get("cells_train")]
    assert names == [str(images / "c.png")]
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "cells_train: left out 4 of 5 images" in warning
    assert "b.png" in warning
    assert warning.endswith(" and 1 more")


def test_no_readable_image_at_all_is_an_error(make_cfg, voc_folder):
    root = voc_folder(train={"a": CELL})
    (root / "JPEGImages" / "a.png").write_bytes(b"")

    with pytest.raises(ValueError, match=r"none of its 1 images can be used: .*a\.png"):
        register_custom_datasets(
            make_cfg(FORMAT="voc", ROOT=root, TRAIN="train", SKIP_UNREADABLE=True)
        )


@pytest.mark.parametrize(("filter_empty", "num_images"), [(True, 1), (False, 2)])
def test_empty_images_are_filtered_by_detectron2s_option(
    make_cfg, voc_folder, filter_empty, num_images
):
    cfg = make_cfg(FORMAT="voc", ROOT=voc_folder(train={"a": VOC_SIZE, "b": CELL}), TRAIN="train")
    register_custom_datasets(cfg)

    assert len(get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty)) == num_images


def evaluate_own_boxes(name: str, output_dir: str) -> float:
    """Return the AP of a detector that returns exactly the annotated boxes that count."""
    evaluator = COCOEvaluator(name, ("bbox",), False, output_dir, use_fast_impl=False)
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        things = [a for a in record["annotations"] if not a["iscrowd"]]
        instances = Instances((record["height"], record["width"]))
        instances.pred_boxes = Boxes(
            [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in things]
        )
        instances.pred_classes = torch.tensor([a["category_id"] for a in things])
        instances.scores = torch.ones(len(things))
        evaluator.process([record], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]["AP"]


def test_coco_evaluation_agrees_with_the_cleaned_boxes(make_cfg, coco_folder):
    root = coco_folder(
        annotations=[
            annotation(0, 7, [1, 1, 8, 8]),
            annotation(1, 7, [30, 20, 30, 30], category_id=3),
            annotation(2, 9, [10, 10, 0, 8]),
            annotation(3, 9, [20, 10, 8, 8], iscrowd=1),
        ],
    )
    cfg = coco_cfg(make_cfg, root, TRAIN="", TEST="train.json")
    register_custom_datasets(cfg)

    assert evaluate_own_boxes("pets_train", cfg.OUTPUT_DIR) == pytest.approx(100)


def test_coco_evaluation_leaves_skipped_images_out(make_cfg, coco_folder):
    root = coco_folder()
    (root / "images" / "b.png").unlink()
    cfg = coco_cfg(make_cfg, root, TRAIN="", TEST="train.json", SKIP_UNREADABLE=True)
    register_custom_datasets(cfg)

    assert evaluate_own_boxes("pets_train", cfg.OUTPUT_DIR) == pytest.approx(100)


def test_coco_evaluation_of_voc_follows_a_changed_folder(make_cfg, voc_folder):
    difficult = voc_object("cell", (21, 5, 40, 20), difficult=1)
    for body in (CELL + difficult, CELL.replace("<xmax>20<", "<xmax>35<") + difficult):
        cfg = make_cfg(FORMAT="voc", ROOT=voc_folder(test={"a": body}), TEST="test")
        register_custom_datasets(cfg)

        assert evaluate_own_boxes("cells_test", cfg.OUTPUT_DIR) == pytest.approx(100)
