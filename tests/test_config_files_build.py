import parameter_counts
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from detectron2.utils.events import EventStorage
from narrow_model import image_input, total

from autoassign import add_autoassign_config, get_config_file
from autoassign.config import files as config_files
from autoassign.config import flatten_options
from autoassign.engine.optimizer import build_optimizer

FOLDER = next(folder for folder in config_files._CONFIG_FOLDERS if folder.is_dir())
# Files in recipes/ and Base-*.yaml are parts of others.
NAMES = sorted(
    name
    for path in FOLDER.rglob("*.yaml")
    if not (name := str(path.relative_to(FOLDER))).startswith("recipes/") and "Base-" not in name
)
# A bottleneck ResNet or ResNeXt of 8 channels in 4 groups; strategies as they are.
REDUCED: tuple[object, ...] = (
    *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.FPN.OUT_CHANNELS", 64, "MODEL.POINT_HEAD.NUM_CONVS", 1),
)
REDUCED_BOTTLENECKS = (
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.RESNETS.NUM_GROUPS", 4),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 2),
)


# Whether the source gives the biases of norms the rate of biases.
RULES = [("dsla", "mmdetection"), ("fcos", "detectron2"), ("atss", "detectron2")]


def load(name: str) -> CfgNode:
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.merge_from_file(get_config_file(name))
    return cfg


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_its_detector_optimizer_and_schedule(name):
    cfg = load(name)
    for head in (cfg.MODEL.POINT_HEAD, cfg.MODEL.RETINANET):
        head.NUM_CLASSES = head.NUM_CLASSES or 3
    # Shapes are enough, but Swin and torchvision's models are built with numbers.
    cfg.MODEL.DEVICE = "meta" if "resnet" in cfg.MODEL.FPN.BOTTOM_UP else "cpu"
    with torch.device(cfg.MODEL.DEVICE):
        model = build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    assert sum(p.numel() for p in model.parameters()) == parameter_counts.detector(cfg)
    build_lr_scheduler(cfg, build_optimizer(cfg, model))


@pytest.mark.parametrize("name", [x for x in NAMES if not x.startswith("quickstart/")])
def test_every_config_trains_a_step_and_detects(name):
    cfg = load(name)
    is_basic = cfg.MODEL.RESNETS.DEPTH < 50
    width = ("MODEL.RESNETS.RES2_OUT_CHANNELS", 8) if is_basic else REDUCED_BOTTLENECKS
    classes = ("MODEL.POINT_HEAD.NUM_CLASSES", 5, "MODEL.RETINANET.NUM_CLASSES", 5)
    cfg.merge_from_list([*REDUCED, *width, *classes])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    inputs = [image_input([[4.0, 6.0, 40.0, 50.0]], [1], (64, 64))]
    with EventStorage():  # RetinaNet logs
        total(model(inputs)).backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    optimizer.step()
    with torch.no_grad():
        [output] = model.eval()(inputs)
    assert output["instances"].image_size == (64, 64)


def test_every_config_writes_into_a_folder_of_its_own():
    folders = [load(name).OUTPUT_DIR for name in NAMES]
    assert "./output" not in folders
    assert len(set(folders)) == len(folders)


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


def test_dsla_s_stronger_rows_are_those_of_their_logs():
    r101 = load("COCO-Detection/dsla_R_101_DCN_FPN_2x.yaml")
    resnet, solver = r101.MODEL.RESNETS, r101.SOLVER
    assert (resnet.DEPTH, resnet.NORM, resnet.STRIDE_IN_1X1) == (101, "AffineBN", False)
    assert (resnet.DEFORM_ON_PER_STAGE, resnet.DEFORM_MODULATED) == ([False] + [True] * 3, False)
    assert (r101.INPUT.FORMAT, r101.MODEL.PIXEL_MEAN[0]) == ("RGB", 123.675)
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.IMS_PER_BATCH) == ("SGD", 0.02, 16)
    assert (solver.MAX_ITER, solver.STEPS) == (24 * 7330, (16 * 7330, 22 * 7330))

    swin = load("COCO-Detection/dsla_Swin_S_FPN_3x.yaml")
    solver = swin.SOLVER
    assert (swin.MODEL.SWIN.SIZE, swin.MODEL.SWIN.DROP_PATH_RATE) == ("S", 0.2)
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY) == ("ADAMW", 1e-4, 0.05)
    assert (solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS) == (0.0, None)
    assert (solver.MAX_ITER, solver.STEPS) == (36 * 7330, (27 * 7330, 33 * 7330))
    for cfg in (r101, swin):
        solver = cfg.SOLVER
        assert (solver.WARMUP_METHOD, solver.WARMUP_ITERS) == ("linear", 1000)
        assert not solver.CLIP_GRADIENTS.ENABLED
        assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING) == (
            (640, 800),
            "range",
        )


def test_the_rows_of_table_6_differ_in_what_they_add():
    def added(row: str, base: str) -> dict[str, object]:
        return differences(f"COCO-Detection/{row}.yaml", f"COCO-Detection/{base}.yaml")

    x101 = "autoassign_X_101_64x4d_FPN_2x"
    assert added("autoassign_R_101_FPN_2x", "autoassign_R_50_FPN_1x") == {
        "MODEL.WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-101.pkl",
        "MODEL.RESNETS.DEPTH": 101,
        "INPUT.MIN_SIZE_TRAIN": (640, 800),
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range",
        "SOLVER.STEPS": (120000, 160000),
        "SOLVER.MAX_ITER": 180000,
        "TEST.EVAL_PERIOD": 20000,
    }
    assert added(x101, "autoassign_R_101_FPN_2x") == {
        "MODEL.WEIGHTS": "catalog://ImageNetPretrained/FAIR/X-101-64x4d",
        "MODEL.RESNETS.NUM_GROUPS": 64,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
    }
    dcn = "autoassign_X_101_64x4d_DCN_FPN_2x"
    assert set(added(dcn, x101)) == {
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE",
        "MODEL.RESNETS.DEFORM_MODULATED",
    }
    assert added(f"{dcn}_480_960", dcn) == {"INPUT.MIN_SIZE_TRAIN": (480, 960)}
    tta = added(f"{dcn}_480_960_TTA", f"{dcn}_480_960")
    assert all(key.startswith("TEST.AUG.") for key in tta)
    assert len(tta["TEST.AUG.MIN_SIZES"]) == len(tta["TEST.AUG.SIZE_RANGES"]) == 13


@pytest.mark.parametrize(("strategy", "rule"), RULES)
def test_biases_learn_faster_and_do_not_decay(strategy, rule):
    cfg = load(f"COCO-Detection/{strategy}_R_50_FPN_1x.yaml")
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    weight, bias = (group_of[id(p)] for p in model.head.box_pred.parameters())
    assert bias["lr"] == pytest.approx(2 * weight["lr"])
    assert (weight["weight_decay"], bias["weight_decay"]) == (1e-4, 0.0)
    norm_bias = group_of[id(model.head.box_tower[1].bias)]
    assert norm_bias is (bias if rule == "detectron2" else weight)


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
    "table5_freeanchor_implicit_objectness": {OBJECTNESS: "implicit"},
    "table5_maxiou_implicit_objectness": {OBJECTNESS: "implicit"},
    "table5_atss_no_objectness": {},
    "table5_fcos_no_objectness": {},
    "table5_freeanchor_no_objectness": {},
    "table5_maxiou_no_objectness": {},
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


LOWER_PRIOR = {"MODEL.POINT_HEAD.PRIOR_PROB": 0.01}


@pytest.mark.parametrize(
    ("strategy", "head"),
    [
        ("DSLA", LOWER_PRIOR),
        ("FCOS", {**LOWER_PRIOR, "MODEL.POINT_HEAD.LOCATION_OFFSET": 0.5}),
        ("ATSS", LOWER_PRIOR),
        ("SimOTA", LOWER_PRIOR),
        ("TAL", LOWER_PRIOR),
        ("FreeAnchor", {}),
        ("FSAF", LOWER_PRIOR),
        ("SAPD", {**LOWER_PRIOR, "MODEL.POINT_HEAD.LOCATION_OFFSET": 0.5}),
        ("MaxIoU", LOWER_PRIOR),
        ("GuidedAnchoring", LOWER_PRIOR),
    ],
)
def test_a_strategy_on_the_shapes_differs_in_its_assignment_and_head_alone(strategy, head):
    name = f"quickstart/{strategy.lower()}_shapes.yaml"
    assert differences(name, "quickstart/autoassign_shapes.yaml") == {
        "MODEL.LABEL_ASSIGNMENT.NAME": strategy,
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
