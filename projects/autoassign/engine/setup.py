"""From the command line to a checked, frozen config."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..config.defaults import add_autoassign_config
from ..config.files import get_config_file
from ..data import register_custom_datasets, resolve_num_classes
from .hooks import best_metric

__all__ = [
    "check_weights_exist",
    "find_config",
    "load_config",
    "load_trained_config",
    "setup_config",
    "use_cpu_without_cuda",
]

# yacs raises whatever comes, with the key in it and without the file.
_CONFIG_ERRORS = (AssertionError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError)


def setup_config(args: argparse.Namespace) -> CfgNode:
    """The config of a run: file, command line, datasets and device resolved, everything logged.

    Args:
        args: arguments of :func:`detectron2.engine.default_argument_parser`. ``--config-file`` is
            a path, or the name of a config that the package ships.

    Raises:
        ValueError: an option has a value that is not allowed.
        FileNotFoundError: the config file, the weights or a part of the data is missing.
        FileExistsError: the output folder holds a training that this one would overwrite.
    """
    config_file = find_config(args.config_file)
    cfg = load_config(config_file, args.opts)
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


def find_config(config_file: str) -> str:
    """The path of a config file that is named by its path, or as the package ships it; "" is "".

    Raises:
        FileNotFoundError: there is neither.
    """
    if config_file and not os.path.exists(config_file):
        return get_config_file(config_file)
    return config_file


def load_config(config_file: str, opts: Sequence[str]) -> CfgNode:
    """The project's config with the values of a file and of the command line.

    Args:
        config_file: see :func:`find_config`; "" for the defaults.
        opts: KEY VALUE pairs that override the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not YAML or no mapping of options, an option is unknown or has a
            value of another type.
    """
    cfg = get_cfg()
    add_autoassign_config(cfg)
    path = find_config(config_file)
    source = path
    try:
        if path:
            _merge_file(cfg, path)
        source = " ".join(opts)
        cfg.merge_from_list(list(opts))
    except _CONFIG_ERRORS as error:
        raise ValueError(f"{source}: {error}") from error
    return cfg


def _merge_file(cfg: CfgNode, path: str) -> None:
    try:
        cfg.merge_from_file(path)
    except (AttributeError, TypeError) as error:
        # yacs asks None, a list or a text for its keys.
        raise ValueError(
            f"it, its _BASE_ or one of its sections is not a mapping of options ({error})"
        ) from error


def load_trained_config(
    config_file: str | None, weights: str | None, opts: Sequence[str] = ()
) -> CfgNode:
    """The config of a trained detector, with its weights in ``MODEL.WEIGHTS``.

    Args:
        config_file: see :func:`find_config`; None: config.yaml beside the weights, where training
            leaves it.
        weights: a checkpoint; None: ``MODEL.WEIGHTS`` of the config.
        opts: KEY VALUE pairs that override the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: neither file is named, or see :func:`load_config`.
    """
    if config_file is None:
        if weights is None:
            raise ValueError("give --config-file, --weights or both")
        config_file = os.path.join(os.path.dirname(weights), "config.yaml")
        if not os.path.isfile(config_file):
            raise FileNotFoundError(f"give --config-file: there is no {config_file}")
    cfg = load_config(config_file, opts)
    if weights is not None:
        cfg.MODEL.WEIGHTS = weights
    return cfg


def use_cpu_without_cuda(cfg: CfgNode) -> bool:
    """Set a CUDA device that is not there to the CPU; returns whether that was so.

    Raises:
        ValueError: ``MODEL.DEVICE`` is no device.
    """
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}: no device of torch's, such as cpu, cuda or "
            "cuda:1"
        ) from error
    if not cfg.MODEL.DEVICE.startswith("cuda") or torch.cuda.is_available():
        return False
    cfg.MODEL.DEVICE = "cpu"
    # detectron2 has mixed precision on CUDA only.
    cfg.SOLVER.AMP.ENABLED = False
    return True


def check_weights_exist(weights: str) -> None:
    """
    Raises:
        FileNotFoundError: ``MODEL.WEIGHTS`` names a local file that is not there.
    """
    path = weights.split("?")[0]  # "?matching_heuristics=True" is detectron2's
    if path and "://" not in path and not os.path.isfile(path):
        raise FileNotFoundError(f"MODEL.WEIGHTS: {path} does not exist")


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
