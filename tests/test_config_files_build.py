import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from autoassign import add_autoassign_config, get_config_file
from autoassign.config import files as config_files
from autoassign.config import flatten_options
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
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
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


def test_the_dsla_recipe_is_that_of_the_training_log_with_all_three_parts_on():
    cfg = load("COCO-Detection/dsla_R_50_FPN_1x.yaml")
    options = cfg.MODEL.LABEL_ASSIGNMENT.DSLA
    # The published file has these off, and with it one does not train DSLA.
    assert options.CORE_ZONE
    assert options.INTERVAL_RELAXATION
    assert options.IOU_COUPLING
    assert (cfg.MODEL.LABEL_ASSIGNMENT.NAME, options.RELAXATION) == ("DSLA", 0.2)
    assert (options.CENTER_SAMPLING, options.BOX_LOSS, options.CLS_LOSS_WEIGHT) == (
        False,
        "iou_log",
        2.0,
    )
    head, solver = cfg.MODEL.POINT_HEAD, cfg.SOLVER
    assert (head.PRIOR_PROB, head.OBJECTNESS, head.CONV_BIAS) == (0.01, "none", False)
    assert (head.BOX_ACTIVATION, head.BOX_BIAS, head.DEFORMABLE_LAST_CONV) == ("exp", 0.0, False)
    assert (head.NORM, cfg.MODEL.FPN.TOP_BLOCK_IN_FEATURE) == ("GN", "p5")
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.IMS_PER_BATCH) == ("SGD", 0.01, 16)
    assert (solver.MAX_ITER, solver.STEPS) == (12 * 7330, (8 * 7330, 11 * 7330))
    assert (solver.WARMUP_METHOD, solver.WARMUP_ITERS) == ("constant", 500)
    assert abs(solver.WARMUP_FACTOR - 1 / 3) < 1e-6
    clip = solver.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE) == (True, "full_model", 35.0)
    assert (solver.BIAS_LR_FACTOR, solver.WEIGHT_DECAY_BIAS) == (2.0, 0.0)


def test_the_base_of_dsla_s_stronger_rows_keeps_the_three_parts_on():
    cfg = load("Base-DSLA-tricks.yaml")
    options, head, solver = cfg.MODEL.LABEL_ASSIGNMENT.DSLA, cfg.MODEL.POINT_HEAD, cfg.SOLVER
    assert options.CORE_ZONE
    assert options.INTERVAL_RELAXATION
    assert options.IOU_COUPLING
    assert (options.CENTER_SAMPLING, options.CENTER_SAMPLING_RADIUS) == (True, 1.5)
    assert (options.BOX_LOSS, options.CLS_LOSS_WEIGHT) == ("giou", 1.0)
    assert (head.BOX_ACTIVATION, head.CONV_BIAS, head.DEFORMABLE_LAST_CONV) == ("relu", True, True)
    assert (solver.MAX_ITER, solver.STEPS) == (24 * 7330, (16 * 7330, 22 * 7330))
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING) == ((640, 800), "range")


@pytest.mark.parametrize("strategy", ["dsla", "fcos", "atss"])
def test_biases_learn_faster_and_do_not_decay(strategy):
    cfg = load(f"COCO-Detection/{strategy}_R_50_FPN_1x.yaml")
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    weight, bias = (group_of[id(p)] for p in model.head.box_pred.parameters())
    assert bias["lr"] == pytest.approx(2 * weight["lr"])
    assert (weight["weight_decay"], bias["weight_decay"]) == (1e-4, 0.0)


AUTOASSIGN = "MODEL.LABEL_ASSIGNMENT.AUTOASSIGN"
NO_CENTER = {f"{AUTOASSIGN}.CENTER_WEIGHTING": "none"}
NO_CONFIDENCE = {f"{AUTOASSIGN}.CONFIDENCE_WEIGHTING": "none"}
OBJECTNESS = "MODEL.POINT_HEAD.OBJECTNESS"
# File in configs/ablations -> what differs from the config it is a row of.
ABLATIONS: dict[str, dict[str, object]] = {
    "table2_neither": {
        **NO_CENTER,
        **NO_CONFIDENCE,
        f"{AUTOASSIGN}.NEGATIVE_WEIGHTING": False,
    },
    "table2_confidence_only": NO_CENTER,
    "table2_center_only": NO_CONFIDENCE,
    "table2_both": {},
    "table3_none": NO_CENTER,
    "table3_fixed": {f"{AUTOASSIGN}.CENTER_WEIGHTING": "fixed"},
    "table3_shared": {f"{AUTOASSIGN}.CENTER_WEIGHTING": "shared"},
    "table3_category": {},
    "table4_classification_only": {f"{AUTOASSIGN}.CONFIDENCE_WEIGHTING": "classification"},
    "table4_localization_only": {f"{AUTOASSIGN}.CONFIDENCE_WEIGHTING": "localization"},
    "table4_no_objectness": {OBJECTNESS: "none"},
    "table4_explicit_objectness": {OBJECTNESS: "explicit"},
    "table4_implicit_objectness": {},
    "table5_atss_implicit_objectness": {OBJECTNESS: "implicit"},
    "table5_fcos_implicit_objectness": {OBJECTNESS: "implicit"},
}


def differences(name: str, base: str) -> dict[str, object]:
    """The options of a config that differ from another one's, but for its folder."""
    ours, theirs = flatten_options(load(name)), flatten_options(load(base))
    return {key: x for key, x in ours.items() if x != theirs[key] and key != "OUTPUT_DIR"}


@pytest.mark.parametrize("row", [x for x in NAMES if x.startswith("ablations/")])
def test_an_ablation_differs_from_its_recipe_in_what_its_name_says_alone(row):
    stem = row.removeprefix("ablations/").removesuffix(".yaml")
    recipe = stem.split("_")[1] if stem.startswith("table5") else "autoassign"
    assert differences(row, f"COCO-Detection/{recipe}_R_50_FPN_1x.yaml") == ABLATIONS[stem]


@pytest.mark.parametrize("row", [x for x in NAMES if x.startswith("quickstart/ablations/")])
def test_an_ablation_on_the_shapes_is_the_row_of_that_name(row):
    stem = row.removeprefix("quickstart/ablations/").removesuffix(".yaml")
    assert differences(row, "quickstart/autoassign_shapes.yaml") == ABLATIONS[stem]


@pytest.mark.parametrize(
    ("strategy", "head"),
    [("DSLA", {}), ("FCOS", {"MODEL.POINT_HEAD.LOCATION_OFFSET": 0.5}), ("ATSS", {})],
)
def test_a_strategy_on_the_shapes_differs_in_its_assignment_and_head_alone(strategy, head):
    name = f"quickstart/{strategy.lower()}_shapes.yaml"
    assert differences(name, "quickstart/autoassign_shapes.yaml") == {
        "MODEL.LABEL_ASSIGNMENT.NAME": strategy,
        "MODEL.POINT_HEAD.PRIOR_PROB": 0.01,
        OBJECTNESS: "none",
        **head,
    }


@pytest.mark.parametrize(
    ("strategy", "offset", "box_bias"), [("FCOS", 0.5, 0.0), ("ATSS", 0.0, 4.0)]
)
def test_the_fcos_and_atss_recipes(strategy, offset, box_bias):
    recipe = f"COCO-Detection/{strategy.lower()}_R_50_FPN_1x.yaml"
    assert differences(recipe, "Base-R50-FPN.yaml") == {
        "MODEL.LABEL_ASSIGNMENT.NAME": strategy,
        "MODEL.POINT_HEAD.PRIOR_PROB": 0.01,
        OBJECTNESS: "none",
        **({"MODEL.POINT_HEAD.LOCATION_OFFSET": offset} if offset else {}),
        **({"MODEL.POINT_HEAD.BOX_BIAS": box_bias} if box_bias != 4.0 else {}),
        "SOLVER.BIAS_LR_FACTOR": 2.0,
        "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
        "SOLVER.WEIGHT_DECAY_NORM": 1e-4,
        "SOLVER.WARMUP_METHOD": "constant",
        "SOLVER.WARMUP_ITERS": 500,
        "SOLVER.WARMUP_FACTOR": 0.33333333,
        "TEST.EVAL_PERIOD": 10000,
    }
    options = load(recipe).MODEL.LABEL_ASSIGNMENT
    assert (options.FCOS.CENTER_SAMPLING, options.FCOS.CENTER_SAMPLING_RADIUS) == (True, 1.5)
    assert (options.ATSS.TOPK, options.ATSS.BOX_LOSS_WEIGHT) == (9, 2.0)
