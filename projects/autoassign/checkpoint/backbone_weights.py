"""Weights of classification models by several tools, for the backbone of a detector."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names
from tabulate import tabulate
from torch import Tensor

__all__ = ["check_backbone_coverage", "convert_backbone_weights"]

# Where a detector keeps the network that is pretrained.
_BOTTOM_UP = "backbone.bottom_up."
# Of the backbone's parameters that a file must have.
_LEAST_SHARE = 0.9
# What files lack for good reasons: Caffe2 folds the statistics into the affine parameters, shifts
# of deformable convolutions start at zero, the index follows from the size of the window.
_NOT_PRETRAINED = re.compile(
    r"running_mean$|running_var$|num_batches_tracked$|conv2_offset\.|relative_position_index$"
)

_logger = logging.getLogger(__name__)


def convert_backbone_weights(
    weights: Mapping[str, Any], model: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """Weights of a classification model, under the names they have in a detector.

    Every naming in ``_NAMINGS`` is tried, and the one that matches most tensors is taken. What
    matched goes to the log as a table.

    Args:
        weights: the tensors or arrays of a file.
        model: the tensors of the detector.

    Returns:
        The tensors whose name and shape match. None where there is nothing to convert: the file
        is that of a detector, or nothing in it matches.

    Raises:
        ValueError: the file has statistics of batch norms, and the backbone has other norms.
    """
    expected = {
        name.removeprefix(_BOTTOM_UP): tuple(tensor.shape)
        for name, tensor in model.items()
        if name.startswith(_BOTTOM_UP) and not name.endswith("num_batches_tracked")
    }
    if any(name.startswith(_BOTTOM_UP) for name in weights):
        return None
    renamed: dict[str, str] = {}
    matched: dict[str, str] = {}
    for naming in _NAMINGS:
        names = dict(zip(naming(list(weights)), weights, strict=True))
        matches = {
            new: old for new, old in names.items() if expected.get(new) == tuple(weights[old].shape)
        }
        if len(matches) > len(matched):
            renamed, matched = names, matches
    if not matched:
        return None
    for name in set(renamed) - set(expected):
        norm, _, statistic = name.rpartition(".")
        if statistic == "running_var" and f"{norm}.weight" in matched:
            raise ValueError(
                f"The weights were trained with batch norms ({renamed[name]}), and the norms of "
                "this config's backbone are of another kind"
            )
    _log_matches(matched, expected, list(weights))
    return {f"{_BOTTOM_UP}{new}": torch.as_tensor(weights[old]) for new, old in matched.items()}


def check_backbone_coverage(
    model: Mapping[str, Tensor], missing: Iterable[str], in_file: Iterable[str]
) -> None:
    """Refuse weights that leave the backbone, or more than a tenth of it, untrained.

    Args:
        model: the tensors of the detector.
        missing: names of those that were not loaded.
        in_file: names in the file, for the message.

    Raises:
        ValueError: fewer than nine tenths of the backbone's parameters were loaded.
    """
    names = [x for x in model if x.startswith(_BOTTOM_UP) and not _NOT_PRETRAINED.search(x)]
    loaded = len(set(names) - set(missing))
    if loaded < _LEAST_SHARE * len(names):
        raise ValueError(
            f"The weights have {loaded} of the {len(names)} parameters of this config's backbone, "
            f"so they are of another one: their names begin with {', '.join(list(in_file)[:3])}, "
            f"the backbone's with {', '.join(x.removeprefix(_BOTTOM_UP) for x in names[:3])}"
        )


def _resnet_names(names: list[str]) -> list[str]:
    """Of torchvision's and timm's ResNets: layer1.0.bn2.weight is res2.0.conv2.norm.weight."""
    renamed = []
    for name in names:
        name = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", name)
        name = re.sub(r"^layer(\d)\.", lambda layer: f"res{int(layer[1]) + 1}.", name)
        name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
        name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        renamed.append(name)
    return renamed


def _timm_swin_names(names: list[str]) -> list[str]:
    """timm's stages begin with the merging of patches that Microsoft's stages end with."""
    return [
        re.sub(r"^layers\.(\d)\.downsample\.", lambda x: f"layers.{int(x[1]) - 1}.downsample.", x)
        for x in names
    ]


_NAMINGS: Sequence[Callable[[list[str]], list[str]]] = (
    list,  # detectron2's own names, and Microsoft's of Swin
    _resnet_names,
    lambda names: [f"body.{name}" for name in names],  # TorchvisionBackbone
    _timm_swin_names,
    convert_basic_c2_names,
)


def _log_matches(matched: Mapping[str, str], expected: Iterable[str], in_file: list[str]) -> None:
    """One row for each part of the backbone, and what of the file was not used."""
    sources: dict[str, list[str]] = {}
    totals: Counter[str] = Counter()
    for name in expected:
        part = ".".join(name.removeprefix("body.").split(".")[:2])
        totals[part] += 1
        sources.setdefault(part, []).extend([matched[name]] if name in matched else [])
    rows = [(part, (sources[part] or [""])[0], len(sources[part]), totals[part]) for part in totals]
    unused = sorted(
        x for x in set(in_file) - set(matched.values()) if not x.endswith("num_batches_tracked")
    )
    _logger.info(
        "%d of the backbone's %d tensors matched by name and shape:\n%s\nNot used: %s",
        len(matched),
        totals.total(),
        tabulate(rows, headers=("backbone", "first in the file", "matched", "of")),
        ", ".join(unused) or "nothing",
    )
