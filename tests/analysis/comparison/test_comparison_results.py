import csv
import io
import json
import math

import pytest
from comparison_files import result, write_config

from autoassign.analysis.comparison.budget import Budget
from autoassign.analysis.comparison.charts import draw_bars, draw_curves
from autoassign.analysis.comparison.conditions import load_candidates
from autoassign.analysis.comparison.plan import make_plan
from autoassign.analysis.comparison.results import Result, read_result, spread
from autoassign.analysis.comparison.tables import csv_text, markdown

NAN = math.nan
EMPTY = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), NAN)


def write_metrics(folder, *rows):
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def plan(tmp_path):
    files = [
        write_config(tmp_path, "a"),
        write_config(tmp_path, "b", 'SOLVER: {WARMUP_METHOD: "constant"}'),
    ]
    return make_plan(
        load_candidates(files, []),
        tmp_path / "out",
        budget=Budget(iterations=100),
        num_gpus=1,
        fixed=(),
        measure=dict,
    )


def test_the_spread_is_the_mean_and_the_sample_deviation():
    results = [result("a", seed, AP=ap) for seed, ap in enumerate((40.0, 42.0, 47.0))]
    # Mean 43; squared distances 9 + 1 + 16 = 26; √(26 / 2) = 3.6056.
    assert str(spread(results, "AP")) == "43.00 ± 3.61"


def test_one_seed_has_no_deviation_and_none_no_mean():
    assert str(spread([result("a", 1, AP=40.0)], "AP")) == "40.00"
    assert str(spread([], "AP")) == "–"


def test_a_run_without_detections_counts_as_zero():
    results = [result("a", 1, **EMPTY), result("a", 2, AP=10.0)]
    assert spread(results, "AP").mean == 5.0


def test_a_metric_that_the_data_does_not_have_is_no_number():
    results = [result("a", 1, **EMPTY), result("a", 2, AP=10.0, APl=NAN)]
    assert str(spread(results, "APl")) == "–"


def test_a_finished_run_is_read(tmp_path):
    write_metrics(
        tmp_path,
        {"iteration": 19, "time": 1.0},
        {"iteration": 19, "bbox/AP": 5.0},
        {"iteration": 39, "time": 2.0},
        {"iteration": 40, "bbox/AP": 10.0, "bbox/AP-cat": 10.0, "bbox/APl": NAN},
    )
    read = read_result("a", 1, 40, tmp_path, ["val"])
    assert read.status == "finished"
    assert read.curve == [(20, 5.0), (40, 10.0)]
    assert read.metrics["AP"] == read.metrics["AP-cat"] == 10.0
    assert read.seconds_per_iteration == 1.5
    assert read.minutes == 1.0


def test_an_interrupted_run_is_not_finished(tmp_path):
    write_metrics(tmp_path, {"iteration": 38, "bbox/AP": 5.0})
    read = read_result("a", 1, 40, tmp_path, ["val"])
    assert read.status == "missing"
    assert read.curve == [(39, 5.0)]


def test_of_several_test_datasets_the_first_counts(tmp_path):
    write_metrics(tmp_path, {"iteration": 40, "x/bbox/AP": 5.0, "y/bbox/AP": 7.0})
    assert read_result("a", 1, 40, tmp_path, ["y", "x"]).metrics == {"AP": 7.0}


def test_the_table_has_a_row_a_config_and_says_what_was_overridden(plan):
    results = [
        result("a", 1, **{"AP": 40.0, "AP50": 60.0, "AP-cat": 30.0}),
        result("b", 1, **{"AP": 41.0, "AP50": 61.0, "AP-cat": 31.0}),
        result("a", 2, **{"AP": 42.0, "AP50": 60.0, "AP-cat": 32.0}),
        Result("b", 2, 100, plan[1].config_file, failed=True),
    ]
    budget = Budget(iterations=100)
    text = markdown(plan, results, budget=budget, test_datasets=["val"])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["a", "41.00 ± 1.41", "60.00 ± 0.00", *"––––", "100", "0.6", "1.0", "2 of 2"] in cells
    assert ["b", "41.00", "61.00", *"––––", "100", "0.6", "1.0", "1 of 2"] in cells
    assert ["cat", "31.00 ± 1.41", "31.00"] in cells
    assert "b: SOLVER.WARMUP_METHOD would be 'constant' by itself; 'linear' was used." in text
    assert "Failed: b seed 2." in text


def test_the_csv_has_a_row_a_run(plan):
    results = [result("a", 1, **{"AP": 40.5, "AP-cat": 30.0}), Result("b", 1, 100, plan[0].file)]
    first, second = csv.DictReader(io.StringIO(csv_text(plan, results)))
    assert (first["config"], first["seed"], first["status"]) == ("a", "1", "finished")
    assert (first["AP"], first["AP-cat"], first["APl"]) == ("40.5", "30.0", "")
    assert (second["status"], second["AP"], second["minutes"]) == ("missing", "", "")


def test_the_charts_are_drawn_of_whatever_there_is(tmp_path):
    names = ["a", "b", "c", "d"]
    results = [
        *(result("a", seed, AP=40.0 + seed) for seed in range(3)),
        result("b", 1, AP=30.0),
        result("c", 1, **EMPTY),
        Result("d", 1, 100, tmp_path),
    ]
    for some in (results, results[-1:]):
        for minutes in (False, True):
            draw_bars(names, some, tmp_path / "chart.png")
            draw_curves(names, some, tmp_path / "curves.png", over_minutes=minutes)
            for name in ("chart.png", "curves.png"):
                path = tmp_path / name
                assert path.read_bytes().startswith(b"\x89PNG")
                path.unlink()
