"""Pickles of NumPy arrays, read without running what is in them.

detectron2's model zoo keeps its weights so. A pickle is a program that may call any function; the
reader below knows the few names that arrays are made of, and gives each a class of its own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import numpy as np

__all__ = ["INERT_GLOBALS", "ForbiddenGlobalError", "load_arrays", "unwrap"]


def load_arrays(file: BinaryIO) -> Any:
    """Read a pickle of NumPy arrays, dicts, lists, tuples, strings, bytes, numbers and None.

    Args:
        file: opened for reading. Strings of Python 2 are taken as Latin-1, as detectron2 does.

    Raises:
        ForbiddenGlobalError: the pickle asks for anything else.
        Exception: it is damaged; unpickling may raise anything.
    """
    return unwrap(_ArrayUnpickler(file, encoding="latin1").load())


class ForbiddenGlobalError(pickle.UnpicklingError):
    """A pickle asks for a class or a function that arrays do not need."""


class _Dtype:
    """A data type of numbers, as a pickle describes it: its code, then its byte order."""

    def __init__(self, code: str | bytes, *flags: object) -> None:
        self.value = np.dtype(code.decode() if isinstance(code, bytes) else code)
        # Others hold Python objects, or fields whose description NumPy trusts.
        if self.value.kind not in "biufc":
            raise ForbiddenGlobalError(f"an array of {self.value}")

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array, as a pickle describes it: nothing at first, then its shape, type and bytes."""

    value: Any  # np.ndarray, or a number

    def __init__(self, *start: object) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        self._fill(data, dtype, shape, "F" if is_fortran else "C")

    def _fill(
        self, data: bytes | str, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]
    ) -> None:
        if isinstance(data, str):  # Python 2's
            data = data.encode("latin1")
        # A copy, because an array that shares the memory of bytes cannot be written to.
        self.value = np.frombuffer(data, dtype.value).copy().reshape(shape, order=order)


class _ArrayFromBuffer(_Array):
    def __init__(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> None:
        self._fill(data, dtype, shape, order)


class _Scalar(_Array):
    def __init__(self, dtype: _Dtype, data: bytes | str) -> None:
        self._fill(data, dtype, (), "C")
        self.value = self.value.item()


class _Bytes(bytes):
    def __new__(cls, text: str = "", encoding: str = "latin1") -> _Bytes:
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("bytes have no state")


class _LeftOut:
    """What is of no use here; it is read and dropped."""

    value = None

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# The names that pickles of arrays contain, in all protocols, of NumPy 1 and NumPy 2. Classes that
# have a __setstate__ and dict are all there is: a pickle sets attributes of whatever has none.
_KNOWN: dict[str, type] = {
    "_codecs.encode": _Bytes,
    "__builtin__.bytes": _Bytes,  # without argument, for b""
    "collections.OrderedDict": dict,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _Scalar,
    "numpy._core.multiarray.scalar": _Scalar,
    "numpy.core.numeric._frombuffer": _ArrayFromBuffer,
    "numpy._core.numeric._frombuffer": _ArrayFromBuffer,
}

# For torch.load, which reads tensors, OrderedDict and bytes itself: NumPy's arrays and numbers, and
# the curves that MMDetection 3 saves beside the weights.
INERT_GLOBALS: list[Callable | tuple[Callable, str]] = [
    *((known, name) for name, known in _KNOWN.items() if name.startswith("numpy.")),
    (_LeftOut, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_LeftOut, "builtins.getattr"),
]


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise ForbiddenGlobalError(f"{module}.{name}")
        return known


def unwrap(value: Any) -> Any:
    """Put arrays in the place of their descriptions, inside dicts and lists in place."""
    return _unwrap(value, {})


def _unwrap(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """
    Args:
        value: any part of what was unpickled.
        done: id of a container -> the container, whose id is thus not given to another one, and
            what takes its place. A few hundred bytes of shared lists can be a tree without end.
    """
    if isinstance(value, _Array | _Dtype | _LeftOut):
        return value.value
    if not isinstance(value, dict | list) and type(value) is not tuple:
        return value
    if id(value) in done:
        return done[id(value)][1]
    done[id(value)] = (value, value)
    if isinstance(value, dict):
        # In place: an OrderedDict may be a state_dict, which has attributes.
        for key in value:
            value[key] = _unwrap(value[key], done)
    elif isinstance(value, list):
        value[:] = [_unwrap(item, done) for item in value]
    else:
        done[id(value)] = (value, tuple(_unwrap(item, done) for item in value))
    return done[id(value)][1]
