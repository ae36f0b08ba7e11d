import pytest
import torch
from detectron2.utils.events import EventStorage
from narrow_model import image_input, narrow_cfg, total

from autoassign.engine import Trainer


@pytest.fixture
def fcos():
    options = ("MODEL.META_ARCHITECTURE", "Detectron2FCOS", "MODEL.CHANNELS_LAST", True)
    return Trainer.build_model(narrow_cfg(*options, "MODEL.POINT_HEAD.PRIOR_PROB", 0.01))


def test_every_location_begins_with_the_prior_of_the_config(fcos):
    for parameter in (fcos.head.cls_score.weight, fcos.head.ctrness.weight):
        torch.nn.init.zeros_(parameter)
    fcos.test_score_thresh = 0.0
    with torch.no_grad():
        [output] = fcos.eval()([image_input([], [])])
    # detectron2's score: √(class probability · center-ness), here √(0.01 · ½).
    scores = output["instances"].scores
    torch.testing.assert_close(scores, torch.full_like(scores, 0.005).sqrt())
    assert len(scores) > 0


def test_losses_are_computed_in_float32_under_autocast(fcos):
    with EventStorage(), torch.autocast("cpu", torch.bfloat16):
        losses = fcos([image_input([[10.0, 12.0, 60.0, 70.0]], [1])])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    total(losses).backward()
    assert all(p.grad.isfinite().all() for p in fcos.parameters() if p.requires_grad)


def test_the_trainer_builds_detectors_of_detectron2_in_channels_last_format(fcos):
    assert fcos.head.cls_score.weight.is_contiguous(memory_format=torch.channels_last)
