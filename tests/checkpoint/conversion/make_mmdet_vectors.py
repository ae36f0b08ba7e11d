"""Write tests/golden_vectors/mmdetection/: names, shapes, outputs of MMDetection's detectors.

It belongs to no test and needs an environment of its own:

    python -m venv mmdet_env
    mmdet_env/bin/pip install torch torchvision mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.1.0
    mmdet_env/bin/python tests/checkpoint/conversion/make_mmdet_vectors.py

DSLA's fork is not on the package index. Its head is rebuilt here from MMDetection's
AnchorFreeHead, to which the fork adds a scale for each level and ReLU or exp. mmcv-lite has no
deformable convolutions; torchvision's, which orders the offsets alike, take their place.
"""

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from drawn_weights import drawn_input, drawn_tensor
from torch import nn
from torchvision.ops import deform_conv2d

sys.modules["mmcv._ext"] = mock.MagicMock(__spec__=None)  # mmcv-lite has no compiled operators
from mmcv.cnn import Scale  # noqa: E402
from mmcv.ops import deform_conv, modulated_deform_conv  # noqa: E402
from mmdet.models.backbones import ResNet, SwinTransformer  # noqa: E402
from mmdet.models.dense_heads import ATSSHead, AutoAssignHead, FCOSHead  # noqa: E402
from mmdet.models.dense_heads.anchor_free_head import AnchorFreeHead  # noqa: E402
from mmdet.models.necks import FPN  # noqa: E402
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder  # noqa: E402

OUTPUT = Path(__file__).parents[2] / "golden_vectors" / "mmdetection"
STRIDES = (8, 16, 32, 64, 128)
HEAD = {"num_classes": 7, "in_channels": 32, "feat_channels": 32}
# P6 from P5 with a ReLU before P7, as FCOS's configs have it.
FROM_P5 = {"add_extra_convs": "on_output", "relu_before_extra_convs": True}


class DSLAHead(AnchorFreeHead):
    def __init__(self, *, norm_on_bbox, **kwargs):
        super().__init__(norm_cfg={"type": "GN", "num_groups": 32}, **kwargs)
        self.norm_on_bbox = norm_on_bbox

    def _init_layers(self):
        super()._init_layers()
        self.scales = nn.ModuleList([Scale(1.0) for _ in self.strides])

    def forward(self, features):
        cls_logits, boxes = [], []
        for x, scale, stride in zip(features, self.scales, STRIDES, strict=True):
            cls, box, _, _ = self.forward_single(x)
            box = scale(box)
            cls_logits.append(cls)
            boxes.append(box.relu() * stride if self.norm_on_bbox else box.exp())
        return cls_logits, boxes

    def loss_by_feat(self, *args, **kwargs):
        raise NotImplementedError

    def get_targets(self, *args, **kwargs):
        raise NotImplementedError


class Detector(nn.Module):
    """What of a MMDetection detector has parameters."""

    def __init__(self, backbone, head, **neck):
        super().__init__()
        self.backbone = backbone
        # Of the features that the backbone returns; the finest one of a ResNet is not used.
        with torch.no_grad():
            channels = [x.shape[1] for x in backbone(torch.zeros(1, 3, 64, 64))]
        self.neck = FPN(channels, 32, 5, start_level=len(channels) - 3, **neck)
        self.bbox_head = head

    def forward(self, image):
        return self.bbox_head(self.neck(self.backbone(image)))


def dcn_v1(x, offset, weight, stride, padding, dilation, *_):
    return deform_conv2d(x, offset, weight, None, stride, padding, dilation)


def dcn_v2(x, offset, mask, weight, bias, stride, padding, dilation, *_):
    return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)


deform_conv.deform_conv2d = dcn_v1
modulated_deform_conv.modulated_deform_conv2d = dcn_v2


def resnet(depth, style, **dcn):
    return ResNet(depth, base_channels=8, stem_channels=8, style=style, **dcn)


def build(name):
    improved = {"norm_on_bbox": True, "centerness_on_reg": True, "conv_bias": True}
    if name == "atss_r18":
        anchors = {
            "type": "AnchorGenerator",
            "ratios": [1.0],
            "octave_base_scale": 8,
            "scales_per_octave": 1,
            "strides": list(STRIDES),
        }
        coder = {"type": "DeltaXYWHBBoxCoder", "target_stds": [0.1, 0.1, 0.2, 0.2]}
        head = ATSSHead(**HEAD, anchor_generator=anchors, bbox_coder=coder)
        return Detector(resnet(18, "pytorch"), head, add_extra_convs="on_output")
    if name.startswith("autoassign"):
        head = AutoAssignHead(**HEAD, strides=list(STRIDES))
        return Detector(
            resnet(50, name.split("_")[2]), head, add_extra_convs=True, relu_before_extra_convs=True
        )
    if name == "fcos_r50_caffe":
        return Detector(
            resnet(50, "caffe"), FCOSHead(**HEAD, strides=STRIDES, **improved), **FROM_P5
        )
    if name == "dsla_r50_caffe":
        return Detector(resnet(50, "caffe"), DSLAHead(**HEAD, norm_on_bbox=False), **FROM_P5)
    tricks = {"norm_on_bbox": True, "conv_bias": True}
    if name == "dsla_r50_dcn":
        dcn = {"type": "DCN", "deform_groups": 1}
        backbone = resnet(50, "pytorch", dcn=dcn, stage_with_dcn=(False, True, True, True))
        return Detector(backbone, DSLAHead(**HEAD, **tricks, dcn_on_last_conv=True), **FROM_P5)
    swin = SwinTransformer(out_indices=(1, 2, 3))
    return Detector(swin, DSLAHead(**HEAD, **tricks), **FROM_P5)


def anchor_boxes_as_ltrb(deltas, stride):
    """The boxes of ATSS, which are relative to anchors, as distances from the locations."""
    height, width = deltas.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centers = torch.stack((x, y), -1).reshape(-1, 2).float() * stride
    anchors = torch.cat((centers - 4 * stride, centers + 4 * stride), 1)
    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2), clip_border=False)
    boxes = coder.decode(anchors, deltas[0].flatten(1).T)
    ltrb = torch.cat((centers - boxes[:, :2], boxes[:, 2:] - centers), 1)
    return ltrb.T.reshape(1, 4, height, width)


@torch.no_grad()
def main():
    names = ("autoassign_r50_caffe", "autoassign_r50_pytorch", "fcos_r50_caffe", "atss_r18")
    for name in (*names, "dsla_r50_caffe", "dsla_r50_dcn", "dsla_swin"):
        model = build(name).eval()
        state = model.state_dict()
        for key, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(drawn_tensor(key, tuple(tensor.shape))))
        outputs = model(torch.from_numpy(drawn_input()))
        arrays = {
            "names": np.array(list(state)),
            "shapes": np.array([" ".join(map(str, x.shape)) for x in state.values()]),
        }
        for kind, levels in zip(("cls_logits", "ltrb", "extra_logits"), outputs, strict=False):
            for level, value in enumerate(levels):
                if kind == "ltrb" and name.startswith("atss"):
                    value = anchor_boxes_as_ltrb(value, STRIDES[level])
                arrays[f"{kind}_{level}"] = value.numpy()
        np.savez_compressed(OUTPUT / f"{name}.npz", **arrays)
        largest = {key: float(np.abs(v).max()) for key, v in arrays.items() if v.dtype == "f4"}
        print(name, largest)


if __name__ == "__main__":
    main()
