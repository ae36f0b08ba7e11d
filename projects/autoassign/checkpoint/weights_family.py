"""What pretrained weights expect of their input, and where the blocks have their stride."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import yaml
from detectron2.config import CfgNode

from ..config import refuse_nested_aliases
from .addresses import TORCHVISION, is_address, torchvision_weights
from .description import CheckpointDescription
from .weight_files import read_weight_file

__all__ = ["IMAGENET", "MSRA", "WeightsFamily", "follow_weights", "weights_family"]


@dataclass(frozen=True)
class WeightsFamily:
    """Weights that were trained alike.

    Attributes:
        name: for messages.
        input_format: order of the channels, "BGR" or "RGB".
        pixel_mean: mean of each channel, in that order.
        pixel_std: deviation of each channel, in that order.
        stride_in_1x1: whether the bottleneck blocks of its ResNets have their stride in the first
            1×1 convolution, instead of the 3×3.
    """

    name: str
    input_format: str
    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    stride_in_1x1: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The config options that follow from the weights, by key."""
        return {
            "INPUT.FORMAT": self.input_format,
            "MODEL.PIXEL_MEAN": list(self.pixel_mean),
            "MODEL.PIXEL_STD": list(self.pixel_std),
            "MODEL.RESNETS.STRIDE_IN_1X1": self.stride_in_1x1,
        }


_MEAN_BGR = (103.530, 116.280, 123.675)
MSRA = WeightsFamily("MSRA", "BGR", _MEAN_BGR, (1.0, 1.0, 1.0), stride_in_1x1=True)
# detectron2's catalog: a deviation of 1 for all that Caffe2 wrote.
_CAFFE2 = WeightsFamily("Caffe2", "BGR", _MEAN_BGR, (1.0, 1.0, 1.0))
_FAIR = WeightsFamily("FAIR", "BGR", _MEAN_BGR, (57.375, 57.120, 58.395))
IMAGENET = WeightsFamily(
    "torchvision", "RGB", (123.675, 116.280, 103.530), (58.395, 57.120, 57.375)
)
_BY_ADDRESS = {
    "detectron2://ImageNetPretrained/MSRA/": MSRA,
    "catalog://ImageNetPretrained/MSRA/": MSRA,
    "catalog://ImageNetPretrained/FAIR/": _CAFFE2,
    "detectron2://ImageNetPretrained/FAIR/": _FAIR,
    "detectron2://ImageNetPretrained/torchvision/": IMAGENET,
    "https://download.pytorch.org/models/": IMAGENET,
    "https://github.com/SwinTransformer/storage/": IMAGENET,
}
# The first layer as torchvision's and timm's models and Microsoft's Swin name it. Files with
# detectron2's names do not tell what they were trained with.
_IMAGENET_NAMES = re.compile(r"(conv1|features|stem\.0|layers|patch_embed)\.")


def weights_family(weights: str) -> WeightsFamily | None:
    """The family of ``MODEL.WEIGHTS``, by its address or by what is in the file.

    Returns:
        None for weights that tell nothing, and where there is no such local file.

    Raises:
        OSError: an address cannot be fetched.
        ValueError: the file is no checkpoint, or torchvision has no such weights.
    """
    if weights.startswith(TORCHVISION):
        preset = torchvision_weights(weights).transforms()
        mean, std = ([255 * x for x in values] for values in (preset.mean, preset.std))
        return WeightsFamily("torchvision", "RGB", mean, std)
    for address, family in _BY_ADDRESS.items():
        if weights.startswith(address):
            return family
    if not is_address(weights) and not os.path.isfile(weights.split("?")[0]):
        return None
    checkpoint = read_weight_file(weights)
    description = CheckpointDescription.from_checkpoint(checkpoint, source=weights)
    if description is not None:
        return _family_of_config(description.config)
    is_imagenet = any(_IMAGENET_NAMES.match(name) for name in checkpoint["model"])
    return IMAGENET if is_imagenet else None


def _family_of_config(text: str) -> WeightsFamily | None:
    """What a detector was trained with, by the config inside its checkpoint."""
    try:
        refuse_nested_aliases(text)
        config = yaml.safe_load(text)
        model = config["MODEL"]
        return WeightsFamily(
            "trained here",
            config["INPUT"]["FORMAT"],
            model["PIXEL_MEAN"],
            model["PIXEL_STD"],
            model["RESNETS"]["STRIDE_IN_1X1"],
        )
    except (KeyError, TypeError, yaml.YAMLError):
        return None  # of another version


def follow_weights(cfg: CfgNode, chosen: Collection[str]) -> None:
    """Give the options that nobody chose the values that ``MODEL.WEIGHTS`` needs, in place.

    These are the order of the channels, pixel mean and deviation, and the place of a ResNet's
    strides.

    Args:
        cfg: a config.
        chosen: keys of the options that were set, see :func:`autoassign.config.set_options`.

    Raises:
        OSError: the weights cannot be fetched.
        ValueError: a chosen option contradicts the weights; see also :func:`weights_family`.
    """
    family = weights_family(cfg.MODEL.WEIGHTS)
    if family is None:
        return
    for key, needed in family.options.items():
        value = attrgetter(key)(cfg)
        if key not in chosen:
            cfg.merge_from_list([key, needed])
        elif not _equal(value, needed):
            raise ValueError(
                f"{key} is {value}, but MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} ({family.name}) "
                f"needs {needed}; where it is not set, it follows from the weights"
            )


def _equal(value: Any, needed: Any) -> bool:
    if not isinstance(needed, list):
        return value == needed
    # 123.675 and 255 · 0.485 are meant to be the same.
    is_close = partial(math.isclose, abs_tol=0.01)
    return len(value) == len(needed) and all(map(is_close, value, needed))
