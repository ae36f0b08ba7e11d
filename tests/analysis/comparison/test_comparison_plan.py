import json
import shutil

import pytest
import yaml
from comparison_files import write_config

from autoassign.analysis.comparison.budget import Budget
from autoassign.analysis.comparison.candidates import load_candidates
from autoassign.analysis.comparison.plan import config_path, make_plan

SCHEDULE = "SOLVER: {MAX_ITER: 2000, WARMUP_ITERS: 50}\n"


def plan(tmp_path, budget, *, names=("a", "b"), opts=(), measure=None, num_gpus=1):
    for name in names:
        if not (tmp_path / f"{name}.yaml").exists():
            write_config(tmp_path, name, SCHEDULE)
    candidates = load_candidates([str(tmp_path / f"{name}.yaml") for name in names], opts)
    return make_plan(
        candidates,
        tmp_path / "out",
        budget=budget,
        num_gpus=num_gpus,
        fixed=opts[::2],
        measure=measure,
    )


def never(candidates):
    raise AssertionError("measured again")


def test_the_runs_read_the_scaled_config(tmp_path):
    for candidate in plan(tmp_path, Budget(iterations=1000)):
        content = yaml.safe_load(config_path(tmp_path / "out", candidate.name).read_text())
        assert content["SOLVER"]["MAX_ITER"] == 1000
        assert content["SOLVER"]["WARMUP_ITERS"] == 25


def test_without_a_budget_the_schedule_is_the_first_configs(tmp_path):
    write_config(tmp_path, "b", "SOLVER: {MAX_ITER: 77}")
    assert [x.cfg.SOLVER.MAX_ITER for x in plan(tmp_path, Budget())] == [2000, 2000]


def test_time_becomes_iterations_by_the_speed_of_each_config(tmp_path):
    speeds = {"a": 0.25, "b": 0.5}
    first, second = plan(tmp_path, Budget(seconds=60), measure=lambda new: speeds)
    assert (first.cfg.SOLVER.MAX_ITER, second.cfg.SOLVER.MAX_ITER) == (240, 120)
    assert (first.cfg.SOLVER.WARMUP_ITERS, second.cfg.SOLVER.WARMUP_ITERS) == (6, 3)


def test_a_measured_speed_is_kept_and_a_new_config_measured(tmp_path):
    plan(tmp_path, Budget(seconds=60), measure=lambda new: {"a": 0.25, "b": 0.5})
    again = plan(tmp_path, Budget(seconds=60), measure=never)
    assert [x.cfg.SOLVER.MAX_ITER for x in again] == [240, 120]
    measured = []

    def measure(new):
        measured.extend(x.name for x in new)
        return {"c": 1.0}

    more = plan(tmp_path, Budget(seconds=60), names=("a", "b", "c"), measure=measure)
    assert measured == ["c"]
    assert [x.cfg.SOLVER.MAX_ITER for x in more] == [240, 120, 60]
    recorded = json.loads((tmp_path / "out" / "plan.json").read_text())["seconds_per_iteration"]
    assert recorded == {"a": 0.25, "b": 0.5, "c": 1.0}


def test_changed_commands_name_what_differs(tmp_path):
    budget = Budget(iterations=1000)
    plan(tmp_path, budget)
    with pytest.raises(ValueError, match="--budget: 1000 iterations then, 900 iterations now"):
        plan(tmp_path, Budget(iterations=900))
    with pytest.raises(ValueError, match="--num-gpus: 1 then, 2 now"):
        plan(tmp_path, budget, num_gpus=2)
    with pytest.raises(ValueError, match=r"a: SOLVER\.BASE_LR was 0\.003, is 0\.1"):
        plan(tmp_path, budget, opts=("SOLVER.BASE_LR", "0.1"))
    write_config(tmp_path, "b", SCHEDULE + "MODEL: {POINT_HEAD: {NUM_CONVS: 4}}")
    with pytest.raises(ValueError, match=r"b: MODEL\.POINT_HEAD\.NUM_CONVS was 2, is 4"):
        plan(tmp_path, budget)


def test_a_changed_config_is_refused_with_the_folder_to_remove_before_anything_is_measured(
    tmp_path,
):
    plan(tmp_path, Budget(seconds=60), measure=lambda new: {"a": 0.25, "b": 0.5})
    write_config(tmp_path, "b", SCHEDULE + "MODEL: {POINT_HEAD: {NUM_CONVS: 4}}")
    with pytest.raises(ValueError, match=rf"remove {tmp_path}/out/b to start anew"):
        plan(tmp_path, Budget(seconds=60), names=("a", "b", "c"), measure=never)


def test_a_config_whose_folder_was_removed_is_measured_anew(tmp_path):
    plan(tmp_path, Budget(seconds=60), measure=lambda new: {"a": 0.25, "b": 0.5})
    write_config(tmp_path, "b", SCHEDULE + "MODEL: {POINT_HEAD: {NUM_CONVS: 4}}")
    shutil.rmtree(tmp_path / "out" / "b")
    measured = []

    def measure(new):
        measured.extend(x.name for x in new)
        return {"b": 1.0}

    first, second = plan(tmp_path, Budget(seconds=60), measure=measure)
    assert measured == ["b"]
    assert (first.cfg.SOLVER.MAX_ITER, second.cfg.SOLVER.MAX_ITER) == (240, 60)


def test_runs_without_the_config_that_they_have_read_are_not_taken_over(tmp_path):
    plan(tmp_path, Budget(iterations=100))
    (tmp_path / "out" / "a" / "seed1").mkdir()
    (tmp_path / "out" / "a" / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"out/a holds files.*move that folder away"):
        plan(tmp_path, Budget(iterations=100))


def test_a_refused_command_changes_nothing(tmp_path):
    plan(tmp_path, Budget(iterations=1000))
    files = sorted((tmp_path / "out").rglob("*.*"))
    before = [path.read_text() for path in files if path.is_file()]
    with pytest.raises(ValueError, match="was"):
        plan(tmp_path, Budget(iterations=1000), opts=("SOLVER.BASE_LR", "0.1"))
    assert [path.read_text() for path in files if path.is_file()] == before


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds files"):
        plan(tmp_path, Budget())
