"""tools/gpu_check.py, everything once and tiny, and what it says of failures."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "gpu_check.py"


@pytest.fixture
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_was_measured_is_in_the_report_when_a_later_part_breaks(
    gpu_check, tmp_path, monkeypatch
):
    def interrupted(*_):
        yield "benchmarks", {"command": "a", "passed": False, "error": "ValueError: too large"}
        raise KeyboardInterrupt

    tests = {"passed": True, "summary": "5 passed", "failed": []}
    monkeypatch.setattr(gpu_check, "run_tests", lambda _: tests)
    monkeypatch.setattr(gpu_check, "benchmarks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gpu_check.main(["--smoke", "--output", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["tests"], len(report["benchmarks"])) == (tests, 1)
    assert "ValueError: too large" in (tmp_path / "out" / "report.md").read_text()


def test_python_without_pytest_is_a_failed_test_run(gpu_check, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pytest' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(gpu_check.sys, "executable", str(python))
    result = gpu_check.run_tests(smoke=True)
    assert (result["passed"], result["summary"]) == (False, "python: No module named pytest")


def test_a_verb_that_fails_says_why(gpu_check):
    error = gpu_check.run_verb("train", "--config-file", "no_such.yaml")
    assert error.startswith("FileNotFoundError: no_such.yaml is neither")


def test_a_benchmark_names_detectors_that_ran_out_of_memory(gpu_check, tmp_path, monkeypatch):
    row = {"name": "FCOS", "seconds": {"step": 0.5}, "images_per_second": 4.0, "ratio": 1.0}

    def run_verb(*words):
        content = {"rows": [{**row, "peak_mb": 7.0}], "out_of_memory": ["DSLA"]}
        Path(words[words.index("--json") + 1]).write_text(json.dumps(content))
        return ""

    monkeypatch.setattr(gpu_check, "run_verb", run_verb)
    results = [result for _, result in gpu_check.benchmarks(tmp_path, smoke=True)]
    assert [result["passed"] for result in results] == [False, False]
    tests = {"summary": "", "failed": []}
    report = {"device": "GPU", "torch": "", "seconds": 1.0, "smoke": False, "tests": tests}
    page = gpu_check.markdown({**report, "benchmarks": results, "trainings": []})
    assert "| FCOS | 500.0 | 4.0 | 1.00 | 7 |" in page
    assert "Out of memory: DSLA" in page


def test_an_output_folder_that_exists_is_an_error(gpu_check, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main(["--smoke", "--output", str(tmp_path)])
    assert f"--output {tmp_path} exists" in capsys.readouterr().err


@pytest.mark.slow
def test_a_smoke_run_reports_tests_benchmarks_and_trainings(tmp_path):
    output = tmp_path / "smoke"
    command = [sys.executable, SCRIPT, "--smoke", "--output", output]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads((output / "report.json").read_text())
    assert report["tests"]["passed"]
    detectors = [[row["name"] for row in x["rows"]] for x in report["benchmarks"]]
    assert detectors == [["AutoAssign+fast", "d2-FCOS"]] * 2
    assert [x["passed"] for x in report["trainings"]] == [True] * 5
    page = (output / "report.md").read_text()
    assert report["device"] in page.splitlines()[0]
    for row in report["trainings"]:
        assert f"| {row['name']} | {row['options']} | {row['AP']:.1f} |" in page
