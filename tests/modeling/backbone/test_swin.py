import pytest
from detectron2.layers import ShapeSpec
from detectron2.modeling import SwinTransformer
from narrow_model import narrow_cfg

from autoassign.modeling.backbone import build_swin_backbone


def swin(*options: object) -> SwinTransformer:
    return build_swin_backbone(narrow_cfg(*options), ShapeSpec(channels=3))


@pytest.mark.parametrize(
    ("size", "parameters"),
    # Those of Microsoft's classifiers; the head has 1000 · (C + 1) of them, C channels. It is not
    # there, norms of C / 4 and C / 2 channels are.
    [("T", 28_288_354), ("S", 49_606_258)],
)
def test_the_sizes_are_those_of_the_paper(size, parameters):
    model = swin("MODEL.SWIN.SIZE", size)
    channels = model.output_shape()["p3"].channels
    expected = parameters - 1000 * (channels + 1) + 2 * (channels // 2 + channels // 4)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_blocks_are_left_out_more_often_with_depth():
    model = swin("MODEL.SWIN.DROP_PATH_RATE", 0.22)
    rates = [block.drop_path.p for layer in model.layers for block in layer.blocks]
    assert rates == pytest.approx([0.02 * i for i in range(12)])


@pytest.mark.parametrize(
    ("freeze_at", "frozen"),
    [(0, set()), (1, {"patch_embed"}), (2, {"patch_embed", "layers.0"})],
)
def test_stages_can_be_frozen(freeze_at, frozen):
    model = swin("MODEL.BACKBONE.FREEZE_AT", freeze_at)
    stages = {
        name[: len("layers.0")] if name.startswith("layers") else name.split(".")[0]
        for name, p in model.named_parameters()
        if not p.requires_grad
    }
    assert stages == frozen


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("MODEL.SWIN.SIZE", "XL", "SIZE is 'XL'; it must be one of: T, S, B"),
        ("MODEL.SWIN.DROP_PATH_RATE", 1.0, "DROP_PATH_RATE is 1.0; it must be"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_says_what_is(option, value, message):
    with pytest.raises(ValueError, match=message):
        swin(option, value)
