"""Train a detector.

    autoassign train --config-file COCO-Detection/autoassign_R_50_FPN_1x.yaml --num-gpus 8
    autoassign train --config-file FILE --resume SOLVER.MAX_ITER 90000 OUTPUT_DIR=output/mine

The arguments are those of detectron2's training script. torchrun can start it too:
`torchrun --nproc_per_node 8 -m autoassign train ...`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import Any

from .arguments import add_config_argument, add_launch_arguments, add_options_argument
from .errors import USER_ERRORS, report_error
from .imports import import_modules

__all__ = ["NEEDS_ARGUMENTS", "add_arguments", "main", "run"]

NEEDS_ARGUMENTS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of detectron2's training script."""
    add_config_argument(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS instead")
    add_launch_arguments(parser)
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Train, or evaluate with ``--eval-only``, in the processes that the arguments ask for."""
    if not args.config_file and not (args.eval_only and args.opts):
        raise ValueError(
            "give --config-file: a path, or a config of the package such as "
            "quickstart/autoassign_shapes.yaml"
        )
    from ..engine import launch

    launch(_worker, args)


def _worker(args: argparse.Namespace) -> dict[str, Any] | None:
    import detectron2.utils.comm as comm

    from ..engine import TrainingStopped

    prog = args.prog if comm.is_main_process() else f"{args.prog}, worker {comm.get_rank()}"
    # Here, because what a process that launch has started raises would end in a traceback.
    try:
        import_modules()
        return main(args)
    except TrainingStopped as stopped:
        if comm.is_main_process():
            print(f"{stopped}\n{_resume_command()}", file=sys.stderr)
        raise SystemExit(stopped.exit_code) from stopped
    except USER_ERRORS as error:
        raise SystemExit(report_error(error, prog, debug=args.debug)) from error


def _resume_command() -> str:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "The same torchrun command with --resume resumes it."
    program, *arguments = sys.argv
    words = [os.path.basename(program)]
    if program.endswith("__main__.py"):
        words = ["python", "-m", "autoassign"]
    elif program.endswith(".py"):
        words = ["python", program]
    flag = [] if "--resume" in arguments else ["--resume"]
    return f"To resume: {shlex.join([*words, *arguments, *flag])}"


def main(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, or evaluate with ``--eval-only``; every worker calls it.

    Returns:
        The metrics of ``--eval-only``. Training leaves them in metrics.json instead, and returns
        them where ``TEST.EXPECTED_RESULTS`` was set (on the main process).
    """
    import detectron2.utils.comm as comm
    from detectron2.evaluation import verify_results

    from ..checkpoint import PointCheckpointer, Strictness
    from ..engine import Trainer, setup_config, show_evaluation, train_lazily
    from ..modeling import PointDetectorWithTTA

    if args.config_file.endswith(".py"):
        return train_lazily(args)
    cfg = setup_config(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        PointCheckpointer(model, strictness=Strictness.PREDICTION).load(cfg.MODEL.WEIGHTS)
        if cfg.TEST.AUG.ENABLED:
            model = PointDetectorWithTTA(cfg, model)
            cfg = cfg.clone()
            cfg.defrost()
            cfg.INPUT.MIN_SIZE_TEST = 0  # images come as they are
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            show_evaluation(None, results)
            verify_results(cfg, results)
        return results

    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()
