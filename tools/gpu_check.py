#!/usr/bin/env python
"""Check and measure on a GPU what can only be checked and measured there, in minutes.

    python tools/gpu_check.py --output gpu_check [--weights R-50.pkl]
    python tools/gpu_check.py --output smoke --smoke    # everything once, tiny, also on a CPU

The tests of GPUs, training steps and inference beside detectron2's detectors, each with and without
the options of configs/recipes/fast.yaml in one run, and trainings on the generated shapes, from
ImageNet weights where a file is given. Nothing is downloaded. OUTPUT gets report.json and
report.md; the exit status is 1 if anything fails.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from autoassign.analysis.benchmark import fast_options
from autoassign.cli import main as autoassign
from autoassign.data.shapes import generate_shapes
from autoassign.runs import TrainedRun

REPOSITORY = Path(__file__).resolve().parents[1]
STRATEGIES = ("AutoAssign", "DSLA", "FCOS", "ATSS")
# As they come and with the fast options; ratios are to the first.
BENCHMARKS = {
    "train": "d2-FCOS d2-FCOS+fast AutoAssign AutoAssign+fast DSLA DSLA+fast d2-RetinaNet",
    "inference": "d2-RetinaNet d2-RetinaNet+fast AutoAssign AutoAssign+fast d2-FCOS d2-FCOS+fast",
}
SMOKE = ("AutoAssign+fast", "d2-FCOS")


def main(argv: list[str] | None = None) -> int:
    """Run everything and write the report; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet weights of R-50")
    parser.add_argument("--smoke", action="store_true", help="everything once, tiny")
    args = parser.parse_args(argv)
    if not (args.smoke or torch.cuda.is_available()):
        parser.error("there is no GPU; --smoke runs everything on the CPU")
    args.output.mkdir(parents=True)

    start = time.monotonic()
    report = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "smoke": args.smoke,
        "tests": run_tests(args.smoke),
        "benchmarks": list(benchmarks(args.output, args.smoke)),
        "trainings": list(trainings(args.output, args.weights, args.smoke)),
    }
    report["seconds"] = time.monotonic() - start
    (args.output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (args.output / "report.md").write_text(markdown(report))
    print(markdown(report))
    parts = [report["tests"], *report["benchmarks"], *report["trainings"]]
    return 0 if all(part["passed"] for part in parts) else 1


def run_tests(smoke: bool) -> dict:
    """The tests marked cuda; in a smoke run one file of the CPU's."""
    chosen = ["tests/modeling/test_pairs.py"] if smoke else ["-m", "cuda"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    print(result.stdout)
    return {
        "passed": result.returncode == 0,
        "summary": result.stdout.strip().splitlines()[-1],
        "failed": [x for x in result.stdout.splitlines() if x.startswith(("FAILED", "ERROR"))],
    }


def benchmarks(output: Path, smoke: bool) -> Iterator[dict]:
    """Rows of ``autoassign benchmark train`` and ``inference``, by the command that made them."""
    commands = [
        [verb, "--batch-size", size, "--detectors", *names.split()]
        for verb, names in BENCHMARKS.items()
        for size in ("2", "16")
    ]
    if smoke:
        tiny = ("--batch-size", "1", "--size", "64", "64", "--rounds", "1")
        commands = [[verb, *tiny, "--detectors", *SMOKE] for verb in BENCHMARKS]
    for number, command in enumerate(commands):
        file = output / f"benchmark_{number}.json"
        print("autoassign benchmark", *command, flush=True)
        row = {"command": f"autoassign benchmark {' '.join(command)}", "passed": False}
        try:
            autoassign(["benchmark", command[0], "--json", str(file), *command[1:]])
        except (SystemExit, RuntimeError) as error:  # such as too little memory
            yield {**row, "error": one_line(error)}
            continue
        yield {**row, "passed": True, "rows": json.loads(file.read_text())["rows"]}


def trainings(output: Path, weights: Path | None, smoke: bool) -> Iterator[dict]:
    """AP and time of an iteration of every strategy, and of the first with the fast options."""
    num_train, num_val, iterations = (4, 2, 5) if smoke else (400, 100, 200)
    shapes = generate_shapes(output / "shapes", num_train=num_train, num_val=num_val)
    fast = [str(x) for x in fast_options()]
    cases = [(name, []) for name in STRATEGIES] + [(STRATEGIES[0], fast)]
    for number, (name, options) in enumerate(cases):
        folder = output / f"training_{number}_{name}"
        options = [*training_options(weights, iterations), *options]
        config = "COCO-Detection/{}_R_50_FPN_1x.yaml" if weights else "quickstart/{}_shapes.yaml"
        words = ["--config-file", config.format(name.lower()), "OUTPUT_DIR", str(folder)]
        words += ["DATASETS.CUSTOM.ROOT", str(shapes), *options]
        print("autoassign train", *words, flush=True)
        row = {"name": name, "options": " ".join(cases[number][1]), "passed": False}
        try:
            autoassign(["train", *words])
        except (SystemExit, RuntimeError) as error:
            yield {**row, "error": one_line(error)}
            continue
        run = TrainedRun.read(folder)
        *_, metrics = run.evaluations.values()
        times = [x["time"] for x in run.metrics.rows if "time" in x]
        yield {**row, "passed": True, "AP": metrics["AP"], "seconds": median(times)}


def training_options(weights: Path | None, iterations: int) -> list[str]:
    """Options of a short training on the generated shapes."""
    options = {
        "DATASETS.CUSTOM.FORMAT": "coco",
        "DATASETS.CUSTOM.TRAIN": "annotations/train.json",
        "DATASETS.CUSTOM.TRAIN_IMAGES": "train",
        "DATASETS.CUSTOM.TEST": "annotations/val.json",
        "DATASETS.CUSTOM.TEST_IMAGES": "val",
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.WARMUP_ITERS": iterations // 4,
        "TEST.EVAL_PERIOD": 0,
    }
    if iterations < 10:  # a smoke run: AP of what has learned nothing is a number
        options |= {"SOLVER.IMS_PER_BATCH": 2, "MODEL.POINT_HEAD.SCORE_THRESH_TEST": 0.0}
    if weights:
        options |= {
            "MODEL.WEIGHTS": str(weights),
            "MODEL.POINT_HEAD.NUM_CLASSES": 0,
            "INPUT.MIN_SIZE_TRAIN": "(320,)",
            "INPUT.MIN_SIZE_TEST": 320,
            "SOLVER.STEPS": "()",
        }
    return [str(x) for pair in options.items() for x in pair]


def markdown(report: dict) -> str:
    """The report as Markdown tables."""
    lines = [
        f"# {report['device']}, torch {report['torch']}",
        "",
        f"tools/gpu_check.py, {report['seconds']:.0f} s" + (", smoke run" * report["smoke"]),
        "",
        f"Tests: {report['tests']['summary']}",
        *(f"* {line}" for line in report["tests"]["failed"]),
    ]
    for benchmark in report["benchmarks"]:
        if not benchmark["passed"]:
            lines += ["", f"`{benchmark['command']}`: {benchmark['error']}"]
            continue
        parts = list(benchmark["rows"][0]["seconds"])
        header = ["detector", *(f"{part} ms" for part in parts), "images/s", "ratio", "peak MB"]
        lines += ["", f"`{benchmark['command']}`", "", *table_head(header)]
        for row in benchmark["rows"]:
            peak = "-" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
            times = [f"{1e3 * row['seconds'][part]:.1f}" for part in parts]
            cells = [row["name"], *times, f"{row['images_per_second']:.1f}", f"{row['ratio']:.2f}"]
            lines.append(f"| {' | '.join([*cells, peak])} |")
    lines += ["", *table_head(["training", "options", "AP", "ms an iteration"])]
    for row in report["trainings"]:
        result = f"{row['AP']:.1f} | {1e3 * row['seconds']:.0f}" if row["passed"] else row["error"]
        lines.append(f"| {row['name']} | {row['options']} | {result} |")
    return "\n".join(lines) + "\n"


def one_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def table_head(names: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


if __name__ == "__main__":
    sys.exit(main())
