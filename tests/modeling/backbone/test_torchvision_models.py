import pytest
import torch
import torchvision
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from autoassign.modeling.backbone import TorchvisionBackbone

# One of each family, with the layers whose outputs a reader of its source would take.
CUTS = {
    "mobilenet_v2": ("features.6", "features.13", "features"),
    "mobilenet_v3_small": ("features.3", "features.8", "features"),
    "efficientnet_b0": ("features.3", "features.5", "features"),
    "regnet_y_400mf": ("trunk_output.block2", "trunk_output.block3", "trunk_output"),
    "resnet18": ("layer2", "layer3", "layer4"),
    "densenet121": ("features.denseblock2", "features.denseblock3", "features"),
    "shufflenet_v2_x0_5": ("stage2", "stage3", "conv5"),
    "mnasnet0_5": ("layers.9", "layers.11", "layers"),
}


@pytest.mark.parametrize("name", CUTS)
def test_features_are_what_the_models_own_layers_return(name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    backbone = TorchvisionBackbone(name=name, norm="BN").eval()
    backbone.body.load_state_dict(model.state_dict(), strict=False)
    expected = []
    for layer in CUTS[name]:
        model.get_submodule(layer).register_forward_hook(
            lambda _, __, x: expected.append(x.clone())
        )
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        model(image)
        features = backbone(image)
    assert list(features) == ["c3", "c4", "c5"]
    for x, y, stride, shape in zip(
        features.values(), expected, (8, 16, 32), backbone.output_shape().values(), strict=True
    ):
        assert torch.equal(x, y)
        assert tuple(x.shape[2:]) == (64 // stride, 96 // stride)
        assert (shape.channels, shape.stride) == (x.shape[1], stride)


@pytest.mark.parametrize("name", ["swin_t", "convnext_tiny"])
def test_models_without_batch_norms_are_cut_too(name):
    backbone = TorchvisionBackbone(name=name).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    shapes = {name: tuple(x.shape) for name, x in features.items()}
    assert shapes == {"c3": (1, 192, 8, 12), "c4": (1, 384, 4, 6), "c5": (1, 768, 2, 3)}


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v3_small"])
def test_what_lies_above_the_last_feature_is_gone(name):
    backbone = TorchvisionBackbone(name=name, norm="AffineBN")
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_frozen_layers_are_those_up_to_the_stride():
    backbone = TorchvisionBackbone(name="resnet18", norm="BN", freeze_at=2)
    trained = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}
    norms = {
        name.split(".")[1]: type(layer)
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.BatchNorm2d | FrozenBatchNorm2d)
    }
    assert norms == {
        **dict.fromkeys(("bn1", "layer1"), FrozenBatchNorm2d),
        **dict.fromkeys(("layer2", "layer3", "layer4"), nn.BatchNorm2d),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet55"}, "'resnet55'; torchvision has no such.* resnet5"),
        ({"name": "vit_b_16"}, "'vit_b_16'; it does not take images of any size"),
        ({"name": "alexnet"}, "'alexnet'; it has no features at stride 8 and 16 and 32"),
        ({"name": "resnet18", "norm": "LN"}, "MODEL.TORCHVISION.NORM is 'LN'"),
        ({"name": "resnet18", "freeze_at": 6}, "FREEZE_AT is 6; 'resnet18'.* 1, 2, 3, 4, 5"),
        ({"name": "convnext_tiny", "freeze_at": 1}, "FREEZE_AT is 1;.* 2, 3, 4, 5"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        TorchvisionBackbone(**options)
