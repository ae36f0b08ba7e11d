"""How a command ends: exit statuses, and sentences in place of tracebacks."""

from __future__ import annotations

import logging
import re
import sys
import traceback

__all__ = ["INTERRUPTED", "USER_ERRORS", "report_error"]

# Shells' exit status of a program that SIGINT ended: 128 and the signal's number.
INTERRUPTED = 130

# Errors whose message is for the user. Any other is a bug.
USER_ERRORS = (FloatingPointError, ImportError, KeyboardInterrupt, OSError, ValueError)


def report_error(error: BaseException, prog: str, *, debug: bool) -> int:
    """Say on stderr in a sentence what has ended a command.

    Args:
        error: one of :data:`USER_ERRORS`.
        prog: the name of the program.
        debug: print the traceback, which is in log.txt if there is one.

    Returns:
        The exit status: 128 and the number of the signal after a signal, 1 if a training cannot go
        on, 2 for all other errors.
    """
    if isinstance(error, KeyboardInterrupt):
        print(str(error) or "interrupted", file=sys.stderr)
        return getattr(error, "exit_code", INTERRUPTED)
    logging.getLogger("autoassign").debug("The command has failed", exc_info=error)
    if debug:
        traceback.print_exception(error)
    print(f"{prog}: error: {_sentence(error)}", file=sys.stderr)
    return 1 if isinstance(error, FloatingPointError) else 2


def _sentence(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return f"{error}; `autoassign doctor` checks the installation"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    # A loading process puts its traceback before the message.
    return re.sub(r"(?s)\ACaught \w+ in DataLoader worker .*\n\w+: ", "", str(error))
