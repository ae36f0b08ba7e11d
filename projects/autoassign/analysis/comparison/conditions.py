"""Equal conditions: what all configs of a comparison take from the first one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ...config import find_config, load_config, normalize_opts

__all__ = ["Candidate", "leaves", "load_candidates"]

# Data, schedule, optimizer, evaluation and the averaging of weights are the first config's.
_SHARED = ("DATASETS", "INPUT", "DATALOADER", "SOLVER", "TEST", "MODEL.EMA")
# The order of the colour channels goes with MODEL.WEIGHTS and MODEL.PIXEL_MEAN, which are each
# config's own.
_OWN = ("INPUT.FORMAT",)
# What this tool sets itself.
_RESERVED = ("OUTPUT_DIR", "SEED")


@dataclass
class Candidate:
    """One of the configs that are compared.

    Attributes:
        name: the file's stem: the label in tables and charts, the folder of its runs.
        file: the path of the config file.
        cfg: the config with the shared sections of the first one.
        replaced: the file's own values that these replaced, by key.
    """

    name: str
    file: str
    cfg: CfgNode
    replaced: dict[str, Any]


def load_candidates(config_files: Sequence[str], opts: Sequence[str]) -> list[Candidate]:
    """Load every config and give it the conditions of the first one.

    Args:
        config_files: paths, or names of configs that the package ships.
        opts: KEY VALUE pairs for all of them.

    Raises:
        FileNotFoundError: a config file is missing.
        ValueError: a file or an option has an unknown key or a value of the wrong type, a key is
            not to be given, a file name starts with a dot, or two have the same stem.
    """
    for key in normalize_opts(opts)[::2]:
        if key in _RESERVED:
            raise ValueError(f"{key} is set for every run (--output, --seeds): leave it out")
    files = [find_config(file) for file in config_files]
    names = [Path(file).stem for file in files]
    for name in names:
        same = [file for file in files if Path(file).stem == name]
        if name.startswith("."):
            raise ValueError(f"{same[0]} starts with a dot: rename a copy of it")
        if len(same) > 1:
            raise ValueError(
                f"{' and '.join(same)} would both be called {name}: rename a copy of one"
            )
    configs = [load_config(file, opts) for file in files]
    return [
        Candidate(name, file, cfg, _share_conditions(configs[0], cfg))
        for name, file, cfg in zip(names, files, configs, strict=True)
    ]


def _share_conditions(first: CfgNode, cfg: CfgNode) -> dict[str, Any]:
    """Give ``cfg`` the shared values of ``first``, in place; its own ones that differed."""
    shared = {key: value for key, value in leaves(first).items() if _is_shared(key)}
    replaced = {}
    for key, own in leaves(cfg).items():
        if key in shared and own != shared[key]:
            replaced[key] = own
            _set_leaf(cfg, key, copy.deepcopy(shared[key]))
    return replaced


def _is_shared(key: str) -> bool:
    return key not in _OWN and any(key.startswith(f"{section}.") for section in _SHARED)


def leaves(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dicts by their dotted keys."""
    result: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            result |= leaves(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def _set_leaf(cfg: CfgNode, key: str, value: Any) -> None:
    """Set one value by its dotted key, as it is (``merge_from_list`` would decode strings)."""
    *parents, name = key.split(".")
    for parent in parents:
        cfg = cfg[parent]
    cfg[name] = value
