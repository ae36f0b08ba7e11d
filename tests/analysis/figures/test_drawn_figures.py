"""What the figures show: the right numbers, words and marks at the right place."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from narrow_model import image_input, narrow_model

from autoassign.analysis.figures import (
    draw_assignment,
    draw_assignment_comparison,
    draw_objectness,
    draw_priors,
    score_rows,
)
from autoassign.analysis.figures.evolution_figure import draw_evolution
from autoassign.analysis.figures.prior_figure import CenterPrior
from autoassign.modeling import explain_image
from autoassign.runs import Evolution

PATH = "figure.png"
BOX = [10.0, 12.0, 70.0, 80.0]
DSLA = ("MODEL.LABEL_ASSIGNMENT.NAME", "DSLA", "MODEL.POINT_HEAD.OBJECTNESS", "none")


@pytest.fixture(autouse=True)
def figures(monkeypatch, tmp_path):
    """The figures that would have been saved."""
    saved = []

    def save(figure, path, **kwargs):
        saved.append(figure)
        path.touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", save)
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
    drawn = np.ma.filled(axes.images[-1].get_array(), np.nan)
    np.testing.assert_array_equal(drawn, level)


def test_each_row_of_an_assignment_shows_its_own_map(figures, explanation):
    (maps,) = explanation.objects
    draw_assignment(explanation, "title", PATH)
    rows = rows_of(figures[0])
    assert list(rows) == [name.replace(" ", "\n") for name in maps.maps]
    for name, levels in maps.maps.items():
        assert_shows(rows[name.replace(" ", "\n")], levels[0])


def test_each_row_of_a_comparison_shows_its_own_detector(figures, explanation):
    other = explain_image(narrow_model(*DSLA).eval(), image_input([BOX], [1]))
    draw_assignment_comparison(["A", "B"], [explanation, other], "title", PATH)
    rows = rows_of(figures[0])
    assert_shows(rows["A\npositive\nweight"], explanation.objects[0].maps["positive weight"][0])
    assert_shows(rows["B\nlabel"], other.objects[0].maps["label"][0])


def test_the_cross_stands_at_the_peak_in_every_row(figures, explanation):
    (maps,) = explanation.objects
    draw_assignment(explanation, "title", PATH)
    crosses = [line for axes in figures[0].axes for line in axes.lines if line.get_marker() == "+"]
    places = [line.get_xydata().tolist() for line in crosses]
    assert places == [[[maps.peak.x, maps.peak.y]]] * len(maps.maps)


def test_cells_tell_the_share_of_their_level(figures, explanation):
    (maps,) = explanation.objects
    draw_assignment_comparison(["A"], [explanation], "title", PATH)
    texts = [text.get_text() for axes in figures[0].axes for text in axes.texts]
    shares = [f"{share:.0%}" for share in maps.level_shares if share > 0]
    assert [text for text in texts if text.endswith("%")] == shares
    assert len(set(shares)) > 1


def test_rows_of_an_evolution_tell_their_iteration(figures, explanation):
    later = replace(explanation.objects[0], maps={"positive weight": [
        np.sqrt(level) for level in explanation.objects[0].maps["positive weight"]
    ]})  # fmt: skip
    evolution = Evolution("name", [0, 3], [explanation, replace(explanation, objects=[later])])
    draw_evolution(evolution, PATH)
    rows = rows_of(figures[0])
    for label, maps in (("iteration\n0", explanation.objects[0]), ("iteration\n3", later)):
        assert_shows(rows[label], maps.maps["positive weight"][0])
    ticks = rows["share of the\npositive weight"].get_xticks()
    np.testing.assert_array_equal(ticks, ticks.round())


def test_rows_of_scores_with_and_without_objectness(figures, model):
    rows = score_rows(model, image_input([], []), "ring", class_index=3)
    draw_objectness(rows, "title", PATH)
    drawn = rows_of(figures[0])
    assert list(drawn) == [
        "score of ring\nwithout objectness",
        "objectness",
        "score of ring\nwith objectness",
    ]
    for row in rows:
        assert_shows(drawn[row.label], row.levels[8])


def test_names_are_drawn_as_they_are(figures, model, explanation):
    name = "$\\frac$ and $"
    draw_assignment(explanation, name, PATH)
    draw_assignment_comparison([name], [explanation], name, PATH)
    draw_evolution(Evolution(name, [0], [explanation]), PATH)
    draw_objectness(score_rows(model, image_input([], []), name), name, PATH)
    xs = np.linspace(-4, 4, 5)
    draw_priors([CenterPrior(name, np.zeros(2), np.ones(2), xs, np.ones((5, 5)))], ".")
    for figure in figures:
        figure.draw_without_rendering()
        text = "".join(x.get_text() for x in figure.findobj(Text))
        assert name.replace("$", "\\$") in text


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
    draw_assignment(explanation, "title", PATH)
    draw_assignment_comparison(["A"], [explanation], "title", PATH)
    draw_evolution(Evolution("name", [0], [explanation]), PATH)
    draw_objectness(score_rows(model, item), "title", PATH)
    assert len(figures) == 4
    for figure in figures:
        assert figure.get_size_inches().max() < 25
        assert figure.get_size_inches().min() > 1.5
