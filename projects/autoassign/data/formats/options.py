"""What the options of ``cfg.DATASETS.CUSTOM`` say about paths and splits."""

import re
from collections.abc import Callable
from pathlib import Path

from detectron2.config import CfgNode

from .image_index import list_files

__all__ = ["TEST_NAMES", "dataset_name", "dataset_root", "split_folders", "split_list"]

# Names that tools give to the splits.
_TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("val", "valid", "validation", "test")


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


def split_folders(root: Path, is_wanted: Callable[[Path], bool]) -> tuple[list[str], list[str]]:
    """Find a training and a test folder below ``root`` by their names, such as train and valid.

    Args:
        root: the folder to look into.
        is_wanted: which files a split needs; folders without any are left out.

    Returns:
        The names of at most one training and one test folder; none without a training folder.
    """

    def first(names: tuple[str, ...]) -> list[str]:
        return [name for name in names if any(map(is_wanted, list_files(root / name)))][:1]

    train = first(_TRAIN_NAMES)
    return train, first(TEST_NAMES) if train else []


def dataset_name(root: Path, label: str) -> str:
    """Return the name a split is registered as: readable, and safe in a file name."""
    return re.sub(r"[^\w.-]+", "_", f"{root.name}_{label}" if label else root.name)
