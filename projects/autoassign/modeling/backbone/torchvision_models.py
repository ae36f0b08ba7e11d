"""Any torchvision classification model as a bottom-up, cut where its strides change."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from detectron2.config import CfgNode, configurable
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from ...config import check_value, one_of
from ..layers import NORMS, convert_batch_norms

__all__ = ["TorchvisionBackbone", "check_torchvision_model"]

# Strides 8, 16 and 32 as powers of two.
_LEVELS = (3, 4, 5)
# A height and a width that differ, whose halves are no usual numbers of channels.
_IMAGE_SIZE = (7 * 32, 11 * 32)


@dataclass(frozen=True)
class _LayerOutput:
    """What a layer returned for an image of ``_IMAGE_SIZE``.

    Attributes:
        name: the layer's name in the model.
        level: its stride as a power of two.
        channels: number of channels.
        channels_last: whether it is (N, H, W, C) instead of (N, C, H, W).
    """

    name: str
    level: int
    channels: int
    channels_last: bool


@BACKBONE_REGISTRY.register()
class TorchvisionBackbone(Backbone):
    """A torchvision model up to stride 32; features c3, c4 and c5 have strides 8, 16 and 32.

    A feature is the output of the outermost layer that ends at its stride, the last of several:
    ``layer2`` of a ResNet, ``features.6`` of MobileNetV2. Parameters are those of the model below
    ``body.``.
    """

    @configurable
    def __init__(self, *, name: str, norm: str = "FrozenBN", freeze_at: int = 0) -> None:
        """
        Args:
            name: a classification model of :func:`torchvision.models.list_models`.
            norm: what its batch norms become, one of :data:`autoassign.modeling.layers.NORMS`.
            freeze_at: do not train the layers up to stride 2 ** ``freeze_at``; 0: train all.

        Raises:
            ValueError: there is no such model, norm or level, or the model has no features at
                one of the strides.
        """
        super().__init__()
        check_torchvision_model("MODEL.TORCHVISION.NAME", name)
        check_value("MODEL.TORCHVISION.NORM", norm, one_of(*NORMS))
        model = torchvision.models.get_model(name, weights=None)
        outputs = _layer_outputs(model, name)
        ends = _ends_of_levels(outputs)
        missing = [str(2**level) for level in _LEVELS if level not in ends]
        if missing:
            raise ValueError(
                f"MODEL.TORCHVISION.NAME is '{name}'; it has no features at stride "
                f"{' and '.join(missing)}"
            )
        frozen = _layers_up_to(freeze_at, outputs, ends, name)

        features = {f"c{level}": ends[level] for level in _LEVELS}
        self._out_features = list(features)
        self._out_feature_channels = {key: x.channels for key, x in features.items()}
        self._out_feature_strides = {key: 2**x.level for key, x in features.items()}
        self._channels_last = {key for key, x in features.items() if x.channels_last}
        self.body = create_feature_extractor(model, {x.name: key for key, x in features.items()})
        for parameter_name, parameter in self.body.named_parameters():
            parameter.requires_grad = not parameter_name.startswith(frozen)
        # detectron2's frozen batch norms cannot be traced: they come after the cut.
        convert_batch_norms(
            self.body, lambda layer: "FrozenBN" if f"{layer}.".startswith(frozen) else norm
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: object = None) -> dict[str, Any]:
        return {
            "name": cfg.MODEL.TORCHVISION.NAME,
            "norm": cfg.MODEL.TORCHVISION.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to (N, C, H / stride, W / stride) of each feature."""
        return {
            name: x.permute(0, 3, 1, 2) if name in self._channels_last else x
            for name, x in self.body(image).items()
        }


def check_torchvision_model(option: str, name: str) -> None:
    """
    Raises:
        ValueError: torchvision has no classification model of that name; near ones are named.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0) or names[:3]
        raise ValueError(
            f"{option} is '{name}'; torchvision has no such classification model, the nearest "
            f"names are {', '.join(near)}"
        )


def _layer_outputs(model: nn.Module, name: str) -> list[_LayerOutput]:
    """The outputs that are maps of a stride from 2 to 32, in the order in which layers end."""
    outputs: list[_LayerOutput] = []

    def record(layer_name: str, output: object) -> None:
        if not isinstance(output, Tensor) or output.dim() != 4:
            return
        for channels_last, size in ((False, output.shape[2:]), (True, output.shape[1:3])):
            for level in range(1, 6):
                if tuple(size) == tuple(side >> level for side in _IMAGE_SIZE):
                    channels = output.shape[3 if channels_last else 1]
                    outputs.append(_LayerOutput(layer_name, level, channels, channels_last))

    # On the meta device shapes are computed and nothing else.
    shapes_only = copy.deepcopy(model).to("meta").eval()
    for layer_name, layer in shapes_only.named_modules():
        layer.register_forward_hook(lambda _, __, output, key=layer_name: record(key, output))
    try:
        shapes_only(torch.empty(1, 3, *_IMAGE_SIZE, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"MODEL.TORCHVISION.NAME is '{name}'; it does not take images of any size ({error})"
        ) from error
    return outputs


def _ends_of_levels(outputs: Sequence[_LayerOutput]) -> dict[int, _LayerOutput]:
    """The outermost layer that ends at each level, the last of several."""
    ends: dict[int, _LayerOutput] = {}
    for output in outputs:
        end = ends.get(output.level)
        if end is None or output.name.count(".") <= end.name.count("."):
            ends[output.level] = output
    return ends


def _layers_up_to(
    level: int, outputs: Sequence[_LayerOutput], ends: dict[int, _LayerOutput], name: str
) -> tuple[str, ...]:
    """Prefixes of the parameters of the layers that end no later than ``level`` does."""
    if level == 0:
        return ()
    if level not in ends:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {level}; '{name}' can be frozen up to level "
            f"{', '.join(map(str, sorted(ends)))} (the stride is 2 to that power), 0 freezes "
            "nothing"
        )
    return tuple(f"{x.name}." for x in outputs[: outputs.index(ends[level]) + 1])
