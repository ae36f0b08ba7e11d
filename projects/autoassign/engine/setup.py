"""From the command line to a checked, frozen config."""

from __future__ import annotations

import argparse
import logging
import os

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng

from ..checkpoint import find_checkpoint, follow_weights
from ..config import (
    check_values,
    find_config,
    fit_to_machine,
    load_config,
    normalize_opts,
    set_options,
)
from ..data import register_custom_datasets, resolve_num_classes
from ..runs import check_weights_exist, load_trained_config
from .console import set_up_logging
from .hooks import best_metric
from .output_dir import prepare_output_dir
from .resuming import seed_of
from .schedule import scale_to_batch_size

__all__ = ["log_run", "setup_config"]

logger = logging.getLogger(__name__)


def setup_config(args: argparse.Namespace) -> CfgNode:
    """The config of a run: file, command line, datasets and device resolved, everything logged.

    A training gets ``OUTPUT_DIR`` for itself until the process ends. An evaluation writes to the
    folder "evaluation" in it.

    Args:
        args: ``config_file``, ``resume``, ``eval_only`` and ``opts``, as of
            :func:`detectron2.engine.default_argument_parser`. The config file is a path, or the
            name of a config that the package ships; an evaluation does without it where
            MODEL.WEIGHTS knows its config.

    Raises:
        ValueError: an option has a value that is not allowed or contradicts the weights.
        FileNotFoundError: the config file, the weights or a part of the data is missing.
        FileExistsError: the output folder holds a training that this one would overwrite.
        OSError: the output folder cannot be written to, or another training is running in it.
    """
    config_file = find_config(args.config_file)
    cfg = _load_config(args, config_file)
    check_values(cfg)
    replaced = fit_to_machine(cfg)
    if args.eval_only:
        _prepare_evaluation(cfg, args.resume)
    else:
        _prepare_training(cfg, args.resume)
    for message in replaced:
        logger.warning(message)
    register_custom_datasets(cfg)
    key = "TEST" if args.eval_only else "TRAIN"
    if not cfg.DATASETS[key]:
        what = "--eval-only has nothing to evaluate on" if args.eval_only else "nothing to train on"
        raise ValueError(f"{what}: DATASETS.{key} names no dataset")
    resolve_num_classes(cfg)
    scale_to_batch_size(cfg)
    if cfg.DATASETS.TEST:
        best_metric(cfg)  # raises where there is no such metric
    cfg.freeze()
    log_run(args, config_file, cfg.dump())
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not args.eval_only
    return cfg


def _prepare_evaluation(cfg: CfgNode, resume: bool) -> None:
    checkpoint = find_checkpoint(cfg.OUTPUT_DIR) if resume else None
    if checkpoint is not None:
        cfg.MODEL.WEIGHTS = checkpoint
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(
            "--eval-only has nothing to evaluate: give MODEL.WEIGHTS, or --resume for the last "
            f"checkpoint of OUTPUT_DIR {cfg.OUTPUT_DIR}"
        )
    check_weights_exist(cfg.MODEL.WEIGHTS)
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "evaluation")
    set_up_logging(cfg.OUTPUT_DIR)


def _prepare_training(cfg: CfgNode, resume: bool) -> None:
    # The Trainer does it too, but later.
    prepare_output_dir(cfg.OUTPUT_DIR, resume=resume)
    set_up_logging(cfg.OUTPUT_DIR)
    checkpoint = find_checkpoint(cfg.OUTPUT_DIR) if resume else None
    if checkpoint is None:
        check_weights_exist(cfg.MODEL.WEIGHTS)
    if cfg.SEED < 0:
        seed = None if checkpoint is None else seed_of(checkpoint)
        cfg.SEED = comm.shared_random_seed() if seed is None else seed


def log_run(args: argparse.Namespace, config_file: str, config: str) -> None:
    """Log what detectron2's default_setup logs, to log.txt alone.

    Args:
        args: of the command line.
        config_file: the config file.
        config: the config as text.
    """
    logger.debug(f"Worker {comm.get_rank()} of {comm.get_world_size()}")
    logger.debug(f"Command line arguments: {args}")
    logger.debug(f"Config file: {config_file}")
    logger.debug(f"Environment:\n{collect_env_info()}")
    logger.debug(f"Config:\n{config}")


def _load_config(args: argparse.Namespace, config_file: str) -> CfgNode:
    opts = normalize_opts(args.opts)
    weights = dict(zip(opts[::2], opts[1::2], strict=True)).get("MODEL.WEIGHTS")
    if args.eval_only and weights and not config_file:
        return load_trained_config(None, weights, opts)
    cfg = load_config(config_file, opts)
    follow_weights(cfg, set_options(config_file, opts))
    return cfg
