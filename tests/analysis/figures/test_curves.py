"""Drawing metrics.json."""

import json

import cv2
import pytest
from matplotlib.figure import Figure

from autoassign.analysis.figures import draw_curves


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """What the two panels of the saved figure show: {label: points}, {label: points}."""
    panels = []
    save = Figure.savefig

    def record(figure, path, **kwargs):
        for axes in figure.axes:
            panels.append({line.get_label(): line.get_xydata().tolist() for line in axes.lines})
        save(figure, path, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    return panels


def test_losses_and_ap_over_iterations(tmp_path, drawn):
    metrics = write(
        tmp_path / "metrics.json",
        {"iteration": 19, "total_loss": 3.0, "loss_pos": 2.0, "loss_neg": 1.0, "lr": 0.1},
        {"iteration": 39, "total_loss": 1.5, "loss_pos": 1.0, "loss_neg": 0.5, "lr": 0.1},
        {"iteration": 39, "bbox/AP": 40.0, "bbox/AP50": 60.0, "bbox/AP-disc": 1.0},
    )
    draw_curves(metrics, tmp_path / "curves.png")
    losses, ap = drawn
    assert losses == {
        "total_loss  1.5": [[19, 3.0], [39, 1.5]],
        "loss_neg  0.5": [[19, 1.0], [39, 0.5]],
        "loss_pos  1": [[19, 2.0], [39, 1.0]],
    }
    assert ap == {"AP  40": [[39, 40.0]], "AP50  60": [[39, 60.0]]}
    height, width, _ = cv2.imread(str(tmp_path / "curves.png")).shape
    assert width > 2 * height


@pytest.mark.parametrize("rows", [[], [{"iteration": 0, "total_loss": 1.0}]])
def test_runs_without_evaluation_are_drawn_too(tmp_path, drawn, rows):
    draw_curves(write(tmp_path / "metrics.json", *rows), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert len(drawn[0]) == len(rows)
    assert drawn[1] == {}
