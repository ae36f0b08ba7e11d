"""What a comparison trains, and its record in the output folder that a resumed one goes by."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from .budget import Budget, scale_schedule
from .conditions import Candidate, leaves

__all__ = ["Planned", "make_plan", "write_text"]

# Name -> seconds per iteration of the candidates given.
Measure = Callable[[Sequence[Candidate]], dict[str, float]]

_MISSING = "(not set)"


@dataclass
class Planned:
    """One config as its runs train it.

    Attributes:
        name: the label in tables and charts.
        file: the config file that was given.
        config_file: the file that the runs read.
        cfg: its content, with the schedule of the budget.
        replaced: values of ``file`` that gave way to the first config's, by key.
        measured: seconds per iteration that a budget of time went by.
    """

    name: str
    file: str
    config_file: Path
    cfg: CfgNode
    replaced: dict[str, Any]
    measured: float | None


def make_plan(
    candidates: Sequence[Candidate],
    output: Path,
    *,
    budget: Budget,
    num_gpus: int,
    fixed: Collection[str],
    measure: Measure,
) -> list[Planned]:
    """Settle the iterations of every config and write the files that the runs read.

    ``output``/plan.json records it. What it has already is not measured again; further configs may
    join. A config whose folder was removed is a new one.

    Args:
        candidates: what to compare.
        output: folder of the comparison.
        budget: length of each run.
        num_gpus: GPUs of each run.
        fixed: keys that :func:`~autoassign.analysis.comparison.budget.scale_schedule` leaves alone.
        measure: called for the configs whose seconds per iteration a budget of time needs.

    Raises:
        ValueError: ``output`` holds a comparison made with another command, or something else.
    """
    path = output / "plan.json"
    recorded = _read_record(path, budget, num_gpus)
    entries: dict[str, dict[str, Any]] = recorded["configs"]

    def settle(candidate: Candidate) -> Planned:
        measured = entries[candidate.name]["seconds_per_iteration"]
        return _planned(candidate, output, budget, measured, fixed)

    # A recorded config whose file is gone was removed to start it anew.
    known = {
        x.name: settle(x)
        for x in candidates
        if x.name in entries and _config_file(output, x.name).exists()
    }
    new = [candidate for candidate in candidates if candidate.name not in known]
    _refuse_changes(list(known.values()), output)
    _refuse_strangers(new, output)
    seconds = measure(new) if new and budget.seconds else {}
    for candidate in new:
        entries[candidate.name] = {"seconds_per_iteration": seconds.get(candidate.name)}
    plan = [known.get(x.name) or settle(x) for x in candidates]
    for planned in plan:
        entries[planned.name] |= {"file": planned.file, "iterations": planned.cfg.SOLVER.MAX_ITER}
    # The record first: a config file without it would be a stranger in the folder.
    write_text(path, json.dumps(recorded, indent=2) + "\n")
    for planned in plan:
        write_text(planned.config_file, planned.cfg.dump())
    return plan


def _read_record(path: Path, budget: Budget, num_gpus: int) -> dict[str, Any]:
    if not path.exists():
        return {"budget": asdict(budget), "num_gpus": num_gpus, "configs": {}}
    record = json.loads(path.read_text())
    before = {"--budget": Budget(**record["budget"]), "--num-gpus": record["num_gpus"]}
    for option, now in (("--budget", budget), ("--num-gpus", num_gpus)):
        if before[option] != now:
            raise ValueError(
                f"{path} was made with another {option}: {before[option]} then, {now} now; give "
                "another --output, or the option as it was"
            )
    return record


def _planned(
    candidate: Candidate,
    output: Path,
    budget: Budget,
    measured: float | None,
    fixed: Collection[str],
) -> Planned:
    cfg = candidate.cfg.clone()
    iterations = budget.iterations or cfg.SOLVER.MAX_ITER
    if budget.seconds is not None and measured is not None:
        iterations = max(1, round(budget.seconds / measured))
    try:
        scale_schedule(cfg, iterations, fixed)
    except ValueError as error:
        raise ValueError(f"{candidate.file}: {error}") from error
    return Planned(
        name=candidate.name,
        file=candidate.file,
        config_file=_config_file(output, candidate.name),
        cfg=cfg,
        replaced=candidate.replaced,
        measured=measured,
    )


def _config_file(output: Path, name: str) -> Path:
    return output / name / "config.yaml"


def _refuse_changes(known: Sequence[Planned], output: Path) -> None:
    changed = {planned.name: lines for planned in known if (lines := _differences(planned))}
    if changed:
        folders = " and ".join(str(output / name) for name in changed)
        listing = "\n  ".join(line for lines in changed.values() for line in lines)
        raise ValueError(
            f"{output} holds runs of other configs; give another --output, or remove {folders} "
            f"with all runs to start anew there, or restore:\n  {listing}"
        )


def _refuse_strangers(new: Sequence[Candidate], output: Path) -> None:
    for candidate in new:
        folder = output / candidate.name
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} holds files, but not those of a config of this comparison; give another "
                "--output, or move that folder away to start the config anew"
            )


def _differences(planned: Planned) -> list[str]:
    """Fields in which the config differs from the one that earlier runs have read."""
    # Both by way of YAML, which knows no tuples.
    before = leaves(yaml.safe_load(planned.config_file.read_text()))
    now = leaves(yaml.safe_load(planned.cfg.dump()))
    return [
        f"{planned.name}: {key} was {before.get(key, _MISSING)!r}, is {now.get(key, _MISSING)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, _MISSING) != now.get(key, _MISSING)
    ]


def write_text(path: Path, text: str) -> None:
    """Write a file, which is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
