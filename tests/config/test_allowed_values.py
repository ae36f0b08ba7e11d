import math

import pytest
from narrow_model import narrow_cfg

from autoassign.config import ALLOWED_VALUES, check_values


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER.MAX_ITER", 0),
        ("SOLVER.CHECKPOINT_PERIOD", 0),
        ("SOLVER.BASE_LR", 0.0),
        ("SOLVER.BASE_LR", math.nan),
        ("SOLVER.BASE_LR", math.inf),
        ("SOLVER.IMS_PER_BATCH", 0),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", -0.5),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "global"),
        ("SOLVER.OPTIMIZER", "Adam"),
        ("SOLVER.MOMENTUM", 1.0),
        ("SOLVER.ADAMW_BETAS", (0.9,)),
        ("SOLVER.ADAMW_BETAS", (0.9, 1.0)),
        ("SOLVER.WEIGHT_DECAY", -1e-4),
        ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 2.0),
        ("MODEL.POINT_HEAD.TOPK_CANDIDATES_TEST", 0),
        ("MODEL.POINT_HEAD.NMS_THRESH_TEST", -0.5),
        ("MODEL.POINT_HEAD.PRIOR_PROB", 1.0),
        ("MODEL.POINT_HEAD.BOX_ACTIVATION", "ReLU"),
        ("MODEL.EMA.DECAY", 1.0),
        ("MODEL.PIXEL_STD", [1.0, 0.0, 1.0]),
        ("TEST.DETECTIONS_PER_IMAGE", -1),
        ("TEST.EVAL_PERIOD", -1),
        ("MODEL.PIXEL_MEAN", [1.0]),
        ("MODEL.KEYPOINT_ON", True),
        ("MODEL.FPN.FUSE_TYPE", "max"),
        ("MODEL.FPN.NORM", "AffineBN"),
        ("MODEL.RESNETS.STEM_OUT_CHANNELS", 0),
        ("SOLVER.STEPS", (5, 3)),
        ("SOLVER.STEPS", (-1,)),
        ("SOLVER.STEPS", ("a",)),
        ("SOLVER.STEPS", (0.5,)),
        ("TEST.EXPECTED_RESULTS", [1]),
        ("INPUT.FORMAT", "L"),
        ("INPUT.CROP.TYPE", "center"),
        ("INPUT.CROP.SIZE", [0.5, -1]),
        ("INPUT.MIN_SIZE_TRAIN", ()),
        ("INPUT.MIN_SIZE_TRAIN", (640, 0)),
        ("INPUT.MIN_SIZE_TRAIN", (640, "800")),
        ("INPUT.SCALE_JITTER", (0.5,)),
        ("INPUT.SCALE_JITTER", (2.0, 0.5)),
        ("DATALOADER.NUM_WORKERS", -1),
        ("SEED", 2**31),
    ],
)
def test_a_value_that_makes_no_sense_is_named_with_what_is_allowed(key, value):
    cfg = narrow_cfg(key, value)
    with pytest.raises(ValueError, match="it must be") as error:
        check_values(cfg)
    assert str(error.value) == f"{key} is {value!r}; it must be {ALLOWED_VALUES[key].text}"


def test_range_sampling_needs_two_sizes():
    options = ("INPUT.MIN_SIZE_TRAIN", (96, 97, 98), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range")
    with pytest.raises(
        ValueError, match=r"INPUT\.MIN_SIZE_TRAIN is \(96, 97, 98\); it must be two"
    ):
        check_values(narrow_cfg(*options))


def test_a_relative_crop_is_no_larger_than_the_image():
    check_values(narrow_cfg("INPUT.CROP.SIZE", [384, 600], "INPUT.CROP.TYPE", "absolute"))
    with pytest.raises(
        ValueError, match=r"INPUT\.CROP\.SIZE is \[384, 600\]; it must be at most 1"
    ):
        check_values(narrow_cfg("INPUT.CROP.SIZE", [384, 600]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SEED", -1),
        ("SOLVER.WEIGHT_DECAY_BIAS", None),
        ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", math.inf),
        ("INPUT.MIN_SIZE_TEST", 0),
        ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 1.0),
    ],
)
def test_values_at_the_limit_are_allowed(key, value):
    check_values(narrow_cfg(key, value))


@pytest.mark.parametrize("key", sorted(ALLOWED_VALUES))
def test_no_option_may_be_a_mapping_or_none(key):
    for value in ({}, None):
        if (key, value) != ("SOLVER.WEIGHT_DECAY_BIAS", None):
            assert not _holds(key, value)


def _holds(key, value):
    try:
        return ALLOWED_VALUES[key].holds(value)
    except TypeError:
        return False
