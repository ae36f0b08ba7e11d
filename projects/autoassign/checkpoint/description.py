"""What a checkpoint says about itself, so that it can be used away from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CheckpointDescription"]

_KEY = "autoassign"


@dataclass(frozen=True)
class CheckpointDescription:
    """How the weights of a checkpoint were made, in plain types that weights-only loading takes.

    Attributes:
        version: of this package.
        config: the whole config as YAML.
        thing_classes: the class names in the detector's order.
        thing_dataset_id_to_contiguous_id: category id in the annotations -> class.
    """

    version: str
    config: str
    thing_classes: list[str]
    thing_dataset_id_to_contiguous_id: dict[int, int]

    def to_checkpoint(self) -> dict[str, Any]:
        """What is added to a checkpoint."""
        return {_KEY: asdict(self)}

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Mapping[str, Any], *, source: str = "the checkpoint"
    ) -> CheckpointDescription | None:
        """Read the description of a checkpoint; None where it has none.

        Args:
            checkpoint: as :func:`~autoassign.checkpoint.read_weight_file` returns it.
            source: the file, for errors.

        Raises:
            ValueError: it is malformed.
        """
        if _KEY not in checkpoint:
            return None
        try:
            return cls._from_entry(checkpoint[_KEY])
        except ValueError as error:
            raise ValueError(f"{source}: its {_KEY!r} entry is malformed: {error}") from error

    @classmethod
    def _from_entry(cls, content: Any) -> CheckpointDescription:
        try:
            ids = dict(content["thing_dataset_id_to_contiguous_id"])
            description = cls(
                version=content["version"],
                config=content["config"],
                thing_classes=list(content["thing_classes"]),
                # JSON, which safetensors files hold, has texts for keys.
                thing_dataset_id_to_contiguous_id={int(key): index for key, index in ids.items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(repr(error)) from error
        description._check()
        return description

    def _check(self) -> None:
        names, ids = self.thing_classes, self.thing_dataset_id_to_contiguous_id
        texts = (self.version, self.config, *names)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("version, config or a class name is no text")
        if not all(type(index) is int for index in ids.values()) or sorted(ids.values()) != list(
            range(len(names))
        ):
            raise ValueError(f"{len(ids)} dataset ids do not stand for the {len(names)} classes")
