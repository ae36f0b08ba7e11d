"""Look into a trained detector: the figures of the AutoAssign paper for any image.

    tools/visualize.py assignment --weights output/mine/model_best.pth --images 0 street.jpg
    tools/visualize.py assignment --weights ... --image photo.jpg --box 10,20,200,180,dog
    tools/visualize.py assignment --weights A.pth --compare dsla.yaml=B.pth fcos.yaml=C.pth
    tools/visualize.py prior --weights output/mine/model_best.pth
    tools/visualize.py objectness --weights ... --images 0 --class dog
    tools/visualize.py evolution output/mine

Everything is drawn from the numbers that training uses. The config is the config.yaml beside the
weights unless --config-file names another. Images come from the config's first test dataset,
from --dataset, or from --image. Pictures of earlier runs with the same name are replaced; a
name that comes twice in one run gets a number.

Exit status: 0; 2 where the arguments, the config, the weights or the data are wrong; 130 after
Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..analysis.figures.assignment_figure import draw_assignment, draw_comparison
from ..analysis.figures.evolution_figure import draw_evolutions
from ..analysis.figures.objectness_figure import draw_objectness, score_maps
from ..analysis.figures.prior_figure import draw_priors, format_priors, read_priors, write_priors
from ..checkpoint import Strictness
from ..data.model_inputs import map_record
from ..data.records import choose_records, class_index, dataset_records, image_record
from ..modeling.explanation import explain_image
from ..runs import LoadedDetector, load_detector
from .arguments import add_opts_argument, run_command

__all__ = ["main"]

# Objects drawn of an image that none was chosen of.
_MAX_OBJECTS = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    args = _argument_parser().parse_args(argv)
    return run_command(args.parser, args.run, args)


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visualize.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="FIGURE")

    command = commands.add_parser("assignment", help="weight maps of objects on all levels")
    _add_model_arguments(command)
    _add_image_arguments(command)
    command.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2,CLASS",
        help="an object of --image, in its pixels; may be repeated",
    )
    command.add_argument(
        "--objects",
        nargs="+",
        type=int,
        metavar="N",
        help=f"numbers of the objects, from 0 (default: the {_MAX_OBJECTS} largest)",
    )
    command.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="CONFIG=WEIGHTS",
        help="other detectors: one picture an object, a row each, of what each location learns",
    )
    _add_last_arguments(command)
    command.set_defaults(run=_assignment, parser=command)

    command = commands.add_parser("prior", help="the learned center prior of each class")
    _add_model_arguments(command)
    _add_last_arguments(command)
    command.set_defaults(run=_prior, parser=command)

    command = commands.add_parser("objectness", help="scores with and without objectness")
    _add_model_arguments(command)
    _add_image_arguments(command)
    command.add_argument(
        "--class", dest="class_name", metavar="CLASS", help="name or index (default: any class)"
    )
    _add_last_arguments(command)
    command.set_defaults(run=_objectness, parser=command)

    command = commands.add_parser("evolution", help="weights over the iterations of a training")
    command.add_argument("run_dir", metavar="OUTPUT_DIR", help="of a run with TEST.EVOLUTION")
    command.add_argument("--output", metavar="DIR", help="default: OUTPUT_DIR/evolution")
    command.set_defaults(run=_evolution, parser=command)
    return parser


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="path or name of a shipped config (default: config.yaml beside the weights)",
    )
    parser.add_argument("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", metavar="NAME", help="default: the first of DATASETS.TEST, else of TRAIN"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="file names in the dataset, or places in it from 0",
    )
    parser.add_argument(
        "--num-images", type=int, default=1, metavar="N", help="the first N images (default 1)"
    )
    parser.add_argument("--image", metavar="FILE", help="an image outside any dataset")


def _add_last_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", default="output/visualize", metavar="DIR", help="default output/visualize"
    )
    add_opts_argument(parser, "the config (not of --compare's)")


def _assignment(args: argparse.Namespace) -> None:
    subjects = [
        load_detector(args.config_file, args.weights, args.opts, strictness=Strictness.EXPLANATION)
    ]
    for pair in args.compare:
        config_file, separator, weights = pair.partition("=")
        if not (config_file and separator and weights):
            raise ValueError(f"--compare takes CONFIG=WEIGHTS, not {pair!r}")
        subjects.append(load_detector(config_file, weights, strictness=Strictness.EXPLANATION))
        _check_same_classes(subjects[0], subjects[-1])
    names = subjects[0].class_names
    if args.image and not args.box:
        raise ValueError("--image needs its objects: give --box X1,Y1,X2,Y2,CLASS")
    folder = _Folder(args.output)
    for record in _records(args, subjects[0], args.box, with_objects=True):
        inputs = [map_record(subject.cfg, record) for subject in subjects]
        chosen = args.objects or _largest(inputs[0]["instances"])
        explanations = [
            explain_image(
                subject.model, item, objects=chosen, input_format=subject.cfg.INPUT.FORMAT
            )
            for subject, item in zip(subjects, inputs, strict=True)
        ]
        stem = Path(record["file_name"]).stem
        for number, objects in enumerate(zip(*(x.objects for x in explanations), strict=True)):
            index = chosen[number]
            title = f"{stem}, object {index}: {names[objects[0].class_index]}"
            if len(subjects) > 1:
                path = folder.free(f"comparison_{stem}_object{index}.png")
                draw_comparison(_labels(subjects), explanations, objects, title, path)
            else:
                path = folder.free(f"assignment_{stem}_object{index}.png")
                title = f"{subjects[0].strategy}: {title}"
                draw_assignment(explanations[0], objects[0], title, path)
            print(path)
        total = len(inputs[0]["instances"])
        if len(chosen) < total and not args.objects:
            print(f"{len(chosen)} of {total} objects are drawn; --objects chooses")


def _check_same_classes(first: LoadedDetector, other: LoadedDetector) -> None:
    """Names that are not known say nothing."""
    nameless = any(subject.class_names[0] == "class 0" for subject in (first, other))
    if first.class_names != other.class_names and not nameless:
        raise ValueError(
            f"--compare: the classes of {other.weights} ({', '.join(other.class_names[:5])} ...) "
            f"are not those of {first.weights} ({', '.join(first.class_names[:5])} ...)"
        )


def _prior(args: argparse.Namespace) -> None:
    subject = load_detector(
        args.config_file, args.weights, args.opts, strictness=Strictness.EXPLANATION
    )
    priors = read_priors(subject.model.label_assignment, subject.class_names)
    print(format_priors(priors))
    table = _Folder(args.output).free("prior.csv")
    write_priors(priors, table)
    for path in (table, *draw_priors(priors, args.output)):
        print(path)


def _objectness(args: argparse.Namespace) -> None:
    subject = load_detector(
        args.config_file, args.weights, args.opts, strictness=Strictness.EXPLANATION
    )
    index, score = None, "any class"
    if args.class_name is not None:
        index = class_index(args.class_name, subject.class_names)
        score = subject.class_names[index]
    folder = _Folder(args.output)
    for record in _records(args, subject, (), with_objects=False):
        maps = score_maps(
            subject.model,
            map_record(subject.cfg, record),
            class_index=index,
            input_format=subject.cfg.INPUT.FORMAT,
        )
        stem = Path(record["file_name"]).stem
        path = folder.free(f"objectness_{stem}.png")
        draw_objectness(maps, f"{stem}: scores before NMS", score, path)
        print(path)


def _evolution(args: argparse.Namespace) -> None:
    for path in draw_evolutions(args.run_dir, args.output):
        print(path)


def _records(
    args: argparse.Namespace, subject: LoadedDetector, boxes: Sequence[str], *, with_objects: bool
) -> list[dict[str, Any]]:
    if args.image:
        if args.images or args.dataset:
            raise ValueError(
                "--image is an image outside any dataset: leave out --images, --dataset"
            )
        return [image_record(args.image, boxes, subject.class_names)]
    if boxes:
        raise ValueError("--box describes an object of --image: give that too")
    if args.num_images < 1:
        raise ValueError(f"--num-images is {args.num_images}; it is at least 1")
    records = dataset_records(subject.cfg, args.dataset)
    return choose_records(
        records, args.images, num_images=args.num_images, with_objects=with_objects
    )


def _largest(instances: Any) -> list[int]:
    """The largest objects, in their order."""
    order = instances.gt_boxes.area().argsort(descending=True, stable=True)
    return sorted(order[:_MAX_OBJECTS].tolist())


def _labels(subjects: Sequence[LoadedDetector]) -> list[str]:
    """The strategies' names, with the folder of the weights where two have one strategy."""
    strategies = [subject.strategy for subject in subjects]
    return [
        subject.strategy
        if strategies.count(subject.strategy) == 1
        else f"{subject.strategy} ({Path(subject.weights).absolute().parent.name})"
        for subject in subjects
    ]


class _Folder:
    """Where one run puts its files."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._taken: set[str] = set()

    def free(self, name: str) -> Path:
        """A file of this name, with a number where the run has written one already."""
        self._path.mkdir(parents=True, exist_ok=True)
        stem, suffix = Path(name).stem, Path(name).suffix
        number = 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}{suffix}"
        self._taken.add(name)
        return self._path / name
