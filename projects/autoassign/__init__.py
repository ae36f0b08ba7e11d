"""Label assignments of dense detectors, AutoAssign and DSLA first, as a detectron2 project.

The names below are imported on first use, so that ``autoassign --help`` does not wait for torch.
Using any of them registers :class:`PointDetector` and its backbones with detectron2.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import add_autoassign_config, get_config_file, load_config
    from .modeling import PointDetector, build_point_fpn_backbone

__version__ = "0.2.0.dev0"

__all__ = [
    "PointDetector",
    "add_autoassign_config",
    "build_point_fpn_backbone",
    "get_config_file",
    "load_config",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        modeling = importlib.import_module(".modeling", __name__)
    except (ImportError, OSError, RuntimeError) as error:
        # OSError and RuntimeError: a torchvision built for another torch.
        raise ImportError(f"autoassign.{name} cannot be imported: see autoassign doctor") from error
    config = importlib.import_module(".config", __name__)
    return getattr(config if hasattr(config, name) else modeling, name)
