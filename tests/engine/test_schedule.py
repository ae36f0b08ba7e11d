import logging

import pytest
import torch
from narrow_model import narrow_cfg
from torch import nn
from training_runs import metrics, run

from autoassign.config import load_config
from autoassign.engine.schedule import build_lr_scheduler, scale_to_batch_size


def rates(*options: object) -> list[float]:
    """The rate of every iteration, in units of BASE_LR."""
    cfg = narrow_cfg("SOLVER.WARMUP_METHOD", "linear", "SOLVER.WARMUP_FACTOR", 0.0, *options)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    result = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


@pytest.mark.parametrize("max_iter", [40, 400])
def test_the_warm_up_may_be_a_share_of_the_training(max_iter):
    options = ("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", ())
    found = rates("SOLVER.MAX_ITER", max_iter, "SOLVER.WARMUP_FRACTION", 0.25, *options)
    quarter = max_iter // 4
    assert found[:quarter] == pytest.approx([i / quarter for i in range(quarter)])
    assert found[quarter:] == [1.0] * (max_iter - quarter)


def test_without_a_share_the_warm_up_is_counted_in_iterations():
    options = ("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", ())
    found = rates("SOLVER.MAX_ITER", 8, "SOLVER.WARMUP_ITERS", 4, *options)
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


UNEVALUATED = ("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", "")
SCHEDULE = (
    *("SOLVER.BASE_LR", 0.01, "SOLVER.STEPS", (60000, 80000), "SOLVER.MAX_ITER", 90000),
    *("SOLVER.WARMUP_ITERS", 1000, "SOLVER.CHECKPOINT_PERIOD", 5000, "TEST.EVAL_PERIOD", 10000),
)


def test_the_schedule_scales_with_the_batch_size(caplog):
    caplog.set_level(logging.INFO, "autoassign")
    sizes = ("SOLVER.REFERENCE_BATCH_SIZE", 16, "SOLVER.IMS_PER_BATCH", 4)
    cfg = narrow_cfg(*SCHEDULE, *sizes)
    scale_to_batch_size(cfg)
    solver = cfg.SOLVER
    assert (round(solver.BASE_LR, 9), solver.MAX_ITER) == (0.0025, 360000)
    assert solver.STEPS == (240000, 320000)
    assert (solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD) == (4000, 20000)
    assert cfg.TEST.EVAL_PERIOD == 40000
    assert "for 16 images an iteration; with 4: " in caplog.text
    assert "BASE_LR 0.01 -> 0.0025" in caplog.text
    assert "MAX_ITER 90000 -> 360000" in caplog.text

    # Resuming with the saved config changes nothing more.
    again = cfg.clone()
    scale_to_batch_size(again)
    assert again == cfg


def test_no_number_of_iterations_is_scaled_to_0():
    sizes = ("SOLVER.REFERENCE_BATCH_SIZE", 16, "SOLVER.IMS_PER_BATCH", 64)
    periods = ("SOLVER.CHECKPOINT_PERIOD", 1, "TEST.EVAL_PERIOD", 2, "SOLVER.WARMUP_ITERS", 0)
    cfg = narrow_cfg(*SCHEDULE, *sizes, *periods)
    scale_to_batch_size(cfg)
    found = (cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD, cfg.SOLVER.WARMUP_ITERS)
    assert found == (1, 1, 0)


@pytest.mark.parametrize("reference", [0, 4])
def test_no_reference_or_an_equal_one_changes_nothing(reference):
    sizes = ("SOLVER.REFERENCE_BATCH_SIZE", reference, "SOLVER.IMS_PER_BATCH", 4)
    cfg = narrow_cfg(*SCHEDULE, *sizes)
    before = cfg.clone()
    scale_to_batch_size(cfg)
    assert cfg == before


def test_two_references_are_an_error():
    cfg = narrow_cfg("SOLVER.REFERENCE_BATCH_SIZE", 16, "SOLVER.REFERENCE_WORLD_SIZE", 8)
    with pytest.raises(ValueError, match="one of them must be 0"):
        scale_to_batch_size(cfg)


def test_a_number_of_workers_that_does_not_divide_the_batch_is_an_error():
    cfg = narrow_cfg("SOLVER.REFERENCE_WORLD_SIZE", 3, "SOLVER.IMS_PER_BATCH", 16)
    with pytest.raises(ValueError, match="REFERENCE_WORLD_SIZE is 3; it must divide"):
        scale_to_batch_size(cfg)


def test_detectron2s_scaling_keeps_the_images_of_each_worker(shapes, tmp_path):
    """One worker instead of two: half the batch and rate, twice the iterations."""
    options = ("SOLVER.REFERENCE_WORLD_SIZE", 2, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.BASE_LR", 0.02)
    run(shapes, tmp_path, *options, "SOLVER.MAX_ITER", 1, *UNEVALUATED)
    solver = load_config(str(tmp_path / "config.yaml")).SOLVER
    assert (solver.IMS_PER_BATCH, solver.MAX_ITER, solver.CHECKPOINT_PERIOD) == (2, 2, 4)
    assert solver.BASE_LR == 0.01
    assert metrics(tmp_path)[-1]["iteration"] == 1
