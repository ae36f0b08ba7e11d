"""Reading metrics.json and drawing it."""

import json

import cv2
import pytest
from detectron2.utils.events import EventStorage, JSONWriter
from matplotlib.figure import Figure

from autoassign.analysis.figures import draw_curves
from autoassign.runs import is_cut_off, read_metrics


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


def test_reads_what_detectron2_writes(tmp_path):
    writer = JSONWriter(str(tmp_path / "metrics.json"))
    with EventStorage() as storage:
        storage.put_scalar("total_loss", 2.0)
        writer.write()
        storage.step()
        storage.put_scalar("total_loss", 1.0)
        storage.put_scalar("bbox/AP", 50.0, smoothing_hint=False)
        writer.write()
    writer.close()
    rows = read_metrics(tmp_path / "metrics.json")
    assert [row["iteration"] for row in rows] == [0, 1]
    assert [row.get("bbox/AP") for row in rows] == [None, 50.0]


def test_iterations_repeated_after_resuming_count_once(tmp_path):
    rows = [{"iteration": i, "total_loss": loss} for i, loss in [(0, 5.0), (1, 4.0), (1, 3.0)]]
    assert read_metrics(write(tmp_path / "metrics.json", *rows)) == [rows[0], rows[2]]


@pytest.mark.parametrize(
    "line", ['{"iteration": 3, "tot', '{"total_loss": 1.0}', "[1]", '{"iteration": "3"}']
)
def test_bad_line_is_named(tmp_path, line):
    path = write(tmp_path / "metrics.json", {"iteration": 1})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.json, line 2"):
        read_metrics(path)


@pytest.mark.parametrize("value", ["null", '"12"', "[1.0]", "true"])
def test_a_value_that_is_no_number_is_named(tmp_path, value):
    path = tmp_path / "metrics.json"
    path.write_text(f'{{"iteration": 1}}\n{{"iteration": 2, "lr": {value}}}\n')
    with pytest.raises(ValueError, match=r'metrics\.json, line 2: "lr" is not a number') as error:
        read_metrics(path)
    assert value in str(error.value)


def test_the_line_that_a_killed_run_leaves_is_left_out(tmp_path):
    rows = [{"iteration": 0, "total_loss": 2.0}, {"iteration": 1, "total_loss": float("inf")}]
    path = write(tmp_path / "metrics.json", *rows)
    whole = path.read_text()
    path.write_text(whole[:-1])  # without its line break the last line is whole
    assert not is_cut_off(path)
    assert read_metrics(path) == rows
    for end in range(whole.index("\n") + 2, len(whole) - 1):
        path.write_text(whole[:end])
        assert is_cut_off(path)
        assert read_metrics(path) == rows[:1]


def test_only_the_last_line_may_be_cut_off(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 0, "tot\n{"iteration": 1, "tot')
    with pytest.raises(ValueError, match="line 1"):
        read_metrics(path)
