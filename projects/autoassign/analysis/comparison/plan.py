"""What a comparison trains, and its record in the output folder, from which it is resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from ...config import flatten_options, replacing
from .budget import Budget, scale_schedule
from .candidates import Candidate

__all__ = ["config_path", "make_plan", "write_text"]

# Name -> seconds per iteration of these candidates.
Measure = Callable[[Sequence[Candidate]], dict[str, float]]

_NOT_SET = "(not set)"


def make_plan(
    candidates: Sequence[Candidate],
    output: Path,
    *,
    budget: Budget,
    num_gpus: int,
    fixed: Collection[str],
    measure: Measure,
) -> list[Candidate]:
    """Fix the iterations of every candidate and write the config files that its trials read.

    ``output``/plan.json records the plan. A candidate that it has is not measured again, unless
    its folder was removed; others may be added.

    Args:
        candidates: what to compare.
        output: folder of the comparison.
        budget: length of each trial.
        num_gpus: GPUs of each trial.
        fixed: keys that :func:`~autoassign.analysis.comparison.budget.scale_schedule` leaves alone.
        measure: called with the candidates whose seconds per iteration a time budget needs.

    Returns:
        The candidates with the schedule of the budget.

    Raises:
        ValueError: ``output`` holds a comparison made with other arguments, or something else.
    """
    path = output / "plan.json"
    record = _read_record(path, budget, num_gpus)
    seconds = record["seconds_per_iteration"]
    known = [x for x in candidates if x.name in seconds and config_path(output, x.name).exists()]
    new = [x for x in candidates if x not in known]
    _check_unchanged([_scaled(x, budget, seconds[x.name], fixed) for x in known], output)
    _check_unused(new, output)
    measured = measure(new) if new and budget.seconds else {}
    seconds |= {x.name: measured.get(x.name) for x in new}
    plan = [_scaled(x, budget, seconds[x.name], fixed) for x in candidates]
    # First the record: a config file without it would be taken for something else.
    write_text(path, json.dumps(record, indent=2) + "\n")
    for candidate in plan:
        write_text(config_path(output, candidate.name), candidate.cfg.dump())
    return plan


def config_path(output: Path, name: str) -> Path:
    """The config file that the trials of a candidate read."""
    return output / name / "config.yaml"


def write_text(path: Path, text: str) -> None:
    """Write or replace a text file in one step."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _read_record(path: Path, budget: Budget, num_gpus: int) -> dict[str, Any]:
    if not path.exists():
        return {"budget": asdict(budget), "num_gpus": num_gpus, "seconds_per_iteration": {}}
    record = json.loads(path.read_text(encoding="utf-8"))
    recorded_budget = Budget(**record["budget"])
    for option, before, now in (
        ("--budget", recorded_budget, budget),
        ("--num-gpus", record["num_gpus"], num_gpus),
    ):
        if before != now:
            raise ValueError(
                f"{path} was made with another {option}: {before} then, {now} now; give another "
                "--output, or the option as it was"
            )
    return record


def _scaled(
    candidate: Candidate, budget: Budget, seconds: float | None, fixed: Collection[str]
) -> Candidate:
    cfg = candidate.cfg.clone()
    iterations = budget.iterations or cfg.SOLVER.MAX_ITER
    if budget.seconds is not None and seconds is not None:
        iterations = max(1, round(budget.seconds / seconds))
    try:
        scale_schedule(cfg, iterations, fixed)
    except ValueError as error:
        raise ValueError(f"{candidate.file}: {error}") from error
    return replace(candidate, cfg=cfg)


def _check_unchanged(known: Sequence[Candidate], output: Path) -> None:
    """Refuse configs that differ from those that earlier trials have read."""
    changes = {x.name: lines for x in known if (lines := _differences(x, output))}
    if changes:
        folders = " and ".join(str(output / name) for name in changes)
        listing = "\n  ".join(line for lines in changes.values() for line in lines)
        raise ValueError(
            f"{output} holds runs of other configs; give another --output, or remove {folders} "
            f"to start anew there, or restore:\n  {listing}"
        )


def _differences(candidate: Candidate, output: Path) -> list[str]:
    # Both by way of YAML, which has no tuples.
    path = config_path(output, candidate.name)
    before = flatten_options(yaml.safe_load(path.read_text(encoding="utf-8")))
    now = flatten_options(yaml.safe_load(candidate.cfg.dump()))
    return [
        f"{candidate.name}: {key} was {before.get(key, _NOT_SET)!r}, is {now.get(key, _NOT_SET)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, _NOT_SET) != now.get(key, _NOT_SET)
    ]


def _check_unused(new: Sequence[Candidate], output: Path) -> None:
    for candidate in new:
        folder = output / candidate.name
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} holds files, but not those of a config of this comparison; give another "
                "--output, or move that folder away"
            )
