"""A checkpointer that says how well weights have to fit."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .strictness import Strictness, check_fit
from .weight_files import read_weight_file

__all__ = ["PointCheckpointer"]


class PointCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer; weights that do not fit as well as they have to are an error.

    Files are read by :func:`~autoassign.checkpoint.read_weight_file`, which runs no code in them.

    ``last_checkpoint`` names where training stands, never ``model_best.pth``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        strictness: Strictness = Strictness.TRAINING,
        trust: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model: the model whose weights are read and written.
            save_dir: folder that checkpoints are written to.
            strictness: how well weights have to fit.
            trust: see :func:`~autoassign.checkpoint.read_weight_file`.
            kwargs: see :class:`detectron2.checkpoint.DetectionCheckpointer`.
        """
        super().__init__(model, save_dir, **kwargs)
        self.strictness = strictness
        self.trust = trust

    def load_model(self, checkpoint: dict[str, Any]) -> None:
        """Load the weights of a checkpoint that has been read; its "model" is taken out of it.

        Raises:
            ValueError: they do not fit.
        """
        self._log_incompatible_keys(self._load_model(checkpoint))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        # Training resumes from its periodic checkpoints. The best one, after the last iteration,
        # has an iteration number of one too many.
        if last_filename_basename != "model_best.pth":
            super().tag_last_checkpoint(last_filename_basename)

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = read_weight_file(filename, trust=self.trust)
        # "weights.pth?matching_heuristics=True" is detectron2's way to ask for them.
        query = parse_qs(self._parsed_url_during_load.query)
        if query.get("matching_heuristics") == ["True"]:
            checkpoint["matching_heuristics"] = True
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        check_fit(self.model, incompatible, self.strictness)
        return incompatible
