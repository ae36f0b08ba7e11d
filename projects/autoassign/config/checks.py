"""Rules for the values of config options, and the sentence said where one is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode

__all__ = [
    "Rule",
    "above",
    "at_least",
    "below",
    "between",
    "check_options",
    "check_value",
    "inside",
    "one_of",
]


@dataclass(frozen=True)
class Rule:
    """What values an option may have.

    Attributes:
        holds: whether a value is allowed; a TypeError means it is not.
        text: completes the sentence "it must be ...".
    """

    holds: Callable[[Any], bool]
    text: str


def one_of(*values: object) -> Rule:
    """The values listed, and no others."""
    return Rule(lambda x: x in values, f"one of: {', '.join(str(x) or repr(x) for x in values)}")


def at_least(low: float) -> Rule:
    """Finite numbers from ``low`` on."""
    return Rule(lambda x: low <= x < float("inf"), f"at least {low}")


def above(low: float) -> Rule:
    """Finite numbers greater than ``low``."""
    return Rule(lambda x: low < x < float("inf"), f"greater than {low}")


def between(low: float, high: float) -> Rule:
    """Numbers from ``low`` to ``high``, both included."""
    return Rule(lambda x: low <= x <= high, f"between {low} and {high}")


def below(low: float, high: float) -> Rule:
    """Numbers from ``low``, included, to ``high``, excluded."""
    return Rule(lambda x: low <= x < high, f"at least {low} and less than {high}")


def inside(low: float, high: float) -> Rule:
    """Numbers between ``low`` and ``high``, both excluded."""
    return Rule(lambda x: low < x < high, f"greater than {low} and less than {high}")


def check_options(node: CfgNode, rules: Mapping[str, Rule], prefix: str = "") -> None:
    """Check the options of a config node.

    Args:
        node: a config, or a part of it.
        rules: by key relative to ``node``, such as ``"SOLVER.BASE_LR"``.
        prefix: key of ``node`` with its last dot, for the message.

    Raises:
        ValueError: a value is not allowed; option, value and allowed values are named.
    """
    for key, rule in rules.items():
        value: Any = node
        for name in key.split("."):
            value = value[name]
        check_value(f"{prefix}{key}", value, rule)


def check_value(key: str, value: object, rule: Rule) -> None:
    """Check the value of one option.

    Raises:
        ValueError: it is not allowed; option, value and allowed values are named.
    """
    try:
        allowed = rule.holds(value)
    except TypeError:
        allowed = False
    if not allowed:
        raise ValueError(f"{key} is {value!r}; it must be {rule.text}")
