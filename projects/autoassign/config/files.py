"""Where the project's config files are, in a checkout and in an installed wheel."""

import difflib
import os
from pathlib import Path

__all__ = ["find_config", "get_config_file"]

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries the files inside the package; a checkout, also one installed with `pip install
# -e .`, has them at its top, two folders above the package.
_CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")


def get_config_file(config_path: str) -> str:
    """Return the path of one of the project's configs, as ``detectron2.model_zoo`` does of its own.

    Args:
        config_path: file name relative to ``configs/``, such as
            ``"COCO-Detection/autoassign_R_50_FPN_1x.yaml"``.

    Returns:
        The path of that file, to be given to ``cfg.merge_from_file``.

    Raises:
        FileNotFoundError: there is no such config; the message has the nearest names.
    """
    folder = next((folder for folder in _CONFIG_FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"no configs folder: looked in {', '.join(map(str, _CONFIG_FOLDERS))}"
        )
    file = folder / config_path
    if not file.is_file():
        paths = [*folder.rglob("*.yaml"), *folder.glob("lazy/*.py")]
        shipped = [path.relative_to(folder).as_posix() for path in paths]
        nearest = difflib.get_close_matches(config_path, shipped, n=3, cutoff=0)
        raise FileNotFoundError(
            f"{config_path} is neither a file nor a config of {folder}, where the nearest names "
            f"are {', '.join(nearest)}"
        )
    return str(file)


def find_config(config_file: str) -> str:
    """Return the path of a config that is named by its path or as the package ships it.

    Raises:
        FileNotFoundError: there is neither; "" is returned as it is.
    """
    if config_file and not os.path.exists(config_file):
        return get_config_file(config_file)
    return config_file
