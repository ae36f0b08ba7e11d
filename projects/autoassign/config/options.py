"""A config as a flat list of its options."""

from collections.abc import Mapping
from typing import Any

__all__ = ["flatten_options"]


def flatten_options(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a config, or of nested dicts, by their dotted keys.

    An empty mapping is a value.
    """
    options: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            options |= flatten_options(value, f"{prefix}{key}.")
        else:
            options[f"{prefix}{key}"] = value
    return options
