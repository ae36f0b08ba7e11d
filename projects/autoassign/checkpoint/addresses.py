"""Addresses of pretrained weights; torchvision's are torchvision://resnet50/IMAGENET1K_V1."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any
from urllib.parse import unquote

import torchvision
from detectron2.checkpoint.catalog import ModelCatalog
from detectron2.utils.file_io import Detectron2Handler, PathHandler, PathManager
from iopath.common.file_io import get_cache_dir
from torchvision.models import WeightsEnum

from ..modeling import check_torchvision_model

__all__ = ["TORCHVISION", "download_url", "fetch", "is_address", "torchvision_weights"]

TORCHVISION = "torchvision://"
_CATALOG = "catalog://"
_WEB = ("http://", "https://", "ftp://")


class _TorchvisionHandler(PathHandler):
    """Fetches ``torchvision://`` into the folder where ``detectron2://`` is kept."""

    def _get_supported_prefixes(self) -> list[str]:
        return [TORCHVISION]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(download_url(path), force=force, **kwargs)


PathManager.register_handler(_TorchvisionHandler())


def is_address(path: str) -> bool:
    """Whether ``path`` is to be fetched, such as "https://..." or "detectron2://..."."""
    return "://" in path


def fetch(path: str) -> str:
    """The local path of ``path``; what an address names is downloaded once.

    Raises:
        ValueError: the address has a part "..".
        OSError: the address cannot be fetched.
    """
    if not is_address(path):
        return PathManager.get_local_path(path)
    # iopath joins the path of the address to that of its cache.
    if ".." in re.split(r"[/\\?#]", unquote(path)):
        raise ValueError(f"{path}: an address of weights must not have a part '..'")
    if not path.startswith(_WEB):
        return PathManager.get_local_path(path)
    # iopath's cache does not distinguish hosts.
    folder = hashlib.sha256(path.encode()).hexdigest()[:16]
    return PathManager.get_local_path(path, cache_dir=os.path.join(get_cache_dir(), folder))


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
