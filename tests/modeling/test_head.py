import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform

from autoassign.modeling import ExtraOutput, PointHead, decode, make_grid

STRIDES = (8, 16, 32)


def head(**changes: object) -> PointHead:
    channels = changes.pop("channels", 32)
    options = {
        "input_shape": [ShapeSpec(channels=channels, stride=s) for s in STRIDES],
        "num_classes": 6,
        "num_convs": 2,
        "norm": "GN",
        "prior_prob": 0.02,
        "box_bias": 4.0,
        "objectness": "implicit",
    }
    torch.manual_seed(0)
    return PointHead(**{**options, **changes})


def levels(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(N, R, C) predictions of each level."""
    return x.split([5 * 9, 6 * 8, 7 * 7], dim=1)


def features(channels: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, channels, 5 + i, 9 - i, generator=generator) for i in range(3)]


def test_every_level_gets_predictions_of_its_size():
    predictions = head(extra_outputs=[ExtraOutput("shape", channels=2)])(features())
    num_locations = 5 * 9 + 6 * 8 + 7 * 7
    assert predictions.cls_logits.shape == (2, num_locations, 6)
    assert predictions.ltrb.shape == (2, num_locations, 4)
    assert predictions.obj_logits.shape == (2, num_locations)
    assert predictions.extra["shape"].shape == (2, num_locations, 2)


def test_distances_are_relu_of_scale_times_convolution_in_strides():
    model = head(norm="", num_convs=0)
    with torch.no_grad():
        model.box_pred.weight.zero_()
        model.box_pred.bias.copy_(torch.tensor([1.5, -2.0, 0.25, 3.0]))
        model.scales.copy_(torch.tensor([1.0, 2.0, -1.0]))
        ltrb = levels(model(features()).ltrb)
    # 1.5 · 1 · 8, ...; a negative scale turns the sign of what ReLU sees.
    expected = [[12.0, 0.0, 2.0, 24.0], [48.0, 0.0, 8.0, 96.0], [0.0, 64.0, 0.0, 0.0]]
    for level, values in zip(ltrb, expected, strict=True):
        assert (level == torch.tensor(values)).all()


def test_the_convolution_of_the_box_tower_reaches_the_distances():
    model = head(norm="", num_convs=0)
    with torch.no_grad():
        model.box_pred.weight.zero_()
        model.box_pred.bias.zero_()
        model.box_pred.weight[2, 7, 1, 1] = 3.0
        inputs = features()
        ltrb = levels(model(inputs).ltrb)[1]
    assert torch.allclose(ltrb[..., 2], inputs[1][:, 7].flatten(1).relu() * 3 * 16)
    assert not ltrb[..., [0, 1, 3]].any()


@pytest.mark.parametrize("prior_prob", [0.01, 0.02, 0.3])
def test_every_location_starts_with_the_prior_as_class_probability(prior_prob):
    # The tower's activations are about 1 and the weights 0.01 · N(0, 1): near the bias.
    cls_logits = head(prior_prob=prior_prob)(features()).cls_logits
    mean = cls_logits.mean().sigmoid().item()
    assert mean == pytest.approx(prior_prob, rel=0.1)
    bias = head(prior_prob=prior_prob).cls_score.bias
    assert bias.sigmoid().tolist() == pytest.approx([prior_prob] * 6, rel=1e-5)


def test_distances_start_at_the_box_bias_in_strides():
    ltrb = levels(head(box_bias=2.5)(features()).ltrb)
    for level, stride in zip(ltrb, STRIDES, strict=True):
        assert level.mean().item() / stride == pytest.approx(2.5, rel=0.1)


def test_convolutions_start_small_and_without_bias():
    model = head()
    weights = torch.cat([model.cls_tower[0].weight.flatten(), model.box_tower[3].weight.flatten()])
    assert weights.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.cls_tower[0].bias.any()
    assert not model.obj_score.bias.any()
    assert torch.equal(model.scales, torch.ones(3))


def test_without_objectness_there_is_neither_a_logit_nor_its_weights():
    model = head(objectness="none")
    assert model(features()).obj_logits is None
    assert not [name for name, _ in model.named_parameters() if "obj" in name]


def test_the_towers_are_shared_over_levels():
    model = head(box_bias=0.0)
    same = features()[0]
    predictions = model([same, same, same])
    for x in (predictions.cls_logits, predictions.obj_logits):
        first, _, last = x.chunk(3, dim=1)
        assert torch.equal(first, last)


def test_an_extra_output_has_a_predictor_that_starts_with_its_bias():
    assert not head()(features()).extra
    model = head(extra_outputs=[ExtraOutput("ctr", bias=-1.5)])
    assert model.ctr_score.bias.tolist() == [-1.5]
    names = {name for name, _ in model.named_parameters()}
    assert names - {name for name, _ in head().named_parameters()} == {
        "ctr_score.weight",
        "ctr_score.bias",
    }


def test_exponential_distances_are_in_pixels_on_every_level():
    model = head(norm="", num_convs=0, box_activation="exp")
    with torch.no_grad():
        model.box_pred.weight.zero_()
        model.box_pred.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
        model.scales.copy_(torch.tensor([1.0, 2.0, 0.5]))
        ltrb = levels(model(features()).ltrb)
    for level, scale in zip(ltrb, (1.0, 2.0, 0.5), strict=True):
        expected = (torch.tensor([0.0, 1.0, -1.0, 2.0]) * scale).exp()
        torch.testing.assert_close(level, expected.expand_as(level))


@pytest.mark.parametrize("activation", ["relu", "exp"])
def test_distances_of_half_precision_towers_do_not_overflow(activation):
    model = head(box_activation=activation)
    # 600 strides of 128 pixels, and e¹¹·² pixels, are more than float16's 65504.
    value = {"relu": 600.0, "exp": 11.2}[activation]
    scaled = torch.full((1, 4, 1, 1), value, dtype=torch.float16)
    distances = model._distances(scaled, 128)
    assert distances.dtype == torch.float32
    expected = 600 * 128 if activation == "relu" else scaled.double().exp().mean().item()
    assert distances.mean().item() == pytest.approx(expected, rel=1e-4)


def test_exponential_distances_stay_where_areas_are_finite():
    model = head(box_activation="exp")
    scaled = torch.full((1, 4, 1, 1), 500.0, requires_grad=True)
    distances = model._distances(scaled, 8)
    assert distances.max().item() == pytest.approx(1e5, rel=1e-4)
    distances.sum().backward()
    assert scaled.grad.eq(0).all()


def test_a_deformable_tower_runs_in_half_precision():
    model = head(deformable_last_conv=True)
    exact = model(features())
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(features())
    torch.testing.assert_close(rough.ltrb, exact.ltrb, rtol=0.05, atol=0.5)


def test_without_conv_bias_the_towers_have_none_and_the_predictors_keep_theirs():
    names = [name for name, _ in head(conv_bias=False).named_parameters()]
    towers = [name for name in names if "tower" in name and name.endswith("bias")]
    assert all(name.split(".")[1] in ("1", "4") for name in towers)  # those of GroupNorm
    assert {"cls_score.bias", "box_pred.bias", "obj_score.bias"} <= set(names)


def test_a_deformable_convolution_starts_as_half_an_ordinary_one():
    # No shifts, and every modulation σ(0) = ½.
    model = head(norm="", num_convs=1, deformable_last_conv=True)
    conv = model.cls_tower[0]
    feature = features()[0]
    ordinary = torch.nn.functional.conv2d(feature, conv.weight, None, padding=1)
    torch.testing.assert_close(conv(feature), ordinary / 2 + conv.bias[:, None, None])


def test_only_the_last_convolution_of_each_tower_is_deformable_and_learns_its_shifts():
    model = head(deformable_last_conv=True)
    names = {name for name, _ in model.named_parameters() if "offset_mask" in name}
    assert names == {
        f"{tower}_tower.3.offset_mask.{kind}"
        for tower in ("cls", "box")
        for kind in ("weight", "bias")
    }
    output = model(features())
    output.cls_logits.sum().backward()
    assert model.cls_tower[3].offset_mask.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectness": "explict"}, r"MODEL\.POINT_HEAD\.OBJECTNESS is 'explict'.*none, implicit"),
        ({"box_activation": "softplus"}, r"BOX_ACTIVATION is 'softplus'.*relu, exp"),
        ({"num_convs": -1}, r"NUM_CONVS is -1; it is at least 0"),
        ({"num_convs": 0, "deformable_last_conv": True}, r"NUM_CONVS is 0.*at least 1 with DEFORM"),
        ({"prior_prob": 0.0}, r"MODEL\.POINT_HEAD\.PRIOR_PROB is 0\.0"),
        ({"prior_prob": 1.0}, r"MODEL\.POINT_HEAD\.PRIOR_PROB is 1\.0"),
        ({"channels": 48}, r"MODEL\.POINT_HEAD\.NORM 'GN'.*MODEL\.FPN\.OUT_CHANNELS 48"),
        ({"norm": "GroupNorm"}, r"MODEL\.POINT_HEAD\.NORM is 'GroupNorm'.*GN, LN"),
        ({"num_classes": 0}, r"MODEL\.POINT_HEAD\.NUM_CLASSES is 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_names_the_option(changes, message):
    with pytest.raises(ValueError, match=message):
        head(**changes)


def test_boxes_relative_to_anchors_are_those_of_detectron2():
    """The anchor of a location is the square of 8 strides on it; its weights are (10, 10, 5, 5)."""
    model = head(num_convs=0, norm="", box_activation="anchor")
    with torch.no_grad():
        model.box_pred.weight.normal_(std=0.3)
    predictions = model(features())
    raw = torch.cat([model.box_pred(x)[0].flatten(1) for x in features()], dim=1).T
    sizes = tuple(tuple(x.shape[2:]) for x in features())
    grid = make_grid(STRIDES, sizes, torch.device("cpu"), 0.0)
    half = 4 * grid.level_strides[grid.location_levels, None]
    anchors = torch.cat((grid.locations - half, grid.locations + half), dim=1)
    expected = Box2BoxTransform(weights=(10, 10, 5, 5)).apply_deltas(raw, anchors)
    boxes = decode(predictions.ltrb[0], grid.locations)
    torch.testing.assert_close(boxes, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("names", [["cls"], ["obj"], ["ctr", "ctr"]])
@pytest.mark.parametrize("objectness", ["none", "implicit"])
def test_an_extra_output_replaces_no_other(names, objectness):
    with pytest.raises(ValueError, match=f"extra output '{names[-1]}': the name is taken"):
        head(extra_outputs=[ExtraOutput(name) for name in names], objectness=objectness)
