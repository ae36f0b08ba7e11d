"""Memory of the losses with many classes, in class logits of the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from autoassign.analysis.benchmark import LossCase, loss_of
from autoassign.analysis.benchmark.inputs import make_loss_inputs
from autoassign.config import LABEL_ASSIGNMENT_REGISTRY
from autoassign.modeling.losses import negative_focal_loss

NUM_CLASSES = 1203


def peak_bytes(compute: Callable[[], Tensor]) -> int:
    """The most bytes that a computation and its gradients hold at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        compute().backward()
    events = [x for x in profiler.profiler.kineto_results.events() if x.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda x: x.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


def test_the_negative_term_holds_two_buffers_of_the_size_of_the_class_logits():
    shape = (2, NUM_CLASSES, 1000)
    cls_logits = torch.randn(shape).transpose(1, 2).requires_grad_()
    obj_logits = torch.randn(2, 1000, requires_grad=True)
    weights = torch.rand(shape).transpose(1, 2)
    peak = peak_bytes(lambda: negative_focal_loss(cls_logits, obj_logits, weights))
    # In forward the gradient and the work space of some classes, in backward two gradients.
    assert peak < 2.1 * cls_logits.numel() * 4


@pytest.mark.parametrize("name", [name for name, _ in LABEL_ASSIGNMENT_REGISTRY])
def test_a_whole_loss_holds_few_more(name):
    case = LossCase.build(name, NUM_CLASSES, feature_channels=4)
    inputs = make_loss_inputs(
        20,
        image_size=(256, 320),
        num_classes=NUM_CLASSES,
        feature_channels=case.feature_channels,
    )
    logits = sum(level.numel() for level in inputs.cls_logits) * 4
    # The levels in one tensor, the weights of the negatives, and their gradient. AutoAssign has
    # the gradient of the pairs besides.
    buffers = 4 if name == "AutoAssign" else 3
    assert peak_bytes(lambda: loss_of(case, inputs)) < (buffers + 0.5) * logits
