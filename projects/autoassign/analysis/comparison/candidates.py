"""The configs of a comparison, under the conditions of the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ...checkpoint import follow_weights
from ...config import (
    flatten_options,
    load_config,
    own_options,
    set_options,
    strategy_names,
    strategy_options,
)

__all__ = ["Candidate", "load_candidates"]

# What all candidates take from the first one, with MODEL.EMA.
_SHARED_SECTIONS = ("DATASETS", "INPUT", "DATALOADER", "SOLVER", "TEST")
# Set for every trial.
_RESERVED = ("OUTPUT_DIR", "SEED")
_STRATEGY = "MODEL.LABEL_ASSIGNMENT.NAME"


@dataclass(frozen=True)
class Candidate:
    """One of the configs that are compared.

    Attributes:
        name: its label in tables and charts, and the folder of its trials.
        file: its config file, as it was given.
        cfg: the config to train.
        overridden: options of the file, and their values there, that the first config overrides.
    """

    name: str
    file: str
    cfg: CfgNode
    overridden: dict[str, Any]


def load_candidates(
    config_files: Sequence[str],
    opts: Sequence[str],
    strategies: Sequence[str] = (),
    variants: Sequence[str] = (),
) -> list[Candidate]:
    """Load every config and give it the conditions of the first one.

    Args:
        config_files: paths, or names of configs that the package ships.
        opts: KEY, VALUE, KEY, VALUE, ... for all of them.
        strategies: label assignments to train the only config file with; ["all"] for all that are
            registered, that of the config first. Each has the head options that it recommends,
            and the package's default of those that only others recommend, in place of the config
            file's; ``opts`` override both.
        variants: config files whose own options, without those of their ``_BASE_`` files, are
            laid over the only config file, one for each candidate. A label assignment other than
            that file's comes with its head options, as a strategy does.

    Raises:
        FileNotFoundError: a config file is missing.
        ValueError: a file, an option or a strategy is wrong, or two candidates have one name.
    """
    for key in opts[::2]:
        if key in _RESERVED:
            raise ValueError(f"{key} is set for every run (--output, --seeds): leave it out")
        if strategies and key == _STRATEGY:
            raise ValueError(f"{key} is set by --strategies: leave it out")
    files = list(config_files)
    if (strategies or variants) and len(files) != 1:
        option = "--strategies" if strategies else "--variants"
        raise ValueError(f"{option} needs one --config-file, not {len(files)}")
    if strategies:
        names = strategy_names(strategies)
        if list(strategies) == ["all"]:
            own = load_config(files[0], opts).MODEL.LABEL_ASSIGNMENT.NAME
            names.sort(key=lambda name: name != own)
        changes = [strategy_options(name) for name in names]
    elif variants:
        names = [Path(file).stem for file in variants]
        _check_names(names, variants)
        strategy = load_config(files[0], opts).MODEL.LABEL_ASSIGNMENT.NAME
        changes = [_variant(file, strategy) for file in variants]
    else:
        names = [Path(file).stem for file in files]
        changes = [[] for _ in files]
    if len(files) == 1:
        files *= len(names)
    _check_names(names, files)
    configs = [_load(file, [*own, *opts]) for file, own in zip(files, changes, strict=True)]
    architecture = configs[0].MODEL.META_ARCHITECTURE
    if (strategies or variants) and architecture != "PointDetector":
        raise ValueError(
            f"{files[0]}: MODEL.META_ARCHITECTURE is {architecture}; --strategies and --variants "
            "are for PointDetector, whose label assignment they change"
        )
    overridden = [_share_conditions(cfg, configs[0]) for cfg in configs]
    return [Candidate(*fields) for fields in zip(names, files, configs, overridden, strict=True)]


def _load(file: str, opts: Sequence[Any]) -> CfgNode:
    cfg = load_config(file, opts)
    follow_weights(cfg, set_options(file, opts))
    return cfg


def _variant(file: str, strategy: str) -> list[Any]:
    """KEY VALUE pairs of a file's own options, after the recipe of another label assignment."""
    own = own_options(file)
    own.pop("OUTPUT_DIR", None)
    shared = [x for x in own if not x.startswith("MODEL.") or x.startswith("MODEL.EMA.")]
    if shared:
        raise ValueError(
            f"{file} sets {', '.join(shared)}, which all runs take from --config-file: a variant "
            "may set other options of MODEL only"
        )
    its_strategy = load_config(file).MODEL.LABEL_ASSIGNMENT.NAME
    has_another = _STRATEGY in set_options(file) and its_strategy != strategy
    pairs = [x for pair in own.items() for x in pair]
    return [*(strategy_options(its_strategy) if has_another else ()), *pairs]


def _check_names(names: Sequence[str], files: Sequence[str]) -> None:
    for name, file in zip(names, files, strict=True):
        if name.startswith("."):
            raise ValueError(f"{file} starts with a dot: rename a copy of it")
        same = [each for each, other in zip(files, names, strict=True) if other == name]
        if len(same) > 1:
            raise ValueError(f"{' and '.join(same)} are both called {name}: rename a copy of one")


def _share_conditions(cfg: CfgNode, first: CfgNode) -> dict[str, Any]:
    """Replace the shared options of ``cfg`` by those of ``first``.

    Returns:
        The replaced values by their keys.
    """
    own = flatten_options(cfg)
    # The order of the channels belongs to MODEL.WEIGHTS and MODEL.PIXEL_MEAN.
    input_format = cfg.INPUT.FORMAT
    for section in _SHARED_SECTIONS:
        cfg[section] = first[section].clone()
    cfg.MODEL.EMA = first.MODEL.EMA.clone()
    cfg.INPUT.FORMAT = input_format
    used = flatten_options(cfg)
    return {key: value for key, value in own.items() if value != used[key]}
