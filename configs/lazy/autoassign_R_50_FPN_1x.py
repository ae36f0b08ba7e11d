"""COCO-Detection/autoassign_R_50_FPN_1x.yaml as a LazyConfig. Published: 40.5 AP on COCO val."""

from detectron2.model_zoo import get_config

from .common.coco import dataloader
from .common.point_detector import model

optimizer = get_config("common/optim.py").SGD
optimizer.lr = 0.01
lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_1x
train = get_config("common/train.py").train
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
train.eval_period = 10000
train.output_dir = "output/lazy/autoassign_R_50_FPN_1x"
