"""A checkpointer that says how well weights have to fit, and replaces files at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from ..config import replacing
from .backbone_weights import check_backbone_coverage, convert_backbone_weights
from .conversion import find_family
from .description import CheckpointDescription
from .strictness import Strictness, check_fit
from .weight_files import local_weight_file, read_weight_file, write_weight_file

__all__ = ["PointCheckpointer", "nonfinite_tensors"]


class PointCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer; weights that do not fit as well as they have to are an error.

    Files are read by :func:`~autoassign.checkpoint.read_weight_file`, which runs no code in them.
    They are written so that a kill leaves the old file or the new one.

    ``last_checkpoint`` names where training stands, never ``model_best.pth``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        strictness: Strictness = Strictness.TRAINING,
        description: CheckpointDescription | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model: the model whose weights are read and written.
            save_dir: folder that checkpoints are written to.
            strictness: how well weights have to fit.
            description: written into every file.
            kwargs: see :class:`detectron2.checkpoint.DetectionCheckpointer`.
        """
        super().__init__(model, save_dir, **kwargs)
        self.strictness = strictness
        self.description = description

    def load_model(self, checkpoint: dict[str, Any]) -> None:
        """Load the weights of a checkpoint that has been read; its "model" is taken out of it.

        Raises:
            ValueError: they do not fit.
        """
        self._log_incompatible_keys(self._load_model(checkpoint))

    def save(self, name: str, **kwargs: Any) -> None:
        """Write model, checkpointables, description and ``kwargs`` to ``name``.pth.

        Raises:
            FloatingPointError: a tensor is not finite; no file is changed.
            OSError: the file cannot be written; it is as it was.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data: dict[str, Any] = {"model": self.model.state_dict()}
        data |= {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if self.description is not None:
            data |= self.description.to_checkpoint()
        data |= kwargs
        path = os.path.join(self.save_dir, f"{name}.pth")
        broken = nonfinite_tensors(data)
        if broken:
            raise FloatingPointError(
                f"{path} is not written: {len(broken)} tensors are not finite, such as {broken[0]}"
            )
        self.logger.info(f"Saving checkpoint to {path}")
        write_weight_file(path, data)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        # Training resumes from its periodic checkpoints. The best one, after the last iteration,
        # has an iteration number of one too many.
        if last_filename_basename != "model_best.pth":
            with replacing(os.path.join(self.save_dir, "last_checkpoint")) as unfinished:
                unfinished.write_text(last_filename_basename, encoding="utf-8")

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if path:
            local_weight_file(path)  # says what to do where an address is out of reach
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = read_weight_file(filename)
        # "weights.pth?matching_heuristics=True" is detectron2's way to ask for them.
        query = parse_qs(self._parsed_url_during_load.query)
        if query.get("matching_heuristics") == ["True"]:
            checkpoint["matching_heuristics"] = True
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        in_model, in_file = self.model.state_dict(), list(checkpoint["model"])
        converted = convert_backbone_weights(checkpoint["model"], in_model)
        if converted is not None:
            checkpoint |= {"model": converted, "matching_heuristics": False}
        incompatible = super()._load_model(checkpoint)
        try:
            check_fit(self.model, incompatible, self.strictness)
        except ValueError as error:
            family = find_family(set(in_file))
            if family is None:
                raise
            raise ValueError(
                f"the weights are those of {family.name}; `autoassign convert` converts them"
            ) from error
        misfits = [name for name, _, _ in incompatible.incorrect_shapes]
        check_backbone_coverage(in_model, [*incompatible.missing_keys, *misfits], in_file)
        return incompatible


def nonfinite_tensors(state: Mapping[str, Any]) -> list[str]:
    """Dotted names of the tensors in nested dicts and lists that hold an infinity or a NaN."""
    return [name for name, tensor in _named_tensors(state, "") if not tensor.isfinite().all()]


def _named_tensors(node: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield prefix, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _named_tensors(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _named_tensors(value, f"{prefix}.{index}")
