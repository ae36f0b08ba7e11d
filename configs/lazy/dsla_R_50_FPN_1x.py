"""COCO-Detection/dsla_R_50_FPN_1x.yaml as a LazyConfig. Published: 38.1 AP on COCO val."""

import torch
from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

from autoassign.engine import parameter_groups
from autoassign.modeling.assignment import DSLA

from .common.coco import dataloader
from .common.point_detector import model

model.label_assignment = L(DSLA)(center_sampling_radius=None, box_loss="iou_log")
model.head.conv_bias = False
model.head.prior_prob = 0.01
model.head.box_activation = "exp"
model.head.box_bias = 0.0
model.head.objectness = "none"

optimizer = L(torch.optim.SGD)(
    params=L(parameter_groups)(
        base_lr="${..lr}",
        weight_decay="${..weight_decay}",
        weight_decay_norm=1e-4,
        bias_lr_factor=2.0,
        weight_decay_bias=0.0,
        bias_rule="mmdetection",
    ),
    lr=0.01,
    momentum=0.9,
    weight_decay=1e-4,
)
# 12 epochs of 7 330 iterations.
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[58640, 80630], num_updates=87960
    ),
    warmup_factor=1 / 3,
    warmup_length=500 / 87960,
    warmup_method="constant",
)
train = get_config("common/train.py").train
train.max_iter = 87960
train.eval_period = 7330
train.clip_gradient_norm = 35.0
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
train.output_dir = "output/lazy/dsla_R_50_FPN_1x"
