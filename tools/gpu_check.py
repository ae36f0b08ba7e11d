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
import gc
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median

import torch

from autoassign.analysis.benchmark import fast_options
from autoassign.cli import main as autoassign
from autoassign.config import replacing
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
    if args.output.exists():
        parser.error(f"--output {args.output} exists; name a new folder")
    args.output.mkdir(parents=True)

    start = time.monotonic()
    report = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "smoke": args.smoke,
        "tests": run_tests(args.smoke),
        "benchmarks": [],
        "trainings": [],
    }
    parts = chain(
        benchmarks(args.output, args.smoke), trainings(args.output, args.weights, args.smoke)
    )
    # Written after each part: what ends the program loses nothing that was measured.
    write_report(args.output, report, start)
    for kind, result in parts:
        report[kind].append(result)
        write_report(args.output, report, start)
    print(markdown(report))
    results = [report["tests"], *report["benchmarks"], *report["trainings"]]
    return 0 if all(result["passed"] for result in results) else 1


def write_report(output: Path, report: dict, start: float) -> None:
    """Write report.json and report.md of what has been done since ``start``."""
    report["seconds"] = time.monotonic() - start
    for name, text in {"json": json.dumps(report, indent=2) + "\n", "md": markdown(report)}.items():
        with replacing(output / f"report.{name}") as file:
            file.write_text(text, encoding="utf-8")


def run_tests(smoke: bool) -> dict:
    """The tests marked cuda; in a smoke run one file of the CPU's."""
    chosen = ["tests/modeling/test_pairs.py"] if smoke else ["-m", "cuda"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    print(result.stdout, result.stderr, sep="\n")
    # Without pytest there is a line on stderr only.
    lines = (result.stdout.strip() or result.stderr.strip() or "no output").splitlines()
    return {
        "passed": result.returncode == 0,
        "summary": lines[-1],
        "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
    }


def benchmarks(output: Path, smoke: bool) -> Iterator[tuple[str, dict]]:
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
        error = run_verb("benchmark", command[0], "--json", str(file), *command[1:])
        row = {"command": f"autoassign benchmark {' '.join(command)}", "passed": not error}
        if error:
            yield "benchmarks", {**row, "error": error}
            continue
        content = json.loads(file.read_text())
        row["passed"] = not content["out_of_memory"]
        yield "benchmarks", {**row, **{key: content[key] for key in ("rows", "out_of_memory")}}


def trainings(output: Path, weights: Path | None, smoke: bool) -> Iterator[tuple[str, dict]]:
    """AP and time of an iteration of every strategy, and of the first with the fast options."""
    num_train, num_val, iterations = (4, 2, 5) if smoke else (400, 100, 200)
    shapes = generate_shapes(output / "shapes", num_train=num_train, num_val=num_val)
    fast = [str(x) for x in fast_options()]
    cases = [(name, []) for name in STRATEGIES] + [(STRATEGIES[0], fast)]
    for number, (name, options) in enumerate(cases):
        folder = output / f"training_{number}_{name}"
        config = "COCO-Detection/{}_R_50_FPN_1x.yaml" if weights else "quickstart/{}_shapes.yaml"
        words = ["--config-file", config.format(name.lower()), "OUTPUT_DIR", str(folder)]
        words += ["DATASETS.CUSTOM.ROOT", str(shapes), *training_options(weights, iterations)]
        error = run_verb("train", *words, *options)
        row = {"name": name, "options": " ".join(options), "passed": not error}
        if error:
            yield "trainings", {**row, "error": error}
            continue
        run = TrainedRun.read(folder)
        *_, metrics = run.evaluations.values()
        times = [x["time"] for x in run.metrics.rows if "time" in x]
        yield "trainings", {**row, "AP": metrics["AP"], "seconds": median(times)}


def run_verb(*words: str) -> str:
    """Run a verb of ``autoassign``; returns what has gone wrong in a line, or ""."""
    print("autoassign", *words, flush=True)
    gc.collect()  # the detectors of the verb before
    try:
        autoassign(words)
    except (Exception, SystemExit) as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise
        traceback.print_exc()
        # A verb ends with its exit status; the error is the cause.
        cause = error.__cause__ if isinstance(error, SystemExit) else None
        return one_line(cause or error)
    return ""


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
        if "error" in benchmark:
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
        if benchmark["out_of_memory"]:
            lines += ["", f"Out of memory: {', '.join(benchmark['out_of_memory'])}"]
    lines += ["", *table_head(["training", "options", "AP", "ms an iteration"])]
    for row in report["trainings"]:
        result = f"{row['AP']:.1f} | {1e3 * row['seconds']:.0f}" if row["passed"] else row["error"]
        lines.append(f"| {row['name']} | {row['options']} | {result} |")
    return "\n".join(lines) + "\n"


def one_line(error: BaseException) -> str:
    """The type of an error and the first line of what it says."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def table_head(names: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


if __name__ == "__main__":
    sys.exit(main())
