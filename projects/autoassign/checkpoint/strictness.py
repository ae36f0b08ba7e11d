"""How well weights have to fit a model, by what they are used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import nn

from ..config import first_of

__all__ = ["Strictness", "check_fit"]


@dataclass(frozen=True)
class _Rules:
    """What makes weights unfit.

    Attributes:
        other_shapes: a tensor has another shape than the model's.
        missing: the weights lack a tensor of the model.
        missing_except: prefixes of tensors that may be missing all the same.
        unknown: prefixes of tensors that the model has to have if the weights do.
    """

    other_shapes: bool = True
    missing: bool = True
    missing_except: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class Strictness(Enum):
    """What weights are loaded for, which says how well they have to fit.

    In any case they have a tensor of the model. What does not fit and is allowed keeps its
    initial value.
    """

    #: Fine-tuning on other classes: tensors of other shapes and missing ones are allowed.
    FINE_TUNING_OTHER_CLASSES = _Rules(other_shapes=False, missing=False)
    #: Training: missing tensors are allowed, as the head's in weights of a backbone.
    TRAINING = _Rules(missing=False)
    #: Evaluation and prediction: all but what the label assignment learns for itself is needed,
    #: and no other head: scores without its objectness would mean something else.
    PREDICTION = _Rules(missing_except=("label_assignment.",), unknown=("head.",))
    #: A look into the label assignment: that one has to be the trained one, too.
    EXPLANATION = _Rules(unknown=("head.", "label_assignment."))


def check_fit(model: nn.Module, incompatible: Any, strictness: Strictness) -> None:
    """Check how weights fit a model.

    Args:
        model: the model that they have been loaded into.
        incompatible: fvcore's ``missing_keys``, ``unexpected_keys`` and ``incorrect_shapes``.
        strictness: what they are for.

    Raises:
        ValueError: they do not fit; some of the tensors are named.
    """
    rules = strictness.value
    missing, unknown = incompatible.missing_keys, incompatible.unexpected_keys
    wrong = incompatible.incorrect_shapes
    # Parameters: old files have no counters of batch normalization, which are not missed.
    if not wrong and set(missing).issuperset(name for name, _ in model.named_parameters()):
        raise ValueError(
            "the weights have no tensor of this config's model; they begin with "
            f"{first_of(unknown)}"
        )
    if wrong and rules.other_shapes:
        shapes = ", ".join(
            f"{name} {tuple(in_file)} in the file and {tuple(in_model)} in the model"
            for name, in_file, in_model in wrong[:3]
        )
        advice = (
            "; MODEL.WEIGHTS_SKIP_MISMATCHED True trains such tensors from their initial values"
            if strictness is Strictness.TRAINING
            else ""
        )
        raise ValueError(
            f"{len(wrong)} tensors do not fit the model of this config: {shapes}{advice}"
        )
    if rules.missing:
        lacking = [name for name in missing if not name.startswith(rules.missing_except)]
        _check_missing(lacking, missing, model)
    foreign = [name for name in unknown if name.startswith(rules.unknown)]
    if foreign:
        raise ValueError(
            f"the weights have {first_of(foreign)}, which the model of this config "
            "does not have: were they trained with another config, such as another label "
            "assignment or objectness?"
        )


def _check_missing(lacking: Sequence[str], missing: Sequence[str], model: nn.Module) -> None:
    if not lacking:
        return
    head = {name for name, _ in model.named_parameters() if name.startswith("head.")}
    if head and head.issubset(missing):
        raise ValueError(
            "the weights have no head: a trained detector is needed, not a backbone alone"
        )
    raise ValueError(
        f"the weights lack {first_of(lacking)}, which the model of this config has: "
        "were they trained with another config, such as another label assignment or backbone?"
    )
