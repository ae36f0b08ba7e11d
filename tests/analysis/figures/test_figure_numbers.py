"""Prior, objectness and evolution: the numbers behind the figures, and where they are drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from narrow_model import image_input, narrow_model

from autoassign.analysis.figures import explain_image
from autoassign.analysis.figures.evolution_figure import draw_evolutions
from autoassign.analysis.figures.heat import Region, draw_heat, draw_image, region_of
from autoassign.analysis.figures.map_rows import MapRow, rows_size
from autoassign.analysis.figures.objectness_figure import score_maps
from autoassign.analysis.figures.prior_figure import read_priors
from autoassign.runs.evolution import (
    load_evolutions,
    save_iteration,
    start_evolution,
)

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


def test_scores_are_those_that_detections_are_chosen_by():
    model = narrow_model("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0).eval()
    item = image_input([], [])
    with torch.no_grad():
        detections = model([item])[0]["instances"]
    maps = score_maps(model, item)
    assert max(level.max() for level in maps.combined) == detections.scores.max().item()
    best = int(detections.pred_classes[0])
    of_class = score_maps(model, item, class_index=best)
    assert max(x.max() for x in of_class.combined) == detections.scores[0].item()
    for combined, without, objectness in zip(
        of_class.combined, of_class.without, of_class.objectness, strict=True
    ):
        np.testing.assert_allclose(combined, without * objectness, rtol=1e-6)


def test_diverged_scores_and_priors_are_refused():
    model = narrow_model().eval()
    with torch.no_grad():
        model.head.obj_score.bias.fill_(torch.nan)
        model.label_assignment.mu[2] = torch.nan
    with pytest.raises(ValueError, match="objectness is not finite"):
        score_maps(model, image_input([], []))
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
        region = region_of(image, np.array(box, float), 8)
        assert 0 <= region.x0 <= box[0]
        assert 0 <= region.y0 <= box[1]
        assert box[2] <= region.x1 <= 300
        assert box[3] <= region.y1 <= 200
        assert min(region.x1 - region.x0, region.y1 - region.y0) >= 48


def test_levels_without_a_location_take_little_room(explanation):
    large, small = (
        rows_size([MapRow("row", explanation, shown, shown.primary)])[0]
        for shown in explanation.objects
    )
    # The small object has one pair, on the finest of four levels.
    assert small < 0.6 * large


def first_object(explanation):
    return replace(explanation, objects=explanation.objects[:1])


def test_what_is_kept_of_a_training_is_read_back(tmp_path, explanation):
    kept = [first_object(explanation)]
    folder = tmp_path / "evolution"
    start_evolution(folder, kept, ["an object"], 0)
    save_iteration(folder, 200, kept)
    (evolution,) = load_evolutions(folder)
    assert evolution.name == "an object"
    assert evolution.iterations == [0, 200]
    read, written = evolution.explanations[1], kept[0]
    np.testing.assert_array_equal(read.image, written.image)
    assert (read.strides, read.offset, read.level_sizes) == (
        (written.strides, written.offset, written.level_sizes)
    )
    assert read.objects[0].peak == written.objects[0].peak
    levels = written.objects[0].maps["positive weight"]
    for x, y in zip(read.objects[0].maps["positive weight"], levels, strict=True):
        np.testing.assert_array_equal(x, y)
    assert [path.name for path in draw_evolutions(tmp_path)] == ["evolution_0.png"]


def test_a_resumed_training_goes_on_from_its_iteration(tmp_path, explanation):
    kept = [first_object(explanation)]
    start_evolution(tmp_path, kept, ["a"], 0)
    for iteration in (100, 200):
        save_iteration(tmp_path, iteration, kept)
    start_evolution(tmp_path, kept, ["a"], 100)
    assert load_evolutions(tmp_path)[0].iterations == [0, 100]


def test_a_training_from_the_start_keeps_nothing_of_an_earlier_one(tmp_path, explanation):
    start_evolution(tmp_path, [first_object(explanation)], ["a"], 0)
    save_iteration(tmp_path, 100, [first_object(explanation)])
    start_evolution(tmp_path, [first_object(explanation)] * 2, ["a", "b"], 0)
    assert [x.iterations for x in load_evolutions(tmp_path)] == [[0], [0]]


def test_other_objects_are_not_mixed_in_after_resuming(tmp_path, explanation):
    first, second = (replace(explanation, objects=[shown]) for shown in explanation.objects)
    start_evolution(tmp_path, [first], ["a"], 0)
    save_iteration(tmp_path, 100, [first])
    for kept, names in (([second], ["a"]), ([first], ["b"]), ([first, second], ["a", "b"])):
        with pytest.raises(ValueError, match=r"restore TEST\.EVOLUTION.* or move .* away"):
            start_evolution(tmp_path, kept, names, 50)
    assert load_evolutions(tmp_path)[0].iterations == [0, 100]


def test_broken_and_foreign_files_are_named(tmp_path, explanation):
    start_evolution(tmp_path, [first_object(explanation)] * 2, ["a", "b"], 0)
    save_iteration(tmp_path, 0, [first_object(explanation)])
    with pytest.raises(ValueError, match=r"iter_0000000\.npz does not belong to"):
        load_evolutions(tmp_path)
    path = tmp_path / "iter_0000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"iter_0000000\.npz cannot be read"):
        load_evolutions(tmp_path)
