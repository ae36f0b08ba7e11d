"""Damaged config files and command lines: each gives a checked config, or a sentence."""

import argparse
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import yaml
from detectron2.config import CfgNode
from fuzz_data import VALUES, Nonsense, damaged_bytes, damaged_text, damaged_tree

from autoassign.cli.arguments import parse_arguments
from autoassign.cli.train import add_arguments
from autoassign.config import (
    check_values,
    fit_to_machine,
    flatten_options,
    get_config_file,
    load_config,
    load_config_text,
)

CONFIGS = (
    "Base-Small.yaml",
    "quickstart/dsla_shapes.yaml",
    "recipes/adamw_swin.yaml",
    "WiderFace-Detection/autoassign_R_50_FPN_0.5x.yaml",
)
DEFAULTS = flatten_options(load_config())
KEYS = tuple(DEFAULTS)
ARGUMENTS = (
    "--resume",
    "--eval-only",
    "--num-gpus",
    "--config-file",
    "--machine-rank",
    "--dist-url",
)
TEXTS = (
    *("(1, 2)", "[1.0, 1.0, 1.0]", "()", "{}", "{'a': 1}", "None", "1e-3", "5", "0.5", "'x'", "("),
    *("__import__('os')", "(" * 300, "[" * 5000, "9" * 5000, "=", "a=b", "--", "-1", "KEY", "1j"),
)


def damaged_file(folder: Path, rng: random.Random) -> tuple[str, list[str]]:
    """A config file, or its base, with some damage; the first part of a command line."""
    source = Path(get_config_file(rng.choice(CONFIGS)))
    path = folder / "damaged.yaml"
    kind = rng.random()
    if kind < 0.4:
        options = {**yaml.safe_load(source.read_text()), "_BASE_": str(source)}
        content = yaml.dump(damaged_tree(options, rng), allow_unicode=True)
        path.write_bytes(content.encode(errors="surrogatepass"))
    elif kind < 0.6:
        key = rng.choice(KEYS)
        options = rng.choice((*VALUES, DEFAULTS[rng.choice(KEYS)]))
        for name in reversed(key.split(".")):
            options = {name: options}
        path.write_text(yaml.dump(options), errors="surrogatepass")
    elif kind < 0.8:
        text = damaged_text(source.read_text(), rng)
        path.write_bytes(text.encode(errors="surrogatepass"))
    else:
        path.write_bytes(damaged_bytes(source.read_bytes(), rng))
    if rng.random() < 0.2:
        (folder / "above.yaml").write_text("_BASE_: damaged.yaml\nSEED: 3\n")
        return str(folder / "above.yaml"), []
    return str(path), []


def damaged_command_line(folder: Path, rng: random.Random) -> tuple[str, list[str]]:
    """A config file and one to four options, with damage."""
    words = []
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(KEYS)
        change = rng.random()
        if change < 0.1:
            key = damaged_bytes(key.encode(), rng).decode(errors="surrogateescape")
        elif change < 0.2:
            key = key.rpartition(".")[0]
        strange = rng.choice((*map(str, VALUES), *TEXTS))
        value = rng.choice((strange, str(DEFAULTS.get(key)), str(DEFAULTS[rng.choice(KEYS)])))
        words += rng.choice(([key, value], [f"{key}={value}"]))
    for _ in range(rng.choice((0, 0, 1))):
        words.insert(rng.randint(0, len(words)), rng.choice((*ARGUMENTS, *TEXTS)))
    return "Base-Small.yaml", words


DAMAGES: dict[str, Callable[[Path, random.Random], tuple[str, list[str]]]] = {
    "config files": damaged_file,
    "command lines": damaged_command_line,
}


def try_one(what: str, folder: Path, seed: int) -> str:
    """Read a damaged file or command line; returns "read" or "refused".

    Raises:
        Nonsense: something else happened.
    """
    config_file, words = DAMAGES[what](folder, random.Random(seed))
    place = f"{what}, seed {seed}: {shlex.join(words)[:300]}"
    try:
        args = _parse(["--config-file", config_file, *words])
        cfg = load_config(args.config_file, args.opts)
        check_values(cfg)
        fit_to_machine(cfg)
    except (ValueError, OSError) as error:
        message = str(error)
        limit = 900 + sum(map(len, words))
        if isinstance(error, UnicodeError) or "\n" in message or not 9 < len(message) < limit:
            raise Nonsense(f"{place}: {type(error).__name__}: {message}") from error
        return "refused"
    except Exception as error:
        raise Nonsense(f"{place}: {type(error).__name__}: {error}") from error
    _check_config(cfg, place)
    return "read"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"error: {message}")


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="train_net.py")
    add_arguments(parser)
    return parse_arguments(parser, words)


def _check_config(cfg: CfgNode, place: str) -> None:
    options = flatten_options(cfg)
    if options.keys() != DEFAULTS.keys():
        raise Nonsense(f"{place}: {options.keys() ^ DEFAULTS.keys()}")
    for key, value in options.items():
        default = DEFAULTS[key]
        if default is not None and type(value) is not type(default):
            raise Nonsense(f"{place}: {key} is {value!r}")
    again = load_config_text(cfg.dump(), source=place)
    # Text, because NaN is not equal to itself.
    if repr(yaml.safe_load(again.dump())) != repr(yaml.safe_load(cfg.dump())):
        raise Nonsense(f"{place}: the config that is written is read as another one")


def fuzz(what: str, folder: Path, seeds: range) -> dict[str, int]:
    """Try many damaged inputs; returns how many were read and how many refused."""
    folder.mkdir()
    outcomes = {"read": 0, "refused": 0}
    for seed in seeds:
        outcomes[try_one(what, folder, seed)] += 1
    return outcomes
