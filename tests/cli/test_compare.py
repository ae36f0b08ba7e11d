"""`autoassign compare`, without its trainings."""

import pytest

from autoassign.analysis import comparison
from autoassign.cli import main

CONFIG = "quickstart/autoassign_shapes.yaml"


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Runs the verb with a function in place of the comparison."""

    def run(function, *arguments: str) -> int:
        monkeypatch.setattr(comparison, "compare", function)
        return main(["compare", "--config-file", CONFIG, *arguments, "--output", str(tmp_path)])

    return run


def test_the_arguments_of_the_comparison(compare, tmp_path):
    calls = []

    def record(*args, **options):
        calls.append((args, options))
        return 1

    opts = ("SOLVER.BASE_LR", "0.1", "SEED=3")
    strategies = ("--strategies", "FCOS", "ATSS")
    assert compare(record, "b.yaml", *strategies, "--budget", "90s", "--jobs", "2", *opts) == 1
    [((config_files, output), options)] = calls
    assert (config_files, output) == ([CONFIG, "b.yaml"], tmp_path)
    assert options["strategies"] == ["FCOS", "ATSS"]
    assert options["budget"].seconds == 90
    assert (options["seeds"], options["jobs"], options["num_gpus"]) == (3, 2, 1)
    assert options["opts"] == ["SOLVER.BASE_LR", "0.1", "SEED", "3"]


def test_a_wrong_budget_is_a_sentence(compare, capsys):
    with pytest.raises(SystemExit, match="2"):
        compare(None, "--budget", "soon")
    assert "the budget is 'soon'" in capsys.readouterr().err


def test_a_failed_measurement_is_no_wrong_argument(compare, capsys):
    def fail(*args, **options):
        raise comparison.MeasurementError("measuring the speed of a failed")

    assert compare(fail) == 1
    assert capsys.readouterr().err == "measuring the speed of a failed\n"
