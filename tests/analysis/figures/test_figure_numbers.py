"""Prior, objectness and evolution: the numbers behind the figures, and where they are drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from narrow_model import image_input, narrow_model

from autoassign.analysis.figures import (
    draw_evolutions,
    read_priors,
    region_around,
    score_rows,
)
from autoassign.analysis.figures.map_rows import object_row, rows_size
from autoassign.analysis.figures.overlays import Region, draw_heat, draw_image
from autoassign.modeling import explain_image
from autoassign.runs import start_evolution

WEIGHTING = "MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CENTER_WEIGHTING"
NAMES = ["a", "b", "c", "d", "e"]


def test_the_prior_is_the_gaussian_of_mu_and_sigma():
    assignment = narrow_model().label_assignment
    with torch.no_grad():
        assignment.mu[3] = torch.tensor([0.5, -0.25])
        assignment.sigma[3] = torch.tensor([0.5, -2.0])
    prior = read_priors(assignment, NAMES)[3]
    assert prior.name == "d"
    assert prior.sigma.tolist() == [0.5, 2.0]
    x, y = np.meshgrid(prior.xs, prior.xs)
    expected = np.exp(-((x - 0.5) ** 2) / (2 * 0.5**2) - (y + 0.25) ** 2 / (2 * 2.0**2))
    np.testing.assert_allclose(prior.values, expected, atol=1e-5)
    assert prior.xs[-1] >= 0.25 + 2 * 2.0  # two σ are in sight


def test_a_shared_prior_is_one_panel():
    (prior,) = read_priors(narrow_model(WEIGHTING, "shared").label_assignment, NAMES)
    assert prior.name == "all classes"


@pytest.mark.parametrize("weighting", ["fixed", "none"])
def test_a_prior_that_is_not_learned_is_refused(weighting):
    with pytest.raises(ValueError, match=f"CENTER_WEIGHTING is '{weighting}'"):
        read_priors(narrow_model(WEIGHTING, weighting).label_assignment, NAMES)


def greatest(row):
    return max(level.max() for level in row.levels.values())


def test_scores_are_those_that_detections_are_chosen_by():
    model = narrow_model("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0).eval()
    item = image_input([], [])
    with torch.no_grad():
        detections = model([item])[0]["instances"]
    *_, combined = score_rows(model, item)
    assert greatest(combined) == detections.scores.max().item()
    rows = score_rows(model, item, class_index=int(detections.pred_classes[0]))
    without, objectness, combined = rows
    assert greatest(combined) == detections.scores[0].item()
    for stride, values in combined.levels.items():
        product = without.levels[stride] * objectness.levels[stride]
        np.testing.assert_allclose(values, product, rtol=1e-6)


def test_diverged_scores_and_priors_are_refused():
    model = narrow_model().eval()
    with torch.no_grad():
        model.head.obj_score.bias.fill_(torch.nan)
        model.label_assignment.mu[2] = torch.nan
    with pytest.raises(ValueError, match="objectness is not finite"):
        score_rows(model, image_input([], []))
    with pytest.raises(ValueError, match="center prior is not finite"):
        read_priors(model.label_assignment, NAMES)


@pytest.fixture
def explanation():
    item = image_input([[10.0, 12.0, 70.0, 80.0], [3.0, 3.0, 6.0, 6.0]], [1, 2])
    return explain_image(narrow_model().eval(), item)


@pytest.mark.parametrize(("offset", "left"), [(0.0, -8), (0.5, 0)])
def test_a_cell_lies_around_its_location(offset, left):
    axes = Figure().subplots()
    draw_image(axes, np.zeros((64, 96, 3), np.uint8), Region(0, 0, 96, 64))
    heat = draw_heat(axes, np.ones((4, 6)), stride=16, offset=offset, greatest=1.0)
    assert heat.get_extent() == [left, left + 96, left + 64, left]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 96), (64, 0))


def test_the_region_holds_the_box_and_stays_in_the_image():
    image = np.zeros((200, 300, 3), np.uint8)
    for box in ([290, 190, 298, 199], [0, 0, 300, 200], [140, 3, 150, 190], [5, 5, 6, 6]):
        region = region_around(np.array(box, float), image, 8)
        assert 0 <= region.x0 <= box[0]
        assert 0 <= region.y0 <= box[1]
        assert box[2] <= region.x1 <= 300
        assert box[3] <= region.y1 <= 200
        assert min(region.x1 - region.x0, region.y1 - region.y0) >= 48


def test_levels_without_a_location_take_little_room(explanation):
    large, small = (
        rows_size([object_row("row", replace(explanation, objects=[maps]), maps.primary)])[0]
        for maps in explanation.objects
    )
    # The small object has one pair, on the finest of four levels.
    assert small < 0.6 * large


def test_every_recorded_object_is_drawn(tmp_path, explanation):
    first = replace(explanation, objects=explanation.objects[:1])
    start_evolution(tmp_path / "evolution", [first] * 2, ["an object", "another"], 0)
    names = [path.name for path in draw_evolutions(tmp_path)]
    assert names == ["evolution_0.png", "evolution_1.png"]
