"""A whole comparison: plan, train what is missing, write tables and charts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ...engine import Trainer, lock_folder, scale_to_batch_size
from .budget import Budget
from .candidates import Candidate, load_candidates
from .charts import draw_ap_bars, draw_ap_curves
from .machine import describe_machine
from .plan import make_plan, write_text
from .preflight import check_trainable
from .results import TrialResult, read_result, record_resources
from .speed import measure_seconds
from .tables import csv_text, markdown
from .trials import Trial, divide_machine, run_trials

__all__ = ["compare"]

TABLE, CSV, BARS, CURVES = "table.md", "results.csv", "chart.png", "curves.png"


def compare(
    config_files: Sequence[str],
    output: Path,
    *,
    seeds: int,
    budget: Budget,
    strategies: Sequence[str] = (),
    variants: Sequence[str] = (),
    jobs: int = 1,
    num_gpus: int = 1,
    opts: Sequence[str] = (),
) -> int:
    """Train several configs, or one with several strategies or variants, and report.

    All have the conditions of the first one. The same call resumes an interrupted comparison;
    seeds, configs and strategies may be added to it.

    Args:
        config_files: paths, or names of configs that the package ships.
        output: folder of the comparison; its trials are in ``output``/<name>/seed<k>.
        seeds: trials of each, with ``SEED`` 1, 2, ...
        budget: length of each trial.
        strategies: label assignments to train the only config with; ["all"] for all.
        variants: config files whose own options are laid over the only config.
        jobs: trainings at a time.
        num_gpus: GPUs of each training; on a machine without GPUs, 1 is the CPU.
        opts: KEY, VALUE, KEY, VALUE, ... for all configs.

    Returns:
        An exit code: 0; 1 if a trial has failed, that is, ended before its last evaluation; 130
        after Ctrl-C.

    Raises:
        ValueError, FileNotFoundError: an argument is wrong. Nothing has been trained then.
        MeasurementError: the speed of a config could not be measured.
    """
    if budget != Budget() and "SOLVER.MAX_ITER" in opts[::2]:
        raise ValueError("give either --budget or SOLVER.MAX_ITER")
    candidates = load_candidates(config_files, opts, strategies, variants)
    shares = divide_machine(jobs, num_gpus if _uses_gpus(candidates, num_gpus) else None)
    test_datasets = check_trainable(candidates)
    candidates = [_with_scaled_schedule(x, num_gpus) for x in candidates]
    output.mkdir(parents=True, exist_ok=True)

    def measure(new: Sequence[Candidate]) -> dict[str, float]:
        print(f"measuring the speed of {', '.join(x.name for x in new)}", flush=True)
        # No candidate has a name that starts with a dot.
        seconds = measure_seconds(new, output / ".speed", shares=shares, num_gpus=num_gpus)
        print("\n".join(f"  {name}: {value:.3g} s/iteration" for name, value in seconds.items()))
        return seconds

    try:
        lock = lock_folder(output)
    except BlockingIOError as error:
        raise ValueError(f"another comparison is running in {output}") from error
    with lock:
        try:
            plan = make_plan(
                candidates,
                output,
                budget=budget,
                num_gpus=num_gpus,
                fixed=opts[::2],
                measure=measure,
            )
            # One seed of all candidates before the next one, so that there is always something
            # to compare.
            trials = [
                Trial(x.name, i + 1, output / x.name, x.cfg.SOLVER.MAX_ITER)
                for i in range(seeds)
                for x in plan
            ]
            machine = describe_machine(
                plan[0].cfg.MODEL.DEVICE, jobs=min(jobs, len(trials)), num_gpus=num_gpus
            )
            comparison = _Comparison(plan, trials, output, budget, test_datasets, opts, machine)
            comparison.train(shares, num_gpus)
        except KeyboardInterrupt:
            print(f"\nInterrupted. The same command resumes from {output}.")
            return 130
    print(f"\n{comparison.report()}\nfiles  {output}/{{{TABLE},{CSV},{BARS},{CURVES}}}")
    return 1 if comparison.failed else 0


def _uses_gpus(candidates: Sequence[Candidate], num_gpus: int) -> bool:
    wanted = any(x.cfg.MODEL.DEVICE.startswith("cuda") for x in candidates)
    if wanted and torch.cuda.is_available():
        return True
    if num_gpus > 1:
        raise ValueError(f"--num-gpus is {num_gpus}, but the trainings would run on the CPU")
    return False


def _with_scaled_schedule(candidate: Candidate, num_gpus: int) -> Candidate:
    """Scale the schedule to the batch size here, so that the trainings do not scale the budget."""
    cfg = candidate.cfg.clone()
    scale_to_batch_size(cfg)
    cfg = Trainer.auto_scale_workers(cfg, num_gpus).clone()
    cfg.defrost()
    return replace(candidate, cfg=cfg)


@dataclass
class _Comparison:
    """The trials of a plan, and which of them have failed."""

    plan: Sequence[Candidate]
    trials: Sequence[Trial]
    output: Path
    budget: Budget
    test_datasets: Sequence[str]
    opts: Sequence[str]
    machine: str
    failed: set[Trial] = field(default_factory=set)

    def train(self, shares: Sequence[dict[str, str]], num_gpus: int) -> None:
        """Train what is not finished; the report is updated after each trial."""
        waiting = [trial for trial in self.trials if not self._result(trial).finished]
        if len(waiting) < len(self.trials):
            print(f"{len(self.trials) - len(waiting)} of {len(self.trials)} runs are finished")
        for candidate in self.plan:
            if candidate.overridden:
                print(f"{candidate.name}: overridden options: {', '.join(candidate.overridden)}")
        if waiting:
            print(f"training {len(waiting)} runs; their logs: {waiting[0].log}, ...", flush=True)
        run_trials(waiting, shares, num_gpus, self._on_end)

    def _on_end(self, trial: Trial, code: int, peak_memory_mb: float | None) -> None:
        record_resources(trial, self.machine, peak_memory_mb)
        result = self._result(trial)
        if result.finished:
            minutes = "" if result.minutes is None else f", {result.minutes:.1f} min"
            # Such as a missed TEST.EXPECTED_RESULTS: the metrics count all the same.
            late = f"; exit code {code} after the last evaluation, see {trial.log}" if code else ""
            print(f"{trial}: AP {result.metrics['AP']:.2f}{minutes}{late}", flush=True)
        else:
            self.failed.add(trial)
            print(
                f"{trial} FAILED with exit code {code}; the end of {trial.log}:\n"
                f"{trial.last_lines()}",
                flush=True,
            )
        self.report()

    def report(self) -> str:
        """Write tables and charts of what there is; returns the tables."""
        results = [self._result(trial) for trial in self.trials]
        names = [x.name for x in self.plan]
        table = markdown(
            self.plan, results, budget=self.budget, opts=self.opts, test_datasets=self.test_datasets
        )
        write_text(self.output / TABLE, table)
        write_text(self.output / CSV, csv_text(self.plan, results))
        draw_ap_bars(names, results, self.output / BARS)
        over_minutes = self.budget.seconds is not None
        draw_ap_curves(names, results, self.output / CURVES, over_minutes=over_minutes)
        return table

    def _result(self, trial: Trial) -> TrialResult:
        try:
            result = read_result(trial, self.test_datasets)
        except ValueError:
            # A damaged metrics.json costs this trial only.
            logging.getLogger(__name__).exception("%s", trial.output_dir)
            result = TrialResult(trial)
        result.failed = trial in self.failed
        return result
