import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from autoassign import add_autoassign_config, config_files, get_config_file
from autoassign.detector import PointDetector
from autoassign.engine.optimizer import build_optimizer

FOLDER = next(folder for folder in config_files._CONFIG_FOLDERS if folder.is_dir())
NAMES = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob("*.yaml")
    if not path.name.startswith("Base-")
)


def load(name: str) -> CfgNode:
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.merge_from_file(get_config_file(name))
    return cfg


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_its_detector_optimizer_and_schedule(name):
    cfg = load(name)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = cfg.MODEL.POINT_HEAD.NUM_CLASSES or 3
    model = build_model(cfg)
    assert isinstance(model, PointDetector)
    build_lr_scheduler(cfg, build_optimizer(cfg, model))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_writes_into_a_folder_of_its_own(name):
    others = {load(other).OUTPUT_DIR for other in NAMES if other != name}
    assert load(name).OUTPUT_DIR not in {*others, "./output"}


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_takes_effect_within_the_training(name):
    solver = load(name).SOLVER
    assert solver.WARMUP_ITERS < solver.MAX_ITER
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        assert max(solver.STEPS) < solver.MAX_ITER


def test_the_1x_recipe_is_the_published_one():
    cfg = load("COCO-Detection/autoassign_R_50_FPN_1x.yaml")
    solver, model = cfg.SOLVER, cfg.MODEL
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.MOMENTUM) == ("SGD", 0.01, 0.9)
    assert (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM) == (1e-4, 0.0)
    assert (solver.IMS_PER_BATCH, solver.MAX_ITER, solver.STEPS) == (16, 90000, (60000, 80000))
    assert (solver.WARMUP_ITERS, solver.WARMUP_FACTOR, solver.GAMMA) == (1000, 0.001, 0.1)
    assert not solver.CLIP_GRADIENTS.ENABLED
    assert (cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN) == (
        "BGR",
        (800,),
        1333,
    )
    assert (model.PIXEL_MEAN, model.PIXEL_STD) == ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0])
    assert (model.BACKBONE.FREEZE_AT, model.RESNETS.NORM, model.RESNETS.STRIDE_IN_1X1) == (
        2,
        "FrozenBN",
        True,
    )
    assert (model.FPN.TOP_BLOCK_IN_FEATURE, model.FPN.OUT_CHANNELS) == ("p5", 256)
    head = model.POINT_HEAD
    assert (head.NUM_CONVS, head.NORM, head.PRIOR_PROB, head.BOX_BIAS) == (4, "GN", 0.02, 4.0)
    assert (head.SCORE_THRESH_TEST, head.TOPK_CANDIDATES_TEST, head.NMS_THRESH_TEST) == (
        0.05,
        1000,
        0.6,
    )
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 100


def test_the_13_epoch_recipe_differs_in_its_schedule_only():
    one = load("COCO-Detection/autoassign_R_50_FPN_1x.yaml")
    other = load("COCO-Detection/autoassign_R_50_FPN_13ep.yaml")
    assert other.SOLVER.MAX_ITER == 13 * 7329
    assert other.SOLVER.STEPS == (10 * 7329,)
    for cfg in (one, other):
        cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER, cfg.OUTPUT_DIR = (), 0, ""
    assert one == other
