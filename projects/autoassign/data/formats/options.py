"""What the options of ``cfg.DATASETS.CUSTOM`` say about paths and splits."""

import re
from collections.abc import Callable
from pathlib import Path

from detectron2.config import CfgNode

__all__ = ["TEST_NAMES", "dataset_name", "dataset_root", "split_list", "usual_splits"]

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


def usual_splits(root: Path, is_split: Callable[[Path], bool]) -> tuple[list[str], list[str]]:
    """Find a training and a test split below ``root`` by their names, such as train and valid.

    Args:
        root: the folder to look into.
        is_split: whether a path below it, which need not exist, stands for a split.

    Returns:
        The names of at most one training and one test split; none without a training split.
    """
    # As written, such as Train. Not every split is a folder: VOC has lists.
    entries = sorted(root.iterdir()) if root.is_dir() else []
    folders = {path.name.lower(): path.name for path in entries if path.is_dir()}

    def first(names: tuple[str, ...]) -> list[str]:
        as_written = [folders.get(name, name) for name in names]
        return [name for name in as_written if is_split(root / name)][:1]

    train = first(_TRAIN_NAMES)
    return train, first(TEST_NAMES) if train else []


def dataset_name(root: Path, label: str) -> str:
    """Return the name a split is registered as: readable, and safe in a file name."""
    return re.sub(r"[^\w.-]+", "_", f"{root.name}_{label}" if label else root.name)
