import pytest
from detectron2.config import get_cfg

from autoassign import add_autoassign_config
from autoassign.analysis.comparison.budget import Budget, scale_schedule


def config(*options):
    cfg = get_cfg()
    add_autoassign_config(cfg)
    recipe = ("SOLVER.MAX_ITER", 90000, "SOLVER.STEPS", (60000, 80000), "TEST.EVAL_PERIOD", 10000)
    warmup = ("SOLVER.WARMUP_ITERS", 1000, "SOLVER.CHECKPOINT_PERIOD", 5000)
    cfg.merge_from_list([*recipe, *warmup, *options])
    return cfg


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1500", Budget(iterations=1500)),
        ("90s", Budget(seconds=90)),
        ("3min", Budget(seconds=180)),
        ("1.5h", Budget(seconds=5400)),
    ],
)
def test_a_budget_is_iterations_or_time(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "0", "0s", "1.5", "-3", "3 days", "min"])
def test_other_budgets_are_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match=r"iterations \(1500\) or a time"):
        Budget.parse(text)


def test_all_that_counts_iterations_is_scaled():
    cfg = config()
    scale_schedule(cfg, 9000)
    assert cfg.SOLVER.MAX_ITER == 9000
    assert cfg.SOLVER.STEPS == (6000, 8000)
    assert cfg.SOLVER.WARMUP_ITERS == 100
    assert cfg.SOLVER.CHECKPOINT_PERIOD == 500
    assert cfg.TEST.EVAL_PERIOD == 1000


def test_keys_of_the_command_line_stay():
    cfg = config()
    fixed = ["SOLVER.STEPS", "SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"]
    cfg.SOLVER.STEPS = (5000,)
    scale_schedule(cfg, 9000, fixed)
    assert cfg.SOLVER.STEPS == (5000,)
    assert (cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CHECKPOINT_PERIOD) == (1000, 5000)
    assert cfg.TEST.EVAL_PERIOD == 10000


@pytest.mark.parametrize("iterations", [90000, 9000])
@pytest.mark.parametrize("steps", [(80000, 60000), (90000,), (0,)])
def test_steps_that_never_fitted_are_told_as_they_are_whatever_the_budget(steps, iterations):
    with pytest.raises(ValueError, match=r"SOLVER\.STEPS are .* in 90000 .*have to rise") as error:
        scale_schedule(config("SOLVER.STEPS", steps), iterations)
    assert str(steps) in str(error.value)


def test_steps_of_the_command_line_are_checked_against_the_budget():
    cfg = config("SOLVER.STEPS", (500, 9000))
    with pytest.raises(ValueError, match=r"\(500, 9000\) in 9000 iterations; they have to rise"):
        scale_schedule(cfg, 9000, ["SOLVER.STEPS"])
    cfg = config("SOLVER.STEPS", (500, 90000))  # as long as the config's own schedule
    scale_schedule(cfg, 100000, ["SOLVER.STEPS"])
    assert cfg.SOLVER.STEPS == (500, 90000)


def test_no_warmup_stays_none_and_a_short_one_stays_one():
    cfg = config("SOLVER.WARMUP_ITERS", 0)
    scale_schedule(cfg, 90)
    assert cfg.SOLVER.WARMUP_ITERS == 0
    cfg = config("SOLVER.WARMUP_ITERS", 10)
    scale_schedule(cfg, 90)
    assert cfg.SOLVER.WARMUP_ITERS == 1


def test_without_a_period_there_are_five_evaluations():
    cfg = config("TEST.EVAL_PERIOD", 0)
    scale_schedule(cfg, 1002)
    assert cfg.TEST.EVAL_PERIOD == 201


def test_steps_that_fall_together_are_an_error_only_where_they_are_read():
    with pytest.raises(ValueError, match="4 iterations are too few"):
        scale_schedule(config("SOLVER.STEPS", (80000, 81000)), 4)
    scale_schedule(
        config("SOLVER.STEPS", (80000, 81000), "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"), 4
    )
