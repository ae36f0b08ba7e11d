"""The schedule of a training: its warm-up, and what another batch size makes of it."""

from __future__ import annotations

import logging

from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler as detectron2_build_lr_scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["build_lr_scheduler", "scale_iterations", "scale_to_batch_size"]

logger = logging.getLogger(__name__)


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """detectron2's scheduler; ``SOLVER.WARMUP_FRACTION`` > 0 replaces ``WARMUP_ITERS``."""
    if cfg.SOLVER.WARMUP_FRACTION > 0:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.WARMUP_ITERS = round(cfg.SOLVER.WARMUP_FRACTION * cfg.SOLVER.MAX_ITER)
    return detectron2_build_lr_scheduler(cfg, optimizer)


def scale_iterations(iterations: int, factor: float) -> int:
    """A number of iterations times a factor; 0, which means none, only where it was 0 before."""
    return max(1, round(iterations * factor)) if iterations else 0


def scale_to_batch_size(cfg: CfgNode) -> None:
    """Scale the schedule from ``SOLVER.REFERENCE_BATCH_SIZE`` to ``IMS_PER_BATCH``, in place.

    The rate is multiplied, and iterations are divided, by the ratio of the two (arXiv
    1706.02677); no number of iterations is rounded to 0. The reference becomes the new size, so
    that doing it twice changes nothing. The log says what became of each option.

    Raises:
        ValueError: ``SOLVER.REFERENCE_WORLD_SIZE``, which detectron2's trainer scales by, is set
            as well, or does not divide ``IMS_PER_BATCH``.
    """
    solver = cfg.SOLVER
    num_workers = solver.REFERENCE_WORLD_SIZE
    if num_workers and solver.IMS_PER_BATCH % num_workers:
        raise ValueError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {num_workers}; it must divide SOLVER.IMS_PER_BATCH "
            f"{solver.IMS_PER_BATCH}, or be 0"
        )
    if solver.REFERENCE_BATCH_SIZE in (0, solver.IMS_PER_BATCH):
        return
    if num_workers:
        raise ValueError(
            "SOLVER.REFERENCE_BATCH_SIZE and SOLVER.REFERENCE_WORLD_SIZE both scale the schedule; "
            "one of them must be 0"
        )
    ratio = solver.IMS_PER_BATCH / solver.REFERENCE_BATCH_SIZE
    before = cfg.clone()
    solver.BASE_LR *= ratio
    solver.BASE_LR_END *= ratio
    for name in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
        solver[name] = scale_iterations(solver[name], 1 / ratio)
    solver.STEPS = tuple(scale_iterations(step, 1 / ratio) for step in solver.STEPS)
    cfg.TEST.EVAL_PERIOD = scale_iterations(cfg.TEST.EVAL_PERIOD, 1 / ratio)
    changes = [
        f"{name} {value} -> {solver[name]}"
        for name, value in before.SOLVER.items()
        if value != solver[name]
    ]
    logger.info(
        "The schedule is for %d images an iteration; with %d: %s, TEST.EVAL_PERIOD %d -> %d",
        solver.REFERENCE_BATCH_SIZE,
        solver.IMS_PER_BATCH,
        ", ".join(changes),
        before.TEST.EVAL_PERIOD,
        cfg.TEST.EVAL_PERIOD,
    )
    solver.REFERENCE_BATCH_SIZE = solver.IMS_PER_BATCH
