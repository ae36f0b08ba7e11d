"""Configs from YAML files, texts and command lines, without running code from any of them."""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from ast import literal_eval
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import yaml
from detectron2.config import CfgNode, get_cfg

from .defaults import add_autoassign_config
from .files import find_config
from .options import flatten_options
from .yaml_aliases import refuse_nested_aliases

__all__ = ["load_config", "load_config_text", "normalize_opts", "own_options", "set_options"]

_ASSIGNED_OPTION = re.compile(r"([\w.]+)=(.*)", re.DOTALL)
_STRATEGY_SECTION = "MODEL.LABEL_ASSIGNMENT"
# What PyYAML's parser and fvcore raise on texts that are not configs, apart from YAMLError.
_YAML_ERRORS = (AssertionError, AttributeError, RecursionError, TypeError, ValueError)


def load_config(config_file: str = "", opts: Sequence[Any] = ()) -> CfgNode:
    """The project's default config, overridden by a file and then by single options.

    The file and its chain of ``_BASE_`` files are read with YAML's safe loader.

    Args:
        config_file: a path, or the name of a shipped config; "" for the defaults.
        opts: see :func:`normalize_opts`.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read.
        ValueError: the file is not a YAML mapping of options, or an option is unknown or has a
            value of another type; file and option are named.
    """
    path = find_config(config_file)
    return _override(_read(path), opts, source=path)


def set_options(config_file: str = "", opts: Sequence[Any] = ()) -> frozenset[str]:
    """Dotted keys of the options that a file, its ``_BASE_`` files or single options set.

    Arguments and errors are those of :func:`load_config`.
    """
    in_file = flatten_options(_read(find_config(config_file)))
    return frozenset([*in_file, *normalize_opts(opts)[::2]])


def own_options(config_file: str) -> dict[str, Any]:
    """Values, by dotted key, of the options that a file sets itself, without its ``_BASE_`` files.

    Errors are those of :func:`load_config`.
    """
    load_config(config_file)  # the file is a mapping of options, or an error
    with _ConfigFile._open_cfg(find_config(config_file)) as file:
        options = yaml.safe_load(file)
    options.pop("_BASE_", None)
    return flatten_options(options)


def _read(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return _ConfigFile.load_yaml_with_base(path, allow_unsafe=False)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {_yaml_problem(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} or its _BASE_ is not UTF-8 text: {error}") from error
    except _YAML_ERRORS as error:
        raise ValueError(f"{path}: {_structure_problem(error)}") from error


def load_config_text(text: str, opts: Sequence[Any] = (), *, source: str) -> CfgNode:
    """As :func:`load_config`, of YAML text without ``_BASE_``.

    Args:
        text: such as :meth:`CfgNode.dump` returns it.
        opts: see :func:`normalize_opts`.
        source: where the text comes from, for messages.
    """
    try:
        refuse_nested_aliases(text)
        options = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: {_yaml_problem(error)}") from error
    except _YAML_ERRORS as error:
        raise ValueError(f"{source}: {_structure_problem(error)}") from error
    return _override(options, opts, source=source)


def normalize_opts(opts: Sequence[Any]) -> list[Any]:
    """Options of a command line as a flat list of keys and values, as detectron2 takes it.

    Args:
        opts: ``KEY VALUE`` and ``KEY=VALUE``, also mixed.

    Raises:
        ValueError: a key has no value, or is an argument such as ``--resume``.
    """
    pairs: list[Any] = []
    rest = iter(opts)
    for key in rest:
        if match := _ASSIGNED_OPTION.fullmatch(key):
            pairs += match.groups()
            continue
        if key.startswith("-"):
            raise ValueError(f"{key} has to come before the options (KEY VALUE or KEY=VALUE)")
        try:
            pairs += (key, next(rest))
        except StopIteration:
            raise ValueError(f"{key} has no value: options are KEY VALUE or KEY=VALUE") from None
    return pairs


class _ConfigFile(CfgNode):
    """Reads a YAML file and its ``_BASE_`` files, all of them local regular files in UTF-8."""

    @classmethod
    def _open_cfg(cls, filename: str) -> TextIO:
        # Opening a FIFO would wait for a writer.
        if os.path.exists(filename) and not os.path.isfile(filename):
            raise OSError(f"{filename} is not a regular file")
        with open(filename, encoding="utf-8") as file:
            refuse_nested_aliases(file)
        return open(filename, encoding="utf-8")


def _yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line; the place names the file, which may be a _BASE_."""
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    mark = getattr(error, "problem_mark", None)
    place = f" ({mark.name}, line {mark.line + 1})" if mark is not None else ""
    return f"it is not plain YAML: {problem}{place}"


def _structure_problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its _BASE_ files form a cycle, or it is nested too deeply"
    if isinstance(error, ValueError):  # such as an integer of more than 4300 digits, or a date
        return f"a value cannot be read: {error}"
    # PyYAML and fvcore ask None, a list or a text for its keys.
    return f"it or its _BASE_ is not a mapping of options ({error})"


def _override(options: Any, opts: Sequence[Any], *, source: str = "") -> CfgNode:
    cfg = get_cfg()
    add_autoassign_config(cfg)
    try:
        if not isinstance(options, dict):
            raise ValueError(f"it is not a mapping of options but {reprlib.repr(options)}")
        for key, value in flatten_options(options).items():
            _set_option(cfg, key, value)
    except RecursionError as error:
        raise ValueError(f"{source}: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    pairs = normalize_opts(opts)
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        _set_option(cfg, key, value)
    return cfg


def _set_option(cfg: CfgNode, key: str, value: Any) -> None:
    *parents, name = key.split(".")
    node: Any = cfg
    for parent in parents:
        node = node.get(parent) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or name not in node:
        key = " ".join(key.split())
        raise ValueError(f"there is no option {key}{_hint(cfg, key)}")
    if isinstance(node[name], CfgNode):
        if value == {}:
            return
        raise ValueError(
            f"{key} is a section of options, not {reprlib.repr(value)}: set one of "
            f"{', '.join(node[name])}"
        )
    node[name] = _converted(key, value, node[name])


def _hint(cfg: CfgNode, key: str) -> str:
    similar = difflib.get_close_matches(key.upper(), _all_keys(cfg), n=2, cutoff=0.8)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    section, _, strategy = key.rpartition(".")[0].rpartition(".")
    if section == _STRATEGY_SECTION and strategy not in cfg.MODEL.LABEL_ASSIGNMENT:
        hint += f" (a {strategy} of another package needs --import MODULE on the command line)"
    return hint


def _all_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{prefix}{name}.")


def _converted(key: str, value: Any, default: Any) -> Any:
    """The value in the type of the default, as yacs has it, and an int where a float is wanted."""
    result = _decoded(value, default)
    # None stands for a number that is computed: SOLVER.WEIGHT_DECAY_BIAS.
    wanted = float if default is None and result is not None else type(default)
    if wanted in (list, tuple) and isinstance(result, list | tuple):
        return wanted(result)
    if wanted is float and type(result) is int:
        result = _as_float(result)
    if type(result) is not wanted:
        raise ValueError(
            f"{key} is {reprlib.repr(value)}; it must be of type {wanted.__name__}, such as the "
            f"default {default!r}"
        )
    if type(result) is int and abs(result) >= 2**63:
        raise ValueError(f"{key} is {reprlib.repr(value)}; it must be an int of at most 64 bits")
    return result


def _decoded(value: Any, default: Any) -> Any:
    """Text such as "(1, 2)" or "1e-3", which YAML leaves as it is, as a Python literal."""
    if not isinstance(value, str):
        return value
    try:
        literal = literal_eval(value)
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return value
    # A folder called 2007 needs no quotes.
    return value if isinstance(default, str) and not isinstance(literal, str) else literal


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
