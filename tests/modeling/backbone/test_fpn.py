import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_backbone
from narrow_model import narrow_cfg
from torch import nn

IMAGE = ShapeSpec(channels=3)
LEVELS = ("p3", "p4", "p5", "p6", "p7")


class NarrowBottomUp(Backbone):
    """Two levels, with names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 16, 16)
        self.conv2 = nn.Conv2d(4, 6, 2, 2)
        self._out_features = ["fine", "coarse"]
        self._out_feature_channels = {"fine": 4, "coarse": 6}
        self._out_feature_strides = {"fine": 16, "coarse": 32}

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.conv(image)
        return {"fine": fine, "coarse": self.conv2(fine)}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    builders = {**BACKBONE_REGISTRY._obj_map, "narrow_bottom_up": lambda *_: NarrowBottomUp()}
    monkeypatch.setattr(BACKBONE_REGISTRY, "_obj_map", builders)


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


@pytest.mark.parametrize(
    ("bottom_up", "features"),
    [
        (("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3"]), ["p2", "p3", "p4", "p5"]),
        (("MODEL.FPN.BOTTOM_UP", "build_swin_backbone"), ["p3", "p4", "p5", "p6", "p7"]),
        (("MODEL.FPN.BOTTOM_UP", "narrow_bottom_up"), ["p4", "p5", "p6", "p7"]),
    ],
)
def test_any_bottom_up_gets_a_pyramid(bottom_up, features):
    last_p = features[-3]
    options = ("MODEL.FPN.NUM_TOP_LEVELS", 2, "MODEL.FPN.TOP_BLOCK_IN_FEATURE", last_p)
    backbone = pyramid(*bottom_up, *options)
    with torch.no_grad():
        outputs = backbone(torch.zeros(1, 3, 64, 96))
    assert list(outputs) == features
    for name, x in outputs.items():
        stride = 2 ** int(name[1])
        assert tuple(x.shape) == (1, 32, -(-64 // stride), -(-96 // stride))


@pytest.mark.parametrize(
    ("bottom_up", "last_c", "channels"),
    [("build_swin_backbone", "p3", 768), ("narrow_bottom_up", "coarse", 6)],
)
def test_p6_may_come_from_the_last_c_of_any_bottom_up(bottom_up, last_c, channels):
    backbone = pyramid("MODEL.FPN.BOTTOM_UP", bottom_up, "MODEL.FPN.TOP_BLOCK_IN_FEATURE", last_c)
    assert backbone.top_block.p6.in_channels == channels
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        p6 = list(backbone(image).values())[-1]
        assert torch.equal(p6, backbone.top_block.p6(backbone.bottom_up(image)[last_c]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.FPN.TOP_BLOCK_IN_FEATURE", "p4"), "TOP_BLOCK_IN_FEATURE is 'p4'.*p5, res5"),
        (("MODEL.FPN.NUM_TOP_LEVELS", 3), "NUM_TOP_LEVELS is 3; it must be one of: 1, 2"),
        (("MODEL.FPN.IN_FEATURES", ["c4"]), r"\['c4'\];.*gives \['res3', 'res4', 'res5'\]"),
        (("MODEL.FPN.IN_FEATURES", ["res3", "res5"]), r"strides \[8, 32\]; each must be twice"),
        (("MODEL.FPN.BOTTOM_UP", "resnet"), "BOTTOM_UP is 'resnet'; registered.*build_swin"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_says_what_is(options, message):
    with pytest.raises(ValueError, match=message):
        pyramid(*options)
