import copy

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from narrow_model import narrow_cfg
from torch import nn

RESNET = ("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS", 32)
SWIN = ("MODEL.FPN.BOTTOM_UP", "build_swin_backbone", "MODEL.SWIN.DROP_PATH_RATE", 0.5)


def backbone(*options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(narrow_cfg(*options), ShapeSpec(channels=3)).train()


def gradients_and_memory(model: nn.Module) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients by name, and the number of values that the forward pass keeps for them."""
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.numel()
        return x

    torch.manual_seed(2)  # which blocks are left out
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = sum(x.square().mean() for x in model(image).values())
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("options", [RESNET, SWIN])
def test_gradients_are_the_same_and_less_is_kept(options):
    plain, memory = gradients_and_memory(backbone(*options))
    option = ("MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS", True)
    checkpointed, less = gradients_and_memory(backbone(*options, *option))
    torch.testing.assert_close(checkpointed, plain)
    assert less < 0.7 * memory


def test_a_copy_computes_with_its_own_weights():
    model = backbone(*RESNET, "MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS", True)
    average = copy.deepcopy(model)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = average(image)
        for parameter in model.parameters():
            parameter.zero_()
        torch.testing.assert_close(average(image), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.RESNETS.NORM", "BN"), "twice an iteration: MODEL.RESNETS.NORM must be FrozenBN"),
        (("MODEL.FPN.BOTTOM_UP", "TorchvisionBackbone"), "is for ResNets and Swin Transformers"),
    ],
)
def test_where_it_cannot_be_done_is_an_error(options, message):
    model = ("MODEL.TORCHVISION.NAME", "mobilenet_v3_small")
    with pytest.raises(ValueError, match=message):
        backbone(*model, *options, "MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS", True)
