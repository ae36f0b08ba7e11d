"""tools/gpu_check.py, everything once and tiny."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "gpu_check.py"


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
