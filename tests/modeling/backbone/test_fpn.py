import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_resnet_backbone
from narrow_model import narrow_cfg

from autoassign.modeling.backbone.resnet import build_resnet

IMAGE = ShapeSpec(channels=3)
LEVELS = ("p3", "p4", "p5", "p6", "p7")


def pyramid(*options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_backbone(narrow_cfg(*options), IMAGE).eval()


@pytest.mark.parametrize("num_top_levels", [1, 2])
def test_levels_above_p5_halve_the_size_each(num_top_levels):
    backbone = pyramid("MODEL.FPN.NUM_TOP_LEVELS", num_top_levels)
    features = backbone(torch.zeros(1, 3, 96, 160))
    names = LEVELS[: 3 + num_top_levels]
    sizes = [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)][: len(names)]
    assert tuple(features) == names
    assert [tuple(x.shape) for x in features.values()] == [(1, 32, *size) for size in sizes]
    shapes = backbone.output_shape()
    assert [shapes[name].stride for name in names] == [8, 16, 32, 64, 128][: len(names)]
    assert {shape.channels for shape in shapes.values()} == {32}


@pytest.mark.parametrize(("feature", "channels"), [("p5", 32), ("res5", 64)])
def test_p6_is_a_strided_convolution_of_the_feature_named(feature, channels):
    backbone = pyramid("MODEL.FPN.TOP_BLOCK_IN_FEATURE", feature)
    image = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        features = {**backbone.bottom_up(image), **backbone(image)}
        convolution = backbone.top_block.p6
        assert convolution.in_channels == channels
        assert torch.equal(features["p6"], convolution(features[feature]))


@pytest.mark.parametrize("feature", ["p5", "res5"])
def test_p7_is_a_convolution_of_the_relu_of_p6(feature):
    backbone = pyramid("MODEL.FPN.TOP_BLOCK_IN_FEATURE", feature, "MODEL.FPN.NUM_TOP_LEVELS", 2)
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 128, 128))
        assert torch.allclose(features["p7"], backbone.top_block.p7(features["p6"].relu()))
    assert (features["p6"] < 0).any()


@pytest.mark.parametrize(("depth", "num_blocks"), [(18, 8), (34, 16)])
def test_narrow_resnet_doubles_its_channels_from_stage_to_stage(depth, num_blocks):
    cfg = narrow_cfg("MODEL.RESNETS.DEPTH", depth)
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    resnet = build_resnet(cfg, IMAGE).eval()
    features = resnet(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(x.shape[1:]) for name, x in features.items()} == {
        "res2": (8, 16, 16),
        "res3": (16, 8, 8),
        "res4": (32, 4, 4),
        "res5": (64, 2, 2),
    }
    assert sum(len(stage) for stage in resnet.stages) == num_blocks


@pytest.mark.parametrize("depth", [18, 34])
def test_the_narrow_resnet_is_laid_out_as_detectron2s(depth):
    def layout(width: int) -> list[tuple]:
        cfg = narrow_cfg("MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.STEM_OUT_CHANNELS", width)
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = width
        build = build_resnet_backbone if width == 64 else build_resnet
        return [
            (name, type(module), getattr(module, "stride", None), getattr(module, "padding", None))
            for name, module in build(cfg, IMAGE).named_modules()
        ]

    assert layout(32) == layout(64)


def test_the_first_stages_can_be_frozen_in_a_narrow_resnet():
    resnet = pyramid("MODEL.BACKBONE.FREEZE_AT", 2).bottom_up
    frozen = {name.split(".")[0] for name, p in resnet.named_parameters() if not p.requires_grad}
    trained = {name.split(".")[0] for name, p in resnet.named_parameters() if p.requires_grad}
    assert frozen == {"stem", "res2"}
    assert trained == {"res3", "res4", "res5"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.FPN.TOP_BLOCK_IN_FEATURE", "p4"), r"TOP_BLOCK_IN_FEATURE is 'p4'.*'p5' or 'res5'"),
        (("MODEL.FPN.NUM_TOP_LEVELS", 3), r"NUM_TOP_LEVELS is 3; it may be 1 or 2"),
        (("MODEL.FPN.IN_FEATURES", ["res3", "res4"]), r"IN_FEATURES is \['res3', 'res4'\].*'res5'"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_says_what_is(options, message):
    with pytest.raises(ValueError, match=message):
        pyramid(*options)
