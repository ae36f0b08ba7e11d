"""What every registered label assignment must do: registering one is enough to be tested here."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.config import get_cfg
from narrow_model import head_options, image_input, narrow_cfg, narrow_model, total
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from autoassign import add_autoassign_config, get_config_file
from autoassign.analysis.benchmark.inputs import make_loss_inputs
from autoassign.analysis.benchmark.loss import LossCase, loss_of
from autoassign.modeling import (
    LABEL_ASSIGNMENT_REGISTRY,
    Grid,
    GroundTruth,
    LabelAssignment,
    Predictions,
    build_label_assignment,
    explain_image,
    make_grid,
)

NAMES = [name for name, _ in LABEL_ASSIGNMENT_REGISTRY]
every_strategy = pytest.mark.parametrize("name", NAMES)

NUM_CLASSES = 3
STRIDES = (8, 16, 32, 64)
IMAGE_SIZE = (96, 128)
# x1, y1, width, height in pixels, class; no two alike, so that nothing ties.
ORDINARY = [(5.3, 5.1, 50.7, 40.2, 1), (20.9, 10.4, 45.3, 47.6, 1), (8.1, 3.7, 20.2, 53.9, 0)]
CROWD = [(5.1 * (i % 9), 9.3 * (i // 9), 12.1 + i % 29, 10.7 + i % 23, i % 3) for i in range(40)]
TINY = [(9.2, 9.1, 1.5, 1.3, 0), (89.3, 57.2, 0.9, 1.1, 2)]
HUGE = [(-4000.0, -3000.0, 9000.0, 8000.0, 2), (0.4, 0.2, 127.0, 95.0, 1)]
FLAT = [(30.0, 30.0, 0.0, 0.0, 0), (40.0, 40.0, 0.0, 20.0, 1)]


def build(name: str) -> tuple[LabelAssignment, Grid]:
    """The strategy, in float64 and as its recipe has it, and the grid of that recipe."""
    cfg = narrow_cfg(*head_options(name), "MODEL.POINT_HEAD.NUM_CLASSES", NUM_CLASSES)
    torch.manual_seed(0)
    assignment = build_label_assignment(cfg).double()
    sizes = tuple((math.ceil(IMAGE_SIZE[0] / s), math.ceil(IMAGE_SIZE[1] / s)) for s in STRIDES)
    offset = cfg.MODEL.POINT_HEAD.LOCATION_OFFSET
    return assignment, make_grid(STRIDES, sizes, torch.device("cpu"), offset)


def ground_truth(images: list[list[tuple[float, ...]]], dtype: torch.dtype) -> GroundTruth:
    rows = torch.tensor([row for image in images for row in image], dtype=dtype).view(-1, 5)
    boxes = torch.cat((rows[:, :2], rows[:, :2] + rows[:, 2:4]), dim=1)
    return GroundTruth(boxes, rows[:, 4].long(), tuple(len(image) for image in images))


class Inputs:
    """Random predictions of a batch, as leaves that collect gradients."""

    def __init__(
        self,
        name: str,
        num_images: int,
        dtype: torch.dtype = torch.float64,
        order: list[int] | None = None,
    ) -> None:
        self.assignment, self.grid = build(name)
        self.assignment.to(dtype)
        generator = torch.Generator().manual_seed(1)
        order = list(range(num_images)) if order is None else order

        def leaf(channels: int, scale: float, shift: float) -> Tensor:
            shape = (num_images, channels, self.grid.num_locations)
            values = torch.randn(shape, generator=generator, dtype=torch.float64) * scale + shift
            # In half precision first, for predictions of a half precision head.
            values = values[order].to(torch.bfloat16 if dtype != torch.float64 else dtype)
            return values.to(dtype).transpose(1, 2).requires_grad_()

        self.leaves = {"cls_logits": leaf(NUM_CLASSES, 1, -2), "log_ltrb": leaf(4, 0.7, 3)}
        if self.assignment.head_options.get("OBJECTNESS") != "none":
            self.leaves["obj_logits"] = leaf(1, 1, 0)
        for output in self.assignment.extra_outputs:
            self.leaves[output.name] = leaf(output.channels, 1, output.bias)
        sizes = self.grid.sizes if self.assignment.needs_features else ()
        self.features = tuple(
            torch.randn(num_images, 32, *size, generator=generator, dtype=torch.float64)[order]
            .to(dtype)
            .requires_grad_()
            for size in sizes
        )

    def predictions(self) -> Predictions:
        obj_logits = self.leaves.get("obj_logits")
        return Predictions(
            cls_logits=self.leaves["cls_logits"],
            ltrb=self.leaves["log_ltrb"].exp(),
            obj_logits=None if obj_logits is None else obj_logits.squeeze(2),
            extra={x.name: self.leaves[x.name] for x in self.assignment.extra_outputs},
            features=self.features,
            iteration=10**6,  # of the training's second half, which explanations show
        )


def run(
    name: str,
    images: list[list[tuple[float, ...]]],
    dtype: torch.dtype = torch.float64,
    order: list[int] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor | None], dict[str, Tensor]]:
    """Losses, gradients of their sum by input, statistics."""
    inputs = Inputs(name, len(images), dtype, order)
    gt = ground_truth(images if order is None else [images[i] for i in order], dtype)
    losses, statistics = inputs.assignment(inputs.predictions(), inputs.grid, gt)
    sum(losses.values()).backward()
    return losses, {key: leaf.grad for key, leaf in inputs.leaves.items()}, statistics


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert set(actual) == set(expected)
    for key, value in expected.items():
        scale = value.detach().abs().max().clamp(min=1e-6)
        error = (actual[key].double() - value.double()).abs().max() / scale
        assert error <= tolerance, key


@every_strategy
def test_the_order_of_images_does_not_matter(name):
    images = [ORDINARY, [], CROWD]
    losses, gradients, _ = run(name, images)
    permuted, permuted_gradients, _ = run(name, images, order=[2, 0, 1])
    assert_same(permuted, losses, 1e-9)
    assert_same(permuted_gradients, {k: x[[2, 0, 1]] for k, x in gradients.items()}, 1e-9)


@every_strategy
def test_the_order_of_objects_does_not_matter(name):
    losses, gradients, _ = run(name, [ORDINARY, CROWD])
    permuted, permuted_gradients, _ = run(name, [ORDINARY[::-1], CROWD[7:] + CROWD[:7]])
    assert_same(permuted, losses, 1e-9)
    assert_same(permuted_gradients, gradients, 1e-9)


@every_strategy
@pytest.mark.parametrize(
    "images",
    [[[]], [[], ORDINARY], [TINY], [HUGE], [TINY + HUGE + ORDINARY, []], [CROWD], [FLAT]],
    ids=["empty batch", "empty image", "tiny", "huge", "mixed", "crowd", "without area"],
)
def test_losses_have_the_same_names_and_reach_every_input(name, images):
    losses, gradients, statistics = run(name, images)
    reference, _, reference_statistics = run(name, [ORDINARY])
    assert set(losses) == set(reference)
    assert set(statistics) == set(reference_statistics)
    for key, value in {**losses, **statistics, **gradients}.items():
        assert value is not None, key
        assert value.isfinite().all(), key
    assert all(value.dim() == 0 and not value.requires_grad for value in statistics.values())
    assert statistics["num_objects"] == sum(map(len, images))


@every_strategy
def test_float32_agrees_with_float64(name):
    # The predictions are representable in bfloat16, as a half precision head gives them.
    losses, gradients, _ = run(name, [ORDINARY, CROWD], torch.float32)
    inputs = Inputs(name, 2, torch.float32)
    inputs.assignment.double()
    inputs.leaves = {k: x.detach().double().requires_grad_() for k, x in inputs.leaves.items()}
    inputs.features = tuple(x.double() for x in inputs.features)
    gt = ground_truth([ORDINARY, CROWD], torch.float32)
    gt = replace(gt, boxes=gt.boxes.double())
    expected, _ = inputs.assignment(inputs.predictions(), inputs.grid, gt)
    sum(expected.values()).backward()
    assert all(x.dtype == torch.float32 for x in losses.values())
    assert_same(losses, expected, 1e-4)
    assert_same(gradients, {k: x.grad for k, x in inputs.leaves.items()}, 1e-3)


@every_strategy
@pytest.mark.parametrize("value", [-1e4, 100.0, 1e4])
def test_extreme_logits_and_distances_give_finite_losses(name, value):
    inputs = Inputs(name, 2, torch.float32)
    predictions = inputs.predictions()
    logits = torch.full_like(predictions.cls_logits, value).requires_grad_()
    ltrb = predictions.ltrb.detach().clone()
    ltrb[:, ::3], ltrb[:, 1::3] = 0, 1e5
    ltrb.requires_grad_()
    predictions = replace(predictions, cls_logits=logits, ltrb=ltrb)
    losses, _ = inputs.assignment(
        predictions, inputs.grid, ground_truth([CROWD, HUGE], torch.float32)
    )
    sum(losses.values()).backward()
    for tensor in (*losses.values(), logits.grad, ltrb.grad):
        assert tensor.isfinite().all()


@every_strategy
def test_the_explanation_names_pairs_of_one_image_with_finite_values(name):
    inputs = Inputs(name, 2)
    gt = ground_truth([ORDINARY, CROWD], torch.float64)
    explanation = inputs.assignment.explain(inputs.predictions(), inputs.grid, gt)
    pairs = explanation.pairs
    expected = gt.image_index[pairs.objects] * inputs.grid.num_locations + pairs.locations
    assert torch.equal(pairs.batch_locations, expected)
    assert explanation.primary in explanation.maps
    for key, values in explanation.maps.items():
        assert values.shape == pairs.objects.shape, key
        assert values.isfinite().all(), key
        assert not values.requires_grad, key
    assert explanation.maps[explanation.primary].max() > 0


@every_strategy
def test_a_location_learns_a_box_where_the_explanation_gives_it_weight(name):
    inputs = Inputs(name, 2)
    gt = ground_truth([ORDINARY, CROWD], torch.float64)
    explanation = inputs.assignment.explain(inputs.predictions(), inputs.grid, gt)
    weighted = explanation.maps[explanation.primary] > 0
    losses, _ = inputs.assignment(inputs.predictions(), inputs.grid, gt)
    sum(losses.values()).backward()
    learned = inputs.leaves["log_ltrb"].grad.abs().sum(dim=2).flatten().nonzero().squeeze(1)
    assert torch.equal(learned, explanation.pairs.batch_locations[weighted].unique())


@every_strategy
def test_scores_are_probabilities(name):
    inputs = Inputs(name, 2)
    scores = inputs.assignment.scores(inputs.predictions())
    assert scores.shape == inputs.leaves["cls_logits"].shape
    assert (scores >= 0).all()
    assert (scores <= 1).all()


class Work(TorchDispatchMode):
    """Counts the elements of all tensors that are computed."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple | list) else (result,)
        self.total += sum(x.numel() for x in outputs if isinstance(x, Tensor))
        return result


@every_strategy
@pytest.mark.parametrize("growing", ["objects and image", "image", "classes", "batch"])
def test_work_grows_no_faster_than_the_input(name, growing):
    def work(scale: int) -> int:
        # Spread over an image that grows with them, objects have pairs in proportion.
        num_objects = 512 * scale if growing == "objects and image" else 128
        num_classes = 80 * scale if growing == "classes" else 2
        case = LossCase.build(name, num_classes, feature_channels=4)
        inputs = make_loss_inputs(
            num_objects,
            image_size=(512, 1024 * scale if "image" in growing else 512),
            num_classes=num_classes,
            num_images=2 * scale if growing == "batch" else 2,
            feature_channels=case.feature_channels,
        )
        loss_of(case, inputs)  # caches
        with Work() as counter:
            loss_of(case, inputs).backward()
        return counter.total

    assert work(2) < 2.3 * work(1)


@every_strategy
def test_a_detector_explains_an_image(name):
    model = narrow_model(*head_options(name))
    boxes = [[10.0, 12.0, 60.0, 70.0], [70.0, 20.0, 120.0, 90.0]]
    explanation = explain_image(model, image_input(boxes, [1, 4]))
    assert [x.class_index for x in explanation.objects] == [1, 4]
    assert all(x.primary in x.maps for x in explanation.objects)


@every_strategy
def test_its_recipe_trains_ten_steps(name):
    model = narrow_model(*head_options(name)).train()
    batch = [image_input([[10.0, 12.0, 60.0, 70.0]], [1]), image_input([], [], seed=1)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(10):
        loss = total(model(batch))
        optimizer.zero_grad()
        loss.backward()
        # DistributedDataParallel does not accept parameters without a gradient.
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step()
        history.append(loss.item())
    assert min(history[-3:]) < history[0]


@every_strategy
def test_built_without_a_config_it_has_the_options_of_an_empty_one(name):
    strategy = LABEL_ASSIGNMENT_REGISTRY.get(name)
    cfg = get_cfg()
    add_autoassign_config(cfg)
    parameters = inspect.signature(strategy.__init__).parameters.values()
    defaults = {x.name: x.default for x in parameters if x.default is not x.empty}
    assert defaults.items() <= strategy.from_config(cfg).items()


@every_strategy
@pytest.mark.parametrize(
    "pattern", ["COCO-Detection/{}_R_50_FPN_1x.yaml", "quickstart/{}_shapes.yaml"]
)
def test_its_recipes_have_the_head_options_it_declares(name, pattern):
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.merge_from_file(get_config_file(pattern.format(name.lower())))
    assert name == cfg.MODEL.LABEL_ASSIGNMENT.NAME
    options = LABEL_ASSIGNMENT_REGISTRY.get(name).head_options
    assert {key: cfg.MODEL.POINT_HEAD[key] for key in options} == dict(options)


@every_strategy
def test_it_has_reference_vectors(name):
    vectors = Path(__file__).parents[2] / "golden_vectors"
    assert list(vectors.glob(f"{name.lower()}_*.npz"))


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=2, rank=rank)
    for name in NAMES:
        losses, gradients, _ = run(name, [CROWD, []], order=[rank])
        values = {key: x.detach().numpy() for key, x in (losses | gradients).items()}
        np.savez(f"{folder}/{name}_{rank}.npz", **values)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder_of_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes compute with every strategy, the second one without an object."""
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(_worker, args=(str(folder),), nprocs=2)
    return folder


@every_strategy
def test_two_workers_learn_from_half_a_batch_each_what_one_learns_from_the_whole(
    name, folder_of_workers
):
    losses, gradients, _ = run(name, [CROWD, []])
    halves = [np.load(folder_of_workers / f"{name}_{rank}.npz") for rank in (0, 1)]
    # Sums over a worker's images by means over the workers: their mean is that of all images, but
    # for what some strategies add to their denominators.
    for key, loss in losses.items():
        mean = (halves[0][key] + halves[1][key]) / 2
        assert mean == pytest.approx(loss.item(), rel=1e-6), key
    for key, gradient in gradients.items():
        for half, expected in zip(halves, gradient.numpy(), strict=True):
            np.testing.assert_allclose(half[key][0] / 2, expected, rtol=1e-6, atol=1e-12)
