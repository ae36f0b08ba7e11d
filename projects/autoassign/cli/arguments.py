"""Arguments that several verbs share, and config options among the words of a command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence

__all__ = [
    "add_config_argument",
    "add_import_argument",
    "add_launch_arguments",
    "add_model_arguments",
    "add_options_argument",
    "number_type",
    "parse_arguments",
]

# detectron2's top-level options and sections. Among words that may be file names, only these are
# taken for options: a camera's DSC_0001.JPG has the form of one.
_TOP_LEVEL = "OUTPUT_DIR|SEED|VERSION|CUDNN_BENCHMARK|FLOAT32_PRECISION|VIS_PERIOD"
_SECTIONS = "MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST|GLOBAL"
_KEY = re.compile(rf"(?:{_TOP_LEVEL}|(?:{_SECTIONS})(?:\.\w+)+)(?:=|\Z)")


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Let a verb take config options: KEY VALUE or KEY=VALUE, among its other arguments."""
    parser.add_argument(
        "opts", nargs="*", default=[], metavar="KEY VALUE", help="config options, also as KEY=VALUE"
    )


def add_import_argument(parser: argparse.ArgumentParser) -> None:
    """Let every verb import modules that register label assignments or backbones."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a Python module that registers a label assignment; may be repeated",
    )


def add_config_argument(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the config of a verb that needs no trained model."""
    parser.add_argument(
        "--config-file",
        default="",
        required=required,
        metavar="FILE",
        help="path, or name of a config of the package",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a trained model: its config and weights."""
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="path, or name of a config of the package (default: that of the weights)",
    )
    parser.add_argument("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add detectron2's arguments about processes and machines."""
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="GPUs per machine")
    parser.add_argument("--num-machines", type=int, default=1, metavar="N")
    parser.add_argument("--machine-rank", type=int, default=0, metavar="N", help="from 0")
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="of the process group, such as tcp://HOST:PORT; needed with several machines",
    )


def parse_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line whose config options may stand anywhere among the other arguments.

    Args:
        parser: of a verb. If it has :func:`add_options_argument`, ``opts`` of the result is a
            list KEY, VALUE, KEY, VALUE, ...
        words: the command line.

    Raises:
        SystemExit: the command line is wrong; a sentence on stderr says how.
    """
    if parser.get_default("opts") is None:
        return parser.parse_intermixed_args(words)
    others: list[str] = []
    opts: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            others += [word, *waiting]
        elif not _KEY.match(word):
            others.append(word)
        elif "=" in word:
            opts += word.split("=", 1)
        else:
            value = next(waiting, "--")
            if value.startswith("--"):
                parser.error(f"the option {word} has no value")
            opts += [word, value]
    args = parser.parse_intermixed_args(others)
    args.opts = opts + _pairs(parser, args.opts)
    return args


def _pairs(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Options whose keys detectron2 does not have: misspelled, or of another project."""
    pairs: list[str] = []
    for word in words:
        if len(pairs) % 2 == 0 and "=" in word:
            pairs += word.split("=", 1)
        else:
            pairs.append(word)
    if len(pairs) % 2:
        parser.error(f"{pairs[-1]!r} is no argument, and an option needs a value: KEY VALUE")
    return pairs


def number_type(
    convert: Callable[[str], float], at_least: float, at_most: float = float("inf")
) -> Callable[[str], float]:
    """A ``type`` for argparse: an int or a float within bounds."""
    kind = "a whole number" if convert is int else "a number"

    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind}") from None
        if not at_least <= value <= at_most:
            bounds = f"at least {at_least}"
            if at_most != float("inf"):
                bounds = f"between {at_least} and {at_most}"
            raise argparse.ArgumentTypeError(f"{value} is not {bounds}")
        return value

    return parse
