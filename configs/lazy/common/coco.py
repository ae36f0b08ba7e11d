"""COCO as the recipes of 16 images an iteration see it: short side 800, flipped."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from autoassign.data import CheckedDatasetMapper
from autoassign.evaluation import FastCOCOEvaluator

dataloader = get_config("common/data/coco.py").dataloader
for split in (dataloader.train, dataloader.test):
    split.mapper._target_ = CheckedDatasetMapper
dataloader.train.mapper.use_instance_mask = False
dataloader.train.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=(800,), max_size=1333, sample_style="choice"),
    L(T.RandomFlip)(horizontal=True),
]
dataloader.evaluator = L(FastCOCOEvaluator)(dataset_name="${..test.dataset.names}")
