"""Detectors on detectron2's backbones: detectron2's own FCOS, AdelaiDet's and cvpods' heads.

detectron2's FCOS is run. The two others' heads are written down here by the names and formulas
of their sources.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.backbone import FPN, BasicStem, ResNet
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from drawn_weights import drawn_input, drawn_tensor
from parity import assert_parity
from torch import Tensor, nn

from autoassign.checkpoint import convert_checkpoint
from autoassign.config import check_values, load_config_text

LEVELS = ("p3", "p4", "p5", "p6", "p7")
STRIDES = (8, 16, 32, 64, 128)
NUM_CLASSES = 7


def backbone() -> FPN:
    """R-18 of width 8, P3 to P7 with 32 channels, P6 from P5."""
    stages = ResNet.make_default_stages(18, norm="FrozenBN")
    narrow = [
        ResNet.make_stage(
            type(blocks[0]),
            len(blocks),
            stride_per_block=[1 if index == 0 else 2, 1],
            in_channels=8 * 2 ** max(index - 1, 0),
            out_channels=8 * 2**index,
            norm="FrozenBN",
        )
        for index, blocks in enumerate(stages)
    ]
    resnet = ResNet(BasicStem(3, 8, norm="FrozenBN"), narrow, out_features=["res3", "res4", "res5"])
    top = LastLevelP6P7(32, 32, "p5")
    return FPN(resnet, ["res3", "res4", "res5"], 32, top_block=top)


def tower() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(32, 32, 3, padding=1), nn.GroupNorm(32, 32), nn.ReLU()]
    return nn.Sequential(*layers)


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def predictor(channels: int) -> nn.Conv2d:
    return nn.Conv2d(32, channels, 3, padding=1)


class Head(nn.Module):
    """Towers, class logits, ReLU(scale · boxes) in strides, and one more logit."""

    def __init__(self, cls_tower: str, box_tower: str, cls_score: str, extra: str) -> None:
        super().__init__()
        self.names = (cls_tower, box_tower, cls_score, extra)
        self.add_module(cls_tower, tower())
        self.add_module(box_tower, tower())
        self.add_module(cls_score, predictor(NUM_CLASSES))
        self.bbox_pred = predictor(4)
        self.add_module(extra, predictor(1))
        self.scales = nn.ModuleList([Scale() for _ in STRIDES])

    def forward(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        cls_tower, box_tower, cls_score, extra = map(self.get_submodule, self.names)
        outputs = []
        for x, scale, stride in zip(features, self.scales, STRIDES, strict=True):
            box = box_tower(x)
            distances = F.relu(self.bbox_pred(box) * scale.scale) * stride
            outputs.append((cls_score(cls_tower(x)), distances, extra(box)))
        return outputs


class CvpodsAutoAssign(nn.Module):
    strategy = "AutoAssign"

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone()
        self.head = Head("cls_subnet", "bbox_subnet", "cls_score", "obj_score")
        self.mu = nn.Parameter(torch.zeros(NUM_CLASSES, 2))
        self.sigma = nn.Parameter(torch.ones(NUM_CLASSES, 2))
        # Older versions save them.
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))

    def forward(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        return self.head(features)


class AdelaiDetFCOS(nn.Module):
    strategy = "FCOS"

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone()
        self.proposal_generator = nn.Module()
        self.proposal_generator.fcos_head = Head("cls_tower", "bbox_tower", "cls_logits", "ctrness")

    def forward(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        return self.proposal_generator.fcos_head(features)


class Detectron2FCOS(FCOS):
    strategy = "FCOS"

    def __init__(self) -> None:
        head = FCOSHead(
            input_shape=[ShapeSpec(channels=32, stride=stride) for stride in STRIDES],
            num_classes=NUM_CLASSES,
            conv_dims=[32] * 4,
            norm="GN",
        )
        super().__init__(
            backbone=backbone(),
            head=head,
            head_in_features=list(LEVELS),
            num_classes=NUM_CLASSES,
            pixel_mean=[0, 0, 0],
            pixel_std=[1, 1, 1],
        )

    def forward(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        logits, deltas, centerness = self.head(features)
        anchors = self.anchor_generator(features)
        ltrb = []
        for delta, boxes in zip(deltas, anchors, strict=True):
            decoded = self.box2box_transform.apply_deltas(delta[0].flatten(1).T, boxes.tensor)
            centers = boxes.get_centers()
            distances = torch.cat((centers - decoded[:, :2], decoded[:, 2:] - centers), dim=1)
            ltrb.append(distances.T.reshape(delta.shape))
        return list(zip(logits, ltrb, centerness, strict=True))


def drawn(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(drawn_tensor(name, tuple(tensor.shape))))
    return model.eval()


@pytest.mark.parametrize("theirs", [CvpodsAutoAssign, AdelaiDetFCOS, Detectron2FCOS])
@torch.no_grad()
def test_outputs_are_those_of_the_source(theirs):
    theirs = drawn(theirs())
    checkpoint = convert_checkpoint({"model": theirs.state_dict()}, source="x.pth")
    text = checkpoint["autoassign"]["config"]
    cfg = load_config_text(text, ("MODEL.DEVICE", "cpu"), source="the checkpoint")
    check_values(cfg)
    ours = build_model(cfg).eval()
    ours.load_state_dict(checkpoint["model"])
    assert theirs.strategy == cfg.MODEL.LABEL_ASSIGNMENT.NAME
    assert cfg.MODEL.PIXEL_MEAN == [103.53, 116.28, 123.675]

    image = torch.from_numpy(drawn_input())
    expected = {
        f"{kind}_{level}": output
        for level, outputs in enumerate(theirs(list(theirs.backbone(image).values())))
        for kind, output in zip(("cls_logits", "ltrb", "extra_logits"), outputs, strict=True)
    }
    assert_parity(type(theirs).__name__, ours, image, expected)
    if theirs.strategy == "AutoAssign":
        assert torch.equal(ours.label_assignment.mu, theirs.mu)
        assert torch.equal(ours.label_assignment.sigma, theirs.sigma)


def test_locations_lie_where_the_source_has_them():
    """FCOS's in the middle of their cells, AutoAssign's at the corners."""
    for theirs, offset in ((CvpodsAutoAssign(), 0.0), (AdelaiDetFCOS(), 0.5)):
        checkpoint = convert_checkpoint({"model": theirs.state_dict()}, source="x.pth")
        cfg = load_config_text(checkpoint["autoassign"]["config"], source="the checkpoint")
        assert offset == cfg.MODEL.POINT_HEAD.LOCATION_OFFSET


def test_the_share_tower_of_adelaidet_is_not_lost():
    state = AdelaiDetFCOS().state_dict()
    state["proposal_generator.fcos_head.share_tower.0.weight"] = torch.zeros(32, 32, 3, 3)
    with pytest.raises(ValueError, match=r"AdelaiDet's FCOS, .*share_tower\.0\.weight"):
        convert_checkpoint({"model": state}, source="x.pth")


def test_eighty_classes_without_names_are_cocos():
    model = AdelaiDetFCOS()
    state = model.state_dict()
    prefix = "proposal_generator.fcos_head.cls_logits."
    state[f"{prefix}weight"], state[f"{prefix}bias"] = torch.zeros(80, 32, 3, 3), torch.zeros(80)
    description = convert_checkpoint({"model": state}, source="x.pth")["autoassign"]
    assert description["thing_classes"][16] == "dog"
    assert description["thing_dataset_id_to_contiguous_id"][18] == 16
    arrays = {name: np.asarray(tensor) for name, tensor in model.state_dict().items()}
    description = convert_checkpoint({"model": arrays}, source="x.pkl")["autoassign"]
    assert description["thing_classes"] == [f"class {index}" for index in range(NUM_CLASSES)]
