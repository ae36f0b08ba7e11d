"""Time the loss of MMDetection 3.3's AutoAssignHead, forward and backward, on a CPU.

    python tools/mmdet_baseline.py --objects 10 100 300 1000 --json mmdet.json

The inputs are those of ``autoassign benchmark loss``, and so are the rows of the JSON file. The
script belongs to no package and needs an environment of its own, without detectron2:

    python -m venv mmdet_env
    mmdet_env/bin/pip install torch torchvision mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.1.0
    mmdet_env/bin/python tools/mmdet_baseline.py

mmcv-lite has no compiled operators; the loss calls none of them. 1000 objects take half a minute
and 8 GB of memory.
"""

import argparse
import importlib.util
import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from statistics import median
from unittest import mock

PACKAGE = Path(__file__).parents[1] / "projects" / "autoassign"
INPUTS_FILE = PACKAGE / "analysis" / "benchmark" / "inputs.py"
# A measurement shorter than this is repeated, and the median counts.
REPEAT_BELOW_SECONDS = 3.0
REPEATS = 7


def load_inputs_module():
    """The module, by its path: importing its package would import detectron2."""
    spec = importlib.util.spec_from_file_location("loss_inputs", INPUTS_FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def build_head(inputs):
    """AutoAssignHead as configs/autoassign of MMDetection has it."""
    # Importing mmdet imports mmcv.ops, which looks for compiled functions by their names.
    sys.modules["mmcv._ext"] = mock.MagicMock(__spec__=None)
    from mmdet.models.dense_heads import AutoAssignHead

    return AutoAssignHead(
        num_classes=inputs.num_classes,
        in_channels=256,
        strides=list(inputs.strides),
        loss_bbox={"type": "GIoULoss", "loss_weight": 5.0},
    )


def time_loss(head, inputs) -> tuple[float, float]:
    """Seconds of the forward and of the backward pass."""
    from mmengine.structures import InstanceData

    objects = [
        InstanceData(bboxes=boxes, labels=classes)
        for boxes, classes in zip(inputs.gt_boxes, inputs.gt_classes, strict=True)
    ]
    metas = [{"img_shape": inputs.image_size} for _ in objects]
    start = time.perf_counter()
    losses = head.loss_by_feat(inputs.cls_logits, inputs.ltrb, inputs.obj_logits, objects, metas)
    total = sum(losses.values())
    middle = time.perf_counter()
    total.backward()
    return middle - start, time.perf_counter() - middle


def peak_memory_mb() -> float:
    """Greatest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def measure(num_objects: int) -> dict:
    """One row, to be called in a process of its own."""
    make_loss_inputs = load_inputs_module().make_loss_inputs
    tiny = make_loss_inputs(2, image_size=(128, 128))
    head = build_head(tiny)
    time_loss(head, tiny)

    inputs = make_loss_inputs(num_objects)
    before = peak_memory_mb()
    runs = [time_loss(head, inputs)]
    peak_mb = peak_memory_mb() - before
    while sum(runs[0]) < REPEAT_BELOW_SECONDS and len(runs) < REPEATS:
        for level in (*inputs.cls_logits, *inputs.ltrb, *inputs.obj_logits):
            level.grad = None
        runs.append(time_loss(head, inputs))
    forward_seconds, backward_seconds = (median(times) for times in zip(*runs, strict=True))
    return {
        "strategy": "mmdet",
        "objects": num_objects,
        "forward_seconds": forward_seconds,
        "backward_seconds": backward_seconds,
        "peak_mb": peak_mb,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 100, 300, 1000])
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()

    # A process forgets neither its peak of memory nor what its allocator keeps, hence one per row.
    # This one stays small, because a new process starts with the peak of its parent.
    rows = []
    print("strategy  objects  forward s  backward s  peak MB")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(measure, args.objects, chunksize=1):
            rows.append(row)
            print(
                f"{row['strategy']:8}  {row['objects']:7d}  {row['forward_seconds']:9.3f}  "
                f"{row['backward_seconds']:10.3f}  {row['peak_mb']:7.0f}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
