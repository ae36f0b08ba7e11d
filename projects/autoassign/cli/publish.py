"""Publish a model: write its weights and a model card.

    autoassign publish output/mine --output published
    autoassign publish output/mine/model_final.pth --output published --name bees --safetensors

SOURCE is the folder of a training, whose model_best.pth is taken, or a weight file. The weights are
written without the state of the training, with their config, class names and metrics inside, and
have the first 8 digits of their SHA-256 in the name. README.md is the model card, with the metrics
of the training and the pictures in its folder.
"""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign publish``."""
    parser.add_argument("source", metavar="SOURCE", help="a training's folder, or a weight file")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--name", help="of the files (default: the folder's)")
    parser.add_argument(
        "--safetensors", action="store_true", help="write .safetensors instead of .pth"
    )


def run(args: argparse.Namespace) -> None:
    """Read, write, and name the files."""
    from ..export import Publication, publish

    publication = Publication.read(args.source, args.name)
    suffix = ".safetensors" if args.safetensors else ".pth"
    for path in publish(publication, args.output, suffix=suffix):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MB")
