"""Allowed values of the options, including those of detectron2 that this project uses."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from detectron2.config import CfgNode

from .checks import Rule, above, at_least, below, between, check_options, inside, one_of

__all__ = ["ALLOWED_VALUES", "check_values"]


def _each(rule: Rule, text: str, number: int | None = None) -> Rule:
    """Sequences of ``number`` values, by default of one or more, for all of which a rule holds."""

    def holds(x: Sequence[object]) -> bool:
        return (len(x) == number if number else len(x) > 0) and all(map(rule.holds, x))

    return Rule(holds, text)


_below_1 = below(0, 1)
_finite = Rule(lambda x: -inf < x < inf, "a finite number")


def _is_iteration(x: object) -> bool:
    return isinstance(x, int) and x >= 0


# The options of label assignments stand in their own files.
ALLOWED_VALUES = {
    "MODEL.KEYPOINT_ON": one_of(False),
    "MODEL.LOAD_PROPOSALS": one_of(False),
    "MODEL.PIXEL_MEAN": _each(_finite, "three finite numbers", 3),
    "MODEL.PIXEL_STD": _each(above(0), "three numbers greater than 0", 3),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": at_least(1),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": at_least(1),
    "MODEL.FPN.FUSE_TYPE": one_of("sum", "avg"),
    "MODEL.FPN.NORM": one_of("", "BN", "SyncBN", "FrozenBN", "GN", "LN"),
    "MODEL.FPN.OUT_CHANNELS": at_least(1),
    "MODEL.POINT_HEAD.NUM_CLASSES": at_least(0),
    "MODEL.POINT_HEAD.NUM_CONVS": at_least(0),
    "MODEL.POINT_HEAD.LOCATION_OFFSET": _below_1,
    "MODEL.POINT_HEAD.PRIOR_PROB": inside(0, 1),
    "MODEL.POINT_HEAD.BOX_ACTIVATION": one_of("relu", "exp", "anchor"),
    "MODEL.POINT_HEAD.BOX_BIAS": _finite,
    "MODEL.POINT_HEAD.OBJECTNESS": one_of("none", "implicit", "explicit"),
    "MODEL.POINT_HEAD.SCORE_THRESH_TEST": between(0, 1),
    "MODEL.POINT_HEAD.TOPK_CANDIDATES_TEST": at_least(1),
    "MODEL.POINT_HEAD.NMS_THRESH_TEST": between(0, 1),
    "MODEL.EMA.DECAY": inside(0, 1),
    "INPUT.FORMAT": one_of("BGR", "RGB"),
    "INPUT.CROP.TYPE": one_of("relative_range", "relative", "absolute", "absolute_range"),
    "INPUT.CROP.SIZE": _each(above(0), "two numbers greater than 0", 2),
    "INPUT.MIN_SIZE_TRAIN": _each(at_least(1), "sizes of at least 1"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": at_least(1),
    "INPUT.MIN_SIZE_TEST": at_least(0),  # 0: images keep their size
    "INPUT.MAX_SIZE_TEST": at_least(1),
    "INPUT.RANDOM_FLIP": one_of("horizontal", "vertical", "none"),
    "INPUT.COLOR_JITTER": _below_1,
    "INPUT.SCALE_JITTER": Rule(
        lambda x: x == () or (len(x) == 2 and 0 < x[0] <= x[1] < inf),
        "(), or the least and the greatest factor",
    ),
    "INPUT.MOSAIC_PROB": between(0, 1),
    "INPUT.MIXUP_PROB": between(0, 1),
    "INPUT.MIX_UNTIL": between(0, 1),
    "DATASETS.CUSTOM.VAL_FRACTION": _below_1,
    "DATALOADER.CACHE_GB": at_least(0),
    "DATALOADER.NUM_WORKERS": between(0, 1000),
    "DATALOADER.REPEAT_THRESHOLD": at_least(0),
    "SOLVER.OPTIMIZER": one_of("SGD", "ADAMW"),
    "SOLVER.ACCUMULATE_STEPS": at_least(1),
    "SOLVER.AMP.DTYPE": one_of("float16", "bfloat16"),
    "SOLVER.ADAMW_BETAS": _each(_below_1, "two numbers from 0 to below 1", 2),
    "SOLVER.MOMENTUM": _below_1,
    "SOLVER.BASE_LR": above(0),
    "SOLVER.BASE_LR_END": at_least(0),
    "SOLVER.BIAS_LR_FACTOR": between(0, 1000),
    "SOLVER.BIAS_RULE": one_of("detectron2", "mmdetection"),
    "SOLVER.WEIGHT_DECAY": at_least(0),
    "SOLVER.WEIGHT_DECAY_NORM": at_least(0),
    "SOLVER.WEIGHT_DECAY_BIAS": Rule(lambda x: x is None or 0 <= x < inf, "None or at least 0"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm", "full_model"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": above(0),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule(lambda x: x > 0, "greater than 0, or inf"),
    "SOLVER.LR_SCHEDULER_NAME": one_of(
        "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"
    ),
    "SOLVER.STEPS": Rule(
        lambda x: isinstance(x, tuple) and all(map(_is_iteration, x)) and list(x) == sorted(x),
        "iterations in ascending order",
    ),
    "SOLVER.GAMMA": above(0),
    "SOLVER.WARMUP_FACTOR": between(0, 1),
    "SOLVER.WARMUP_ITERS": at_least(0),
    "SOLVER.WARMUP_FRACTION": between(0, 1),
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.IMS_PER_BATCH": at_least(1),
    "SOLVER.MAX_ITER": at_least(1),
    "SOLVER.CHECKPOINT_PERIOD": at_least(1),
    "SOLVER.CHECKPOINTS_KEPT": at_least(0),
    "SOLVER.REFERENCE_BATCH_SIZE": at_least(0),
    "SOLVER.REFERENCE_WORLD_SIZE": at_least(0),
    "TEST.DETECTIONS_PER_IMAGE": at_least(1),
    "TEST.EVAL_PERIOD": at_least(0),  # 0: after the last iteration only
    "TEST.PRECISION": one_of("float32", "float16", "bfloat16"),
    "TEST.PRECISE_BN.NUM_ITER": at_least(1),
    "TEST.EXPECTED_RESULTS": Rule(
        lambda x: isinstance(x, list) and all(len(row) == 4 for row in x),
        "rows of task, metric, value and tolerance",
    ),
    "TEST.EVOLUTION.PERIOD": at_least(1),
    "TEST.EVOLUTION.NUM_OBJECTS": at_least(1),
    "SEED": Rule(lambda x: x < 2**31, "less than 2³¹"),  # negative: a random one
}


def check_values(cfg: CfgNode) -> None:
    """Check the values of all options that do not need the data.

    Raises:
        ValueError: a value is not allowed; option, value and allowed values are named.
    """
    check_options(cfg, ALLOWED_VALUES)
    source = cfg.INPUT
    if source.MIN_SIZE_TRAIN_SAMPLING == "range" and len(source.MIN_SIZE_TRAIN) != 2:
        raise ValueError(
            f"INPUT.MIN_SIZE_TRAIN is {source.MIN_SIZE_TRAIN!r}; it must be two sizes where "
            "INPUT.MIN_SIZE_TRAIN_SAMPLING is range"
        )
    if source.CROP.TYPE.startswith("relative") and max(source.CROP.SIZE) > 1:
        raise ValueError(
            f"INPUT.CROP.SIZE is {source.CROP.SIZE!r}; it must be at most 1 where INPUT.CROP.TYPE "
            f"is {source.CROP.TYPE}"
        )
