"""A trained detector whose label assignment is looked into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode

from ..checkpoint import PointCheckpointer
from ..engine.setup import load_trained_config
from ..inference import Predictor
from ..modeling.detector import PointDetector

__all__ = ["Subject", "load_subject"]


@dataclass(frozen=True)
class Subject:
    """A trained detector to look into.

    Attributes:
        cfg: its config.
        weights: the file its weights come from.
        model: the detector, in evaluation mode.
        class_names: the names of its classes, "class 3" where nothing tells them.
    """

    cfg: CfgNode
    weights: str
    model: PointDetector
    class_names: list[str]

    @property
    def strategy(self) -> str:
        """The name of its label assignment."""
        return self.cfg.MODEL.LABEL_ASSIGNMENT.NAME


def load_subject(config_file: str | None, weights: str | None, opts: Sequence[str] = ()) -> Subject:
    """Build a detector and load its weights.

    Args:
        config_file: path or name of a shipped config; None: config.yaml beside the weights, where
            training leaves it.
        weights: a checkpoint; None: ``MODEL.WEIGHTS`` of the config.
        opts: KEY VALUE pairs that override the config.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: an option is wrong, or the weights are not those of the config's detector and
            label assignment.
    """
    cfg = load_trained_config(config_file, weights, opts)
    if cfg.MODEL.META_ARCHITECTURE != "PointDetector":
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}: only a PointDetector "
            "explains its label assignment"
        )
    predictor = Predictor(cfg)
    try:
        _ExactCheckpointer(predictor.model).load(cfg.MODEL.WEIGHTS)
    except ValueError as error:
        raise ValueError(f"{cfg.MODEL.WEIGHTS}: {error}") from error
    return Subject(cfg, cfg.MODEL.WEIGHTS, predictor.model, list(predictor.metadata.thing_classes))


class _ExactCheckpointer(PointCheckpointer):
    """Takes only weights whose head and label assignment are those of the model.

    Prediction can do without what only training uses; an explanation cannot.
    """

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        foreign = [
            key
            for key in incompatible.unexpected_keys
            if key.startswith(("head.", "label_assignment."))
        ]
        for keys, verb, has in (
            (incompatible.missing_keys, "lack", "has"),
            (foreign, "have", "does not have"),
        ):
            if keys:
                name = type(self.model.label_assignment).__name__
                raise ValueError(
                    f"the weights {verb} {', '.join(keys[:3])}, which this config's {name} "
                    f"detector {has}: were they trained with another label assignment?"
                )
        return incompatible
