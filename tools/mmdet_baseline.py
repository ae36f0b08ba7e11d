"""Time MMDetection 3.3's AutoAssign loss, or assigners of other projects, on a CPU.

    python tools/mmdet_baseline.py --objects 10 100 300 1000 --json mmdet.json
    python tools/mmdet_baseline.py --assigner simota --objects 100 300 1000

The inputs are those of ``autoassign benchmark loss``, and so are the rows of the JSON file.

autoassign: AutoAssignHead's loss, forward and backward. simota, tal: MMDetection's
SimOTAAssigner and TaskAlignedAssigner, ultralytics-tal: Ultralytics' TaskAlignedAssigner; of
these the assignment alone, to which the losses come.

The script belongs to no package and needs an environment of its own, without detectron2:

    python -m venv mmdet_env
    mmdet_env/bin/pip install torch torchvision mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.1.0
    mmdet_env/bin/pip install ultralytics  # for ultralytics-tal
    mmdet_env/bin/python tools/mmdet_baseline.py

mmcv-lite has no compiled operators; nothing here calls one. 1000 objects take half a minute and
8 GB of memory.
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

import torch

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


def stub_compiled_operators() -> None:
    """Importing mmdet imports mmcv.ops, which looks for compiled functions by their names."""
    sys.modules["mmcv._ext"] = mock.MagicMock(__spec__=None)


def build_autoassign(inputs):
    """The loss of AutoAssignHead as configs/autoassign of MMDetection has it."""
    stub_compiled_operators()
    from mmdet.models.dense_heads import AutoAssignHead
    from mmengine.structures import InstanceData

    head = AutoAssignHead(
        num_classes=inputs.num_classes,
        in_channels=256,
        strides=list(inputs.strides),
        loss_bbox={"type": "GIoULoss", "loss_weight": 5.0},
    )

    def loss(inputs):
        objects = [
            InstanceData(bboxes=boxes, labels=classes)
            for boxes, classes in zip(inputs.gt_boxes, inputs.gt_classes, strict=True)
        ]
        metas = [{"img_shape": inputs.image_size} for _ in objects]
        levels = (inputs.cls_logits, inputs.ltrb, inputs.obj_logits)
        return sum(head.loss_by_feat(*levels, objects, metas).values())

    return loss


def build_mmdet_assigner(name: str):
    """MMDetection's SimOTAAssigner or TaskAlignedAssigner, image by image."""
    stub_compiled_operators()
    from mmdet.models.task_modules.assigners import SimOTAAssigner, TaskAlignedAssigner
    from mmengine.structures import InstanceData

    def assign(inputs) -> None:
        scores, boxes, points, strides = dense_predictions(inputs)
        reach = 4 * strides[:, None]
        for i, (gt_boxes, labels) in enumerate(
            zip(inputs.gt_boxes, inputs.gt_classes, strict=True)
        ):
            gt = InstanceData(bboxes=gt_boxes, labels=labels)
            predicted = InstanceData(scores=scores[i], bboxes=boxes[i])
            if name == "simota":
                predicted.priors = torch.cat((points, strides[:, None].expand(-1, 2)), dim=1)
                SimOTAAssigner(center_radius=2.5).assign(predicted, gt)
            else:
                predicted.priors = torch.cat((points - reach, points + reach), dim=1)
                TaskAlignedAssigner(topk=13).assign(predicted, gt, alpha=1, beta=6)

    return assign


def build_ultralytics_assigner(inputs):
    """Ultralytics' TaskAlignedAssigner with TOOD's numbers."""
    from ultralytics.utils.tal import TaskAlignedAssigner

    assigner = TaskAlignedAssigner(topk=13, num_classes=inputs.num_classes, alpha=1.0, beta=6.0)

    def assign(inputs) -> None:
        scores, boxes, points, _ = dense_predictions(inputs)
        gt_boxes, classes = torch.stack(inputs.gt_boxes), torch.stack(inputs.gt_classes)
        is_object = torch.ones_like(gt_boxes[..., :1], dtype=torch.bool)
        assigner(scores, boxes, points, classes[..., None], gt_boxes, is_object)

    return assign


def dense_predictions(inputs):
    """(N, R, K) probabilities, (N, R, 4) boxes, (R, 2) locations and (R,) strides."""
    scores = torch.cat([x.detach().flatten(2) for x in inputs.cls_logits], dim=2)
    ltrb = torch.cat([x.detach().flatten(2) for x in inputs.ltrb], dim=2).transpose(1, 2)
    points, strides = [], []
    for stride, level in zip(inputs.strides, inputs.ltrb, strict=True):
        height, width = level.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        points.append(torch.stack((x, y), dim=-1).reshape(-1, 2) * float(stride))
        strides.append(torch.full((height * width,), float(stride)))
    points = torch.cat(points)
    boxes = torch.cat((points - ltrb[..., :2], points + ltrb[..., 2:]), dim=-1)
    return scores.sigmoid().transpose(1, 2), boxes, points, torch.cat(strides)


ASSIGNERS = {
    "autoassign": build_autoassign,
    "simota": lambda inputs: build_mmdet_assigner("simota"),
    "tal": lambda inputs: build_mmdet_assigner("tal"),
    "ultralytics-tal": build_ultralytics_assigner,
}


def time_run(run, inputs) -> tuple[float, float]:
    """Seconds of the forward and, of a loss, of the backward pass."""
    start = time.perf_counter()
    loss = run(inputs)
    middle = time.perf_counter()
    if loss is not None:
        loss.backward()
    return middle - start, time.perf_counter() - middle


def peak_memory_mb() -> float:
    """Greatest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def measure(arguments: tuple[str, int, tuple[float, float]]) -> dict:
    """One row of an assigner, number and sizes of objects, to be called in a fresh process."""
    assigner, num_objects, box_size = arguments
    make_loss_inputs = load_inputs_module().make_loss_inputs
    tiny = make_loss_inputs(2, image_size=(128, 128))
    run = ASSIGNERS[assigner](tiny)
    time_run(run, tiny)

    inputs = make_loss_inputs(num_objects, box_size=box_size)
    before = peak_memory_mb()
    runs = [time_run(run, inputs)]
    peak_mb = peak_memory_mb() - before
    while sum(runs[0]) < REPEAT_BELOW_SECONDS and len(runs) < REPEATS:
        for level in (*inputs.cls_logits, *inputs.ltrb, *inputs.obj_logits):
            level.grad = None
        runs.append(time_run(run, inputs))
    forward_seconds, backward_seconds = (median(times) for times in zip(*runs, strict=True))
    return {
        "strategy": "mmdet" if assigner == "autoassign" else assigner,
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
    parser.add_argument("--assigner", choices=ASSIGNERS, default="autoassign")
    parser.add_argument("--box-size", type=float, nargs=2, default=(10.0, 120.0))
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()

    # A process forgets neither its peak of memory nor what its allocator keeps, hence one per row.
    # This one stays small, because a new process starts with the peak of its parent.
    cases = [(args.assigner, number, tuple(args.box_size)) for number in args.objects]
    rows = []
    print("strategy         objects  forward s  backward s  peak MB")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(measure, cases, chunksize=1):
            rows.append(row)
            print(
                f"{row['strategy']:15}  {row['objects']:7d}  {row['forward_seconds']:9.3f}  "
                f"{row['backward_seconds']:10.3f}  {row['peak_mb']:7.0f}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
