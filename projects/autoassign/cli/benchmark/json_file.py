"""``--json FILE`` of the benchmarks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["add_json_argument", "write_json"]


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark write its figures, too; a path that cannot be is refused at once."""
    parser.add_argument(
        "--json", type=_new_file, metavar="FILE", help="also write the figures to FILE"
    )


def _new_file(text: str) -> Path:
    path = Path(text)
    parent = next(x for x in path.absolute().parents if x.exists())
    if path.is_dir() or not parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder, or its parent is not one")
    return path


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write the figures to the file of ``--json``, if it was given."""
    from ...config import replacing

    if path:
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2) + "\n")
