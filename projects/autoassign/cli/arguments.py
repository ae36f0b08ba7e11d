"""What the command lines have in common: how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

__all__ = ["INTERRUPTED", "add_opts_argument", "number_type", "run_command"]

# The shells' exit status of a program that Ctrl-C ended: 128 and the signal's number.
INTERRUPTED = 130


def add_opts_argument(parser: argparse.ArgumentParser, whose: str = "the config") -> None:
    """Add ``--opts KEY VALUE ...``, which takes all that follows it.

    Args:
        parser: of the command.
        whose: whose options they are, for the help.
    """
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help=f"options of {whose}, after all other arguments",
    )


def run_command(
    parser: argparse.ArgumentParser,
    function: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
) -> int:
    """Call a command and return its exit status, whatever ends it.

    Args:
        parser: tells the user what is wrong.
        function: the command; it returns its exit status, None for 0. An OSError or ValueError
            from it is the user's to mend: its message is printed and the program ends with 2.
        args: for the function.

    Returns:
        The function's status; :data:`INTERRUPTED` after Ctrl-C.

    Raises:
        SystemExit: with status 2, see above.
    """
    try:
        return function(args) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError) as error:
        parser.error(str(error))


def number_type(
    convert: Callable[[str], float], at_least: float, at_most: float = float("inf")
) -> Callable[[str], float]:
    """A ``type`` for argparse: a number within bounds.

    Args:
        convert: int or float.
        at_least: the least value that is allowed.
        at_most: the greatest.
    """
    kind = "a whole number" if convert is int else "a number"

    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind}") from None
        if not at_least <= value <= at_most:
            bounds = f"is not at least {at_least}"
            if at_most != float("inf"):
                bounds = f"does not lie between {at_least} and {at_most}"
            raise argparse.ArgumentTypeError(f"{value} {bounds}")
        return value

    return parse
