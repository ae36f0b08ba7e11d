"""A converted detector beside the outputs of its source."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4


@torch.no_grad()
def assert_parity(
    name: str, model: nn.Module, image: Tensor, expected: Mapping[str, Tensor]
) -> None:
    """Compare the outputs of all levels, and print the largest differences (``pytest -rP``).

    Args:
        name: of the source.
        model: the converted detector.
        image: (1, 3, H, W), normalized.
        expected: "cls_logits_0" (1, K, H0, W0), "ltrb_0" (1, 4, H0, W0) in pixels and perhaps
            "extra_logits_0" (1, 1, H0, W0), ... for each level.
    """
    features = model.backbone(image)
    features = [features[name] for name in model.head_in_features]
    grid = model.grid(features)
    predictions = model.head(features)
    extra = predictions.obj_logits
    if extra is None:
        extra = next(iter(predictions.extra.values()), None)
    outputs = {"cls_logits": predictions.cls_logits, "ltrb": predictions.ltrb}
    if extra is not None:
        outputs["extra_logits"] = extra.reshape(1, -1, 1)
    assert {key.rpartition("_")[0] for key in expected} == set(outputs)
    errors = {}
    for kind, tensor in outputs.items():
        errors[kind] = 0.0
        for level, ours in enumerate(tensor.split(grid.level_lengths, dim=1)):
            theirs = expected[f"{kind}_{level}"].flatten(2).transpose(1, 2)
            # In strides: pixels of the coarsest level are rounded to 1e-4.
            unit = grid.strides[level] if kind == "ltrb" else 1
            errors[kind] = max(errors[kind], float((ours - theirs).abs().max()) / unit)
    print(f"{name}: {', '.join(f'{kind} {error:.0e}' for kind, error in errors.items())}")
    assert max(errors.values()) <= TOLERANCE
