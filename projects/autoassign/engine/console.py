"""The console output of a training; everything else goes to log.txt."""

from __future__ import annotations

import datetime
import io
import logging
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

__all__ = ["ProgressReport", "printing_to_log", "set_up_logging", "show_evaluation"]

logger = logging.getLogger(__name__)

# Without a terminal, a line is printed after every tenth of the iterations or this many seconds.
_LINES = 10
_SECONDS = 300
# Losses and times are means over so many iterations.
_WINDOW = 20


def set_up_logging(output_dir: str) -> None:
    """Log everything to log.txt, and to the console this package's messages and all warnings.

    Args:
        output_dir: the folder of log.txt; workers other than the main one have log.txt.rank1, ...
            and no console.
    """
    rank = comm.get_rank()
    for name in ("fvcore", "detectron2", "autoassign"):
        setup_logger(output_dir, distributed_rank=rank, name=name, configure_stdout=False)
        log = logging.getLogger(name)
        if rank == 0 and not any(isinstance(x, _ConsoleHandler) for x in log.handlers):
            log.addHandler(_ConsoleHandler())
    # Collecting the environment asks it for CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def _is_for_console(record: logging.LogRecord) -> bool:
    if record.exc_info:  # the command line says in one sentence what went wrong
        return False
    if record.levelno >= logging.WARNING:
        return True
    # The tables of an evaluation are shortened to one.
    own = record.name.startswith("autoassign.") and "evaluation" not in record.name
    return own and record.levelno >= logging.INFO


class _ConsoleHandler(logging.Handler):
    """Prints above a progress bar, if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(_is_for_console)
        self._stream = sys.stdout  # also while print() is redirected

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + record.getMessage(), file=self._stream)
        self._stream.flush()


@contextmanager
def printing_to_log() -> Iterator[None]:
    """A context in which what pycocotools prints goes to log.txt."""
    with redirect_stdout(_LogStream()):
        yield


class _LogStream(io.TextIOBase):
    def write(self, text: str) -> int:
        if text.strip():
            logger.debug(text.rstrip())
        return len(text)


class ProgressReport(HookBase):
    """Shows iteration, remaining time, losses, seconds per iteration and memory.

    On a terminal that is a bar; otherwise a line after the first iteration and then now and then.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._last_line: tuple[int, float] | None = None  # iterations done, and when

    def before_train(self) -> None:
        if sys.stdout.isatty():
            self._bar = tqdm(
                initial=self.trainer.start_iter,
                total=self.trainer.max_iter,
                bar_format="{n_fmt}/{total_fmt} |{bar:20}|{postfix}",
                leave=False,
                file=sys.stdout,
            )

    def after_step(self) -> None:
        storage, max_iter = self.trainer.storage, self.trainer.max_iter
        done = self.trainer.iter + 1
        if self._bar is not None:
            self._bar.set_postfix_str(_progress(storage, max_iter), refresh=False)
            self._bar.update()
        elif self._line_is_due(done, max_iter):
            self._last_line = (done, time.monotonic())
            logger.info(f"iteration {done}/{max_iter}  {_progress(storage, max_iter)}")

    def _line_is_due(self, done: int, max_iter: int) -> bool:
        if self._last_line is None or done == max_iter:
            return True
        iteration, when = self._last_line
        return (done - iteration) * _LINES >= max_iter or time.monotonic() - when > _SECONDS

    def after_train(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _progress(storage: EventStorage, max_iter: int) -> str:
    means = {
        name: history.avg(_WINDOW)
        for name, history in storage.histories().items()
        if name == "time" or "loss" in name
    }
    parts = []
    if "time" in means:  # not in the first iterations
        remaining = means["time"] * (max_iter - storage.iter - 1)
        parts.append(f"ETA {datetime.timedelta(seconds=round(remaining))}")
    parts += [f"{name} {value:.4g}" for name, value in means.items() if name != "time"]
    if "time" in means:
        parts.append(f"{means['time']:.3g} s/it")
    parts.append(f"{_memory() / 2**30:.2f} GiB")
    return "  ".join(parts)


def _memory() -> int:
    """The most bytes that were in use so far, on the GPU if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def show_evaluation(iterations: int | None, results: Mapping[str, Any]) -> None:
    """Show the AP of an evaluation as a small table, without that of single classes.

    Args:
        iterations: those trained before it; None for an evaluation alone.
        results: as :meth:`Trainer.test` returns them, by dataset where there are several.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, value in flatten_results_dict(dict(results)).items():
        dataset, _, metric = name.rpartition("/")
        if "-" not in metric:
            rows.setdefault(dataset.removesuffix("bbox").rstrip("/"), {})[metric] = value
    when = "" if iterations is None else f" after {iterations} iterations"
    for dataset, metrics in rows.items():
        names = "".join(f"{name:>8}" for name in metrics)
        values = "".join(f"{value:8.2f}" for value in metrics.values())
        logger.info(f"evaluation{when} {dataset}\n{names}\n{values}".replace(" \n", "\n"))
