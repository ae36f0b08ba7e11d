"""Addresses of pretrained weights; torchvision's are torchvision://resnet50/IMAGENET1K_V1."""

from __future__ import annotations

from typing import Any

import torchvision
from detectron2.checkpoint.catalog import ModelCatalog
from detectron2.utils.file_io import Detectron2Handler, PathHandler, PathManager
from torchvision.models import WeightsEnum

from ..modeling import check_torchvision_model

__all__ = ["TORCHVISION", "download_url", "torchvision_weights"]

TORCHVISION = "torchvision://"
_CATALOG = "catalog://"


class _TorchvisionHandler(PathHandler):
    """Fetches ``torchvision://`` into the folder where ``detectron2://`` is kept."""

    def _get_supported_prefixes(self) -> list[str]:
        return [TORCHVISION]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(download_url(path), force=force, **kwargs)


PathManager.register_handler(_TorchvisionHandler())


def download_url(address: str) -> str:
    """Where a browser finds what ``address`` names.

    Raises:
        ValueError: see :func:`torchvision_weights`.
    """
    if address.startswith(TORCHVISION):
        return torchvision_weights(address).url
    if address.startswith(_CATALOG):
        return ModelCatalog.get(address.removeprefix(_CATALOG))
    prefix = Detectron2Handler.PREFIX
    if address.startswith(prefix):
        return Detectron2Handler.S3_DETECTRON2_PREFIX + address.removeprefix(prefix)
    return address


def torchvision_weights(address: str) -> WeightsEnum:
    """torchvision's entry for ``torchvision://MODEL/WEIGHTS``.

    Raises:
        ValueError: torchvision has no such model, or no such weights of it.
    """
    model, _, name = address.removeprefix(TORCHVISION).partition("/")
    check_torchvision_model(f"MODEL.WEIGHTS is {address}: the model", model)
    known = torchvision.models.get_model_weights(model).__members__
    if name not in known:
        raise ValueError(
            f"MODEL.WEIGHTS is {address}; torchvision's weights of {model} are {', '.join(known)}"
        )
    return known[name]
