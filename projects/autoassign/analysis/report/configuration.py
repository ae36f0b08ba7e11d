"""The config of a run, and where it departs from the defaults."""

from __future__ import annotations

from html import escape

import yaml

from ...config import load_config
from ...runs import TrainedRun
from ..comparison.conditions import leaves
from .markup import Html, Section, count, table

__all__ = ["changed_options", "configuration_section"]


def configuration_section(run: TrainedRun) -> Section:
    """The options that differ from the defaults, and config.yaml with these lines marked."""
    changed = changed_options(run)
    rows = [(key, _shown(value), _shown(default)) for key, (value, default) in changed.items()]
    given = ""
    if run.opts:
        given = f"<p>Set for this page: <code>{escape(' '.join(run.opts))}</code></p>"
    return Section(
        "configuration",
        "Configuration",
        Html(
            f"<p>Not the defaults of detectron2 and of this project: {count(len(rows), 'option')}."
            f"</p>{given}{table(('option', 'value', 'default'), rows, sortable=True)}"
            f"<details><summary>config.yaml, with these options marked</summary>"
            f'<pre tabindex="0">{_marked(run.config_text, set(changed))}</pre></details>'
        ),
    )


def changed_options(run: TrainedRun) -> dict[str, tuple[object, object]]:
    """Dotted key -> (value, default) of the options that differ."""
    defaults = leaves(load_config())
    return {
        key: (value, defaults.get(key))
        for key, value in leaves(run.cfg).items()
        if _plain(value) != _plain(defaults.get(key))
    }


def _plain(value: object) -> object:
    """A value that config.yaml returns as a list may be a tuple in the defaults."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _shown(value: object) -> Html:
    return Html(f"<code>{escape(repr(value))}</code>")


def _marked(source: str, keys: set[str]) -> Html:
    """YAML text with the lines of these options in <mark>."""
    marked = set()
    root = yaml.compose(source, Loader=yaml.SafeLoader)
    nodes = [("", root)]
    while nodes:
        prefix, node = nodes.pop()
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if name in keys:
                marked |= set(range(key.start_mark.line, _last_line(value) + 1))
            elif isinstance(value, yaml.MappingNode):
                nodes.append((f"{name}.", value))
    lines = (
        f"<mark>{escape(line)}</mark>" if number in marked else escape(line)
        for number, line in enumerate(source.splitlines())
    )
    return Html("\n".join(lines))


def _last_line(node: yaml.Node) -> int:
    # A list in block style ends where the next key begins.
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1])
    return node.end_mark.line
