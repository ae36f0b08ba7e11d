"""How long each run trains, and a config's schedule scaled to it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from detectron2.config import CfgNode

from ...engine import scale_iterations

__all__ = ["Budget", "scale_schedule"]

_SECONDS = {"s": 1, "min": 60, "h": 3600}
# Evaluations of a training whose config asks for the last one only: enough points for a curve.
_NUM_EVALUATIONS = 5


@dataclass(frozen=True)
class Budget:
    """Length of every run: iterations, seconds of training without evaluation, or neither.

    With neither, it is the schedule of the first config.
    """

    iterations: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "1500" (iterations), "90s", "3min" or "1.5h".

        Raises:
            ValueError: ``text`` is none of these, or zero.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)?", text.strip())
        number = float(match[1]) if match else 0.0
        if match and match[2] and number > 0:
            return cls(seconds=number * _SECONDS[match[2]])
        if match and number.is_integer() and number > 0:
            return cls(iterations=int(number))
        raise ValueError(
            f"the budget is {text!r}; it is a number of iterations (1500) or a time (90s, 3min, "
            "1.5h), above zero"
        )

    def __str__(self) -> str:
        if self.iterations is not None:
            return f"{self.iterations} iterations"
        if self.seconds is None:
            return "the schedule of the first config"
        if self.seconds < 60:
            return f"{self.seconds:g} s of training"
        return f"{self.seconds / 60:g} min of training"


def scale_schedule(cfg: CfgNode, iterations: int, fixed: Collection[str] = ()) -> None:
    """Set ``SOLVER.MAX_ITER``, and scale everything that counts iterations, in place.

    A ``TEST.EVAL_PERIOD`` of 0 becomes a fifth of the iterations. The keys in ``fixed`` keep their
    values.

    Raises:
        ValueError: ``SOLVER.STEPS`` do not rise, or no longer do when scaled.
    """
    solver, test = cfg.SOLVER, cfg.TEST
    ratio = iterations / solver.MAX_ITER
    if "SOLVER.STEPS" in fixed:
        solver.MAX_ITER = iterations
        _check_steps(solver)
    else:
        _check_steps(solver)
        solver.MAX_ITER = iterations
        solver.STEPS = tuple(round(step * ratio) for step in solver.STEPS)
        if not _steps_rise(solver):
            raise ValueError(
                f"{iterations} iterations are too few for SOLVER.STEPS, which become "
                f"{solver.STEPS}: give a longer budget, or SOLVER.STEPS on the command line"
            )
    scaled = ("SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")
    for section, _, name in (key.partition(".") for key in scaled if key not in fixed):
        cfg[section][name] = scale_iterations(cfg[section][name], ratio)
    if not test.EVAL_PERIOD and "TEST.EVAL_PERIOD" not in fixed:
        test.EVAL_PERIOD = math.ceil(iterations / _NUM_EVALUATIONS)


def _check_steps(solver: CfgNode) -> None:
    if not _steps_rise(solver):
        raise ValueError(
            f"SOLVER.STEPS are {solver.STEPS} in {solver.MAX_ITER} iterations; they have to rise, "
            "from above 0 to below the number of iterations"
        )


def _steps_rise(solver: CfgNode) -> bool:
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        return True  # others ignore them
    used = [step for step in solver.STEPS if step <= solver.MAX_ITER]  # as detectron2 does
    return used == sorted(set(used)) and all(0 < step < solver.MAX_ITER for step in used)
