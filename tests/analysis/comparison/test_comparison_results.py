import csv
import io
import json
import math
from pathlib import Path

import cv2
import pytest
from comparison_files import result, write_config

from autoassign.analysis.comparison.budget import Budget
from autoassign.analysis.comparison.candidates import load_candidates
from autoassign.analysis.comparison.charts import draw_ap_bars, draw_ap_curves
from autoassign.analysis.comparison.plan import make_plan
from autoassign.analysis.comparison.results import (
    TrialResult,
    mean_over_seeds,
    paired_difference,
    read_result,
    record_resources,
)
from autoassign.analysis.comparison.tables import csv_text, markdown
from autoassign.analysis.comparison.trials import Trial

NAN = math.nan
EMPTY = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), NAN)


def trial_in(folder):
    return Trial("a", 1, folder, iterations=40)


def write_metrics(folder, *rows):
    (folder / "seed1").mkdir(exist_ok=True)
    (folder / "seed1" / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def plan(tmp_path):
    files = [
        write_config(tmp_path, "a"),
        write_config(
            tmp_path,
            "b",
            'SOLVER: {WARMUP_METHOD: "constant"}\nMODEL: {EMA: {DECAY: 0.5}, FPN: {NORM: ""}}',
        ),
    ]
    return make_plan(
        load_candidates(files, []),
        tmp_path / "out",
        budget=Budget(iterations=100),
        num_gpus=1,
        fixed=(),
        measure=dict,
    )


def test_over_the_seeds_there_are_a_mean_and_a_sample_deviation():
    results = [result("a", seed, AP=ap) for seed, ap in enumerate((40.0, 42.0, 47.0))]
    # Mean 43; squared distances 9 + 1 + 16 = 26; √(26 / 2) = 3.6056.
    assert f"{mean_over_seeds(results, 'AP')}" == "43.00 ± 3.61"


def test_one_seed_has_no_deviation_and_none_no_mean():
    assert f"{mean_over_seeds([result('a', 1, AP=40.0)], 'AP')}" == "40.00"
    assert f"{mean_over_seeds([], 'AP')}" == "–"


def test_a_run_without_detections_counts_as_zero():
    results = [result("a", 1, **EMPTY), result("a", 2, AP=10.0)]
    assert mean_over_seeds(results, "AP").mean == 5.0


def test_a_metric_that_the_data_does_not_have_is_no_number():
    results = [result("a", 1, **EMPTY), result("a", 2, AP=10.0, APl=NAN)]
    assert f"{mean_over_seeds(results, 'APl')}" == "–"


def test_a_finished_run_is_read(tmp_path):
    write_metrics(
        tmp_path,
        {"iteration": 19, "time": 1.0},
        {"iteration": 19, "bbox/AP": 5.0},
        {"iteration": 39, "time": 2.0},
        {"iteration": 40, "bbox/AP": 10.0, "bbox/AP-cat": 10.0, "bbox/APl": NAN},
    )
    read = read_result(trial_in(tmp_path), ["val"])
    assert read.status == "finished"
    assert read.curve == [(20, 5.0), (40, 10.0)]
    assert read.metrics["AP"] == read.metrics["AP-cat"] == 10.0
    assert read.seconds_per_iteration == 1.5
    assert read.minutes == 1.0


def test_an_interrupted_run_is_not_finished(tmp_path):
    write_metrics(tmp_path, {"iteration": 38, "bbox/AP": 5.0})
    read = read_result(trial_in(tmp_path), ["val"])
    assert read.status == "missing"
    assert read.curve == [(39, 5.0)]


def test_of_several_test_datasets_the_first_counts(tmp_path):
    write_metrics(tmp_path, {"iteration": 40, "x/bbox/AP": 5.0, "y/bbox/AP": 7.0})
    assert read_result(trial_in(tmp_path), ["y", "x"]).metrics == {"AP": 7.0}


def test_the_table_has_a_row_a_config_and_says_what_was_overridden(plan):
    results = [
        result("a", 1, **{"AP": 40.0, "AP50": 60.0, "AP-cat": 30.0}),
        result("b", 1, **{"AP": 41.0, "AP50": 61.0, "AP-cat": 31.0}),
        result("a", 2, **{"AP": 42.0, "AP50": 60.0, "AP-cat": 32.0}),
        TrialResult(Trial("b", 2, Path("out/b"), 100), failed=True),
    ]
    budget = Budget(iterations=100)
    opts = ["SOLVER.BASE_LR", "0.1"]
    text = markdown(plan, results, budget=budget, test_datasets=["val"], opts=opts)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    cost = ["100", "0.6", "1.0", "700"]
    assert ["a", "41.00 ± 1.41", "–", "60.00 ± 0.00", *"––––", *cost, "2 of 2"] in cells
    # Only of seed 1 there are both.
    assert ["b", "41.00", "+1.00", "61.00", *"––––", *cost, "1 of 2"] in cells
    assert "Trained with 2 cores." in text
    assert "evaluation are those of " + plan[0].file + " with SOLVER.BASE_LR 0.1.\n" in text
    assert ["config", "cat"] in cells
    assert ["a", "31.00 ± 1.41"] in cells
    assert ["b", "31.00"] in cells
    assert "b: SOLVER.WARMUP_METHOD is 'linear', overriding 'constant' in " in text
    # MODEL.EMA is the first config's.
    assert "- b differs from a in MODEL.FPN.NORM ''.\n" in text
    assert "Failed: b seed 2." in text


def test_more_classes_than_configs_have_a_row_each(plan):
    results = [
        result(name, 1, **{"AP": ap, "AP-cat": ap, "AP-dog": ap + 1})
        for name, ap in (("a", 30.0), ("b", 40.0))
    ]
    text = markdown(plan, results, budget=Budget(iterations=100), test_datasets=["val"])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["class", "a", "b"] in cells
    assert ["dog", "31.00", "41.00"] in cells


def test_strategies_with_the_same_head_share_a_note():
    candidates = load_candidates(["Base-Small.yaml"], [], ["AutoAssign", "ATSS", "FCOS", "DSLA"])
    text = markdown(candidates, [], budget=Budget(iterations=100), test_datasets=["val"])
    head = "MODEL.POINT_HEAD.PRIOR_PROB 0.01, MODEL.POINT_HEAD.OBJECTNESS 'none'"
    assert f"- ATSS, DSLA differ from AutoAssign in {head}.\n" in text
    offset = "MODEL.POINT_HEAD.LOCATION_OFFSET 0.5"
    assert f"- FCOS differs from AutoAssign in {offset}, {head}.\n" in text


def test_the_csv_has_a_row_a_run(plan):
    results = [
        result("a", 1, **{"AP": 40.5, "AP-cat": 30.0}),
        TrialResult(Trial("b", 1, Path("out/b"), 100)),
    ]
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
        TrialResult(Trial("d", 1, tmp_path, 100)),
    ]
    for some in (results, results[-1:]):
        for minutes in (False, True):
            draw_ap_bars(names, some, tmp_path / "chart.png")
            draw_ap_curves(names, some, tmp_path / "curves.png", over_minutes=minutes)
            for name in ("chart.png", "curves.png"):
                path = tmp_path / name
                assert path.read_bytes().startswith(b"\x89PNG")
                path.unlink()


def test_many_curves_have_a_panel_each(tmp_path):
    heights = {}
    for count in (5, 6, 11):
        names = [f"row {i}" for i in range(count)]
        results = [result(name, 1, AP=40.0) for name in names]
        draw_ap_curves(names, results, tmp_path / "curves.png", over_minutes=False)
        heights[count] = cv2.imread(str(tmp_path / "curves.png")).shape[0]
    assert heights[6] / 130 == pytest.approx(0.6 + 2 * 2.3, abs=0.02)  # two rows of four
    assert heights[11] / 130 == pytest.approx(0.6 + 3 * 2.3, abs=0.02)
    assert heights[5] / 130 == 5


def test_differences_are_paired_by_seed():
    first = [result("a", seed, AP=ap) for seed, ap in enumerate((40.0, 50.0, 60.0))]
    second = [result("b", seed, AP=ap) for seed, ap in enumerate((41.0, 53.0, 62.0))]
    # 1, 3 and 2: mean 2, deviation 1, standard error 1 / √3 = 0.58. The seeds differ by far more.
    assert f"{paired_difference(second, first, 'AP'):+.2f}" == "+2.00 ± 0.58"
    assert f"{paired_difference(second[:1], first, 'AP'):+.2f}" == "+1.00"
    assert f"{paired_difference([], first, 'AP'):+.2f}" == "–"


def test_memory_of_a_resumed_training_is_the_greatest(tmp_path):
    trial = trial_in(tmp_path)
    write_metrics(tmp_path, {"iteration": 19, "time": 1.0})
    for peak in (800.0, 500.0, None):
        record_resources(trial, "2 cores", peak)
    read = read_result(trial, ["val"])
    assert (read.peak_memory_mb, read.machine) == (800.0, "2 cores")


def test_memory_of_a_gpu_is_that_of_the_metrics(tmp_path):
    rows = [{"iteration": i, "max_mem": memory} for i, memory in ((19, 3000.0), (39, 4000.0))]
    write_metrics(tmp_path, *rows)
    record_resources(trial_in(tmp_path), "a GPU", 800.0)
    assert read_result(trial_in(tmp_path), ["val"]).peak_memory_mb == 4000.0
