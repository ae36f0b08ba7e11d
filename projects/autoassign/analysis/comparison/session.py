"""A whole comparison: plan, train what is missing, and write tables and charts."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from ...config import normalize_opts
from .budget import Budget
from .calibration import measure_seconds
from .charts import draw_bars, draw_curves
from .conditions import Candidate, load_candidates
from .plan import Planned, make_plan, write_text
from .preflight import check_trainable
from .results import Result, read_result
from .runs import Run, make_slots, run_all
from .tables import csv_text, markdown

__all__ = ["compare"]

TABLE, CSV, BARS, CURVES = "table.md", "results.csv", "chart.png", "curves.png"


def compare(
    config_files: Sequence[str],
    output: Path,
    *,
    seeds: int,
    budget: Budget,
    jobs: int = 1,
    num_gpus: int = 1,
    opts: Sequence[str] = (),
) -> int:
    """Train every config with every seed under the conditions of the first one, and report.

    The same call goes on where an earlier one was interrupted; more seeds and more configs may
    be added to it.

    Args:
        config_files: paths, or names of configs that the package ships.
        output: folder of the comparison; runs are in ``output``/<config>/seed<k>.
        seeds: runs of each config, with ``SEED`` 1, 2, ...
        budget: length of each run.
        jobs: trainings at a time.
        num_gpus: GPUs of each training; on a machine without, 1 is the CPU.
        opts: KEY VALUE pairs for all configs.

    Returns:
        An exit code: 0; 1 where a run has failed, that is, ended before its last evaluation; 130
        after Ctrl-C.

    Raises:
        ValueError, FileNotFoundError: the command is wrong. Nothing has been trained then.
        MeasurementError: the speed of a config could not be measured.
    """
    if seeds < 1 or jobs < 1 or num_gpus < 1:
        raise ValueError("--seeds, --jobs and --num-gpus are at least 1")
    opts = normalize_opts(opts)
    if budget != Budget() and "SOLVER.MAX_ITER" in opts[::2]:
        raise ValueError("give either a budget or SOLVER.MAX_ITER")
    candidates = load_candidates(config_files, opts)
    slots = make_slots(jobs, num_gpus if _on_gpus(candidates, num_gpus) else None)
    test_datasets = check_trainable(candidates)
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output):
        try:
            plan = make_plan(
                candidates,
                output,
                budget=budget,
                num_gpus=num_gpus,
                fixed=opts[::2],
                # No config has a name with a dot before it.
                measure=partial(_measure, folder=output / ".speed", slots=slots, num_gpus=num_gpus),
            )
            session = _Session(plan, output, seeds, budget, test_datasets)
            session.train(slots, num_gpus)
        except KeyboardInterrupt:
            print(f"\nInterrupted. The same command goes on from what {output} holds.")
            return 130
    print(f"\n{session.report()}\nfiles  {output}/{{{TABLE},{CSV},{BARS},{CURVES}}}")
    return 1 if session.failed else 0


def _on_gpus(candidates: Sequence[Candidate], num_gpus: int) -> bool:
    wanted = any(x.cfg.MODEL.DEVICE.startswith("cuda") for x in candidates)
    if wanted and torch.cuda.is_available():
        return True
    if num_gpus > 1:
        raise ValueError(f"--num-gpus is {num_gpus}, but the trainings would run on the CPU")
    return False


def _measure(
    candidates: Sequence[Candidate], folder: Path, slots: Sequence[dict[str, str]], num_gpus: int
) -> dict[str, float]:
    print(f"measuring the speed of {', '.join(x.name for x in candidates)}", flush=True)
    seconds = measure_seconds(candidates, folder, slots=slots, num_gpus=num_gpus)
    for name, value in seconds.items():
        print(f"  {name}: {value:.3g} s/iteration")
    return seconds


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Two comparisons at once would train into the same folders."""
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another comparison is running in {output}") from error
        yield


class _Session:
    """The runs of a plan, and which of them have failed."""

    def __init__(
        self,
        plan: Sequence[Planned],
        output: Path,
        seeds: int,
        budget: Budget,
        test_datasets: Sequence[str],
    ) -> None:
        self._plan = plan
        self._output = output
        self._budget = budget
        self._test_datasets = test_datasets
        self._iterations = {x.name: x.cfg.SOLVER.MAX_ITER for x in plan}
        # A seed of all configs before the next one, so that what is there can be compared.
        self._runs = [
            Run(x.name, seed, x.config_file, output / x.name / f"seed{seed}")
            for seed in range(1, seeds + 1)
            for x in plan
        ]
        self.failed: set[Run] = set()

    def train(self, slots: Sequence[dict[str, str]], num_gpus: int) -> None:
        """Train what is not finished; the report is written anew after each run."""
        waiting = [run for run in self._runs if not self._result(run).finished]
        done = len(self._runs) - len(waiting)
        if done:
            print(f"{done} of {len(self._runs)} runs are finished already")
        for x in self._plan:
            for key, own in x.replaced.items():
                print(f"{x.name}: {key} {own!r} gives way to the first config's")
        if waiting:
            print(f"training {len(waiting)} runs; their logs: {waiting[0].log}, ...", flush=True)
        run_all(waiting, slots, num_gpus, self._on_end)

    def _on_end(self, run: Run, code: int) -> None:
        result = self._result(run)
        if not result.finished:
            self.failed.add(run)
            print(
                f"{run.name} seed {run.seed} FAILED with exit code {code}; the end of {run.log}:\n"
                f"{run.last_lines()}",
                flush=True,
            )
        else:
            minutes = "" if result.minutes is None else f", {result.minutes:.1f} min"
            # Such as where TEST.EXPECTED_RESULTS was missed: the metrics count all the same.
            late = f"; exit code {code} after the last evaluation, see {run.log}" if code else ""
            print(
                f"{run.name} seed {run.seed}: AP {result.metrics['AP']:.2f}{minutes}{late}",
                flush=True,
            )
        self.report()

    def report(self) -> str:
        """Write tables and charts of what there is; the tables."""
        results = [self._result(run) for run in self._runs]
        names = [x.name for x in self._plan]
        table = markdown(
            self._plan, results, budget=self._budget, test_datasets=self._test_datasets
        )
        write_text(self._output / TABLE, table)
        write_text(self._output / CSV, csv_text(self._plan, results))
        draw_bars(names, results, self._output / BARS)
        over_minutes = self._budget.seconds is not None
        draw_curves(names, results, self._output / CURVES, over_minutes=over_minutes)
        return table

    def _result(self, run: Run) -> Result:
        try:
            result = read_result(
                run.name,
                run.seed,
                self._iterations[run.name],
                run.output_dir,
                self._test_datasets,
            )
        except ValueError:
            # A line that was cut off when the machine stopped: the other runs count still.
            logging.getLogger(__name__).exception("%s", run.output_dir)
            result = Result(run.name, run.seed, self._iterations[run.name], run.output_dir)
        result.failed = run in self.failed
        return result
