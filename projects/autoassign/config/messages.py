"""Parts of error messages."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["first_of"]


def first_of(names: Sequence[object], most: int = 3) -> str:
    """The first ``most`` names, such as "a, b and 3 more"."""
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest} more" if rest > 0 else "")
