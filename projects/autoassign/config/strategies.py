"""Label assignments by name, and the head options that each is trained and measured with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from .loading import load_config
from .registry import LABEL_ASSIGNMENT_REGISTRY, load_strategies

__all__ = ["strategy_names", "strategy_options"]


def strategy_names(chosen: Sequence[str] | None = None) -> list[str]:
    """The strategies of ``--strategies``; all registered ones without it, or for ["all"].

    Raises:
        ValueError: a strategy is not registered, or named twice.
    """
    load_strategies()
    registered = [name for name, _ in LABEL_ASSIGNMENT_REGISTRY]
    if not chosen or list(chosen) == ["all"]:
        return registered
    for name in chosen:
        if name not in registered:
            raise ValueError(
                f"--strategies: there is no label assignment {name!r}; it may be one of: "
                f"{', '.join(registered)}; or all, alone"
            )
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--strategies names one twice: {' '.join(chosen)}")
    return list(chosen)


def strategy_options(name: str, fixed: Collection[str] = ()) -> list[Any]:
    """KEY, VALUE, ... that choose a strategy with the head options that it recommends.

    Head options that only other strategies recommend get the package's defaults, so that none
    keeps those that a config file has for its own strategy. Those in ``fixed`` are left out.
    """
    defaults = load_config().MODEL.POINT_HEAD
    recommended = LABEL_ASSIGNMENT_REGISTRY.get(name).head_options
    options = {"MODEL.LABEL_ASSIGNMENT.NAME": name}
    for key in (key for _, each in LABEL_ASSIGNMENT_REGISTRY for key in each.head_options):
        if f"MODEL.POINT_HEAD.{key}" not in fixed:
            value = recommended[key] if key in recommended else defaults[key]
            options[f"MODEL.POINT_HEAD.{key}"] = value
    return [x for pair in options.items() for x in pair]
