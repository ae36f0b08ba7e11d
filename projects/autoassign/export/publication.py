"""Publish a model: its weights stripped, described, named by their hash, with a model card."""

from __future__ import annotations

import hashlib
import html
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from detectron2.config import CfgNode

from .. import __version__
from ..checkpoint import CheckpointDescription, Strictness, read_weight_file, write_weight_file
from ..config import replacing
from ..evaluation import METRICS
from ..runs import LoadedDetector, TrainedRun, load_detector

__all__ = ["Publication", "publish"]

_BEST = "model_best.pth"
_PICTURES = (".png", ".jpg", ".jpeg", ".svg")
_HASH_LENGTH = 8
# The last line of a model card, which may be overwritten.
_SIGNATURE = "<!-- written by autoassign publish -->"


@dataclass(frozen=True)
class Publication:
    """What is known about weights that are published.

    Attributes:
        detector: with the weights; those of a training with MODEL.EMA are the averaged ones.
        name: what the files are called.
        metrics: "AP", "AP50", "AP-cat", ... in percent, of these weights; may be empty.
        iterations: after how many iterations these were measured; 0 if that is not known.
        pictures: files to show.
        source: what the weights were converted from; "" if they were trained here.
    """

    detector: LoadedDetector
    name: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    iterations: int = 0
    pictures: Sequence[Path] = ()
    source: str = ""

    @classmethod
    def read(cls, source: str | Path, name: str | None = None) -> Publication:
        """Read a training or a weight file.

        Args:
            source: the folder of a training, whose best weights are taken, or a weight file; the
                metrics are those that metrics.json beside it has of the iteration in the file,
                the pictures those beside it.
            name: what the files are to be called; None: as the folder.

        Raises:
            OSError: a file does not exist.
            ValueError: there are no weights, or they do not fit their config.
        """
        source = Path(source)
        folder = source if source.is_dir() else source.parent
        run = TrainedRun.read(folder) if _is_training(folder) else None
        weights = source
        if source.is_dir():
            best = source / _BEST
            found = best if best.is_file() else run and run.weights
            if not found:
                raise FileNotFoundError(f"{source} has no weights to publish")
            weights = found
        detector = load_detector(None, str(weights), strictness=Strictness.EXPLANATION)
        checkpoint = read_weight_file(weights)
        metrics, iterations = _metrics_of(run, checkpoint)
        pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
        return cls(
            detector=detector,
            name=name or folder.resolve().name,
            metrics=metrics,
            iterations=iterations,
            pictures=pictures if run else (),
            source=str(checkpoint.get("source", "")),
        )


def publish(publication: Publication, output: str | Path, *, suffix: str = ".pth") -> list[Path]:
    """Write the weights and README.md, the model card, into a folder.

    Args:
        publication: what is published.
        output: the folder.
        suffix: ".pth" or ".safetensors".

    Returns:
        The files: weights with the first 8 digits of their SHA-256 in the name, the card, the
            pictures.

    Raises:
        ValueError: another suffix.
        FileExistsError: the folder has a README.md that is no model card.
        OSError: a file cannot be written.
    """
    output = Path(output)
    card = output / "README.md"
    _check_replaceable(card)
    unnamed = output / f".{publication.name}{suffix}"
    write_weight_file(unnamed, _checkpoint(publication))
    sha256 = hashlib.sha256(unnamed.read_bytes()).hexdigest()
    weights = output / f"{publication.name}-{sha256[:_HASH_LENGTH]}{suffix}"
    unnamed.replace(weights)
    pictures = []
    for picture in publication.pictures:
        with replacing(output / picture.name) as unfinished:
            shutil.copyfile(picture, unfinished)
        pictures.append(output / picture.name)
    with replacing(card) as unfinished:
        unfinished.write_text(_model_card(publication, weights, sha256), encoding="utf-8")
    return [weights, card, *pictures]


def _check_replaceable(card: Path) -> None:
    if card.is_file() and not card.read_bytes().rstrip().endswith(_SIGNATURE.encode()):
        raise FileExistsError(
            f"{card} is no model card of `autoassign publish`, and is not overwritten: give "
            "another folder"
        )


def _is_training(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "metrics.json").is_file()


def _metrics_of(
    run: TrainedRun | None, checkpoint: Mapping[str, Any]
) -> tuple[Mapping[str, float], int]:
    """The metrics of the evaluation after the checkpoint's iteration, if there was one."""
    iteration = checkpoint.get("iteration")
    if run is None or type(iteration) is not int:
        return {}, 0
    iterations = run.iterations_done({"iteration": iteration})
    return run.evaluations.get(iterations, {}), iterations


def _checkpoint(publication: Publication) -> dict[str, Any]:
    detector = publication.detector
    cfg = detector.cfg.clone()
    cfg.defrost()
    # What belongs to this machine.
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cuda"  # the CPU where there is none
    cfg.OUTPUT_DIR = f"output/{publication.name}"
    custom = cfg.DATASETS.CUSTOM
    custom.ROOT = ""
    for key in ("TRAIN", "TEST", "TRAIN_IMAGES", "TEST_IMAGES"):
        if Path(custom[key]).is_absolute():
            custom[key] = ""
    description = CheckpointDescription(
        version=__version__,
        config=cfg.dump(),
        thing_classes=detector.class_names,
        thing_dataset_id_to_contiguous_id=dict(detector.metadata.thing_dataset_id_to_contiguous_id),
    )
    return {
        "model": {name: tensor.cpu() for name, tensor in detector.model.state_dict().items()},
        **description.to_checkpoint(),
        "metrics": dict(publication.metrics),
        "source": publication.source,
    }


def _model_card(publication: Publication, weights: Path, sha256: str) -> str:
    detector = publication.detector
    names = [_plain(name) for name in detector.class_names]
    megabytes = weights.stat().st_size / 2**20
    is_custom = detector.cfg.DATASETS.CUSTOM.FORMAT
    folder = " DATASETS.CUSTOM.ROOT FOLDER" if is_custom else ""
    lines = [
        f"# {_plain(publication.name)}",
        "",
        f"Detector of {len(names)} classes, of autoassign {__version__}.",
        "",
        *_table(("", ""), _facts(publication)),
        *_table(("file", "MB", "SHA-256"), [(weights.name, f"{megabytes:.1f}", f"`{sha256}`")]),
        *_metrics_lines(publication),
        "## Classes",
        "",
        ", ".join(names),
        "",
        "## Use",
        "",
        "The file holds the config and the names of the classes. An evaluation needs the dataset.",
        "",
        "```",
        f"autoassign predict --weights {weights.name} IMAGES",
        f"autoassign eval --weights {weights.name}{folder}",
        f"autoassign export --weights {weights.name} --output exported",
        "```",
        "",
        *(f"![{_plain(path.stem)}]({quote(path.name)})\n" for path in publication.pictures),
        _SIGNATURE,
        "",
    ]
    return "\n".join(lines)


def _facts(publication: Publication) -> list[tuple[str, str]]:
    detector = publication.detector
    cfg: CfgNode = detector.cfg
    parameters = sum(parameter.numel() for parameter in detector.model.parameters())
    origins = {
        "trained on": ", ".join(cfg.DATASETS.TRAIN),
        "tested on": ", ".join(cfg.DATASETS.TEST),
        "converted from": publication.source,
    }
    return [
        ("label assignment", detector.strategy),
        ("parameters", f"{parameters / 1e6:.1f} million"),
        (
            "input",
            f"{cfg.INPUT.FORMAT}, short side {cfg.INPUT.MIN_SIZE_TEST}, long side at most "
            f"{cfg.INPUT.MAX_SIZE_TEST} pixels",
        ),
        (
            "training",
            f"{cfg.SOLVER.MAX_ITER} iterations of {cfg.SOLVER.IMS_PER_BATCH} images, "
            f"{cfg.SOLVER.OPTIMIZER} with rate {cfg.SOLVER.BASE_LR:g}"
            + (", averaged weights" if cfg.MODEL.EMA.ENABLED else ""),
        ),
        *[(name, _plain(text)) for name, text in origins.items() if text],
    ]


def _metrics_lines(publication: Publication) -> list[str]:
    metrics = publication.metrics
    overall = [name for name in METRICS if name in metrics]
    if not overall:
        return []
    classes = [name for name in metrics if name.startswith("AP-")]
    return [
        f"## Average precision after {publication.iterations} iterations",
        "",
        *_table(overall, [[_percent(metrics[name]) for name in overall]]),
        *_table(
            ("class", "AP"),
            [(_plain(name.removeprefix("AP-")), _percent(metrics[name])) for name in classes],
        ),
    ]


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    rules = ["---"] * len(header)
    return [*(f"| {' | '.join(row)} |" for row in (header, rules, *rows)), ""]


def _plain(text: str) -> str:
    """Text that Markdown and HTML take as it is, in one line."""
    text = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{char}" if char in r"\`*_[]|#" else char for char in text)
