"""Training and evaluation by detectron2's LazyConfig: config files in Python."""

from __future__ import annotations

import argparse
import copy
import logging
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.data import MetadataCatalog
from detectron2.engine import create_ddp_model, default_writers, hooks
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from hydra.errors import HydraException
from omegaconf import DictConfig
from torch import nn

from ..checkpoint import PointCheckpointer, Strictness, find_checkpoint
from ..config import add_autoassign_config, check_values, find_config
from ..data import register_custom_datasets
from ..runs import repair_metrics
from .console import ProgressReport, printing_to_log, set_up_logging, show_evaluation
from .hooks import AveragedWeights
from .optimizer import clip_full_model
from .output_dir import prepare_output_dir
from .setup import log_run
from .train_step import FiniteTrainer

__all__ = ["train_lazily"]

logger = logging.getLogger(__name__)

_SECTIONS = ("model", "optimizer", "lr_multiplier", "dataloader", "train", "custom")
# Of ``train``, beyond detectron2's.
_TRAIN_OPTIONS = ("clip_gradient_norm", "ema_decay")


def train_lazily(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, or evaluate with ``--eval-only``, as a LazyConfig file says.

    It has detectron2's ``model``, ``optimizer``, ``lr_multiplier``, ``dataloader`` and ``train``;
    ``train`` may also have ``ema_decay`` and ``clip_gradient_norm``. With ``custom``, whose
    keys are those of ``DATASETS.CUSTOM`` in lower case, the data are a folder.

    Args:
        args: ``config_file``, ``resume``, ``eval_only``, and ``opts``: KEY, VALUE, KEY, VALUE, ...
            with values in Hydra's syntax.

    Returns:
        The metrics of ``--eval-only``.

    Raises:
        ValueError: an override or ``custom`` is wrong, or the weights do not fit.
        FileExistsError: ``train.output_dir`` holds a training, and ``resume`` is False.
        OSError: a file is missing, or another training is running in ``train.output_dir``.
    """
    config_file = find_config(args.config_file)
    cfg = LazyConfig.load(config_file)
    _override(cfg, args.opts)
    if cfg.train.device.startswith("cuda") and not torch.cuda.is_available():
        cfg.train.device, cfg.train.amp.enabled = "cpu", False
    if args.eval_only:
        cfg.train.output_dir = os.path.join(cfg.train.output_dir, "evaluation")
    else:
        prepare_output_dir(cfg.train.output_dir, resume=args.resume)
    _set_up(cfg, args, config_file)
    if "custom" in cfg:
        _use_custom_dataset(cfg)
    model = _instantiate(cfg, "model").to(cfg.train.device)
    if not args.eval_only:
        _train(cfg, model, resume=args.resume)
        return None
    PointCheckpointer(model, strictness=Strictness.PREDICTION).load(cfg.train.init_checkpoint)
    results = _evaluate(cfg, model)
    if comm.is_main_process():
        show_evaluation(None, results)
    return results


def _override(cfg: DictConfig, opts: Sequence[str]) -> None:
    """Set options as detectron2 does, but for keys that nothing would read."""
    in_train = {*cfg.train, *_TRAIN_OPTIONS}
    for key in opts[::2]:
        section, _, name = key.partition(".")
        if section not in _SECTIONS:
            raise ValueError(
                f"{key} is no option of a LazyConfig, whose sections are {', '.join(_SECTIONS)}"
            )
        if section == "train" and name.partition(".")[0] not in in_train:
            raise ValueError(f"{key} is none of train's options: {', '.join(sorted(in_train))}")
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        try:
            LazyConfig.apply_overrides(cfg, [f"{key}={value}"])
        except (HydraException, KeyError) as error:
            reason = str(error.args[0]).splitlines()[0]
            raise ValueError(f"{key}={value} cannot be set: {reason}") from error


def _set_up(cfg: DictConfig, args: argparse.Namespace, config_file: str) -> None:
    # detectron2's default_setup overwrites config.yaml before anything is checked.
    set_up_logging(cfg.train.output_dir)
    log_run(args, config_file, Path(config_file).read_text(encoding="utf-8"))
    seed = cfg.train.get("seed", -1)
    seed_all_rng(None if seed < 0 else seed + comm.get_rank())
    torch.backends.cudnn.benchmark = cfg.train.get("cudnn_benchmark", False) and not args.eval_only


def _use_custom_dataset(cfg: DictConfig) -> None:
    """Register the folder that ``cfg.custom`` describes, and name its splits and classes."""
    node: CfgNode = get_cfg()
    add_autoassign_config(node)
    known = [key.lower() for key in node.DATASETS.CUSTOM]
    unknown = [key for key in cfg.custom if key not in known]
    if unknown:
        raise ValueError(f"custom has {', '.join(unknown)}; its options are {', '.join(known)}")
    options = [(f"DATASETS.CUSTOM.{key.upper()}", value) for key, value in cfg.custom.items()]
    node.merge_from_list([x for pair in options for x in pair])
    check_values(node)
    node.OUTPUT_DIR = cfg.train.output_dir
    register_custom_datasets(node)
    if not node.DATASETS.TEST:
        raise ValueError("custom has no test split: set custom.test or custom.val_fraction")
    cfg.dataloader.train.dataset.names = list(node.DATASETS.TRAIN)
    cfg.dataloader.test.dataset.names = node.DATASETS.TEST[0]
    cfg.model.head.num_classes = len(MetadataCatalog.get(node.DATASETS.TRAIN[0]).thing_classes)


def _instantiate(cfg: DictConfig, section: str) -> Any:
    try:
        return instantiate(cfg[section])
    except TypeError as error:  # an argument that does not exist
        raise ValueError(f"{section}: {error}") from error


def _precision(options: DictConfig) -> torch.dtype:
    if not options.amp.enabled:
        return torch.float32
    # CPUs that compute in bfloat16 are common, in float16 rare.
    return torch.bfloat16 if options.device == "cpu" else torch.float16


def _train(cfg: DictConfig, model: nn.Module, *, resume: bool) -> None:
    options = cfg.train
    logger.debug(f"Model:\n{model}")
    config = copy.deepcopy(cfg)  # a model cannot be written to config.yaml
    cfg.optimizer.params.model = model
    optimizer = _instantiate(cfg, "optimizer")
    if options.get("clip_gradient_norm"):
        clip_full_model(optimizer, options.clip_gradient_norm)
    average = AveragedWeights(model, options.ema_decay) if options.get("ema_decay") else None
    evaluated = model if average is None else average.averaged_model
    device_ids = None if options.device == "cpu" else [comm.get_local_rank()]
    trainer = FiniteTrainer(
        create_ddp_model(model, **options.ddp, device_ids=device_ids),
        instantiate(cfg.dataloader.train),
        optimizer,
        precision=_precision(options),
    )
    checkpointer = PointCheckpointer(
        evaluated,
        options.output_dir,
        strictness=Strictness.TRAINING,
        trainer=weakref.proxy(trainer),
    )
    is_main = comm.is_main_process()
    if is_main:
        repair_metrics(os.path.join(options.output_dir, "metrics.json"))
    writers = default_writers(options.output_dir, options.max_iter) if is_main else []

    def evaluate() -> dict[str, Any]:
        results = _evaluate(cfg, evaluated)
        if is_main:
            show_evaluation(min(trainer.iter + 1, options.max_iter), results)
        return results

    trainer.register_hooks(
        [
            average,
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            ProgressReport() if is_main else None,
            hooks.PeriodicCheckpointer(checkpointer, **options.checkpointer) if is_main else None,
            hooks.EvalHook(options.eval_period, evaluate),
            hooks.PeriodicWriter(writers, period=options.log_period),
        ]
    )
    checkpoint = find_checkpoint(options.output_dir) if resume else None
    if checkpoint is None:
        checkpointer.load(options.init_checkpoint, checkpointables=[])
    else:
        checkpointer.load(checkpoint)
    if is_main:
        LazyConfig.save(config, os.path.join(options.output_dir, "config.yaml"))
    trainer.train(0 if checkpoint is None else trainer.iter + 1, options.max_iter)


def _evaluate(cfg: DictConfig, model: nn.Module) -> dict[str, Any]:
    with printing_to_log():
        return inference_on_dataset(
            model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
        )
