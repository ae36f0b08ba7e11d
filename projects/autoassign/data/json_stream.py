"""Reads the lists of a JSON file entry by entry, in bounded memory."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

__all__ = ["json_encoding", "read_lists"]

_CHUNK = 1 << 22  # characters
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_AFTER_VALUE = frozenset(" \t\n\r,:]}")


def read_lists(path: Path, handlers: Mapping[str, Callable[[int, Any], None]]) -> set[str]:
    """Read a JSON file whose top level is an object, and pass on the entries of its lists.

    Args:
        path: a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        handlers: key of a list -> function of an entry's position, from 0, and the entry. Other
            values are skipped.

    Returns:
        The keys of ``handlers`` for which the file has a list.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, its top level is not an object, or a key of ``handlers`` is
            there twice. The file is named.
    """
    encoding = json_encoding(path)
    try:
        with open(path, encoding=encoding) as file:
            return _Parser(file).read_lists(handlers)
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON that can be read: it is nested too deeply") from error
    except _NotJSONError as error:
        raise ValueError(f"{path} {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not JSON: it is not text in {encoding}: {error}") from error


def json_encoding(path: Path) -> str:
    """The Unicode encoding of a JSON file; "utf-8" only without a byte order mark."""
    with open(path, "rb") as file:
        return json.detect_encoding(file.read(4))


class _NotJSONError(Exception):
    """Completes a sentence that begins with the file's name."""


class _Parser:
    """Keeps a part of the text in memory; ``_position`` is where reading continues."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._position = 0
        self._forgotten = 0
        self._at_end = False
        self._decode = json.JSONDecoder().raw_decode

    def read_lists(self, handlers: Mapping[str, Callable[[int, Any], None]]) -> set[str]:
        if self._next() != "{":
            self._value()
            raise _NotJSONError("does not hold what is expected: its top level is not an object")
        self._position += 1
        found: set[str] = set()
        if self._next() == "}":
            self._position += 1
        else:
            self._members(handlers, found)
        if self._next():
            raise self._error("nothing more")
        return found

    def _members(self, handlers: Mapping[str, Callable[[int, Any], None]], found: set[str]) -> None:
        while True:
            if self._next() != '"':
                raise self._error("a key in double quotes")
            key = self._value()
            self._expect(":")
            if key in handlers and self._next() == "[":
                if key in found:
                    raise _NotJSONError(f"has the key {key!r} twice")
                found.add(key)
                self._entries(handlers[key])
            else:
                self._value()
            if self._expect(",}") == "}":
                return

    def _entries(self, handler: Callable[[int, Any], None]) -> None:
        self._position += 1
        if self._next() == "]":
            self._position += 1
            return
        for number in itertools.count():
            handler(number, self._value())
            if self._expect(",]") == "]":
                return

    def _next(self) -> str:
        """The next character that is not whitespace, "" at the end."""
        while True:
            self._position = _WHITESPACE.match(self._text, self._position).end()  # type: ignore[union-attr]
            if self._position < len(self._text):
                return self._text[self._position]
            if self._at_end:
                return ""
            self._read_more()

    def _expect(self, characters: str) -> str:
        character = self._next()
        if not character or character not in characters:
            raise self._error(" or ".join(repr(each) for each in characters))
        self._position += 1
        return character

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if self._at_end:
                    place = self._forgotten + error.pos
                    raise _NotJSONError(f"is not JSON: {error.msg} (character {place})") from error
            except ValueError as error:  # an integer of more digits than Python reads
                raise _NotJSONError(f"is not JSON that can be read: {error}") from error
            else:
                # At the end of the part, a number may be incomplete: 1.5e is read as 1.5.
                if self._at_end or self._text[end : end + 1] in _AFTER_VALUE:
                    self._position = end
                    return value
            self._read_more()

    def _read_more(self) -> None:
        rest = self._text[self._position :]
        self._forgotten += self._position
        # Doubling the text keeps the cost of decoding a long value again linear.
        more = self._file.read(max(_CHUNK, len(rest)))
        self._at_end = not more
        self._text, self._position = rest + more, 0

    def _error(self, expected: str) -> _NotJSONError:
        place = self._forgotten + self._position
        return _NotJSONError(f"is not JSON: expected {expected} at character {place}")
