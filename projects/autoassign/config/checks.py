"""Checks of config options that several modules share."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["check_choice"]


def check_choice(field: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ValueError that names the field and what is allowed, unless ``value`` is."""
    if value not in allowed:
        listing = ", ".join(name or "''" for name in allowed)
        raise ValueError(f"{field} is '{value}'; it may be one of: {listing}")
