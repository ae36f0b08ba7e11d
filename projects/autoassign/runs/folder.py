"""The folder of a training, and what lies where in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ..checkpoint import Strictness, find_checkpoint
from ..config import load_config
from .detector import LoadedDetector, load_detector, load_trained_config
from .metrics import Metrics, iterations_done, read_metrics

__all__ = ["TrainedRun", "evaluation_folder"]

# What an evaluation at the end of a training leaves was made with the final weights.
_WEIGHTS = ("model_final.pth", "model_best.pth")


@dataclass(frozen=True)
class TrainedRun:
    """The OUTPUT_DIR of a training, or a weight file alone, with its config.

    Attributes:
        folder: the OUTPUT_DIR, or the weight file, for which there are no metrics.
        cfg: the config.
        opts: options that have been overridden in ``cfg``.
    """

    folder: Path
    cfg: CfgNode
    opts: tuple[Any, ...] = ()

    @classmethod
    def read(cls, folder: str | Path, opts: Sequence[Any] = ()) -> TrainedRun:
        """Read the config of a training: its config.yaml, else the one inside its weights.

        Args:
            folder: the OUTPUT_DIR, or a weight file.
            opts: KEY VALUE or KEY=VALUE, which override the config.

        Raises:
            OSError: the folder does not exist, or it has no config.
            ValueError: the config or an option is wrong.
        """
        folder = Path(folder)
        if not folder.exists():
            raise FileNotFoundError(f"there is no folder or weight file {folder}")
        if (folder / "config.yaml").is_file():
            return cls(folder, load_config(str(folder / "config.yaml"), opts), tuple(opts))
        weights = _find_weights(folder)
        if weights is None:
            raise FileNotFoundError(
                f"{folder} has neither a config.yaml nor weights: it is not the OUTPUT_DIR of a "
                "training"
            )
        return cls(folder, load_trained_config(None, str(weights), opts), tuple(opts))

    @property
    def config_file(self) -> Path:
        """The config.yaml; it need not exist."""
        return self.folder / "config.yaml"

    @property
    def config_text(self) -> str:
        """The config.yaml as it is; where there is none, ``cfg`` as YAML."""
        if self.config_file.is_file():
            return self.config_file.read_text(encoding="utf-8")
        return self.cfg.dump()

    @property
    def metrics_file(self) -> Path:
        """The metrics.json; it need not exist."""
        return self.folder / "metrics.json"

    @property
    def weights(self) -> Path | None:
        """The final weights, else the best ones, else those of the last checkpoint, else None.

        Raises:
            ValueError: there are checkpoints only, all of them damaged.
        """
        return _find_weights(self.folder)

    @property
    def test_dataset(self) -> str | None:
        """The dataset whose evaluation counts: the first of DATASETS.TEST."""
        return self.cfg.DATASETS.TEST[0] if self.cfg.DATASETS.TEST else None

    @property
    def results_file(self) -> Path:
        """The last detections on ``test_dataset``; the file need not exist."""
        folder = evaluation_folder(self.folder, self.cfg.DATASETS.TEST, self.test_dataset or "")
        return folder / "coco_instances_results.json"

    @cached_property
    def metrics(self) -> Metrics:
        """The content of the metrics.json; see :func:`read_metrics`."""
        if self.folder.is_file():
            return Metrics(rows=[], num_truncated=0)
        return read_metrics(self.metrics_file)

    @cached_property
    def evaluations(self) -> dict[int, dict[str, float]]:
        """Iterations done -> metrics on ``test_dataset``, "AP", "AP50", "AP-cat", ..."""
        return self.metrics.evaluations(self.cfg.DATASETS.TEST, self.cfg.SOLVER.MAX_ITER)

    def iterations_done(self, row: dict[str, float]) -> int:
        """The number of iterations that were done when a row of the metrics was written."""
        return iterations_done(row, self.cfg.SOLVER.MAX_ITER)

    def load_detector(self, strictness: Strictness = Strictness.PREDICTION) -> LoadedDetector:
        """Load ``weights``; see :func:`load_detector`.

        Raises:
            FileNotFoundError: there are none.
        """
        if self.weights is None:
            raise FileNotFoundError(
                f"{self.folder} has neither model_final.pth nor model_best.pth nor a checkpoint"
            )
        config_file = str(self.config_file) if self.config_file.is_file() else None
        return load_detector(config_file, str(self.weights), self.opts, strictness=strictness)


def evaluation_folder(
    output_dir: str | Path, test_datasets: Sequence[str], dataset_name: str
) -> Path:
    """Where the evaluation on a dataset leaves its files.

    Args:
        output_dir: ``OUTPUT_DIR`` of the run.
        test_datasets: ``DATASETS.TEST`` of the run.
        dataset_name: one of them.
    """
    folder = Path(output_dir) / "inference"
    return folder / dataset_name if len(test_datasets) > 1 else folder


def _find_weights(folder: Path) -> Path | None:
    if folder.is_file():
        return folder
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    last = find_checkpoint(folder)
    return Path(last) if last else None
