"""Charts of what a training has logged."""

import json
import math

import cv2
import pytest
from matplotlib.figure import Figure

from autoassign.analysis.figures import assignment_charts, draw_training_curves, training_charts
from autoassign.config import load_config
from autoassign.runs import TrainedRun

ROWS = (
    {"iteration": 19, "total_loss": 3.0, "loss_pos": 2.0, "loss_neg": 1.0, "lr": 0.1},
    {"iteration": 39, "total_loss": 1.5, "loss_pos": 1.0, "loss_neg": 0.5, "lr": 0.1},
    # detectron2 writes the last evaluation after the last iteration.
    {"iteration": 40, "bbox/AP": 40.0, "bbox/AP50": 60.0, "bbox/APl": math.nan},
)
LOSSES = {
    "total_loss  1.5": [(20, 3.0), (40, 1.5)],
    "loss_neg  0.5": [(20, 1.0), (40, 0.5)],
    "loss_pos  1": [(20, 2.0), (40, 1.0)],
}
AP = {"AP  40": [(40, 40.0)], "AP50  60": [(40, 60.0)]}


def run_with(folder, *rows):
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TrainedRun(folder, load_config("", ["SOLVER.MAX_ITER", 40]))


def test_lines_are_over_the_iterations_done_and_say_their_last_values(tmp_path):
    charts = training_charts(run_with(tmp_path, *ROWS))
    assert charts["training loss"] == LOSSES
    assert charts["AP"] == AP
    assert charts["learning rate"] == {"lr  0.1": [(20, 0.1), (40, 0.1)]}
    assert charts["seconds per iteration"] == {}


def test_the_ends_of_a_range_share_a_chart(tmp_path):
    statistics = {"assignment/mu_min": -0.5, "assignment/mu_max": 0.5, "assignment/num_pairs": 9.0}
    assert assignment_charts(run_with(tmp_path, {"iteration": 39, **statistics})) == {
        "mu": {"mu max  0.5": [(40, 0.5)], "mu min  -0.5": [(40, -0.5)]},
        "number of pairs": {"number of pairs  9": [(40, 9.0)]},
    }


@pytest.mark.parametrize(("rows", "losses", "ap"), [(ROWS, LOSSES, AP), ((), {}, {})])
def test_the_picture_shows_losses_and_ap(tmp_path, monkeypatch, rows, losses, ap):
    panels = []
    save = Figure.savefig

    def record(figure, *args, **kwargs):
        panels.extend(
            {line.get_label(): list(map(tuple, line.get_xydata())) for line in axes.lines}
            for axes in figure.axes
        )
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    draw_training_curves(run_with(tmp_path, *rows), tmp_path / "curves.png")
    assert panels == [losses, ap]
    height, width, _ = cv2.imread(str(tmp_path / "curves.png")).shape
    assert width > 2 * height
