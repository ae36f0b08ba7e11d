"""The command ``autoassign``: finds the verb and its module, and reports how it ended."""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import sys
from collections.abc import Sequence

from .. import __version__
from .arguments import add_import_argument, parse_arguments
from .errors import USER_ERRORS, report_error
from .imports import import_modules

__all__ = ["VERBS", "main"]

# Each verb with its module here, which is imported only when the verb is called, and its help. A
# module has add_arguments(parser) and run(args), which returns an exit status or None for 0.
VERBS = {
    "train": ("train", "train a detector"),
    "eval": ("eval", "evaluate a trained detector on a dataset"),
    "predict": ("predict", "detect objects in images, videos and cameras"),
    "visualize assignment": ("visualize.assignment", "draw weight maps of objects on all levels"),
    "visualize coverage": ("visualize.coverage", "draw what assignments teach, before training"),
    "visualize prior": ("visualize.prior", "draw the learned center prior of each class"),
    "visualize objectness": ("visualize.objectness", "draw scores with and without objectness"),
    "visualize predictions": ("visualize.predictions", "draw ground truth beside predictions"),
    "visualize evolution": ("visualize.evolution", "draw an assignment over the iterations"),
    "report": ("report", "write an HTML page about a training"),
    "compare": ("compare", "train several configs under equal conditions"),
    "convert": ("convert", "convert weights of other tools, or AutoAssign's back to MMDetection"),
    "export": ("export", "write a detector as ONNX and TorchScript"),
    "publish": ("publish", "publish a model: weights with a model card"),
    "benchmark loss": ("benchmark.loss", "measure time and memory of the losses"),
    "benchmark train": ("benchmark.train", "measure training steps beside detectron2's detectors"),
    "benchmark inference": ("benchmark.inference", "measure inference beside detectron2's"),
    "benchmark model": ("benchmark.model", "count parameters and FLOPs, part by part"),
    "benchmark data": ("benchmark.data", "measure the loading of images beside detectron2's"),
    "benchmark eval": ("benchmark.evaluation", "measure the time of COCO evaluation"),
    "check-data": ("check_data", "check a dataset: what it holds and what is wrong with it"),
    "doctor": ("doctor", "check the installation"),
}


def main(argv: Sequence[str] | None = None, *, prog: str = "") -> int:
    """Run a verb.

    Args:
        argv: the verb and its arguments; by default those of this process.
        prog: name of the program in messages, by default "autoassign" and the verb.

    Returns:
        The exit status of the verb.

    Raises:
        SystemExit: with status 0 for ``--help``, 2 if the arguments are wrong, else see
            :func:`~autoassign.cli.errors.report_error`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files and classes may have letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    verb, words = _find_verb(list(sys.argv[1:] if argv is None else argv))
    module = importlib.import_module(f".{VERBS[verb][0]}", __package__)
    parser = argparse.ArgumentParser(
        prog=prog or f"autoassign {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    if not words and getattr(module, "NEEDS_ARGUMENTS", False):
        parser.print_usage(sys.stderr)
        parser.exit(2)
    add_import_argument(parser)
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    args = parse_arguments(parser, words)
    args.prog = parser.prog
    try:
        import_modules(args.imports)
        return module.run(args) or 0
    except USER_ERRORS as error:
        raise SystemExit(report_error(error, parser.prog, debug=args.debug)) from error


def _find_verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb that a command line starts with, a key of VERBS, and the rest of the line."""
    verb = ""
    while verb not in VERBS:
        parser = _overview(verb)
        if not words:
            parser.print_help(sys.stderr)
            parser.exit(2)
        if words[0].startswith("-"):
            parser.parse_args(words)  # --help and --version end the program
        name = f"{verb} {words[0]}".lstrip()
        known = [x for x in VERBS if x.startswith(f"{verb} ".lstrip())]
        if not any(x == name or x.startswith(f"{name} ") for x in known):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"verbs: {', '.join(known)}"
            parser.error(f"there is no {name!r}; {hint}")
        verb, words = name, words[1:]
    return verb, words


def _overview(prefix: str) -> argparse.ArgumentParser:
    """The parser of a command line without a whole verb; its help lists the verbs."""
    verbs = {verb: text for verb, (_, text) in VERBS.items() if verb.startswith(prefix)}
    width = max(map(len, verbs))
    lines = [f"  {verb:{width}}  {text}" for verb, text in verbs.items()]
    prog = f"autoassign {prefix}".rstrip()
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} VERB ...",
        epilog="\n".join(["verbs:", *lines, "", "`autoassign VERB --help` describes a verb."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"autoassign {__version__}")
    return parser
