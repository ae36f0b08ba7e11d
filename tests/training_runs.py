"""Whole runs of the command line, in this process and on the CPU, with a very narrow model."""

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser
from detectron2.utils.logger import setup_logger
from narrow_model import NARROW

from autoassign.cli.train import main
from autoassign.engine import setup_config

CONFIG = "quickstart/autoassign_shapes.yaml"

# Every location is a detection, so that the AP of a model that has learned nothing is a number.
SMALL_RUN: tuple[object, ...] = (
    *NARROW,
    *("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0),
    *("INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MIN_SIZE_TEST", 96, "DATALOADER.NUM_WORKERS", 0),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 0),
    *("SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 2),
)


def parse(root: Path, output: Path, *options: object, flags: tuple[str, ...] = ()) -> Any:
    """Arguments of train_net.py for a small run on the shapes in ``root``."""
    folders = ["DATASETS.CUSTOM.ROOT", root, "OUTPUT_DIR", output]
    argv = ["--config-file", CONFIG, *flags, *SMALL_RUN, *folders, *options]
    return default_argument_parser().parse_args([str(x) for x in argv])


def run(root: Path, output: Path, *options: object, flags: tuple[str, ...] = ()) -> Any:
    """Train or evaluate; what :func:`autoassign.cli.train.main` returns."""
    with process_state_kept():
        return main(parse(root, output, *options, flags=flags))


def set_up(args: argparse.Namespace) -> CfgNode:
    with process_state_kept():
        return setup_config(args)


def metrics(output: Path) -> list[dict[str, float]]:
    """The rows of metrics.json by iteration."""
    rows = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    return sorted(rows, key=lambda row: row["iteration"])


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """Loggers and catalogs as they were, whatever a run sets up."""
    loggers = [logging.getLogger(name) for name in ("autoassign", "detectron2", "fvcore")]
    handlers = [list(logger.handlers) for logger in loggers]
    propagate = [logger.propagate for logger in loggers]
    catalogs = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    try:
        yield
    finally:
        for logger, before, value in zip(loggers, handlers, propagate, strict=True):
            logger.handlers[:] = before
            logger.propagate = value
        for catalog, data in catalogs:
            catalog.data = data
        # It remembers which folders have handlers.
        setup_logger.cache_clear()
