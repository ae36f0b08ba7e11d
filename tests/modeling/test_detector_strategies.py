"""PointDetector with each label assignment and each kind of objectness."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import ImageList
from narrow_model import image_input, narrow_model, total

from autoassign.modeling import LABEL_ASSIGNMENT_REGISTRY, GroundTruth, Predictions, make_grid
from autoassign.modeling.assignment import FCOS, explicit_objectness_loss

OBJECTS = ([[10.0, 12.0, 60.0, 70.0], [70.0, 20.0, 120.0, 90.0]], [1, 4])
LOSSES = {
    "AutoAssign": {"loss_pos", "loss_neg", "loss_center"},
    "DSLA": {"loss_cls", "loss_box"},
    "FCOS": {"loss_cls", "loss_box", "loss_centerness"},
    "ATSS": {"loss_cls", "loss_box", "loss_centerness"},
    "SimOTA": {"loss_cls", "loss_box"},
    "TAL": {"loss_cls", "loss_box"},
    "FreeAnchor": {"loss_pos", "loss_neg"},
    "FSAF": {"loss_cls", "loss_box"},
    "SAPD": {"loss_cls", "loss_box", "loss_selection"},
    "MaxIoU": {"loss_cls", "loss_box"},
    "GuidedAnchoring": {"loss_cls", "loss_box", "loss_location", "loss_shape"},
}


def test_every_registered_strategy_is_here():
    assert set(LOSSES) == {name for name, _ in LABEL_ASSIGNMENT_REGISTRY}


def build(strategy: str, objectness: str = "implicit", *options: object) -> torch.nn.Module:
    return narrow_model(
        *("MODEL.LABEL_ASSIGNMENT.NAME", strategy, "MODEL.POINT_HEAD.OBJECTNESS", objectness),
        *options,
    )


@pytest.mark.parametrize(
    "batch",
    [[image_input(*OBJECTS)], [image_input([], []), image_input([], [])]],
    ids=["objects", "no object"],
)
@pytest.mark.parametrize("objectness", ["none", "implicit", "explicit"])
@pytest.mark.parametrize("strategy", LOSSES)
def test_every_parameter_gets_a_finite_gradient(strategy, objectness, batch):
    # DistributedDataParallel waits for the gradient of every parameter.
    model = build(strategy, objectness)
    losses = model(batch)
    total(losses).backward()
    explicit = {"loss_obj"} if objectness == "explicit" else set()
    assert set(losses) == LOSSES[strategy] | explicit
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("strategy", LOSSES)
def test_every_strategy_overfits_one_image(strategy):
    model = build(strategy)
    batch = [image_input(*OBJECTS)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(12):
        loss = total(model(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert min(history[-3:]) < 0.8 * history[0]


@pytest.mark.parametrize(
    ("strategy", "has_centerness"),
    [("AutoAssign", False), ("DSLA", False), ("FCOS", True), ("ATSS", True)],
)
def test_the_head_predicts_center_ness_where_the_strategy_learns_it(strategy, has_centerness):
    head = build(strategy).head
    assert hasattr(head, "ctr_score") == has_centerness
    assert head.obj_score is not None  # both at once


def test_explicit_objectness_learns_from_its_label_alone():
    model = build("AutoAssign", "explicit")
    losses = model([image_input(*OBJECTS)])
    bias = model.head.obj_score.bias
    for name in LOSSES["AutoAssign"]:
        (gradient,) = torch.autograd.grad(losses[name], bias, retain_graph=True, allow_unused=True)
        assert gradient is None, name
    assert torch.autograd.grad(losses["loss_obj"], bias)[0] != 0


def test_explicit_objectness_loss_by_hand():
    # One level of 2 × 2 locations; the box contains the one at (8, 8) alone. At p = ½ the focal
    # loss of a positive is 0.25 · 0.25 · log 2, of a negative 0.75 · 0.25 · log 2.
    grid = make_grid((8,), ((2, 2),), torch.device("cpu"))
    gt = GroundTruth(torch.tensor([[4.0, 4.0, 12.0, 12.0]]), torch.tensor([0]), (1,))
    loss = explicit_objectness_loss(torch.zeros(1, 4), grid, gt)
    expected = (0.25 + 3 * 0.75) * 0.25 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, expected)


def test_a_location_inside_two_boxes_is_one_positive():
    grid = make_grid((8,), ((2, 2),), torch.device("cpu"))
    box = [4.0, 4.0, 12.0, 12.0]
    gt = GroundTruth(torch.tensor([box, box]), torch.tensor([0, 1]), (2,))
    once = GroundTruth(torch.tensor([box]), torch.tensor([0]), (1,))
    logits = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        explicit_objectness_loss(logits, grid, gt), explicit_objectness_loss(logits, grid, once)
    )


def test_the_score_is_the_geometric_mean_of_class_probability_and_center_ness():
    logit = torch.full((1, 1), 3.0).log()  # σ = ¾
    predictions = Predictions(
        cls_logits=torch.zeros(1, 1, 1),
        ltrb=torch.zeros(1, 1, 4),
        obj_logits=logit,
        extra={"ctr": logit[..., None]},
    )
    assert FCOS().scores(predictions).item() == pytest.approx((0.5 * 0.75 * 0.75) ** 0.5)


def test_detections_lie_around_locations_with_the_recipe_s_offset():
    model = build("FCOS", "none", "MODEL.POINT_HEAD.LOCATION_OFFSET", 0.5).eval()
    features = [torch.zeros(1, 1, n, n) for n in (8, 4, 2, 1)]
    sizes = [x.shape[2:] for x in features]
    cls = [torch.full((1, 5, *size), -20.0) for size in sizes]
    ctr = [torch.full((1, 1, *size), 20.0) for size in sizes]
    ltrb = [torch.full((1, 4, *size), 3.0) for size in sizes]
    cls[0][0, 2, 1, 3] = 20.0
    images = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    (result,) = model.forward_inference(
        images,
        features,
        Predictions.from_levels(cls_logits=cls, ltrb=ltrb, extra={"ctr": ctr}),
    )
    # Column 3 and row 1 at stride 8: (28, 12).
    assert result.pred_boxes.tensor.tolist() == [[25.0, 9.0, 31.0, 15.0]]


@pytest.mark.parametrize("offset", [-0.5, 1.0])
def test_an_offset_outside_a_cell_is_an_error(offset):
    with pytest.raises(ValueError, match=r"LOCATION_OFFSET is .* at least 0 and less than 1"):
        build("FCOS", "none", "MODEL.POINT_HEAD.LOCATION_OFFSET", offset)
