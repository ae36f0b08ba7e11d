import pytest
import torch
from torch import nn

from autoassign.modeling.layers import AffineBatchNorm2d, convert_batch_norms, norm_layer


def test_an_affine_norm_trains_weight_and_bias_and_keeps_its_statistics():
    layer = AffineBatchNorm2d(2)
    layer.running_mean.copy_(torch.tensor([1.0, -1.0]))
    layer.running_var.fill_(4.0)
    model = nn.Sequential(layer).train()
    out = model(torch.full((1, 2, 1, 1), 3.0))
    # (3 - 1) / 2 and (3 + 1) / 2
    assert out.flatten().tolist() == pytest.approx([1.0, 2.0], abs=1e-4)
    out.sum().backward()
    assert layer.weight.grad.tolist() == pytest.approx([1.0, 2.0], abs=1e-4)
    assert layer.bias.grad.tolist() == [1.0, 1.0]
    assert layer.running_mean.tolist() == [1.0, -1.0]


@pytest.mark.parametrize("norm", ["FrozenBN", "AffineBN", "SyncBN"])
def test_converted_norms_keep_their_epsilon(norm):
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Sequential(nn.BatchNorm2d(16, eps=0.01)))
    convert_batch_norms(model, lambda name: norm)
    assert type(model[1][0]) is type(norm_layer("NORM", norm)(16))
    assert model[1][0].eps == 0.01


def test_each_layer_may_get_another_norm():
    model = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(48))
    convert_batch_norms(model, {"0": "FrozenBN", "1": "GN"}.__getitem__)
    assert not list(model[0].parameters())
    # As many of 32 groups as divide the channels.
    assert model[1].num_groups == 16


def test_an_unknown_norm_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match=r"MODEL.X.NORM is 'LN'.*FrozenBN, AffineBN, BN, SyncBN"):
        norm_layer("MODEL.X.NORM", "LN")
