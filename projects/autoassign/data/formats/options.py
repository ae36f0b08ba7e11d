"""What the options of ``cfg.DATASETS.CUSTOM`` say about paths and splits."""

import re
from pathlib import Path

from detectron2.config import CfgNode

__all__ = ["dataset_name", "dataset_root", "split_list"]


def dataset_root(custom: CfgNode) -> Path:
    """Return the folder ``custom.ROOT``.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(custom.ROOT).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"DATASETS.CUSTOM.ROOT: {root} is not a folder")
    return root


def split_list(value: str) -> list[str]:
    """Split a comma-separated option; "" has no item."""
    return [item.strip() for item in value.split(",") if item.strip()]


def dataset_name(root: Path, label: str) -> str:
    """Return the name a split is registered as: readable, and safe in a file name."""
    return re.sub(r"[^\w.-]+", "_", f"{root.name}_{label}" if label else root.name)
