"""YAML aliases, with which a short text can stand for more than any computer can hold."""

from __future__ import annotations

from typing import TextIO

import yaml

__all__ = ["refuse_nested_aliases"]


def refuse_nested_aliases(text: str | TextIO) -> None:
    """Check that aliases stand for plain values and lists of plain values only.

    PyYAML writes such aliases for a list that a config has twice.

    Args:
        text: a YAML document. A file is read to its end.

    Raises:
        yaml.YAMLError: an alias stands for a mapping or a nested list, or it is not YAML.
    """
    yaml.compose(text, _AliasChecker)


class _AliasChecker(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and not _is_flat(node):
            problem = "an alias stands for a mapping or a nested list: write it out"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return node


def _is_flat(node: yaml.Node) -> bool:
    if isinstance(node, yaml.SequenceNode):
        # A list that contains itself has no end yet.
        return node.end_mark is not None and all(
            isinstance(child, yaml.ScalarNode) for child in node.value
        )
    return isinstance(node, yaml.ScalarNode)
