"""Comparisons with a stand-in for training."""

import csv
import importlib
import subprocess
import sys

import pytest
import yaml
from comparison_files import fake_train_command, write_config

from autoassign.analysis.comparison import Budget, compare, trials
from autoassign.config import load_config
from autoassign.engine import Trainer, scale_to_batch_size

BUDGET = Budget(iterations=100)
# The function hides the module of its name.
MODULE = importlib.import_module("autoassign.analysis.comparison.compare")


@pytest.fixture
def compare_files(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(trials, "train_command", fake_train_command)
    monkeypatch.setattr(MODULE, "check_trainable", lambda candidates: ("val",))
    files = [write_config(tmp_path, name) for name in ("a", "b")]

    def compare_files(seeds=2, names=files, budget=BUDGET, **options):
        options = {"opts": ["MODEL.DEVICE", "cpu"], **options}
        return compare(names, tmp_path / "out", seeds=seeds, budget=budget, **options)

    return compare_files


def starts(out):
    return {
        f"{path.parents[1].name}{path.parent.name[4:]}": len(path.read_text())
        for path in out.rglob("starts")
    }


def test_every_config_is_trained_with_every_seed(compare_files, tmp_path, capsys):
    assert compare_files() == 0
    out = tmp_path / "out"
    assert starts(out) == {"a1": 1, "a2": 1, "b1": 1, "b2": 1}
    for name in ("table.md", "results.csv", "chart.png", "curves.png"):
        assert (out / name).stat().st_size > 0
    # AP 10 and 20.
    assert "15.00 ± 7.07" in (out / "table.md").read_text()
    assert "15.00 ± 7.07" in capsys.readouterr().out


@pytest.mark.parametrize(
    "reference", [("SOLVER.REFERENCE_BATCH_SIZE", 4), ("SOLVER.REFERENCE_WORLD_SIZE", 2)]
)
def test_the_trainings_do_not_scale_the_budget_to_the_batch_size(
    compare_files, tmp_path, reference
):
    images = 4 if reference[0].endswith("WORLD_SIZE") else 2  # 4 of 2 workers are 2 of one
    opts = ["MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", images, "SOLVER.BASE_LR", 0.5]
    opts = [str(x) for x in (*opts, *reference)]
    assert compare_files(seeds=1, opts=opts) == 0
    cfg = load_config(str(tmp_path / "out" / "a" / "config.yaml"))
    scale_to_batch_size(cfg)  # as a training does
    cfg = Trainer.auto_scale_workers(cfg, 1)
    solver = cfg.SOLVER
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.BASE_LR) == (100, 2, 0.25)


def test_finished_runs_are_not_repeated_and_seeds_may_be_added(compare_files, tmp_path):
    compare_files(seeds=1)
    assert compare_files(seeds=2, jobs=2) == 0
    assert starts(tmp_path / "out") == {"a1": 1, "a2": 1, "b1": 1, "b2": 1}


def test_a_failed_run_stops_no_other_and_is_tried_again(compare_files, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare_files(seeds=1, names=[str(tmp_path / "b.yaml")]) == 0
    (out / "b" / "broken").touch()
    assert compare_files(seeds=2) == 1
    printed = capsys.readouterr().out
    assert "b seed 2 FAILED with exit code 1" in printed
    assert "out of memory" in printed
    rows = list(csv.DictReader((out / "results.csv").open()))
    status = {row["config"] + row["seed"]: row["status"] for row in rows}
    assert status == {"a1": "finished", "b1": "finished", "a2": "finished", "b2": "failed"}
    (out / "b" / "broken").unlink()
    assert compare_files(seeds=2) == 0
    assert starts(out) == {"a1": 1, "a2": 1, "b1": 1, "b2": 2}


def test_a_run_that_fails_after_its_last_evaluation_is_finished(compare_files, tmp_path, capsys):
    compare_files(seeds=1)
    (tmp_path / "out" / "b" / "late").touch()
    assert compare_files(seeds=2) == 0
    printed = capsys.readouterr().out
    assert "b seed 2: AP 20.00, 0.8 min; exit code 3 after the last evaluation" in printed
    assert "FAILED" not in printed
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert {row["status"] for row in rows} == {"finished"}
    assert compare_files(seeds=2) == 0


def test_a_config_called_speed_keeps_its_runs_when_others_are_measured(compare_files, tmp_path):
    budget = Budget(seconds=50)
    speed = write_config(tmp_path, "speed")
    assert compare_files(seeds=1, names=[speed], budget=budget) == 0
    checkpoint = tmp_path / "out" / "speed" / "seed1" / "model_final.pth"
    checkpoint.touch()
    assert compare_files(seeds=1, names=[speed, write_config(tmp_path, "c")], budget=budget) == 0
    assert checkpoint.exists()
    assert starts(tmp_path / "out") == {"speed1": 1, "c1": 1}


def test_a_measured_training_evaluates_nothing(compare_files, tmp_path, monkeypatch):
    read = []

    def measure(trial, num_gpus):
        cfg = yaml.safe_load(trial.config_file.read_text())
        if ".speed" in trial.output_dir.parts:
            read.append(cfg)
        return fake_train_command(trial, num_gpus)

    monkeypatch.setattr(trials, "train_command", measure)
    options = ["MODEL.DEVICE", "cpu", "DATASETS.TEST", "('val',)", "TEST.EVOLUTION.ENABLED", "True"]
    expected = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 38.5, 0.2]]"]
    assert compare_files(seeds=1, budget=Budget(seconds=50), opts=[*options, *expected]) == 0
    assert len(read) == 6
    for cfg in read:
        assert cfg["DATASETS"]["TEST"] == cfg["TEST"]["EXPECTED_RESULTS"] == []
        assert not cfg["TEST"]["EVOLUTION"]["ENABLED"]


def test_an_interrupt_says_how_to_go_on(compare_files, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "run_trials", interrupt)
    assert compare_files() == 130
    assert "The same command resumes" in capsys.readouterr().out


def test_two_comparisons_in_one_folder_exclude_each_other(compare_files, tmp_path):
    (tmp_path / "out").mkdir()
    hold = """
import fcntl
with open(".lock", "a") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print(flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", hold],
        cwd=tmp_path / "out",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match="another comparison"):
            compare_files()
        other.communicate(b"\n")
    assert compare_files(seeds=1) == 0


def test_arguments_that_cannot_be(compare_files):
    with pytest.raises(ValueError, match=r"either --budget or SOLVER\.MAX_ITER"):
        compare_files(opts=["SOLVER.MAX_ITER", "3"])
    with pytest.raises(ValueError, match="would run on the CPU"):
        compare_files(num_gpus=2)
