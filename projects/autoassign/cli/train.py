"""Train or evaluate a detector, with the arguments of detectron2's training script.

    train_net.py --config-file configs/COCO-Detection/autoassign_R_50_FPN_1x.yaml --num-gpus 8
    train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth

Also started by torchrun, on one or several machines.
"""

from __future__ import annotations

import argparse
from typing import Any

import detectron2.utils.comm as comm
from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results

from ..checkpoint import PointCheckpointer, Strictness
from ..engine import Trainer, launch, setup_config, show_evaluation

__all__ = ["main", "run"]


def main(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, or evaluate with ``--eval-only``; what every worker runs.

    Returns:
        The metrics of ``--eval-only``. Training leaves them in metrics.json instead, and returns
        them where ``TEST.EXPECTED_RESULTS`` was set (on the main process).
    """
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


def run() -> None:
    """The command line."""
    launch(main, default_argument_parser().parse_args())


if __name__ == "__main__":
    run()
