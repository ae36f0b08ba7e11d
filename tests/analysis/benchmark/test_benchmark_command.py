"""tools/benchmark.py with rows that nobody has measured."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from autoassign.analysis.benchmark.loss import LossRow

SCRIPT = Path(__file__).parents[3] / "tools" / "benchmark.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def measure_all(strategies, objects, box_scale):
        for strategy in strategies:
            yield LossRow(strategy, objects[0], box_scale, 0.1, 0.1, 0.05, 7.0)

    monkeypatch.setattr(module, "_measure_all", measure_all)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
        module.main()

    return run


def test_mmdetections_autoassign_is_compared_with_autoassign_alone(benchmark, tmp_path, capsys):
    path = tmp_path / "mmdet.json"
    row = {"objects": 10, "forward_seconds": 1.0, "backward_seconds": 0.5}
    path.write_text(json.dumps({"rows": [row]}))
    benchmark("loss", "--strategies", "AutoAssign", "FCOS", "--objects", 10, "--against", path)
    header, autoassign, fcos = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[-2:] == ["times", "faster"]
    assert autoassign[-1] == "7.5"  # 1.5 s against 0.2 s
    assert fcos[-1] == "7"  # the memory
