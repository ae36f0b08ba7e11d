"""Names of tensors in two tools, as data: pairs of (their name, our name)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Naming", "Pairs", "layer_pairs", "scale_pairs"]

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Naming:
    """How a tool's names become those of a :class:`~autoassign.PointDetector`, and back.

    Attributes:
        prefixes: (theirs, ours). A name begins with one of them, the longest that fits; other
            names are unknown.
        parts: (theirs, ours), replaced in what is left of a name, in this order.
        dropped: beginnings and ends of names that carry nothing a detector needs.
    """

    prefixes: Pairs
    parts: Pairs = ()
    dropped: tuple[str, ...] = ()

    def drops(self, name: str) -> bool:
        """Whether a tensor of theirs is left out."""
        return any(name.startswith(text) or name.endswith(text) for text in self.dropped)

    def to_ours(self, name: str) -> str | None:
        """Our name of their tensor; None if it is unknown."""
        return _renamed(name, self.prefixes, self.parts)

    def to_theirs(self, name: str) -> str | None:
        """Their name of our tensor; None if it is unknown."""
        return _renamed(name, _swapped(self.prefixes), _swapped(self.parts))


def _renamed(name: str, prefixes: Pairs, parts: Pairs) -> str | None:
    fitting = [pair for pair in prefixes if name.startswith(pair[0])]
    if not fitting:
        return None
    old, new = max(fitting, key=lambda pair: len(pair[0]))
    rest = name[len(old) :]
    for old_part, new_part in parts:
        rest = rest.replace(old_part, new_part)
    return new + rest


def _swapped(pairs: Iterable[tuple[str, str]]) -> Pairs:
    return tuple((ours, theirs) for theirs, ours in pairs)


def layer_pairs(theirs: str, ours: str) -> Pairs:
    """Pairs for a layer that has a weight and a bias, and nothing else, by its prefixes."""
    return tuple((f"{theirs}{leaf}", f"{ours}{leaf}") for leaf in ("weight", "bias"))


def scale_pairs(theirs: str) -> Pairs:
    """Pairs for the scale of each level, which our head has as one tensor."""
    return tuple((f"{theirs}{level}.scale", f"head.scales.{level}") for level in range(5))
