"""Published weights: where they are, and a mirror of converted ones.

``autoassign://COCO-Detection/autoassign_R_50_FPN_1x.yaml`` names the weights of a shipped config
wherever a weight file is expected. They are looked for in the mirror, a folder or an address that
the environment variable AUTOASSIGN_MODEL_ZOO names.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from detectron2.utils.file_io import PathHandler, PathManager

from ..config import get_config_file
from .addresses import fetch, is_address

__all__ = ["MIRROR_VARIABLE", "PUBLISHED", "PublishedWeights", "check_published", "zoo_weights"]

MIRROR_VARIABLE = "AUTOASSIGN_MODEL_ZOO"
_PREFIX = "autoassign://"
_SUFFIXES = (".pth", ".safetensors")


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that another project publishes in its own format.

    Attributes:
        source: the project.
        url: of the file; of a page that leads to it where there is no permanent address.
        sha256: its beginning; "" where it is not published.
        licence: of the weights' repository; "" where it is not known.
        box_ap: as published, on COCO val 2017.
    """

    source: str
    url: str
    sha256: str
    licence: str
    box_ap: float


_OPENMMLAB = "https://download.openmmlab.com/mmdetection/v2.0/"

# By shipped config. Converted ones are not hosted yet.
PUBLISHED = {
    "COCO-Detection/autoassign_R_50_FPN_1x.yaml": PublishedWeights(
        source="MMDetection",
        url=f"{_OPENMMLAB}autoassign/auto_assign_r50_fpn_1x_coco/"
        "auto_assign_r50_fpn_1x_coco_20210413_115540-5e17991f.pth",
        sha256="5e17991f",
        licence="Apache-2.0",
        box_ap=40.4,
    ),
    "COCO-Detection/fcos_R_50_FPN_1x.yaml": PublishedWeights(
        source="MMDetection",
        url=f"{_OPENMMLAB}fcos/fcos_center-normbbox-centeronreg-giou_r50_caffe_fpn_gn-head_1x_coco/"
        "fcos_center-normbbox-centeronreg-giou_r50_caffe_fpn_gn-head_1x_coco-0a0d75a8.pth",
        sha256="0a0d75a8",
        licence="Apache-2.0",
        box_ap=38.7,
    ),
    "COCO-Detection/atss_R_50_FPN_1x.yaml": PublishedWeights(
        source="MMDetection",
        url=f"{_OPENMMLAB}atss/atss_r50_fpn_1x_coco/atss_r50_fpn_1x_coco_20200209-985f7bd0.pth",
        sha256="985f7bd0",
        licence="Apache-2.0",
        box_ap=39.4,
    ),
    **{
        f"COCO-Detection/{name}.yaml": PublishedWeights(
            source="DSLA's authors",
            url="https://github.com/YonghaoHe/DSLA",
            sha256="",
            licence="",
            box_ap=box_ap,
        )
        for name, box_ap in (
            ("dsla_R_50_FPN_1x", 38.1),
            ("dsla_R_101_DCN_FPN_2x", 46.6),
            ("dsla_Swin_S_FPN_3x", 49.2),
        )
    },
}


def zoo_weights(config_path: str) -> str:
    """The file or address of a shipped config's weights in the mirror.

    Args:
        config_path: such as ``"COCO-Detection/autoassign_R_50_FPN_1x.yaml"``.

    Raises:
        FileNotFoundError: there is no such config, or the mirror is not set or lacks its weights;
            the message says where they are published and how they are converted.
    """
    get_config_file(config_path)  # raises
    stem = config_path.removesuffix(".yaml")
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if is_address(mirror):
        return f"{mirror.rstrip('/')}/{stem}.pth"
    if mirror:
        for suffix in _SUFFIXES:
            path = Path(mirror, stem + suffix)
            if path.is_file():
                return str(path)
        problem = f"{mirror} ({MIRROR_VARIABLE}) has no {stem}.pth"
    else:
        problem = f"no weights of {config_path} are hosted, and {MIRROR_VARIABLE} is not set"
    raise FileNotFoundError(f"{problem}; {_how_to_get(config_path)}")


def _how_to_get(config_path: str) -> str:
    published = PUBLISHED.get(config_path)
    if published is None:
        return "none are published"
    output = f"${MIRROR_VARIABLE}/{config_path.removesuffix('.yaml')}.pth"
    facts = f"{published.box_ap} AP" + (f", {published.licence}" if published.licence else "")
    source, place = published.url, ""
    if not published.sha256:
        source, place = "FILE", f" at {published.url}"
    command = f"`autoassign convert {source} {output}`"
    if not Path(os.environ.get(MIRROR_VARIABLE, "")).is_absolute():
        command = f"`export {MIRROR_VARIABLE}=FOLDER`, then {command}"
    return f"{published.source} publishes some ({facts}){place}: {command}"


def check_published(source: str, local: str) -> None:
    """Check the hash that the publisher of a downloaded file gives.

    Args:
        source: its address or name; others than those of :data:`PUBLISHED` are not checked.
        local: the file.

    Raises:
        ValueError: it is another file.
    """
    name = source.rpartition("/")[2]
    for published in PUBLISHED.values():
        if published.sha256 and published.url.endswith(f"/{name}"):
            found = hashlib.sha256(Path(local).read_bytes()).hexdigest()
            if not found.startswith(published.sha256):
                raise ValueError(
                    f"{local} is not the file that {published.source} published as {name}: its "
                    f"SHA-256 begins with {found[:8]}, not {published.sha256}"
                )


class _ZooPathHandler(PathHandler):
    """Lets detectron2's PathManager read weights by their zoo name."""

    def _get_supported_prefixes(self) -> list[str]:
        return [_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        config_path = path.removeprefix(_PREFIX)
        address = zoo_weights(config_path)
        try:
            return fetch(address)
        except HTTPError as error:
            raise OSError(f"{address}: {error}; {_how_to_get(config_path)}") from error


PathManager.register_handler(_ZooPathHandler())
