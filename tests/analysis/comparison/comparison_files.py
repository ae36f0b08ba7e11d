"""Config files to compare, a stand-in for training, and results with known numbers."""

import sys
from pathlib import Path

from autoassign.analysis.comparison.results import TrialResult
from autoassign.analysis.comparison.trials import Trial

BASE = Path(__file__).parents[3] / "configs" / "Base-Small.yaml"

# Writes the metrics.json of a finished training, with AP 10 times the seed; counts its starts.
# Fails where the folder says so: "broken" before, "late" after the last evaluation.
_FAKE_TRAINING = """
import json, pathlib, sys, yaml
config, output, seed = sys.argv[1:]
output = pathlib.Path(output)
with (output / "starts").open("a") as file:
    file.write("x")
if (output.parent / "broken").exists():
    sys.exit("out of memory")
last = yaml.safe_load(open(config))["SOLVER"]["MAX_ITER"]
rows = [
    {"iteration": last - 1, "time": 0.5},
    {"iteration": last, "bbox/AP": 10.0 * int(seed), "bbox/AP50": 50.0},
]
(output / "metrics.json").write_text("".join(json.dumps(row) + "\\n" for row in rows))
if (output.parent / "late").exists():
    sys.exit(3)
"""


def fake_train_command(trial: Trial, num_gpus: int) -> list[str]:
    arguments = (trial.config_file, trial.output_dir, trial.seed)
    return [sys.executable, "-c", _FAKE_TRAINING, *map(str, arguments)]


def write_config(folder: Path, name: str, text: str = "") -> str:
    path = folder / f"{name}.yaml"
    path.write_text(f'_BASE_: "{BASE}"\n{text}')
    return str(path)


def result(name: str, seed: int, **metrics: float) -> TrialResult:
    """A finished trial of 100 iterations of 0.6 s."""
    return TrialResult(
        Trial(name, seed, Path("out", name), iterations=100),
        curve=[(50, metrics["AP"] / 2), (100, metrics["AP"])],
        metrics=metrics,
        seconds_per_iteration=0.6,
        minutes=1.0,
        peak_memory_mb=700.0,
        machine="2 cores",
    )
