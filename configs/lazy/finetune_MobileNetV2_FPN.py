"""finetune/autoassign_MobileNetV2_FPN.yaml as a LazyConfig.

train_net.py --config-file configs/lazy/finetune_MobileNetV2_FPN.py \
  custom.format=voc custom.root=FOLDER custom.train=train custom.test=test

Images are always decoded at their full size.
"""

import detectron2.data.transforms as T
import torch
from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.model_zoo import get_config
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import CosineParamScheduler

from autoassign.data import FastDatasetMapper
from autoassign.engine import parameter_groups
from autoassign.modeling import LastLevelP6, TorchvisionBackbone

from .common.coco import dataloader
from .common.point_detector import model

# A folder as in DATASETS.CUSTOM; the number of classes comes from it.
custom = {"format": "voc", "root": "datasets/mine"}

model.backbone.bottom_up = L(TorchvisionBackbone)(name="mobilenet_v2", freeze_at=2)
model.backbone.in_features = ["c3", "c4", "c5"]
model.backbone.out_channels = 64
model.backbone.norm = "GN"
model.backbone.top_block = L(LastLevelP6)(in_channels=64, out_channels=64, in_feature="p5")
model.head.input_shape = [L(ShapeSpec)(channels=64, stride=x) for x in (8, 16, 32, 64)]
model.head.num_convs = 2
model.head.box_bias = 2.0
model.head_in_features = ["p3", "p4", "p5", "p6"]
model.channels_last = True
model.pixel_mean = [123.675, 116.280, 103.530]
model.pixel_std = [58.395, 57.120, 57.375]

dataloader.train.mapper = L(FastDatasetMapper)(
    image_format="RGB",
    augmentations=[
        L(T.ResizeShortestEdge)(
            short_edge_length=(256, 288, 320, 352), max_size=512, sample_style="choice"
        ),
        L(T.RandomFlip)(horizontal=True),
    ],
)
dataloader.test.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=320, max_size=512)
]
dataloader.train.total_batch_size = 8
dataloader.train.num_workers = 0
dataloader.test.num_workers = 0

optimizer = L(torch.optim.AdamW)(
    params=L(parameter_groups)(
        base_lr="${..lr}",
        weight_decay="${..weight_decay}",
        not_decayed=("scales", "mu", "sigma"),
    ),
    lr=0.002,
    betas=(0.9, 0.99),
    weight_decay=0.05,
)
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.0),
    warmup_factor=0.001,
    warmup_length=0.05,
    warmup_method="linear",
)
train = get_config("common/train.py").train
train.max_iter = 400
train.eval_period = 100
train.checkpointer.period = 100
train.ema_decay = 0.97
train.clip_gradient_norm = 1.0
train.init_checkpoint = "torchvision://mobilenet_v2/IMAGENET1K_V1"
train.output_dir = "output/lazy/finetune_mobilenet_v2"
