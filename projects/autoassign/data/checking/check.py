"""Checks of datasets, written as JSON and as a figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from tqdm import tqdm

from ..catalog import load_table
from ..duplicates import near_duplicates, shared_images
from ..ground_truth import write_json
from ..table import BoxTable
from .figure import draw_statistics
from .statistics import InputScale, Statistics, measure

__all__ = ["check_datasets"]

_MAX_PAIRS = 1000


def check_datasets(
    cfg: CfgNode, names: Sequence[str], output_dir: Path, *, find_duplicates: bool = True
) -> dict[str, Any]:
    """Check registered datasets, and write check.json and check.png.

    Args:
        cfg: its options of image sizes and levels are used.
        names: of the datasets, which have the same classes.
        output_dir: the folder to write to.
        find_duplicates: whether to search for look-alikes in two datasets, which reads all images.

    Returns:
        The content of check.json.

    Raises:
        OSError, ValueError: a dataset cannot be read.
    """
    scale = InputScale.from_config(cfg)
    statistics: dict[str, Statistics] = {}
    content: dict[str, Any] = {
        "trained_with": {
            "short_side": scale.short_side,
            "max_side": scale.max_side,
            "strides": list(scale.strides),
        },
        "datasets": {},
    }
    tables: dict[str, BoxTable] = {}
    for name in dict.fromkeys(names):
        loaded = load_table(name)
        tables[name] = loaded.table
        statistics[name] = measure(
            loaded.table, loaded.class_names, scale, partial(_bar, f"measuring {name}")
        )
        content["datasets"][name] = {
            "summary": loaded.report.summary,
            "suspicions": loaded.report.suspicions,
            **statistics[name].as_dict(),
        }
    content["images_in_two_datasets"] = [
        _compare(one, other, tables, find_duplicates)
        for one, other in itertools.combinations(tables, 2)
    ]
    write_json(output_dir / "check.json", content)
    draw_statistics(statistics, scale, output_dir / "check.png")
    return content


def _bar(title: str, parts: Iterable[Any], total: int) -> Iterable[Any]:
    # None if stderr is no terminal, or in the first second.
    return tqdm(parts, desc=title, total=total, leave=False, disable=None, delay=1)


def _compare(
    one: str, other: str, tables: dict[str, BoxTable], find_duplicates: bool
) -> dict[str, Any]:
    files, others = tables[one].paths(), tables[other].paths()
    shared, rest = shared_images(files, others)
    pairs: list[tuple[str, str]] | None = None
    if find_duplicates:
        pairs = near_duplicates(files, rest, progress=partial(_bar, "comparing images"))
    return {
        "datasets": [one, other],
        "same_files": shared[:_MAX_PAIRS],
        "num_same_files": len(shared),
        "look_alike": None if pairs is None else [list(x) for x in pairs[:_MAX_PAIRS]],
        "num_look_alike": None if pairs is None else len({b for _, b in pairs}),
    }
