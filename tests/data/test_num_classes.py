import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from autoassign.data import resolve_num_classes


def fail_to_load():
    raise AssertionError("the data is not needed for its classes")


@pytest.fixture
def cfg(make_cfg):
    for name, classes in {
        "cats": ["lion", "lynx"],
        "cats_too": ["lion", "lynx"],
        "swapped": ["lynx", "lion"],
        "zoo": ["lion", "lynx", "gnu"],
    }.items():
        DatasetCatalog.register(name, fail_to_load)
        MetadataCatalog.get(name).thing_classes = classes
    return make_cfg()


def resolve(cfg, train, test=(), num_classes=0):
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = train, test
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = num_classes
    resolve_num_classes(cfg)
    return cfg.MODEL.POINT_HEAD.NUM_CLASSES


def test_zero_is_replaced_by_the_number_of_classes_of_the_data(cfg):
    assert resolve(cfg, ("cats", "cats_too"), ("cats",)) == 2
    assert resolve(cfg, (), ("zoo",)) == 3


def test_builtin_datasets_know_their_classes_without_being_loaded(cfg):
    assert resolve(cfg, ("coco_2017_train",), ("coco_2017_val",)) == 80
    assert resolve(cfg, ("coco_2017_train",), ("coco_2017_val",), 80) == 80


def test_a_dataset_whose_metadata_does_not_say_is_loaded(cfg, coco_folder):
    root = coco_folder()
    register_coco_instances("lazy", {}, str(root / "train.json"), str(root / "images"))

    assert resolve(cfg, ("lazy",)) == 2


def test_another_number_is_an_error_that_states_both(cfg):
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 80, but cats have 2 .*lion, lynx"):
        resolve(cfg, ("cats",), num_classes=80)


@pytest.mark.parametrize(
    ("other", "difference"),
    [("zoo", "only in zoo: gnu"), ("swapped", "order differs: lion, lynx and lynx, lion")],
)
def test_splits_of_different_classes_are_an_error_that_says_how(cfg, other, difference):
    with pytest.raises(ValueError, match=f"cats .* and {other} .*{difference}"):
        resolve(cfg, ("cats",), (other,))


def test_an_unknown_dataset_is_an_error_that_names_similar_ones(cfg):
    with pytest.raises(ValueError, match=r"'coco_2017_trian'.*coco_2017_train.*DATASETS\.CUSTOM"):
        resolve(cfg, ("coco_2017_trian",))
    assert "coco_2017_trian" not in MetadataCatalog


def test_no_dataset_leaves_a_number_alone_and_cannot_replace_zero(cfg):
    assert resolve(cfg, (), num_classes=7) == 7
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 0, and .* name no dataset"):
        resolve(cfg, ())


def test_a_dataset_without_classes_is_an_error(cfg):
    DatasetCatalog.register("blank", list)

    with pytest.raises(ValueError, match="the dataset blank has no classes"):
        resolve(cfg, ("blank",))


def test_detectron2_s_retinanet_has_its_own_number(cfg):
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.RETINANET.NUM_CLASSES = 0
    assert resolve(cfg, ("cats",), num_classes=80) == 80  # that of another detector
    assert cfg.MODEL.RETINANET.NUM_CLASSES == 2
    with pytest.raises(ValueError, match=r"MODEL\.RETINANET\.NUM_CLASSES is 2, but zoo"):
        resolve(cfg, ("zoo",))
