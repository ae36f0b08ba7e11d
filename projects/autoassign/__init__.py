"""Label assignments of dense detectors, AutoAssign and DSLA first, as a detectron2 project.

Importing the package registers :class:`PointDetector` and its backbones with detectron2.
"""

from .config_files import get_config_file

try:
    from .backbone import build_point_resnet_fpn_backbone
    from .config import add_autoassign_config
    from .detector import PointDetector
except (ImportError, OSError, RuntimeError) as error:
    # The package stays importable where detectron2 does not load, so that autoassign.doctor can
    # say what is wrong there. Whoever asks for more than that gets the error. OSError and
    # RuntimeError: a torchvision of another torch, whose libraries or operators do not load.
    _error = error

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise ImportError(
            f"autoassign.{name} needs what could not be imported; run python -m autoassign.doctor"
        ) from _error


__version__ = "0.1.0"

__all__ = [
    "PointDetector",
    "add_autoassign_config",
    "build_point_resnet_fpn_backbone",
    "get_config_file",
]
