import math

import pytest
import torch
from detectors import assert_same
from detectron2.data.transforms import NoOpTransform
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage
from narrow_model import image_input, narrow_model, total
from torch import Tensor, nn

from autoassign.export.module import DenseModule
from autoassign.modeling import PointDetectorWithTTA, Predictions, predict
from autoassign.modeling.assignment import FCOS
from autoassign.modeling.detector import PointDetector

LOSSES = {"loss_pos", "loss_neg", "loss_center"}
TWO_OBJECTS = ([[10.0, 12.0, 60.0, 70.0], [70.0, 20.0, 120.0, 90.0]], [1, 4])
STRIDES = (8, 16, 32, 64)
IMAGE_SIZE = (96, 128)
LEVEL_SIZES = ((12, 16), (6, 8), (3, 4), (2, 2))


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


class Planted:
    """Predictions of one image for levels p3 to p6 that detect nothing but what is planted."""

    def __init__(self, num_classes: int = 5) -> None:
        self.cls_logits, self.ltrb, self.obj_logits = (
            [torch.full((1, channels, *size), value) for size in LEVEL_SIZES]
            for channels, value in ((num_classes, -20.0), (4, 1.0), (1, 20.0))
        )

    def plant(
        self, level: int, x: int, y: int, ltrb: list[float], label: int, cls: float, obj: float = 20
    ) -> None:
        self.cls_logits[level][0, label, y, x] = cls
        self.obj_logits[level][0, 0, y, x] = obj
        self.ltrb[level][0, :, y, x] = torch.tensor(ltrb)

    def plant_box(self, level: int, box: list[float], label: int, score: float) -> None:
        """An xyxy box that is predicted from the location nearest to its upper left corner."""
        stride = STRIDES[level]
        x, y = math.ceil(box[0] / stride), math.ceil(box[1] / stride)
        ltrb = [x * stride - box[0], y * stride - box[1], box[2] - x * stride, box[3] - y * stride]
        self.plant(level, x, y, ltrb, label, logit(score))

    def __call__(self, features: object = None) -> Predictions:
        return Predictions.from_levels(
            cls_logits=self.cls_logits, ltrb=self.ltrb, obj_logits=self.obj_logits
        )


def detect(planted: Planted, *options: object) -> dict[str, Tensor]:
    model = narrow_model(*options).eval()
    images = ImageList(torch.zeros(1, 3, *IMAGE_SIZE), [IMAGE_SIZE])
    features = [torch.zeros(1, 1, *size) for size in LEVEL_SIZES]
    (result,) = model.forward_inference(images, features, planted())
    return {
        "boxes": result.pred_boxes.tensor,
        "scores": result.scores,
        "classes": result.pred_classes,
    }


# Training


def test_the_meta_architecture_is_registered_and_built_by_name():
    assert META_ARCH_REGISTRY.get("PointDetector") is PointDetector
    assert isinstance(narrow_model(), PointDetector)


def test_training_returns_the_losses_and_logs_the_statistics():
    model = narrow_model()
    with EventStorage(start_iter=19) as storage:  # the 20th iteration, whose metrics are written
        losses = model([image_input(*TWO_OBJECTS)])
        logged = {
            name.removeprefix("assignment/"): value
            for name, (value, _) in storage.latest().items()
            if name.startswith("assignment/")
        }
    assert set(losses) == LOSSES
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    assert logged["num_objects"] == 2
    assert logged["num_objects_without_inside_location"] == 0
    # Of both objects: columns x rows strictly inside, at strides 8, 16, 32 and 64.
    assert logged["num_pairs"] == (6 * 7 + 6 * 9) + (3 * 4 + 3 * 4) + (1 * 2 + 1 * 2) + (0 + 0)
    assert 0 < logged["mean_greatest_positive_weight"] <= 1
    assert (logged["mu_min"], logged["mu_max"]) == (0, 0)
    assert (logged["sigma_min"], logged["sigma_max"]) == (1, 1)


def test_training_needs_no_event_storage():
    assert set(narrow_model()([image_input(*TWO_OBJECTS)])) == LOSSES


@pytest.mark.parametrize(
    "batch",
    [
        [image_input(*TWO_OBJECTS)],
        [image_input([], []), image_input(*TWO_OBJECTS)],
        [image_input([], []), image_input([], [])],
    ],
    ids=["objects", "one empty image", "no object at all"],
)
def test_every_parameter_gets_a_finite_gradient(batch):
    # DistributedDataParallel waits for the gradient of every parameter.
    model = narrow_model()
    losses = model(batch)
    total(losses).backward()
    assert set(losses) == LOSSES
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_batch_without_objects_still_learns_the_background():
    model = narrow_model()
    losses = model([image_input([], [])])
    assert losses["loss_pos"] == losses["loss_center"] == 0
    assert losses["loss_neg"] > 0
    losses["loss_neg"].backward()
    assert model.head.cls_score.bias.grad.gt(0).all()


def test_images_of_different_sizes_make_a_batch():
    batch = [image_input(*TWO_OBJECTS), image_input([[5.0, 5.0, 40.0, 40.0]], [0], size=(70, 50))]
    assert total(narrow_model()(batch)).isfinite()


@pytest.mark.parametrize("num_classes", [1, 80])
def test_the_prior_has_a_row_per_class(num_classes):
    model = narrow_model("MODEL.POINT_HEAD.NUM_CLASSES", num_classes)
    last = num_classes - 1
    total(model([image_input([[10.0, 12.0, 60.0, 70.0]], [last])])).backward()
    for parameter in (model.label_assignment.mu, model.label_assignment.sigma):
        assert parameter.shape == (num_classes, 2)
        assert parameter.grad[last].all()
        assert not parameter.grad[:last].any()


def test_a_few_steps_reduce_the_loss():
    model = narrow_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    history = []
    for _ in range(12):
        loss = total(model([image_input(*TWO_OBJECTS)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


def test_the_losses_are_float32_under_autocast():
    model = narrow_model()
    expected = model([image_input(*TWO_OBJECTS)])
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image_input(*TWO_OBJECTS)])
    total(losses).backward()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32, name
        assert loss.item() == pytest.approx(expected[name].item(), rel=0.05), name
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


class FeatureScores(FCOS):
    """Its scores are made of the features alone."""

    needs_features = True

    def scores(self, predictions: Predictions) -> Tensor:
        values = [x.mean(dim=1).flatten(1) for x in predictions.features]
        return torch.cat(values, dim=1).sigmoid()[..., None].expand_as(predictions.cls_logits)


def test_detections_in_bfloat16_are_float32_and_near_those_in_float32():
    options = ("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0)
    batch = [image_input([], [])]
    found = {}
    for precision in ("float32", "bfloat16"):
        model = narrow_model(*options, "TEST.PRECISION", precision).eval()
        dtypes = set()
        model.head.cls_score.register_forward_hook(lambda *x, seen=dtypes: seen.add(x[2].dtype))
        with torch.no_grad():
            [output] = model(batch)
        assert dtypes == {getattr(torch, precision)}
        found[precision] = output["instances"]
        assert found[precision].scores.dtype == torch.float32
        assert found[precision].pred_boxes.tensor.dtype == torch.float32
    best = {name: x.scores.sort(descending=True).values for name, x in found.items()}
    torch.testing.assert_close(best["bfloat16"], best["float32"], rtol=0.05, atol=1e-3)
    assert not torch.equal(best["bfloat16"], best["float32"])


@torch.no_grad()
def test_scores_may_be_made_of_the_features():
    model = narrow_model("MODEL.LABEL_ASSIGNMENT.NAME", "FCOS").eval()
    model.label_assignment = FeatureScores()
    item = image_input(*TWO_OBJECTS)
    [found] = model([item])
    assert len(found["instances"]) > 0
    predictions, _ = predict(model, item)
    tta = PointDetectorWithTTA(
        model=model, tta_mapper=lambda x: [{**x, "transforms": NoOpTransform()}]
    )
    assert_same(tta([item])[0]["instances"], found["instances"])
    _, scores = DenseModule(model)(item["image"][None].float())
    expected = model.label_assignment.scores(predictions)
    torch.testing.assert_close(scores, expected)


class RecordingAssignment(nn.Module):
    """Keeps the types it is called with, and the one that a matrix product has in it."""

    needs_features = False

    def forward(self, predictions: Predictions, grid: object, gt: object) -> tuple[dict, dict]:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        tensors = (predictions.cls_logits, predictions.ltrb, predictions.obj_logits, product)
        self.types = {tensor.dtype for tensor in tensors}
        return {}, {}


def test_no_label_assignment_computes_in_half_precision():
    model = narrow_model()
    model.label_assignment = RecordingAssignment()
    with torch.autocast("cpu", torch.bfloat16):
        model([image_input(*TWO_OBJECTS)])
    assert model.label_assignment.types == {torch.float32}


def test_channels_last_gives_the_numbers_of_contiguous():
    batch = [image_input(*TWO_OBJECTS), image_input([], [], seed=1)]
    gradients, losses, detections = [], [], []
    for channels_last in (False, True):
        model = narrow_model(
            "MODEL.CHANNELS_LAST", channels_last, "MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0
        )
        weight = model.backbone.bottom_up.res3[0].conv2.weight
        image = model.preprocess_image(batch).tensor
        for tensor in (weight, image):
            assert tensor.is_contiguous(memory_format=torch.channels_last) == channels_last
        losses.append(model(batch))
        total(losses[-1]).backward()
        gradients.append(weight.grad)
        with torch.no_grad():
            detections.append(model.eval()(batch)[0]["instances"].scores)
    for name in LOSSES:
        assert losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=1e-4), name
    assert torch.allclose(*gradients, rtol=1e-2, atol=1e-2 * gradients[0].abs().max().item())
    assert torch.allclose(*detections, rtol=1e-4)


# Inference


def test_a_prediction_is_decoded_from_its_location_and_scored_by_class_times_objectness():
    planted = Planted()
    planted.plant(1, x=3, y=2, ltrb=[10.5, 20.0, 30.0, 40.25], label=4, cls=1.2, obj=0.7)
    result = detect(planted)
    # Stride 16: the location is (48, 32).
    assert result["boxes"].tolist() == [[37.5, 12.0, 78.0, 72.25]]
    assert result["classes"].tolist() == [4]
    score = 1 / (1 + math.exp(-1.2)) / (1 + math.exp(-0.7))
    assert result["scores"].tolist() == pytest.approx([score], rel=1e-6)


@pytest.mark.parametrize(("level", "stride"), list(enumerate(STRIDES)))
def test_every_level_has_its_stride(level, stride):
    planted = Planted()
    planted.plant(level, x=1, y=1, ltrb=[1.0, 2.0, 3.0, 4.0], label=0, cls=3.0)
    expected = [stride - 1.0, stride - 2.0, stride + 3.0, stride + 4.0]
    assert detect(planted)["boxes"].tolist() == [expected]


def test_without_objectness_the_score_is_the_class_probability():
    planted = Planted()
    planted.plant(0, x=1, y=1, ltrb=[4.0] * 4, label=2, cls=0.0)
    planted.obj_logits = None
    result = detect(planted, "MODEL.POINT_HEAD.OBJECTNESS", "none")
    assert result["scores"].tolist() == [0.5]


def test_one_location_may_detect_several_classes():
    planted = Planted()
    planted.plant(0, x=5, y=5, ltrb=[4.0] * 4, label=0, cls=1.0)
    planted.cls_logits[0][0, 3, 5, 5] = 2.0
    assert detect(planted)["classes"].tolist() == [3, 0]


def test_scores_at_or_below_the_threshold_are_no_detections():
    planted = Planted()
    planted.plant(0, x=1, y=1, ltrb=[4.0] * 4, label=0, cls=logit(0.051))
    planted.plant(0, x=4, y=4, ltrb=[4.0] * 4, label=0, cls=logit(0.049))
    # σ(cls) is above it, σ(cls) · σ(obj) is not.
    planted.plant(0, x=7, y=7, ltrb=[4.0] * 4, label=0, cls=logit(0.09), obj=0.0)
    assert detect(planted)["scores"].tolist() == pytest.approx([0.051], rel=1e-4)


def test_each_level_gives_its_best_candidates():
    planted = Planted()
    for i, score in enumerate((0.3, 0.9, 0.5, 0.7, 0.2)):
        planted.plant(0, x=3 * i, y=1, ltrb=[4.0] * 4, label=0, cls=logit(score))
    for i, score in enumerate((0.25, 0.1)):
        planted.plant(1, x=3 * i, y=4, ltrb=[4.0] * 4, label=0, cls=logit(score))
    result = detect(planted, "MODEL.POINT_HEAD.TOPK_CANDIDATES_TEST", 3)
    assert result["scores"].tolist() == pytest.approx([0.9, 0.7, 0.5, 0.25, 0.1], rel=1e-4)


@pytest.mark.parametrize(
    ("shift", "other_class", "num_detections"),
    [
        # Boxes of 40 x 40, moved by d: IoU (40 - d) / (40 + d).
        (9, 0, 1),  # 0.633
        (11, 0, 2),  # 0.569
        (9, 1, 2),
    ],
)
def test_nms_removes_boxes_of_the_same_class_that_overlap_more_than_0_6(
    shift, other_class, num_detections
):
    planted = Planted()
    planted.plant_box(0, [20, 20, 60, 60], label=0, score=0.9)
    planted.plant_box(0, [20 + shift, 20, 60 + shift, 60], label=other_class, score=0.8)
    result = detect(planted)
    assert len(result["boxes"]) == num_detections
    assert result["boxes"][0].tolist() == [20, 20, 60, 60]


def test_the_best_100_detections_of_an_image_are_kept_in_order_of_their_scores():
    planted = Planted()
    scores = [0.1 + 0.005 * i for i in range(150)]
    for i, score in enumerate(scores):
        planted.plant(0, x=i % 16, y=i // 16, ltrb=[3.0] * 4, label=i % 5, cls=logit(score))
    kept = detect(planted)["scores"].tolist()
    assert kept == pytest.approx(sorted(scores, reverse=True)[:100], rel=1e-4)


def test_detections_are_returned_in_the_size_of_the_original_image_and_inside_it():
    model = narrow_model().eval()
    planted = Planted()
    planted.plant(1, x=3, y=2, ltrb=[10.0, 20.0, 30.0, 40.0], label=4, cls=3.0)
    planted.plant(1, x=7, y=0, ltrb=[10.0, 20.0, 30.0, 5.0], label=1, cls=2.0)
    model.head.forward = planted
    image = image_input([], [], size=IMAGE_SIZE)["image"]
    (output,) = model([{"image": image, "height": 192, "width": 384}])
    boxes = output["instances"].pred_boxes.tensor.tolist()
    # Twice as high and three times as wide.
    assert boxes == [[38 * 3, 12 * 2, 78 * 3, 72 * 2], [102 * 3, 0, 384, 5 * 2]]


def test_an_image_without_detections_gives_an_empty_result():
    result = detect(Planted())
    assert result["boxes"].shape == (0, 4)


def test_images_of_a_batch_are_detected_independently():
    model = narrow_model("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.0).eval()
    inputs = [image_input([], [], seed=i) for i in range(2)]
    with torch.no_grad():
        together, alone = model(inputs), model(inputs[1:])
    assert torch.allclose(together[1]["instances"].scores, alone[0]["instances"].scores, rtol=1e-4)


# Wrong options


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["p3", "p4", "p5", "p6", "p7"], r"the backbone gives \['p3', 'p4', 'p5', 'p6'\]"),
        (["p3", "p4", "p5"], r"the backbone gives p6 too"),
        (["p4", "p3", "p5", "p6"], r"with strides \[16, 8, 32, 64\].*finest first"),
        (["p3", "p3", "p4", "p5", "p6"], r"with strides \[8, 8, .*each level once"),
        ([], r"IN_FEATURES is \[\]"),
    ],
    ids=["missing level", "unused level", "wrong order", "twice", "none"],
)
def test_levels_that_do_not_fit_the_backbone_are_an_error_that_says_why(levels, message):
    with pytest.raises(ValueError, match=r"MODEL\.POINT_HEAD\.IN_FEATURES") as error:
        narrow_model("MODEL.POINT_HEAD.IN_FEATURES", levels)
    error.match(message)


def test_an_unknown_label_assignment_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match=r"LABEL_ASSIGNMENT\.NAME is 'AutoAsign'.*AutoAssign"):
        narrow_model("MODEL.LABEL_ASSIGNMENT.NAME", "AutoAsign")
