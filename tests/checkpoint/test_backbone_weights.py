import logging
import os
import re
from pathlib import Path

import pytest
import torch
import torchvision
from detectron2.layers import ShapeSpec
from narrow_model import narrow_cfg
from torch import Tensor, nn

from autoassign import modeling  # noqa: F401 (registers the backbones)
from autoassign.checkpoint import PointCheckpointer
from autoassign.checkpoint.backbone_weights import convert_backbone_weights
from autoassign.modeling.backbone import (
    TorchvisionBackbone,
    build_point_resnet_backbone,
    build_swin_backbone,
)

# `python get_weights.py resnet50 R-50.pth` and `... mobilenet_v2 mobilenet_v2.pth` write them.
REAL_WEIGHTS = Path(os.environ.get("AUTOASSIGN_WEIGHTS", "../weights"))
BOTTLENECKS = ("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256)


class Detector(nn.Module):
    """Only what the conversion of weights looks at."""

    def __init__(self, bottom_up: nn.Module) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = bottom_up
        self.head = nn.Linear(2, 2)


def resnet(*options: object) -> nn.Module:
    width = ("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    return build_point_resnet_backbone(narrow_cfg(*width, *options), ShapeSpec(channels=3))


def resnet50(*options: object) -> nn.Module:
    cfg = ("MODEL.RESNETS.WIDTH_PER_GROUP", 64, "MODEL.RESNETS.STRIDE_IN_1X1", False)
    return resnet(*BOTTLENECKS, *cfg, *options)


def swin() -> nn.Module:
    return build_swin_backbone(narrow_cfg(), ShapeSpec(channels=3))


def load(bottom_up: nn.Module, weights: dict[str, Tensor], folder: Path) -> nn.Module:
    torch.save(weights, folder / "weights.pth")
    rest = PointCheckpointer(Detector(bottom_up)).load(str(folder / "weights.pth"))
    assert "model" not in rest
    return bottom_up.eval()


def assert_equal_features(bottom_up: nn.Module, layers: list[nn.Module], model: nn.Module) -> None:
    """The bottom-up's features are what these layers of the original model return."""
    expected = []
    for layer in layers:
        layer.register_forward_hook(lambda _, __, output: expected.append(output.clone()))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model.eval()(image)
        features = bottom_up(image).values()
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def with_statistics(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


@pytest.mark.parametrize(("name", "build"), [("resnet18", resnet), ("resnet50", resnet50)])
def test_torchvisions_resnets_give_the_same_features_under_detectron2s_names(name, build, tmp_path):
    model = with_statistics(torchvision.models.get_model(name))
    ours = load(build(), model.state_dict(), tmp_path)
    assert_equal_features(ours, [model.layer2, model.layer3, model.layer4], model)


def test_a_torchvision_model_takes_its_own_weights(tmp_path):
    model = with_statistics(torchvision.models.mobilenet_v3_small())
    ours = load(TorchvisionBackbone(name="mobilenet_v3_small"), model.state_dict(), tmp_path)
    assert_equal_features(ours, [model.features[3], model.features[8], model.features], model)


def test_plain_weights_leave_the_offsets_of_a_deformable_resnet_at_zero(tmp_path):
    deform = ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True])
    ours = load(resnet50(*deform), torchvision.models.resnet50().state_dict(), tmp_path)
    offsets = [p for name, p in ours.named_parameters() if "conv2_offset" in name]
    assert len(offsets) == 2 * (4 + 6 + 3)
    assert not any(p.any() for p in offsets)


def swin_weights(of: nn.Module) -> dict[str, Tensor]:
    """As Microsoft's files have them: no norm for each stage, a head, masks of attention."""
    weights = {k: v for k, v in of.state_dict().items() if not re.match(r"norm\d", k)}
    extra = {"norm.weight": torch.ones(768), "head.weight": torch.ones(1000, 768)}
    return weights | extra | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


def test_microsofts_swin_is_loaded(tmp_path):
    original = swin()
    ours = load(swin(), {"model": swin_weights(original)}, tmp_path)
    for name, tensor in original.layers.state_dict().items():
        assert torch.equal(ours.layers.state_dict()[name], tensor)


def test_timms_swin_merges_patches_at_the_start_of_a_stage(tmp_path):
    original = swin()
    # Checked against timm 1.0's swin_tiny_patch4_window7_224 itself: equal features.
    weights = {
        re.sub(r"^layers\.(\d)\.downsample", lambda x: f"layers.{int(x[1]) + 1}.downsample", k): v
        for k, v in swin_weights(original).items()
        if not k.endswith("relative_position_index")
    }
    assert "layers.3.downsample.reduction.weight" in weights
    ours = load(swin(), weights, tmp_path)
    for name, tensor in original.layers.state_dict().items():
        assert torch.equal(ours.layers.state_dict()[name], tensor)


def test_caffe2s_names_are_known(tmp_path):
    original = with_statistics(resnet("MODEL.RESNETS.NORM", "FrozenBN"))
    names = {
        "stem.conv1.weight": "conv1_w",
        "stem.conv1.norm.weight": "res_conv1_bn_s",
        "stem.conv1.norm.bias": "res_conv1_bn_b",
    }
    branches = {"conv1": "branch2a", "conv2": "branch2b", "shortcut": "branch1"}
    weights = {}
    for name, tensor in original.state_dict().items():
        if "running" in name:
            continue
        if not name.startswith("stem"):
            stage, block, conv, *rest = name.split(".")
            end = {"weight": "w", "norm.weight": "bn_s", "norm.bias": "bn_b"}[".".join(rest)]
            name = f"{stage}_{block}_{branches[conv]}_{end}"
        weights[names.get(name, name)] = tensor
    ours = load(resnet("MODEL.RESNETS.NORM", "FrozenBN"), weights, tmp_path)
    for name, tensor in ours.state_dict().items():
        if "running" not in name:
            assert torch.equal(tensor, original.state_dict()[name])


def test_a_table_says_what_matched(tmp_path, caplog):
    caplog.set_level(logging.INFO, "autoassign")
    load(resnet(), torchvision.models.resnet18().state_dict(), tmp_path)
    assert "of the backbone's 100 tensors matched" in caplog.text
    rows = [line.split() for line in caplog.text.splitlines()]
    # Two convolutions with a norm of four tensors each, and in res3 the shortcut.
    assert ["res2.1", "layer1.1.conv1.weight", "10", "10"] in rows
    assert ["res3.0", "layer2.0.downsample.0.weight", "15", "15"] in rows
    assert "Not used: fc.bias, fc.weight" in caplog.text


@pytest.mark.parametrize(
    ("bottom_up", "weights", "message"),
    [
        (resnet, torchvision.models.mobilenet_v3_small, "no tensor of.* begin with features.0.0"),
        # A stem and a few 1 × 1 convolutions are the same.
        (resnet50, torchvision.models.resnet18, r"have \d+ of the 159 parameters.*of another one"),
        (swin, torchvision.models.resnet18, "no tensor of this.* begin with conv1.weight"),
    ],
)
def test_weights_of_another_family_are_an_error(bottom_up, weights, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(bottom_up(), weights().state_dict(), tmp_path)


def test_nine_tenths_of_the_backbone_have_to_be_there(tmp_path):
    weights = torchvision.models.resnet18().state_dict()
    parameters = [x for x in weights if not x.startswith("fc") and x.endswith(("weight", "bias"))]
    assert len(parameters) == 60
    load(resnet(), {k: v for k, v in weights.items() if k not in parameters[-6:]}, tmp_path)
    with pytest.raises(ValueError, match="have 53 of the 60 parameters"):
        load(resnet(), {k: v for k, v in weights.items() if k not in parameters[-7:]}, tmp_path)


def test_batch_norms_are_not_taken_for_group_norms(tmp_path):
    weights = torchvision.models.resnet18().state_dict()
    with pytest.raises(ValueError, match=r"trained with batch norms .*running_var.*another kind"):
        load(resnet("MODEL.RESNETS.NORM", "GN"), weights, tmp_path)


def test_weights_of_a_detector_are_left_as_they_are(tmp_path):
    saved = Detector(resnet())
    ours = Detector(resnet())
    torch.save({"model": saved.state_dict()}, tmp_path / "detector.pth")
    PointCheckpointer(ours).load(str(tmp_path / "detector.pth"))
    assert all(torch.equal(x, saved.state_dict()[k]) for k, x in ours.state_dict().items())


def print_matches(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Check that all tensors of the backbone matched; ``pytest -rP`` shows how many."""
    matched, total = re.search(r"(\d+) of the backbone's (\d+) tensors", caplog.text).groups()
    print(f"{name}: {matched} of {total} tensors")
    assert matched == total


# By torchvision's names of their weights. The other backbones are torchvision's models.
RESNETS = {
    "resnet18": resnet,
    "resnet34": lambda: resnet("MODEL.RESNETS.DEPTH", 34),
    "resnet50": resnet50,
    "resnext50_32x4d": lambda: resnet50(
        "MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 4
    ),
}
OTHERS = (
    *("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v2"),
    *("mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_t"),
)


@pytest.mark.parametrize("name", [*RESNETS, *OTHERS])
def test_torchvisions_weights_match_to_the_last_tensor(name, caplog):
    caplog.set_level(logging.INFO, "autoassign")
    build = RESNETS.get(name, lambda: TorchvisionBackbone(name=name))
    weights = torchvision.models.get_model(name, weights=None).state_dict()
    convert_backbone_weights(weights, Detector(build()).state_dict())
    print_matches(name, caplog)


@pytest.mark.parametrize(
    ("file", "build"),
    [
        ("R-50.pth", lambda: resnet50("MODEL.RESNETS.STRIDE_IN_1X1", True)),
        ("mobilenet_v2.pth", lambda: TorchvisionBackbone(name="mobilenet_v2")),
    ],
)
def test_real_weights_match_to_the_last_tensor(file, build, caplog):
    if not (REAL_WEIGHTS / file).is_file():
        pytest.skip(f"{REAL_WEIGHTS / file} is not there")
    caplog.set_level(logging.INFO, "autoassign")
    PointCheckpointer(Detector(build())).load(str(REAL_WEIGHTS / file))
    print_matches(file, caplog)
