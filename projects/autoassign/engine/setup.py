"""From the command line to a checked, frozen config."""

from __future__ import annotations

import argparse
import logging
import os

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..config import find_config, load_config, normalize_opts, use_cpu_without_cuda
from ..data import register_custom_datasets, resolve_num_classes
from ..runs import check_weights_exist, load_trained_config
from .hooks import best_metric

__all__ = ["setup_config"]


def setup_config(args: argparse.Namespace) -> CfgNode:
    """The config of a run: file, command line, datasets and device resolved, everything logged.

    Args:
        args: arguments of :func:`detectron2.engine.default_argument_parser`. ``--config-file`` is
            a path, or the name of a config that the package ships. Evaluation does without it
            where MODEL.WEIGHTS knows its config.

    Raises:
        ValueError: an option has a value that is not allowed.
        FileNotFoundError: the config file, the weights or a part of the data is missing.
        FileExistsError: the output folder holds a training that this one would overwrite.
    """
    config_file = find_config(args.config_file)
    cfg = _load_config(args, config_file)
    on_cpu = use_cpu_without_cuda(cfg)
    check_weights_exist(cfg.MODEL.WEIGHTS)
    has_checkpoint = args.resume and os.path.exists(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint"))
    if args.eval_only and not has_checkpoint and not cfg.MODEL.WEIGHTS:
        raise ValueError(
            "--eval-only has nothing to evaluate: give MODEL.WEIGHTS, or --resume for the last "
            f"checkpoint of OUTPUT_DIR {cfg.OUTPUT_DIR}"
        )
    if not args.eval_only and not args.resume:
        _refuse_to_overwrite(cfg.OUTPUT_DIR)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="autoassign")
    register_custom_datasets(cfg)
    if args.eval_only and not cfg.DATASETS.TEST:
        raise ValueError("--eval-only has nothing to evaluate on: DATASETS.TEST names no dataset")
    resolve_num_classes(cfg)
    if cfg.DATASETS.TEST:
        best_metric(cfg)  # raises where there is no such metric
    cfg.freeze()
    # It copies the file's text into the log, and knows paths only.
    default_setup(cfg, argparse.Namespace(**{**vars(args), "config_file": config_file}))
    if on_cpu:
        logging.getLogger(__name__).warning("No CUDA device is available: running on the CPU.")
    return cfg


def _load_config(args: argparse.Namespace, config_file: str) -> CfgNode:
    opts = normalize_opts(args.opts)
    weights = dict(zip(opts[::2], opts[1::2], strict=True)).get("MODEL.WEIGHTS")
    if args.eval_only and weights and not config_file:
        return load_trained_config(None, weights, opts)
    return load_config(config_file, opts)


def _refuse_to_overwrite(output_dir: str) -> None:
    marker = os.path.join(output_dir, "last_checkpoint")
    if not os.path.exists(marker):
        metrics = os.path.join(output_dir, "metrics.json")
        if os.path.exists(metrics) and os.path.getsize(metrics):
            raise FileExistsError(
                f"OUTPUT_DIR {output_dir} holds the metrics of a training that ended before its "
                "first checkpoint: there is nothing to --resume. Give another OUTPUT_DIR, or "
                "remove this one."
            )
        return
    with open(marker) as file:
        last = file.read().strip()
    raise FileExistsError(
        f"OUTPUT_DIR {output_dir} holds a training already (its last checkpoint is {last}). "
        "Give another OUTPUT_DIR, or --resume: it goes on from that checkpoint with its weights, "
        "optimizer, schedule and iteration, and does not read MODEL.WEIGHTS. To start from these "
        f"weights anew, give another OUTPUT_DIR and MODEL.WEIGHTS {os.path.join(output_dir, last)}."
    )
