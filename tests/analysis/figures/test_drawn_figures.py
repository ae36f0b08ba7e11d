"""What the figures show: the right numbers, words and marks at the right place."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from narrow_model import image_input, narrow_model

from autoassign.analysis.figures import explain_image
from autoassign.analysis.figures.assignment_figure import draw_assignment, draw_comparison
from autoassign.analysis.figures.evolution_figure import draw_evolution
from autoassign.analysis.figures.objectness_figure import ScoreMaps, draw_objectness, score_maps
from autoassign.analysis.figures.prior_figure import CenterPrior, draw_priors
from autoassign.runs.evolution import Evolution

PATH = "figure.png"
BOX = [10.0, 12.0, 70.0, 80.0]
DSLA = ("MODEL.LABEL_ASSIGNMENT.NAME", "DSLA", "MODEL.POINT_HEAD.OBJECTNESS", "none")


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """The figures that would have been saved."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **kwargs: saved.append(figure))
    return saved


@pytest.fixture(scope="module")
def model():
    return narrow_model().eval()


@pytest.fixture(scope="module")
def explanation(model):
    return explain_image(model, image_input([BOX], [1]))


def rows_of(figure):
    """The first cell of each row, by the row's label."""
    return {axes.get_ylabel(): axes for axes in figure.axes if axes.get_ylabel()}


def assert_shows(axes, level):
    shown = np.ma.filled(axes.images[-1].get_array(), np.nan)
    np.testing.assert_array_equal(shown, level)


def test_each_row_of_an_assignment_shows_its_own_map(figures, explanation):
    (shown,) = explanation.objects
    draw_assignment(explanation, shown, "title", PATH)
    rows = rows_of(figures[0])
    assert list(rows) == [name.replace(" ", "\n") for name in shown.maps]
    for name, levels in shown.maps.items():
        assert_shows(rows[name.replace(" ", "\n")], levels[0])


def test_each_row_of_a_comparison_shows_its_own_detector(figures, explanation):
    other = explain_image(narrow_model(*DSLA).eval(), image_input([BOX], [1]))
    objects = [x.objects[0] for x in (explanation, other)]
    draw_comparison(["A", "B"], [explanation, other], objects, "title", PATH)
    rows = rows_of(figures[0])
    assert_shows(rows["A\npositive weight"], objects[0].maps["positive weight"][0])
    assert_shows(rows["B\nlabel"], objects[1].maps["label"][0])


def test_the_cross_stands_at_the_peak_in_every_row(figures, explanation):
    (shown,) = explanation.objects
    draw_assignment(explanation, shown, "title", PATH)
    crosses = [line for axes in figures[0].axes for line in axes.lines if line.get_marker() == "+"]
    places = [line.get_xydata().tolist() for line in crosses]
    assert places == [[[shown.peak.x, shown.peak.y]]] * len(shown.maps)


def test_cells_tell_the_share_of_their_level(figures, explanation):
    (shown,) = explanation.objects
    draw_comparison(["A"], [explanation], [shown], "title", PATH)
    texts = [text.get_text() for axes in figures[0].axes for text in axes.texts]
    shares = [f"{share:.0%}" for share in shown.level_shares if share > 0]
    assert [text for text in texts if text.endswith("%")] == shares
    assert len(set(shares)) > 1


def test_rows_of_an_evolution_tell_their_iteration(figures, explanation):
    later = replace(explanation.objects[0], maps={"positive weight": [
        np.sqrt(level) for level in explanation.objects[0].maps["positive weight"]
    ]})  # fmt: skip
    evolution = Evolution("name", [0, 3], [explanation, replace(explanation, objects=[later])])
    draw_evolution(evolution, PATH)
    rows = rows_of(figures[0])
    for label, shown in (("iteration 0", explanation.objects[0]), ("iteration 3", later)):
        assert_shows(rows[label], shown.maps["positive weight"][0])
    ticks = rows["share of the\npositive weight"].get_xticks()
    np.testing.assert_array_equal(ticks, ticks.round())


def test_rows_of_scores_with_and_without_objectness(figures):
    without, objectness, combined = ([np.full((2, 3), x)] for x in (0.8, 0.5, 0.4))
    image = np.zeros((32, 48, 3), np.uint8)
    draw_objectness(
        ScoreMaps(image, (16,), 0.0, without, objectness, combined), "title", "ring", PATH
    )
    rows = rows_of(figures[0])
    assert_shows(rows["score of ring\nwithout objectness"], without[0])
    assert_shows(rows["objectness"], objectness[0])
    assert_shows(rows["score of ring\nwith objectness"], combined[0])


def test_the_ellipses_are_one_and_two_sigma_around_mu(figures, tmp_path):
    xs = np.linspace(-4, 4, 5)
    prior = CenterPrior("a", np.array([0.5, -1.0]), np.array([1.0, 0.25]), xs, np.ones((5, 5)))
    draw_priors([prior], tmp_path)
    lines = {line.get_label(): line.get_xydata() for line in figures[0].axes[0].lines}
    for label, low, high in (
        ("1 σ", [-0.5, -1.25], [1.5, -0.75]),
        ("2 σ", [-1.5, -1.5], [2.5, -0.5]),
    ):
        np.testing.assert_allclose(lines[label].min(axis=0), low, atol=0.01)
        np.testing.assert_allclose(lines[label].max(axis=0), high, atol=0.01)
    assert lines["μ"].tolist() == [[0.5, -1.0]]


@pytest.mark.parametrize("size", [(1000, 20), (20, 1000)])
def test_very_long_images_make_no_very_long_pictures(figures, model, size):
    item = image_input([[2.0, 2.0, size[1] - 2.0, size[0] - 2.0]], [1], size)
    explanation = explain_image(model, item)
    (shown,) = explanation.objects
    draw_assignment(explanation, shown, "title", PATH)
    draw_comparison(["A"], [explanation], [shown], "title", PATH)
    draw_evolution(Evolution("name", [0], [explanation]), PATH)
    draw_objectness(score_maps(model, item), "title", "any class", PATH)
    assert len(figures) == 4
    for figure in figures:
        assert figure.get_size_inches().max() < 25
        assert figure.get_size_inches().min() > 1.5
