"""The numbers behind the pictures are those of the losses."""

import numpy as np
import pytest
import torch
from narrow_model import image_input, narrow_model

from autoassign.modeling import explain_image

BOXES = [[10.0, 12.0, 70.0, 80.0], [40.0, 20.0, 100.0, 60.0], [33.0, 33.0, 36.0, 36.0]]


@pytest.fixture(scope="module")
def model():
    return narrow_model().eval()


@pytest.fixture(scope="module")
def item():
    return image_input(BOXES, [1, 1, 4])


def values(levels):
    """The pairs of one object in the order of Pairs: level, row, column."""
    flat = np.concatenate([level.ravel() for level in levels])
    return flat[~np.isnan(flat)]


def test_the_positive_loss_follows_from_the_maps(model, item):
    images = model.preprocess_image([item])
    features = [model.backbone(images.tensor)[name] for name in model.head_in_features]
    with torch.no_grad():
        losses = model.forward_training(images, features, model.head(features), [item["instances"]])
    terms = []
    for maps in explain_image(model, item).objects:
        positive, confidence = (
            values(maps.maps[name]).astype(float)
            for name in ("positive weight", "confidence weight")
        )
        # C = exp(P / τ) with τ = 1/3; the loss of an object is -log Σ w⁺P.
        terms.append(-np.log((positive * np.log(confidence) / 3).sum()))
    assert losses["loss_pos"].item() == pytest.approx(0.25 * np.mean(terms), rel=1e-4)


def test_positive_weights_of_an_object_sum_to_1_over_all_levels(model, item):
    for maps in explain_image(model, item).objects:
        assert values(maps.maps[maps.primary]).sum(dtype=float) == pytest.approx(1, abs=1e-5)
        assert maps.level_shares.sum() == pytest.approx(1)


def test_pairs_lie_at_the_locations_inside_the_box(model, item):
    explanation = explain_image(model, item)
    first = explanation.objects[0].maps["center weight"]
    # Stride 8: columns at 16 ... 64 and rows at 16 ... 72 are inside (10, 12, 70, 80).
    rows, columns = np.nonzero(~np.isnan(first[0]))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 9, 2, 8)
    assert [level.shape for level in first] == list(explanation.level_sizes)


def test_the_peak_is_the_place_of_the_greatest_weight(model, item):
    explanation = explain_image(model, item)
    for maps in explanation.objects:
        levels = maps.maps["positive weight"]
        peak = maps.peak
        stride = explanation.strides[peak.level]
        assert levels[peak.level][int(peak.y) // stride, int(peak.x) // stride] == peak.value
        assert max(np.nanmax(x) for x in levels if not np.isnan(x).all()) == peak.value
    # No location lies inside the third box: the nearest one of the finest level learns it.
    assert explanation.objects[2].peak[:3] == (0, 32.0, 32.0)
    assert explanation.objects[2].level_shares[0] == 1


def test_chosen_objects_see_the_others(model, item):
    every = explain_image(model, item).objects
    (alone,) = explain_image(model, item, objects=[1]).objects
    assert alone.index == 1
    of_all, of_one = (values(x.maps["negative weight"]) for x in (every[1], alone))
    np.testing.assert_array_equal(of_one, of_all)


def test_the_model_is_left_as_it_was(item):
    model = narrow_model()
    model.train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain_image(model, item)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_the_image_is_the_input_in_rgb(model, item):
    image = explain_image(model, item).image
    np.testing.assert_array_equal(image[..., 0], item["image"][2].numpy())
    image = explain_image(model, item, input_format="RGB").image
    np.testing.assert_array_equal(image[..., 0], item["image"][0].numpy())


def test_an_image_without_objects_has_none(model):
    assert explain_image(model, image_input([], [])).objects == []


@pytest.mark.parametrize(
    ("classes", "objects", "message"),
    [([1, 1, 5], None, "has class 5, but the model has 5"), ([1, 1, 1], [3], "no object 3")],
)
def test_unknown_objects_and_classes_are_named(model, classes, objects, message):
    with pytest.raises(ValueError, match=message):
        explain_image(model, image_input(BOXES, classes), objects=objects)


def test_diverged_weights_are_told_instead_of_drawn(item):
    model = narrow_model().eval()
    with torch.no_grad():
        model.label_assignment.mu[1] = torch.nan
    with pytest.raises(ValueError, match="center weight is not finite: have the weights diverged"):
        explain_image(model, item)


def test_dsla_shows_its_own_maps(item):
    model = narrow_model("MODEL.LABEL_ASSIGNMENT.NAME", "DSLA").eval()
    maps = explain_image(model, item).objects
    assert maps[0].primary == "label"
    assert {"center score", "scale score"} <= set(maps[0].maps)
    # An object without a location inside is not learned.
    assert maps[2].peak is None
    assert maps[2].level_shares.sum() == 0
