"""AutoAssign on ResNet-50 of MSRA, P3 to P7: what the other models are deltas of."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, BasicStem, ResNet
from detectron2.modeling.backbone.fpn import LastLevelP6P7

from autoassign.modeling import PointDetector, PointHead
from autoassign.modeling.assignment import AutoAssign

model = L(PointDetector)(
    backbone=L(FPN)(
        bottom_up=L(ResNet)(
            stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
            stages=L(ResNet.make_default_stages)(depth=50, stride_in_1x1=True, norm="FrozenBN"),
            out_features=["res3", "res4", "res5"],
            freeze_at=2,
        ),
        in_features=["res3", "res4", "res5"],
        out_channels=256,
        top_block=L(LastLevelP6P7)(in_channels=256, out_channels=256, in_feature="p5"),
    ),
    head=L(PointHead)(
        input_shape=[L(ShapeSpec)(channels=256, stride=x) for x in (8, 16, 32, 64, 128)],
        num_classes=80,
        num_convs=4,
        norm="GN",
        prior_prob=0.02,
        box_bias=4.0,
        objectness="implicit",
    ),
    head_in_features=["p3", "p4", "p5", "p6", "p7"],
    label_assignment=L(AutoAssign)(num_classes="${..head.num_classes}"),
    pixel_mean=[103.530, 116.280, 123.675],
    pixel_std=[1.0, 1.0, 1.0],
)
