"""Read the data and build the models of a comparison before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from detectron2.modeling import build_model

from ...config import check_values
from ...data import register_custom_datasets, resolve_num_classes
from ...engine import best_metric, build_optimizer, check_average_options, check_evolution_options
from ...runs import check_weights_exist
from .candidates import Candidate

__all__ = ["check_trainable"]


def check_trainable(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Read the data once and build every model, so that a mistake is found before any training.

    Returns:
        The names of the test datasets.

    Raises:
        ValueError, FileNotFoundError: data or options are wrong; the message names the config.
    """
    data = candidates[0].cfg.clone()
    with tempfile.TemporaryDirectory() as folder:
        data.OUTPUT_DIR = folder
        register_custom_datasets(data)
        if not data.DATASETS.TEST:
            raise ValueError(f"{candidates[0].file}: DATASETS.TEST names no dataset to compare on")
        for candidate in candidates:
            cfg = candidate.cfg.clone()
            cfg.DATASETS = data.DATASETS
            cfg.MODEL.DEVICE = "cpu"
            try:
                check_values(cfg)
                check_weights_exist(cfg.MODEL.WEIGHTS)
                resolve_num_classes(cfg)
                best_metric(cfg)
                check_average_options(cfg)
                model = build_model(cfg)
                check_evolution_options(cfg, model)
                build_optimizer(cfg, model)
            except Exception as error:  # building a model raises many types
                raise ValueError(f"{candidate.file}: {error}") from error
    return tuple(data.DATASETS.TEST)
