"""Weight files of all kinds, read without running code that may be in them."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import replacing
from .addresses import download_url, fetch
from .restricted_pickle import INERT_GLOBALS, ForbiddenGlobalError, load_arrays, unwrap
from .safetensors_files import read_safetensors, write_safetensors

__all__ = ["check_weight_suffix", "local_weight_file", "read_weight_file", "write_weight_file"]

# torch.save's older files begin with the pickled number 0x1950a86a20f9469cfc6c.
_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"  # of protocol 2 and later
# Under which name tools keep the tensors: detectron2, MMDetection and pycls.
_MODEL_KEYS = ("model", "state_dict", "model_state")
_MISTAKEN_FOR_WEIGHTS = (
    (rb"\s*(<!doctype|<html|<head|<\?xml)", "it is a web page: the download went wrong"),
    (rb"version https://git-lfs", "it is a Git LFS pointer: `git lfs pull` fetches the file"),
)


def local_weight_file(path: str | os.PathLike[str]) -> str:
    """The local path of a weight file, which is fetched first where ``path`` is an address.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be fetched, or it is a folder.
        ValueError: the address has a part "..".
    """
    path = os.fspath(path)
    try:
        # "?matching_heuristics=True" is detectron2's.
        local = fetch(path.split("?")[0])
    except OSError as error:
        url = download_url(path)
        advice = f"; download {url} elsewhere and name that file" if "https://" in url else ""
        raise OSError(f"{path} cannot be fetched: {error}{advice}") from error
    if os.path.isdir(local):
        raise IsADirectoryError(f"{path} is a folder: name a weight file in it")
    if not os.path.isfile(local):
        raise FileNotFoundError(f"{path} does not exist")
    return local


def read_weight_file(path: str | os.PathLike[str], *, trust: bool = False) -> dict[str, Any]:
    """Read weights and what was saved beside them, of any tool.

    The content tells the kind of file: what ``torch.save`` writes, safetensors, or a pickle of
    NumPy arrays, which detectron2's model zoo has as .pkl. Nothing in it is run.

    Args:
        path: a file, or an address that detectron2's PathManager fetches ("detectron2://...",
            "https://...").
        trust: unpickle also what asks for other classes than tensors and arrays. Such a file can
            run any code, so this comes from the command line and never from a config.

    Returns:
        The checkpoint: "model" with the tensors or arrays by name, and what else was saved, such
        as "iteration". A file of tensors alone has them put under "model", and so are
        MMDetection's "state_dict" and pycls's "model_state". As in detectron2,
        "matching_heuristics" and "__author__" tell that the names of Caffe2 or pycls are still to
        be matched with those of the model.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be fetched.
        ValueError: it is no weight file, it is damaged, or it holds what is read with ``trust``
            only.
    """
    local = local_weight_file(path)
    reader = _reader(local, f"{path} cannot be read as a checkpoint")
    try:
        content = reader(local, trust)
    except ForbiddenGlobalError as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint without running code: it asks for {error}, "
            "where weights need only tensors and plain values; if you trust its author, "
            "`autoassign convert --trust --to tensors` makes a file of it that needs no trust"
        ) from error
    except ImportError as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    except Exception as error:  # unpickling may raise anything, and its text misleads
        raise ValueError(
            f"{path} cannot be read as a checkpoint: it is damaged, cut off or of another kind "
            f"({type(error).__name__})"
        ) from error
    checkpoint = _as_checkpoint(content)
    if checkpoint is None:
        raise ValueError(f"{path} is no checkpoint: it holds something else than named tensors")
    return checkpoint


def write_weight_file(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint as .pth, or one of weights and plain values as .safetensors.

    Raises:
        ValueError: the file has another suffix.
        ImportError: the package safetensors is needed and not installed.
        OSError: the file cannot be written; one that was there before is as it was.
    """
    path = Path(path)
    check_weight_suffix(path)
    with replacing(path) as unfinished:
        if path.suffix == ".safetensors":
            write_safetensors(unfinished, checkpoint)
            return
        try:
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # PyTorch's own, which hides that of the file
            raise OSError(getattr(error.__context__, "strerror", None) or error) from error


def check_weight_suffix(path: str | os.PathLike[str]) -> None:
    """Raise a ValueError unless a file to be written is called .pth or .safetensors."""
    if Path(path).suffix not in (".pth", ".safetensors"):
        raise ValueError(f"{path}: weights are written as .pth or .safetensors")


def _reader(path: str, sentence: str) -> Callable[[str, bool], Any]:
    """What reads a file, as told by its first bytes, given its path and whether it is trusted."""
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        raise ValueError(f"{sentence}: it is empty")
    for pattern, meaning in _MISTAKEN_FOR_WEIGHTS:
        if re.match(pattern, start, re.IGNORECASE):
            raise ValueError(f"{sentence}: {meaning}")
    if start.startswith(_ZIP):
        return _read_torch
    if start.startswith(_LEGACY_TORCH):
        # Until version 2.5 PyTorch ran the code in tar archives in spite of weights_only; one
        # can be made to begin like this.
        if tarfile.is_tarfile(path):
            raise ValueError(f"{sentence}: it is a tar archive")
        return _read_torch
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < os.path.getsize(path):
        return lambda path, trust: read_safetensors(path)
    if start.startswith(_PICKLE):
        return _read_pickle
    raise ValueError(
        f"{sentence}: it is neither a PyTorch file (.pth) nor safetensors nor a pickle of arrays "
        "(.pkl)"
    )


def _read_torch(path: str, trust: bool) -> Any:
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    # Before version 2.6 PyTorch can't be told of further names; then NumPy's are refused.
    known: contextlib.AbstractContextManager = contextlib.nullcontext()
    if torch.__version__ >= "2.6":  # not a str: it compares versions
        known = torch.serialization.safe_globals(INERT_GLOBALS)
    try:
        with known:
            return unwrap(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        # "... Unsupported global: GLOBAL numpy.x was not ..." in a paragraph of advice.
        forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
        if forbidden is None:
            raise
        raise ForbiddenGlobalError(forbidden[1]) from error


def _read_pickle(path: str, trust: bool) -> Any:
    with open(path, "rb") as file:
        content = pickle.load(file, encoding="latin1") if trust else load_arrays(file)
    if not isinstance(content, dict) or "model" in content:
        return content
    # The formats of Detectron, in Caffe2: models have "blobs", ImageNet weights have not.
    model = content.get("blobs", content)
    model = {name: array for name, array in model.items() if not name.endswith("_momentum")}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _as_checkpoint(content: Any) -> dict[str, Any] | None:
    """``content`` with its tensors under "model"; None if it has none."""
    if not isinstance(content, Mapping):
        return None
    key = next((key for key in _MODEL_KEYS if key in content), None)
    checkpoint = dict(content) if key else {"model": content}
    model = checkpoint["model"] = checkpoint.pop(key or "model")
    if not isinstance(model, Mapping) or not model:
        return None
    if not all(isinstance(value, torch.Tensor | np.ndarray) for value in model.values()):
        return None
    if key == "model_state":
        checkpoint |= {"__author__": "pycls", "matching_heuristics": True}
        tracked = "num_batches_tracked"
        checkpoint["model"] = {k: v for k, v in model.items() if not k.endswith(tracked)}
    return checkpoint
