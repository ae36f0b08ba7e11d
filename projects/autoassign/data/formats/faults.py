"""Faults of annotations, reported together, and counts of what was repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Faults", "NotReadableError", "Repairs", "describe", "read_lines"]

_MAX_LENGTH = 60


class Faults:
    """Faults of one file or folder, collected for a single message."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._first: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, sentence: str) -> None:
        """Note a fault.

        Args:
            kind: faults of one kind are counted; the message has the sentence of the first one.
            sentence: names entry, field and value.
        """
        self._first.setdefault(kind, sentence)
        self._counts[kind] += 1

    def raise_if_any(self) -> None:
        """
        Raises:
            ValueError: there is a fault. The message names the file and the first fault of each
                kind, and counts the others.
        """
        sentences = []
        for kind, sentence in self._first.items():
            more = self._counts[kind] - 1
            sentences.append(f"{sentence} ({more} more like it)" if more else sentence)
        if sentences:
            raise ValueError(f"{self.source}: {'; '.join(sentences)}")


class NotReadableError(ValueError):
    """A value is invalid for its field; the message says what is expected."""


class Entry:
    """An entry of a list in a file, which collects the faults of its fields.

    Attributes:
        is_faulty: whether a fault was found.
    """

    def __init__(self, key: str, index: int, entry: Any, faults: Faults) -> None:
        self._key = key
        self._index = index
        self._entry = entry if isinstance(entry, dict) else {}
        self._faults = faults
        self._is_object = isinstance(entry, dict)
        self.is_faulty = not self._is_object
        if self.is_faulty:
            faults.add(f"{key} entry", f"{key}[{index}] is not an object")

    def get(self, field: str, default: Any = None) -> Any:
        """The value as written in the file, or the default."""
        return self._entry.get(field, default)

    def read(self, field: str, convert: Callable[[Any], Any], default: Any = None) -> Any:
        """The converted value, or None if it is invalid, which is a fault.

        Args:
            field: key of the value.
            convert: raises a NotReadableError for an invalid value.
            default: for entries without the field; None makes a missing field a fault.
        """
        if field not in self._entry:
            if default is None and self._is_object:
                self.fault(f"no {field}", f"has no field {field!r}")
            return default
        value = self._entry[field]
        try:
            return convert(value)
        except NotReadableError as error:
            self._add(field, f"field {field!r} of {self._name} is {describe(value)}, not {error}")
            return None

    def fault(self, kind: str, text: str) -> None:
        """Note a fault; ``text`` completes a sentence that begins with the entry's name."""
        self._add(kind, f"{self._name} {text}")

    @property
    def _name(self) -> str:
        if "id" in self._entry:
            return f"the entry with id {describe(self._entry['id'])}"
        return f"entry number {self._index}"

    def _add(self, kind: str, sentence: str) -> None:
        self.is_faulty = True
        self._faults.add(f"{self._key} {kind}", f"{self._key}: {sentence}")


class Repairs(Counter[str]):
    """Counts what was repaired, by what was done; ``str()`` gives it in one line."""

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.items())


def describe(value: object) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 3] + "..."


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from error
