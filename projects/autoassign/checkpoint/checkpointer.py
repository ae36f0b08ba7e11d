"""A checkpointer that does not leave tensors behind silently."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .weight_files import read_weight_file

__all__ = ["PointCheckpointer"]


class PointCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer; a tensor whose shape does not fit the model is an error.

    Files are read by :func:`~autoassign.checkpoint.read_weight_file`, which runs no code in them.

    ``last_checkpoint`` names where training stands, never ``model_best.pth``.

    With ``skip_mismatched`` such tensors keep their initial value and are named in the log, as
    detectron2 has it: what one wants when a detector is fine-tuned on other classes.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        skip_mismatched: bool = False,
        trust: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model: the model whose weights are read and written.
            save_dir: folder that checkpoints are written to.
            skip_mismatched: leave tensors of other shapes at their initial value.
            trust: see :func:`~autoassign.checkpoint.read_weight_file`.
            kwargs: see :class:`detectron2.checkpoint.DetectionCheckpointer`.
        """
        super().__init__(model, save_dir, **kwargs)
        self.skip_mismatched = skip_mismatched
        self.trust = trust

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
        if set(incompatible.missing_keys) == set(self.model.state_dict()):
            raise ValueError(
                "The weights have no tensor of this config's model; they begin with "
                f"{', '.join(incompatible.unexpected_keys[:3])}"
            )
        if incompatible.incorrect_shapes and not self.skip_mismatched:
            tensors = "\n".join(
                f"  {name}: {tuple(in_file)} in the file, {tuple(in_model)} in the model"
                for name, in_file, in_model in incompatible.incorrect_shapes
            )
            raise ValueError(
                "The weights do not fit the model of this config:\n"
                f"{tensors}\n"
                "Set MODEL.WEIGHTS_SKIP_MISMATCHED True to train these tensors from scratch."
            )
        return incompatible
