"""Well-known datasets under $DETECTRON2_DATASETS, registered when this package is imported.

COCO is registered by detectron2. PASCAL VOC, which detectron2 registers too, is registered anew.
"""

import os
from pathlib import Path

from .objects365 import register_objects365
from .voc import register_voc
from .widerface import register_widerface

__all__ = ["register_builtin_datasets"]


def register_builtin_datasets(root: Path) -> None:
    """Register PASCAL VOC, Objects365 and WIDER FACE below a folder."""
    register_voc(root)
    register_objects365(root)
    register_widerface(root)


register_builtin_datasets(Path(os.getenv("DETECTRON2_DATASETS", "datasets")).expanduser())
