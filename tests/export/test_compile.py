"""Backbone and head under torch.compile: one graph, the same outputs."""

import torch
from narrow_model import narrow_model


def test_backbone_and_head_are_one_graph():
    model = narrow_model().eval()

    def predict(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pyramid = model.backbone(images)
        predictions = model.head([pyramid[name] for name in model.head_in_features])
        assert predictions.obj_logits is not None
        return predictions.cls_logits, predictions.ltrb, predictions.obj_logits

    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    # "eager" runs the graph as it was traced; fullgraph makes a break an error.
    compiled = torch.compile(predict, backend="eager", fullgraph=True)
    with torch.no_grad():
        for ours, expected in zip(compiled(images), predict(images), strict=True):
            assert torch.equal(ours, expected)
