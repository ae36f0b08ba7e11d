"""A label assignment outside the package, from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

from narrow_model import NARROW

from autoassign.data.shapes import generate_shapes

ROOT = Path(__file__).parents[2]


def test_a_strategy_of_the_current_folder_is_trained(tmp_path):
    generate_shapes(tmp_path / "shapes", num_train=4, num_val=2)
    strategy = ("NAME", "NearestLocations", "NEARESTLOCATIONS.TOPK", 3)
    options = [f"MODEL.LABEL_ASSIGNMENT.{x}" for x in strategy[::2]]
    command = [
        *(sys.executable, "-m", "autoassign", "train", "--import", "nearest_locations"),
        *("--config-file", "quickstart/fcos_shapes.yaml", *NARROW),
        *(x for pair in zip(options, strategy[1::2], strict=True) for x in pair),
        *("DATASETS.CUSTOM.ROOT", tmp_path / "shapes", "OUTPUT_DIR", tmp_path / "out"),
        *("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "TEST.EVAL_PERIOD", 0),
    ]
    result = subprocess.run(
        [str(x) for x in command],
        cwd=ROOT / "examples",
        env={**os.environ, "PYTHONPATH": str(ROOT / "projects"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.json").read_text().splitlines()]
    assert {"loss_cls", "loss_box"} <= set().union(*rows)
