"""The options of a run that depart from the defaults."""

from __future__ import annotations

import yaml

from ...config import flatten_options, load_config
from ...runs import TrainedRun

__all__ = ["changed_options", "marked_lines"]


def changed_options(run: TrainedRun) -> dict[str, tuple[object, object]]:
    """Dotted key -> (value, default) of the options that differ."""
    defaults = flatten_options(load_config())
    return {
        key: (value, defaults.get(key))
        for key, value in flatten_options(run.cfg).items()
        if _plain(value) != _plain(defaults.get(key))
    }


def _plain(value: object) -> object:
    """Tuples as lists, which config.yaml has in their place."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def marked_lines(text: str, keys: set[str]) -> list[tuple[str, bool]]:
    """The lines of a YAML config, and whether each belongs to one of these options."""
    marked: set[int] = set()
    nodes = [("", yaml.compose(text, Loader=yaml.SafeLoader))]
    while nodes:
        prefix, node = nodes.pop()
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if name in keys:
                marked |= set(range(key.start_mark.line, _last_line(value) + 1))
            elif isinstance(value, yaml.MappingNode):
                nodes.append((f"{name}.", value))
    return [(line, number in marked) for number, line in enumerate(text.splitlines())]


def _last_line(node: yaml.Node) -> int:
    # A list in block style ends where the next key begins.
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1])
    return node.end_mark.line
