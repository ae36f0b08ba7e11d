"""What a training has left in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from ...engine.setup import load_config
from ...runs import is_cut_off, read_metrics

__all__ = ["Run", "read_run"]

# What an evaluation at the end of a training leaves was made with the final weights.
_WEIGHTS = ("model_final.pth", "model_best.pth")


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        folder: its OUTPUT_DIR.
        config_text: its config.yaml.
        cfg: the config, with the values of the command line.
        opts: these KEY VALUE pairs.
        metrics: rows of metrics.json by iteration; at least one.
        metrics_cut_off: the last line of that file is cut off, and not among the rows.
    """

    folder: Path
    config_text: str
    cfg: CfgNode
    opts: tuple[str, ...]
    metrics: list[dict[str, float]]
    metrics_cut_off: bool

    @property
    def config_file(self) -> Path:
        """The run's config.yaml."""
        return self.folder / "config.yaml"

    @property
    def weights(self) -> Path | None:
        """The final weights, else the best ones, else those of the last checkpoint, else None."""
        names = list(_WEIGHTS)
        last = self.folder / "last_checkpoint"
        if last.is_file():
            names.append(last.read_text(encoding="utf-8").strip())
        paths = (self.folder / name for name in names)
        return next((path for path in paths if path.is_file()), None)

    def trained(self, row: dict[str, float]) -> int:
        """Iterations that were done when a row was written."""
        # Numbers start with 0 during training, but the last evaluation comes after it.
        return min(int(row["iteration"]) + 1, self.cfg.SOLVER.MAX_ITER)

    @property
    def test_dataset(self) -> str | None:
        """The dataset whose evaluation is shown: the first of DATASETS.TEST."""
        return self.cfg.DATASETS.TEST[0] if self.cfg.DATASETS.TEST else None

    @property
    def results_file(self) -> Path:
        """Where the evaluation writes its detections; the file need not be there."""
        folder = self.folder / "inference"
        if len(self.cfg.DATASETS.TEST) > 1:
            folder = folder / self.cfg.DATASETS.TEST[0]
        return folder / "coco_instances_results.json"

    @property
    def metric_prefix(self) -> str:
        """What the names of the AP metrics start with."""
        # detectron2 leaves the dataset's name out where there is one.
        several = len(self.cfg.DATASETS.TEST) > 1
        return f"{self.cfg.DATASETS.TEST[0]}/bbox/" if several else "bbox/"


def read_run(folder: str | Path, opts: Sequence[str] = ()) -> Run:
    """Read the config and the metrics of a run.

    Args:
        folder: OUTPUT_DIR of a training.
        opts: KEY VALUE pairs that override its config.

    Raises:
        FileNotFoundError: the folder, its config.yaml or its metrics.json is missing.
        ValueError: one of them, or an option, is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    for name in ("config.yaml", "metrics.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: it is not the OUTPUT_DIR of a training"
            )
    config_file = folder / "config.yaml"
    if len(opts) % 2:
        raise ValueError(f"options come in pairs, KEY VALUE: {' '.join(opts)}")
    cfg = load_config(str(config_file), opts)
    metrics_file = folder / "metrics.json"
    metrics = read_metrics(metrics_file)
    if not metrics:
        raise ValueError(f"{metrics_file} has no whole line: the training has logged nothing")
    return Run(
        folder=folder,
        config_text=config_file.read_text(encoding="utf-8"),
        cfg=cfg,
        opts=tuple(opts),
        metrics=metrics,
        metrics_cut_off=is_cut_off(metrics_file),
    )
