"""Train a detector.

    autoassign train --config-file COCO-Detection/autoassign_R_50_FPN_1x.yaml --num-gpus 8
    autoassign train --config-file FILE --resume SOLVER.MAX_ITER 90000 OUTPUT_DIR=output/mine

The arguments are those of detectron2's training script. torchrun can start it too:
`torchrun --nproc_per_node 8 -m autoassign train ...`.
"""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_import_argument, add_launch_arguments, add_options_argument
from .imports import import_modules

__all__ = ["add_arguments", "main", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of detectron2's training script, and ``--import``."""
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="path, or name of a config of the package",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS instead")
    add_launch_arguments(parser)
    add_import_argument(parser)
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Train, or evaluate with ``--eval-only``, in the processes that the arguments ask for."""
    from ..engine import launch

    launch(_worker, args)


def _worker(args: argparse.Namespace) -> dict[str, Any] | None:
    import_modules()  # in each process that launch has started
    return main(args)


def main(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, or evaluate with ``--eval-only``; every worker calls it.

    Returns:
        The metrics of ``--eval-only``. Training leaves them in metrics.json instead, and returns
        them where ``TEST.EXPECTED_RESULTS`` was set (on the main process).
    """
    import detectron2.utils.comm as comm
    from detectron2.evaluation import verify_results

    from ..checkpoint import PointCheckpointer, Strictness
    from ..engine import Trainer, setup_config, show_evaluation

    cfg = setup_config(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        PointCheckpointer(model, strictness=Strictness.PREDICTION).load(cfg.MODEL.WEIGHTS)
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            show_evaluation(None, results)
            verify_results(cfg, results)
        return results

    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()
