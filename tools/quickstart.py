#!/usr/bin/env python
"""Generate the shapes dataset, train a detector on it, evaluate, and draw the results.

python tools/quickstart.py [KEY VALUE ...]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from autoassign.cli import add_options_argument, parse_arguments
from autoassign.data.shapes import generate_shapes
from autoassign.runs import TrainedRun

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = "quickstart/autoassign_shapes.yaml"
DATASET = REPOSITORY / "datasets" / "shapes"
OUTPUT = REPOSITORY / "output" / "quickstart"
ROOT_KEY = "DATASETS.CUSTOM.ROOT"


def main(argv: list[str] | None = None) -> int:
    """Run the quick start and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options_argument(parser)
    opts = parse_arguments(parser, sys.argv[1:] if argv is None else argv).opts
    options = dict(zip(opts[::2], opts[1::2], strict=True))
    # Absolute, because the config beside the weights keeps them.
    dataset = Path(options.pop(ROOT_KEY, DATASET)).absolute()
    output = Path(options.pop("OUTPUT_DIR", None) or _unused_folder(OUTPUT)).absolute()

    print(f"1/3 dataset  {dataset}", flush=True)
    try:
        generate_shapes(dataset)
    except FileExistsError as error:
        parser.error(str(error))
    print(f"2/3 training and evaluation  {output}", flush=True)
    start = time.monotonic()
    options |= {ROOT_KEY: str(dataset), "OUTPUT_DIR": str(output)}
    code = _train([text for pair in options.items() for text in pair])
    if code:
        return code
    minutes = (time.monotonic() - start) / 60
    print(f"3/3 pictures  (training and evaluation took {minutes:.1f} min)", flush=True)
    _draw(dataset, output)
    _report(dataset, output)
    return 0


def _unused_folder(folder: Path) -> Path:
    """``folder``, or its name with the first number from 2 on that is not taken."""
    number = 1
    candidate = folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}_{number}")
    return candidate


def _train(opts: list[str]) -> int:
    """Run ``autoassign train``; its exit code, as a shell gives it."""
    command = [sys.executable, "-m", "autoassign", "train", "--config-file", CONFIG, *opts]
    try:
        code = subprocess.run(command).returncode
    except KeyboardInterrupt:
        return 130
    return code if code >= 0 else 128 - code


def _draw(dataset: Path, output: Path) -> None:
    # Here, after autoassign.cli, which silences a warning of detectron2's import.
    from detectron2.data import MetadataCatalog
    from detectron2.data.datasets import load_coco_json

    from autoassign.analysis.figures import draw_prediction_grid, draw_training_curves

    name = "shapes_held_out"
    annotations = str(dataset / "annotations" / "val.json")
    records = load_coco_json(annotations, str(dataset / "val"), name)
    run = TrainedRun.read(output)
    results = json.loads(run.results_file.read_text())
    draw_prediction_grid(records, results, MetadataCatalog.get(name), output / "predictions.png")
    draw_training_curves(run, output / "curves.png")


def _typed(path: Path) -> str:
    """A path as it can be typed in the caller's folder: relative if it lies inside."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def _report(dataset: Path, output: Path) -> None:
    *_, evaluation = TrainedRun.read(output).evaluations.values()
    autoassign = _typed(Path(sys.executable).with_name("autoassign"))
    weights = f"--weights {_typed(output / 'model_best.pth')}"
    print(f"""
AP {evaluation["AP"]:.2f}  AP50 {evaluation["AP50"]:.2f}
files  {_typed(output)}/
  predictions.png  held-out images, ground truth beside predictions
  curves.png       losses and AP over the iterations (numbers: metrics.json)
  model_best.pth   the weights with the best AP; model_final.pth: the last ones
next
  {autoassign} eval {weights}
  {autoassign} visualize assignment {weights} --num-images 3
  {autoassign} report {_typed(output)}
  training on your own images: {_typed(REPOSITORY / "README.md")}""")


if __name__ == "__main__":
    sys.exit(main())
