"""Draw the learned center prior of each class (AutoAssign's Figure 5), and write it to prior.csv.

autoassign visualize prior --weights output/mine/model_best.pth --output DIR
"""

from __future__ import annotations

import argparse

from .images import OutputFolder, add_figure_arguments, load_explainable

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign visualize prior``."""
    add_figure_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Print the prior, write it to a table and draw it."""
    from ...analysis.figures import draw_priors, format_priors, read_priors, write_priors

    detector = load_explainable(args.config_file, args.weights, args.opts)
    priors = read_priors(detector.model.label_assignment, detector.class_names)
    print(format_priors(priors))
    table = OutputFolder(args.output).new_file("prior.csv")
    write_priors(priors, table)
    print(table, *draw_priors(priors, args.output), sep="\n")
