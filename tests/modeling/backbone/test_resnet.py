import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import ResNet, build_resnet_backbone
from detectron2.modeling.backbone.resnet import DeformBottleneckBlock as Detectron2Block
from narrow_model import narrow_cfg
from torch import nn

from autoassign.modeling.backbone import build_point_resnet_backbone
from autoassign.modeling.backbone.resnet import DeformBottleneckBlock
from autoassign.modeling.layers import AffineBatchNorm2d

IMAGE = ShapeSpec(channels=3)
ALL_STAGES = ("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"])
# Channels: 8, bottlenecks of 4 · 2 = 8 in 4 groups, 32 out of res2.
NARROW_RESNEXT = (
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32),
    *("MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.WIDTH_PER_GROUP", 2),
)
DEFORMABLE = (*NARROW_RESNEXT, "MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, True, True])


def resnet(*options: object) -> ResNet:
    torch.manual_seed(0)
    return build_point_resnet_backbone(narrow_cfg(*ALL_STAGES, *options), IMAGE)


def layout(model: nn.Module) -> list[tuple]:
    """Names, types and geometry of the layers, and names and shapes of the tensors."""
    modules = [
        (name, type(m), *(getattr(m, x, None) for x in ("stride", "padding", "groups", "eps")))
        for name, m in model.named_modules()
    ]
    return modules + [(name, tuple(x.shape)) for name, x in model.state_dict().items()]


@pytest.mark.parametrize(("depth", "num_blocks"), [(18, 8), (34, 16)])
def test_a_narrow_resnet_doubles_its_channels_from_stage_to_stage(depth, num_blocks):
    model = resnet("MODEL.RESNETS.DEPTH", depth).eval()
    features = model(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(x.shape[1:]) for name, x in features.items()} == {
        "res2": (8, 16, 16),
        "res3": (16, 8, 8),
        "res4": (32, 4, 4),
        "res5": (64, 2, 2),
    }
    assert sum(len(stage) for stage in model.stages) == num_blocks


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
        ("MODEL.RESNETS.DEPTH", 34, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
        (*NARROW_RESNEXT, "MODEL.RESNETS.STRIDE_IN_1X1", True),
        (*NARROW_RESNEXT, "MODEL.RESNETS.STRIDE_IN_1X1", False),
        (*NARROW_RESNEXT, "MODEL.RESNETS.NORM", "FrozenBN"),
        (*NARROW_RESNEXT, "MODEL.BACKBONE.FREEZE_AT", 3),
        (*NARROW_RESNEXT, "MODEL.RESNETS.DEPTH", 101),
    ],
)
def test_what_detectron2_builds_too_is_laid_out_as_there(options):
    cfg = narrow_cfg(*ALL_STAGES, *options)
    ours, theirs = build_point_resnet_backbone(cfg, IMAGE), build_resnet_backbone(cfg, IMAGE)
    assert layout(ours) == layout(theirs)
    assert [p.requires_grad for p in ours.parameters()] == [
        p.requires_grad for p in theirs.parameters()
    ]


@pytest.mark.parametrize("modulated", [False, True])
def test_a_deformable_block_is_laid_out_as_detectron2s(modulated, monkeypatch):
    # Without its compiled extension detectron2 has no operator, but the layers can be built.
    import detectron2.modeling.backbone.resnet as module

    class Conv(nn.Conv2d):
        def __init__(self, *args, deformable_groups, norm, **kwargs):
            super().__init__(*args, **kwargs)
            self.norm = norm

    monkeypatch.setattr(module, "DeformConv", Conv)
    monkeypatch.setattr(module, "ModulatedDeformConv", Conv)
    options = {
        "in_channels": 16,
        "out_channels": 32,
        "bottleneck_channels": 8,
        "stride": 2,
        "num_groups": 4,
        "deform_modulated": modulated,
        "deform_num_groups": 2,
    }
    ours, theirs = DeformBottleneckBlock(**options), Detectron2Block(**options)
    assert {name: x.shape for name, x in ours.state_dict().items()} == {
        name: x.shape for name, x in theirs.state_dict().items()
    }


@pytest.mark.parametrize("modulated", [False, True])
def test_a_deformable_resnet_starts_as_the_plain_one(modulated):
    deformable = resnet(*DEFORMABLE, "MODEL.RESNETS.DEFORM_MODULATED", modulated).eval()
    plain = resnet(*NARROW_RESNEXT).eval()
    plain.load_state_dict(deformable.state_dict(), strict=False)
    if modulated:  # every mask is ½ at the start
        for name, parameter in plain.named_parameters():
            if "conv2.weight" in name and name.startswith(("res4", "res5")):
                parameter.data /= 2
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(deformable(image), plain(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_offsets_of_the_chosen_stages_learn(modulated):
    model = resnet(*DEFORMABLE, "MODEL.RESNETS.DEFORM_MODULATED", modulated)
    sum(x.square().sum() for x in model(torch.randn(2, 3, 64, 64)).values()).backward()
    offsets = {name: p for name, p in model.named_parameters() if "conv2_offset.weight" in name}
    assert {name[:4] for name in offsets} == {"res4", "res5"}
    assert len(offsets) == 6 + 3
    assert all(p.grad.abs().sum() > 0 for p in offsets.values())


def test_a_shift_of_one_pixel_moves_what_the_block_sees():
    block = DeformBottleneckBlock(4, 4, bottleneck_channels=4, norm="")
    image = torch.rand(1, 4, 9, 9)
    with torch.no_grad():
        before = block(image)
        # Channels are (y, x) for each of the nine places.
        block.conv2_offset.bias[1::2] = 1.0
        moved = block.conv2(block.conv1(image).relu(), block.conv2_offset(image))
        plain = block.conv2(block.conv1(image).relu(), torch.zeros(1, 18, 9, 9))
        assert not torch.equal(block(image), before)
    torch.testing.assert_close(moved[..., 1:-1, 1:-2], plain[..., 1:-1, 2:-1])


@pytest.mark.parametrize(
    ("norm", "layer"),
    [
        ("FrozenBN", FrozenBatchNorm2d),
        ("AffineBN", AffineBatchNorm2d),
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("GN", nn.GroupNorm),
    ],
)
def test_norms_by_config(norm, layer):
    model = resnet("MODEL.RESNETS.NORM", norm, "MODEL.BACKBONE.FREEZE_AT", 2)
    assert type(model.res5[0].conv1.norm) is layer
    frozen = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "res2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.RESNETS.DEPTH", 26), "DEPTH is 26; it must be one of: 18, 34, 50, 101, 152"),
        (("MODEL.RESNETS.RES5_DILATION", 2), "RES5_DILATION is 2; it must be one of: 1"),
        (("MODEL.BACKBONE.FREEZE_AT", 6), "FREEZE_AT is 6; it must be one of: 0, 1, 2, 3, 4, 5"),
        (("MODEL.RESNETS.NUM_GROUPS", 32), "DEPTH is 18;.*NUM_GROUPS need bottleneck blocks"),
        (("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [True]), "one True or False for each of res2"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_says_what_is(options, message):
    with pytest.raises(ValueError, match=message):
        resnet(*options)
